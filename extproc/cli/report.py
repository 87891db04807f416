"""`extproc report`: what the events of some time say, likely false alarms first."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from pathlib import Path

from extproc.model.errors import ConfigError
from extproc.review.event_file import EventFile
from extproc.review.summary import Summary
from extproc.review.text import lines

_SPAN = re.compile(r"(\d+)\s*([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def configure(parser: argparse.ArgumentParser) -> None:
    add_events(parser)
    parser.add_argument("--since", type=span, default=0.0, metavar="TIME", help="10m, 2h, 1d (default: all)")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")


def add_events(parser: argparse.ArgumentParser) -> None:
    """Where events are read from."""
    parser.add_argument("--events", type=Path, required=True, metavar="FILE", help="what --events of the server wrote")


def run(arguments: argparse.Namespace) -> int:
    file = EventFile(arguments.events)
    try:
        start = time.time() - arguments.since if arguments.since else 0.0
        summary = Summary().add_all(file.since(start))
    finally:
        file.close()
    if arguments.json:
        print(json.dumps({**summary.as_data(), "lines_passed_over": file.broken}, indent=2))
    else:
        width = 10_000 if not sys.stdout.isatty() else 160
        print("\n".join(lines(summary, str(arguments.events), width)))
    if file.broken:
        print(f"extproc: {file.broken} lines of {arguments.events} are no events and were passed over", file=sys.stderr)
    return 0


def span(written: str) -> float:
    """`10m` → seconds."""
    found = _SPAN.fullmatch(written)
    if found is None:
        raise ConfigError("--since", f"must be a time such as 30s, 10m, 2h or 1d, not {written!r}")
    return float(found[1]) * _SECONDS[found[2]]
