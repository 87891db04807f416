"""The events of a running pair: one line per transaction, soon, masked, with the id that the client got."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any

import pytest

pytestmark = pytest.mark.envoy

KEYS = [
    "schema",
    "time",
    "incident",
    "request_id",
    "verdict",
    "mode",
    "would",
    "coverage",
    "coverage_reason",
    "method",
    "host",
    "path",
    "client",
    "route",
    "phase",
    "score",
    "status",
    "rule_ids",
    "duration_us",
    "app_executed",
    "matches",
]
"""INTERFACE, *Decision events*."""

ON_DISK_WITHIN_S = 2.0
"""100 ms is the promise on a quiet machine; here it is only bounded."""


def event_of(pair: Any, tools: Any, answer: Any) -> dict[str, Any]:
    def find() -> Any:
        return [event for event in pair.events if event["request_id"] == answer.headers["x-request-id"]]

    [event] = tools.wait_for(find, ON_DISK_WITHIN_S, "event")
    return event


def test_the_file_exists_from_the_start(start_pair: Any, app: Any) -> None:
    pair = start_pair(app.port, "--workers", "1").await_start()
    assert pair.events == []


def test_an_event_of_an_attack(pair: Any, tools: Any) -> None:
    answer = pair.send(path="/shop?q=%27%20OR%201=1--&password=hunter2", headers={"host": "shop.example"})
    event = event_of(pair, tools, answer)
    assert [key for key in KEYS if key not in event] == []
    assert event["schema"] == "extproc.decision/1"
    assert (event["verdict"], event["would"], event["mode"]) == ("block", "block", "block")
    assert event["incident"] == answer.headers["x-waf-incident"]
    assert (event["method"], event["host"], event["client"]) == ("GET", "shop.example", "127.0.0.1")
    assert (event["coverage"], event["status"], event["app_executed"]) == ("inspected", 403, False)
    assert event["path"].startswith("/shop?q=")
    assert "hunter2" not in json.dumps(event)
    assert event["rule_ids"] == [1001]
    assert [(match["id"], match["variable"]) for match in event["matches"]] == [(1001, "ARGS:q")]
    assert abs(datetime.fromisoformat(event["time"]).timestamp() - time.time()) < 60
    assert event["duration_us"] > 0


def test_an_event_of_a_clean_request(pair: Any, tools: Any) -> None:
    event = event_of(pair, tools, pair.send("POST", "/login", body=b"user=a"))
    assert (event["verdict"], event["would"], event["coverage"]) == ("allow", "allow", "inspected")
    assert (event["method"], event["phase"], event["rule_ids"], event["matches"]) == ("POST", 2, [], [])


def test_each_decision_is_a_line_for_people_too(pair: Any, tools: Any) -> None:
    answer = pair.send(path="/only-here?q=%27%20OR%201=1--")
    incident = answer.headers["x-waf-incident"]
    [line] = tools.wait_for(
        lambda: [line for line in pair.stderr.splitlines() if incident in line], ON_DISK_WITHIN_S, "line"
    )
    assert line.startswith("block 403 GET /only-here")
    assert "1001" in line
    pair.send(path="/clean-and-told")
    tools.wait_for(lambda: "/clean-and-told" in pair.stderr, ON_DISK_WITHIN_S, "line of a clean request")


def test_events_to_stdout_are_only_events(start_pair: Any, app: Any, tools: Any) -> None:
    pair = start_pair(app.port, "--workers", "2", "--events", "-").await_start()
    answers = [pair.send(path=f"/?n={number}") for number in range(20)]
    lines = tools.wait_for(lambda: len(found := pair.stdout.splitlines()) == 20 and found, 5, "20 events")
    told = {json.loads(line)["request_id"] for line in lines}
    assert told == {answer.headers["x-request-id"] for answer in answers}


def test_one_event_per_transaction_in_order(start_pair: Any, app: Any, tools: Any) -> None:
    pair = start_pair(app.port, "--workers", "1").await_start()
    answers = [pair.send("POST" if number % 2 else "GET", f"/?n={number}", body=None) for number in range(30)]
    events = tools.wait_for(lambda: len(found := pair.events) >= 30 and found, 5, "30 events")
    assert [event["request_id"] for event in events] == [answer.headers["x-request-id"] for answer in answers]


def test_the_client_is_the_peer_whatever_it_writes(pair: Any, tools: Any) -> None:
    event = event_of(pair, tools, pair.send(path="/", headers={"x-forwarded-for": "203.0.113.9"}))
    assert event["client"] == "127.0.0.1"


def test_behind_a_trusted_proxy_the_client_is_what_the_proxy_wrote(start_pair: Any, app: Any, tools: Any) -> None:
    pair = start_pair(app.port, "--workers", "1", "--trusted-hops", "1").await_start()
    answer = pair.send(path="/", headers={"x-forwarded-for": "198.51.100.7, 203.0.113.9"})
    assert event_of(pair, tools, answer)["client"] == "203.0.113.9"
