"""`extproc top`: the events as they come, summed up over the last minutes, in the terminal."""

from __future__ import annotations

import argparse
import collections
import shutil
import sys
import time

from extproc.cli.report import add_events, span
from extproc.review.event_file import Event, EventFile, time_of
from extproc.review.summary import Summary
from extproc.review.text import lines

REFRESH_S = 1.0
DEFAULT_SPAN = "5m"

MAX_EVENTS = 50_000
"""Held at a time; of a busier time only the newest ones are shown, and the first line says so."""

_CLEAR = "\x1b[H\x1b[2J"


def configure(parser: argparse.ArgumentParser) -> None:
    add_events(parser)
    parser.add_argument("--since", type=span, default=span(DEFAULT_SPAN), metavar="TIME", help="how far back (5m)")
    parser.add_argument("--once", action="store_true", help="print once and end; so does a stdout that is no terminal")


def run(arguments: argparse.Namespace) -> int:
    file = EventFile(arguments.events)
    events: collections.deque[Event] = collections.deque(maxlen=MAX_EVENTS)
    try:
        events.extend(file.since(time.time() - arguments.since))
        if arguments.once or not sys.stdout.isatty():
            print("\n".join(_screen(events, arguments, 10_000, 10_000)))
            return 0
        while True:
            events.extend(file.more())
            start = time.time() - arguments.since
            while events and time_of(events[0]) < start:
                events.popleft()
            size = shutil.get_terminal_size()
            sys.stdout.write(_CLEAR + "\n".join(_screen(events, arguments, size.columns, size.lines - 1)) + "\n")
            sys.stdout.flush()
            time.sleep(REFRESH_S)
    except KeyboardInterrupt:
        return 0
    finally:
        file.close()


def _screen(events: collections.deque[Event], arguments: argparse.Namespace, columns: int, rows: int) -> list[str]:
    summary = Summary().add_all(events)
    rate = len(events) / arguments.since
    title = f"extproc top  last {arguments.since:.0f} s of {arguments.events}  {rate:.1f} requests/s"
    if len(events) == MAX_EVENTS:
        title += f"  (the newest {MAX_EVENTS} only)"
    return [title[:columns], "", *lines(summary, str(arguments.events), columns)][:rows]
