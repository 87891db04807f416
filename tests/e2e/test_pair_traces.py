"""A collector and a running pair: span and event belong to the trace that the caller of a request began."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.otlp_receiver import Collector, attributes

pytestmark = [pytest.mark.envoy]

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PATIENCE_S = 15.0


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.stop()


def test_a_request_of_a_trace(start_pair: Any, app: Any, tools: Any, collector: Collector) -> None:
    flags = ("--workers", "2", "--otlp", collector.url, "--traces", "0.000000001")
    pair = start_pair(app.port, *flags).await_start()
    attack = "/?q=%27%20OR%201=1--&password=hunter2hunter2"
    answer = pair.send(path=attack, headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
    pair.send(path="/", headers={"traceparent": f"00-{TRACE}-{SPAN}-00"})
    pair.send(path="/", headers={"traceparent": "00-odd"})
    [span] = tools.wait_for(lambda: collector.spans, PATIENCE_S, "span")
    events = tools.wait_for(lambda: len(pair.events) == 3 and pair.events, PATIENCE_S, "three events")
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, SPAN)
    found = attributes(span)
    assert answer.status == 403
    assert (found["extproc.verdict"], found["extproc.incident"]) == ("block", answer.headers["x-waf-incident"])
    assert {event["incident"]: event["trace_id"] for event in events}[found["extproc.incident"]] == TRACE
    assert sorted(event["trace_id"] or "" for event in events) == ["", TRACE, TRACE]
    pair.stop()
    assert [path for path, _ in collector.requests].count("/v1/traces") == 1
    assert b"hunter2" not in b"".join(collector.bodies)


def test_events_of_a_pair_at_the_collector(start_pair: Any, app: Any, tools: Any, collector: Collector) -> None:
    flags = ("--workers", "1", "--otlp", collector.url, "--events", "otlp")
    pair = start_pair(app.port, *flags).await_start()
    answer = pair.send(path="/?q=%27%20OR%201=1--&password=hunter2hunter2")
    [record] = tools.wait_for(lambda: collector.log_records, PATIENCE_S, "log record")
    event = json.loads(record.body.string_value)
    assert (event["incident"], event["verdict"]) == (answer.headers["x-waf-incident"], "block")
    assert b"hunter2" not in b"".join(collector.bodies)
    pair.stop()
    assert collector.spans == []
    assert not (pair.folder / "otlp").exists()
