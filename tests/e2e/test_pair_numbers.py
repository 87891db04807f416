"""Metrics and status of a running pair: what all workers counted, whoever is asked, also after one of them died."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

pytestmark = [pytest.mark.envoy]

PATIENCE_S = 15.0


def url(pair: Any, name: str) -> tuple[str, str]:
    """(address, path) of a page that `up` named at its start."""
    found = re.search(rf"{name} http://([\d.:]+)(/\w+)", (pair.folder / "stderr").read_text())
    assert found, name
    return found[1], found[2]


def get(pair: Any, name: str, **headers: str) -> tuple[str, bytes]:
    address, path = url(pair, name)
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        assert response.status == 200
        return response.getheader("content-type") or "", response.read()
    finally:
        connection.close()


def samples(pair: Any) -> dict[str, float]:
    """Sum over all labels by sample name."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(get(pair, "metrics")[1].decode()):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


def await_requests(pair: Any, number: int) -> dict[str, float]:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = samples(pair)
        if found.get("extproc_decisions_total") == number:
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def ask(pair: Any, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", pair.port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def test_all_workers_add_up_whoever_answers(start_pair: Callable[..., Any], app: Any) -> None:
    pair = start_pair(app.port, "--workers", "2").await_start()
    for _ in range(10):
        assert ask(pair, "/") == 200
        assert ask(pair, "/?q=%27%20OR%201=1--") == 403
    found = await_requests(pair, 20)
    assert found["extproc_rule_matches_total"] == 10
    assert found["extproc_inspection_seconds_count"] == 20
    assert found["extproc_workers"] == 2
    for _ in range(4):  # both workers accept from one port
        assert samples(pair)["extproc_decisions_total"] == 20
    kind, text = get(pair, "status")
    status = json.loads(text)
    assert kind == "application/json"
    assert (status["mode"], status["verdicts"]) == ("block", {"allow": 10, "block": 10})
    assert status["coverage"]["app"]["inspected_percent"] == 100.0
    kind, text = get(pair, "status", accept="text/html")
    assert kind.startswith("text/html")
    assert b"<h2>Coverage</h2>" in text


def test_counters_never_go_back(start_pair: Callable[..., Any], app: Any) -> None:
    """A worker is killed, rules are loaded anew: what was counted stays counted."""
    pair = start_pair(app.port, "--workers", "1").await_start()
    for _ in range(5):
        ask(pair, "/")
    await_requests(pair, 5)
    pair.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + PATIENCE_S
    while samples(pair)["extproc_reloads_total"] < 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert ask(pair, "/") == 200
    await_requests(pair, 6)


def test_a_scrape_that_hangs_hinders_nobody(start_pair: Callable[..., Any], app: Any) -> None:
    pair = start_pair(app.port, "--workers", "1").await_start()
    host, _, port = url(pair, "metrics")[0].rpartition(":")
    hung = [socket.create_connection((host, int(port))) for _ in range(20)]
    try:
        for one in hung:
            one.sendall(b"GET /metrics HTTP/1.1\r\n")
        assert ask(pair, "/") == 200
        await_requests(pair, 1)
    finally:
        for one in hung:
            one.close()


def test_numbers_leave_nothing_behind(start_pair: Callable[..., Any], app: Any) -> None:
    def folders() -> set[str]:
        return {path.name for path in Path("/dev/shm").glob("extproc-numbers-*")}

    before = folders()
    pair = start_pair(app.port).await_start()
    assert folders() - before
    pair.stop()
    assert not folders() - before
