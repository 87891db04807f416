"""Decisions on their way out of a worker: into a file that stays small, to a collector as spans and log records."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extproc.cli.decisions import BATCH, Decisions
from extproc.config import resolve
from extproc.events.masking import Masking
from extproc.model.errors import ConfigError
from extproc.model.phase import Phase
from extproc.model.trace import TraceParent
from extproc.model.verdict import Coverage, Decision, Match, Mode, Outcome
from extproc.telemetry.event_logs import BATCH_EVENTS, QUEUE_BYTES, QUEUE_EVENTS, EventLogs
from extproc.telemetry.traces import MAX_ROUTE_CHARS, MAX_RULES, QUEUE_SPANS, SpanSender
from tests.otlp_receiver import Collector, attributes

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


def published(flags: dict[str, object], number: int, **changes: Any) -> Decisions:
    """`number` decisions, written out."""
    decisions = Decisions(resolve({"lines": "off", **flags}, {}))
    with decisions.writing():
        for _ in range(number):
            decisions.publish(decision(**changes), Masking())
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


async def written(file: Path) -> None:
    """When a thread has written to it."""
    while not file.stat().st_size:  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.01)


async def test_decisions_wait_for_each_other_up_to_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extproc.cli.decisions.DELAY_S", 3600.0)
    file = tmp_path / "events.jsonl"
    decisions = Decisions(resolve({"lines": "off", "events": str(file)}, {}))
    with decisions.writing():
        for count in range(BATCH):
            assert decisions.waiting == count
            decisions.publish(decision(), Masking())
        await written(file)
        decisions.publish(decision(), Masking())
        await asyncio.sleep(0.01)
        assert decisions.waiting == 1
    assert len(file.read_text().splitlines()) == BATCH + 1


async def test_a_decision_alone_waits_a_moment(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    decisions = Decisions(resolve({"lines": "off", "events": str(file)}, {}))
    with decisions.writing():
        decisions.publish(decision(), Masking())
        await written(file)


@pytest.mark.parametrize(("lines", "waiting"), [("off", 0), ("auto", 0), ("all", 1)])
async def test_what_nobody_is_told_does_not_wait(lines: str, waiting: int) -> None:
    decisions = Decisions(resolve({"lines": lines}, {}))
    decisions.publish(decision(verdict=Outcome.ALLOW, would=Outcome.ALLOW, matches=()), Masking())
    assert decisions.waiting == waiting


def test_without_a_limit_it_grows(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    published({"events": str(file)}, 300)
    assert file.stat().st_size > EVENTS_LIMIT_BYTES
    assert list(tmp_path.iterdir()) == [file]


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.stop()


def test_a_span_joins_the_trace_of_its_request(collector: Collector) -> None:
    published({"otlp": collector.url, "traces": 0.000001}, 1)
    (span,) = collector.spans
    assert (span.trace_id.hex(), span.parent_span_id.hex(), span.name) == (TRACE, SPAN, "extproc.inspect")
    assert span.start_time_unix_nano == 1_700_000_000_250_000_000
    assert span.end_time_unix_nano - span.start_time_unix_nano == 300_000
    assert attributes(span) == {
        "extproc.verdict": "block",
        "extproc.would": "block",
        "extproc.mode": "block",
        "extproc.route": "app",
        "extproc.coverage": "inspected",
        "extproc.coverage_reason": "",
        "extproc.score": 5,
        "extproc.rule": 1,
        "extproc.rule_ids": [942100],
        "extproc.incident": "I",
    }


@pytest.mark.parametrize(
    ("parent", "ratio", "spans"),
    [
        (PARENT, 0, 0),  # off is off
        (TraceParent(TRACE, SPAN, is_sampled=False), 1, 0),
        (None, 1, 3),
        (None, 1e-12, 0),
    ],
)
def test_who_decides_on_a_span(parent: TraceParent | None, ratio: float, spans: int, collector: Collector) -> None:
    published({"otlp": collector.url, "traces": ratio}, 3, trace=parent)
    assert len(collector.spans) == spans
    assert all(span.parent_span_id == b"" for span in collector.spans)


def test_no_value_of_a_request_is_in_a_span(collector: Collector) -> None:
    matches = tuple(
        Match(number, Phase.REQUEST_BODY, "ARGS:q", msg=b"hunter2hunter2", logdata=b"hunter2hunter2", value=b"hunter2")
        for number in range(MAX_RULES + 1)
    )
    published({"otlp": collector.url, "traces": 1}, 1, matches=matches, route="r?password=hunter2hunter2&" + "r" * 1000)
    found = attributes(collector.spans[0])
    assert found["extproc.rule_ids"] == list(range(MAX_RULES))
    assert len(found["extproc.route"]) == MAX_ROUTE_CHARS
    assert b"hunter2" not in b"".join(collector.bodies)


def test_a_collector_that_is_away_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    decisions = published({"otlp": "http://127.0.0.1:9", "traces": 1}, 3)
    decisions.publish(decision(), Masking())
    assert capsys.readouterr().err.splitlines() == ["extproc: spans do not reach the collector"]
    assert decisions.spans_dropped >= 3


def test_spans_beyond_the_queue_are_counted(collector: Collector) -> None:
    collector.status = 400
    sender = SpanSender(collector.url, 1)
    for _ in range(QUEUE_SPANS + 7):
        sender.send(decision(), "app")
    sender.stop()
    assert sender.dropped == QUEUE_SPANS + 7
    assert len(collector.spans) <= QUEUE_SPANS + 7


def test_spans_without_a_collector_are_refused() -> None:
    with pytest.raises(ConfigError, match="--traces: needs --otlp URL"):
        Decisions(resolve({"traces": "0.5"}, {}))


def test_events_go_to_the_collector(collector: Collector, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    published({"events": str(file)}, 1)
    published({"events": "otlp", "otlp": collector.url}, 1)
    (record,) = collector.log_records
    assert record.body.string_value == file.read_text().rstrip("\n")
    assert record.time_unix_nano == 1_700_000_000_250_000_000
    assert (record.trace_id.hex(), record.span_id.hex()) == (TRACE, SPAN)
    assert (record.severity_text, record.event_name) == ("WARN", "extproc.decision")
    assert attributes(record) == {"extproc.incident": "I", "extproc.verdict": "block"}
    assert b"hunter2" not in b"".join(collector.bodies)


def test_an_event_without_a_trace_and_without_a_finding(collector: Collector) -> None:
    published({"events": "otlp", "otlp": collector.url}, 1, trace=None, would=Outcome.ALLOW, verdict=Outcome.ALLOW)
    (record,) = collector.log_records
    assert (record.trace_id, record.span_id, record.severity_text) == (b"", b"", "INFO")


def test_every_event_arrives_once(collector: Collector) -> None:
    decisions = published({"events": "otlp", "otlp": collector.url}, 3 * BATCH_EVENTS + 1)
    assert len(collector.log_records) == 3 * BATCH_EVENTS + 1
    assert (decisions.dropped, decisions.waiting) == (0, 0)


def test_events_that_no_collector_takes_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    decisions = published({"events": "otlp", "otlp": "http://127.0.0.1:9"}, 3)
    assert capsys.readouterr().err.splitlines() == ["extproc: events do not reach the collector"]
    assert (decisions.dropped, decisions.waiting) == (3, 0)


@pytest.mark.parametrize(
    ("line", "taken"), [(b"x\n", QUEUE_EVENTS), (b"x" * (QUEUE_BYTES // 8) + b"\n", 8)], ids=["events", "bytes"]
)
def test_the_queue_for_the_collector_ends(line: bytes, taken: int, collector: Collector) -> None:
    held = threading.Event()
    collector.hold = held
    logs = EventLogs(collector.url)
    try:
        for _ in range(taken + 3):
            logs.write(line, decision())
        assert (logs.waiting, logs.dropped) == (taken, 3)
    finally:
        held.set()
        logs.stop()


def test_events_without_a_collector_are_refused() -> None:
    with pytest.raises(ConfigError, match="--events: otlp needs --otlp URL"):
        Decisions(resolve({"events": "otlp"}, {}))
