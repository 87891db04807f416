"""Decisions on their way out of a worker: into a file that stays small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from extproc.cli.decisions import Decisions
from extproc.config import resolve
from extproc.events.masking import Masking
from extproc.model.phase import Phase
from extproc.model.trace import TraceParent
from extproc.model.verdict import Coverage, Decision, Match, Mode, Outcome

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = TraceParent(TRACE, SPAN, is_sampled=True)
EVENTS_LIMIT_BYTES = 65_536


def decision(**changes: Any) -> Decision:
    fields: dict[str, Any] = {
        "time": 1_700_000_000.25,
        "incident": "I",
        "request_id": "",
        "verdict": Outcome.BLOCK,
        "mode": Mode.BLOCK,
        "would": Outcome.BLOCK,
        "coverage": Coverage.INSPECTED,
        "coverage_reason": None,
        "method": b"GET",
        "host": b"h",
        "path": b"/?password=hunter2hunter2",
        "client": "192.0.2.1",
        "route": "app",
        "phase": Phase.REQUEST_HEADERS,
        "score": 5,
        "status": 403,
        "rule_id": 1,
        "matches": (Match(942100, Phase.REQUEST_BODY, "ARGS:password", logdata=b"hunter2hunter2"),),
        "duration_us": 300,
        "trace": PARENT,
        **changes,
    }
    return Decision(**fields)


def published(flags: dict[str, object], number: int) -> Decisions:
    """`number` decisions, written out."""
    decisions = Decisions(resolve({"lines": "off", **flags}, {}))
    with decisions.writing(0):
        for _ in range(number):
            decisions.publish(decision(), Masking())
    return decisions


def test_a_file_of_events_is_rotated(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    published({"events": str(file), "events_limit": "64KiB"}, 300)
    files = sorted(tmp_path.iterdir())
    assert len(files) > 2
    assert all(path.stat().st_size <= EVENTS_LIMIT_BYTES for path in files)
    events = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    assert len(events) == 300
    assert {event["trace_id"] for event in events} == {TRACE}


def test_without_a_limit_it_grows(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    published({"events": str(file)}, 300)
    assert file.stat().st_size > EVENTS_LIMIT_BYTES
    assert list(tmp_path.iterdir()) == [file]
