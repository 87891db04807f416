"""What fails, closed: what the client gets, what is told, that the app was not reached, and that it heals.

docs/FAILURES.md is the table of these. Deaths of processes are in test_pair_faults.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.envoy

ATTACK_PATH = "/?q=%27%20OR%201=1--"
ROOT = Path(__file__).resolve().parents[2]
INJECTED = Path(__file__).parent / "injected"
FAULTY_ENVOY = ROOT / "tests" / "conformance" / "through_envoy" / "changed_envoy"
HANDSHAKE = (
    b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
WITHIN_S = 5.0
"""For an event or a line to appear."""

HEALED_WITHIN_S = 25.0
"""Beyond the ten seconds after which a hung worker is killed; bounded, not measured."""


def faulty_pair(tools: Any, app: Any, mode: str, workers: int) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setenv("PYTHONPATH", f"{INJECTED}:{ROOT}")  # the tree first, whatever is installed
        patch.setenv("EXTPROC_COMPILED", "0")  # what is put in the place of a function is called in the source alone
        pair = tools.start_up(Path(folder), app.port, "--workers", str(workers), mode=mode)
        try:
            yield pair.await_start()
        finally:
            pair.stop()


HEAD_START_S = 0.5
"""For the engine to answer to a head."""


@pytest.fixture(scope="module")
def blocking(envoy_binary: Path, app: Any, tools: Any) -> Iterator[Any]:
    yield from faulty_pair(tools, app, "block", 2)


@pytest.fixture(scope="module")
def watching(envoy_binary: Path, app: Any, tools: Any) -> Iterator[Any]:
    yield from faulty_pair(tools, app, "monitor", 1)


def event_of(pair: Any, tools: Any, answer: Any) -> dict[str, Any]:
    def find() -> Any:
        return [event for event in pair.events if event["request_id"] == answer.headers["x-request-id"]]

    [event] = tools.wait_for(find, WITHIN_S, "event")
    return event


def coverage_of(event: dict[str, Any]) -> tuple[str, str, str, str]:
    return event["verdict"], event["would"], event["coverage"], event["coverage_reason"]


# One request that breaks its transaction


@pytest.mark.parametrize("path", ["/fault", "/memory"])
@pytest.mark.parametrize("mode", ["blocking", "watching"])
def test_a_fault_in_a_transaction_is_closed_told_and_over(
    request: pytest.FixtureRequest, app: Any, tools: Any, mode: str, path: str
) -> None:
    """Also in monitor mode: a fault is nothing that a rule decided."""
    pair = request.getfixturevalue(mode)
    app.forget()
    answer = pair.send("POST", path, body=b"a=1")
    assert answer.status == 503
    assert b"secret" not in answer.body
    event = event_of(pair, tools, answer)
    assert coverage_of(event) == ("block", "allow", "uninspected", "internal")
    tools.wait_for(lambda: f"stream ended by a fault, incident {event['incident']}" in pair.stderr, WITHIN_S, "log")
    assert app.seen() == []
    assert pair.send(path="/hello").status == 200


def test_used_up_time_is_refused_in_block_mode(blocking: Any, app: Any, tools: Any) -> None:
    app.forget()
    answer = blocking.send(path="/slow")
    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"
    event = event_of(blocking, tools, answer)
    assert coverage_of(event) == ("block", "block", "partly", "time-budget")
    assert event["incident"] == answer.headers["x-waf-incident"]
    assert app.seen() == []


def test_used_up_time_passes_in_monitor_mode_and_the_event_says_so(watching: Any, app: Any, tools: Any) -> None:
    app.forget()
    answer = watching.send("POST", "/slow", body=b"q=%27%20OR%201=1--")
    assert answer.status == 200
    assert coverage_of(event_of(watching, tools, answer)) == ("allow", "block", "partly", "time-budget")
    assert [seen["path"] for seen in app.seen()] == ["/slow"]


def test_monitor_mode_lets_an_upgrade_through_that_block_mode_refuses(
    watching: Any, blocking: Any, app: Any, tools: Any
) -> None:
    app.forget()
    assert tools.send_raw(watching.port, HANDSHAKE).startswith(b"HTTP/1.1 101")
    [event] = tools.wait_for(
        lambda: [event for event in watching.events if event["path"] == "/chat"], WITHIN_S, "event"
    )
    assert coverage_of(event) == ("allow", "block", "partly", "upgrade-not-allowed")
    assert [seen["path"] for seen in app.seen()] == ["/chat"]
    app.forget()
    assert tools.send_raw(blocking.port, HANDSHAKE).startswith(b"HTTP/1.1 403")
    [event] = tools.wait_for(
        lambda: [event for event in blocking.events if event["path"] == "/chat"], WITHIN_S, "event"
    )
    assert coverage_of(event) == ("block", "block", "partly", "upgrade-not-allowed")
    assert app.seen() == []


def test_what_envoy_refuses_it_refuses_in_every_mode(watching: Any, app: Any, tools: Any) -> None:
    """A body over the limit is Envoy's to refuse, as it cannot be held back for inspection."""
    app.forget()
    size = 1024 * 1024 + 1
    head = f"POST /too-large HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", watching.port), timeout=WITHIN_S) as client:
        # The head alone first: a body that comes with it may be refused before anybody is asked.
        client.sendall(head)
        time.sleep(HEAD_START_S)
        with contextlib.suppress(OSError):
            client.sendall(b"a" * size)
        assert client.recv(65_536).startswith(b"HTTP/1.1 413")
    [event] = tools.wait_for(
        lambda: [event for event in watching.events if event["path"] == "/too-large"], WITHIN_S, "event"
    )
    assert (event["coverage"], event["verdict"]) == ("partly", "block")
    assert app.seen() == []


def test_a_request_for_which_there_is_no_room(start_pair: Any, app: Any, tools: Any) -> None:
    """Refused at once, before anything of it was looked at, until the one that holds the room is gone."""
    pair = start_pair(app.port, "--workers", "1", "--max-streams", "1").await_start()
    app.forget()
    with socket.create_connection(("127.0.0.1", pair.port), timeout=10) as slow:
        slow.sendall(b"POST /slow-body HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nq=1")
        answer = tools.wait_for(lambda: (found := pair.send()).status == 503 and found, WITHIN_S, "refusal")
    event = event_of(pair, tools, answer)
    assert coverage_of(event) == ("block", "block", "uninspected", "overloaded")
    assert event["incident"] == answer.headers["x-waf-incident"]
    assert answer.headers["retry-after"] == "1"
    assert "more than 1 streams" in pair.stderr
    tools.wait_for(lambda: pair.send().status == 200, WITHIN_S, "room")
    assert "/slow-body" not in [seen["path"] for seen in app.seen()]


def test_an_envoy_that_does_not_send_what_the_engine_expects(
    start_pair: Any, app: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An Envoy configured by hand that sends no bodies: closed, and told, instead of half inspected."""
    monkeypatch.setenv("PYTHONPATH", f"{FAULTY_ENVOY}:{ROOT}")
    monkeypatch.setenv("FAULTY_ENVOY", "no-bodies")
    pair = start_pair(app.port, "--workers", "1").await_start()
    app.forget()
    answer = pair.send("POST", "/form", body=b"q=1")
    assert answer.status == 503
    assert answer.headers["x-waf-incident"] is None
    tools.wait_for(lambda: "profile-mismatch" in pair.stderr, WITHIN_S, "complaint")
    assert app.seen() == []


def test_a_client_that_goes_away_is_told_as_not_inspected(blocking: Any, app: Any, tools: Any) -> None:
    app.forget()
    head = b"POST /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nq=1"
    tools.send_raw(blocking.port, head, timeout=1.0)
    [event] = tools.wait_for(
        lambda: [event for event in blocking.events if event["path"] == "/gone"], WITHIN_S, "event"
    )
    assert (event["verdict"], event["coverage"]) == ("block", "partly")
    assert event["coverage_reason"] in ("cancelled", "incomplete")
    assert app.seen() == []


def test_one_request_that_crashes_its_worker(blocking: Any, app: Any, tools: Any) -> None:
    app.forget()
    before = blocking.workers()
    assert blocking.send(path="/crash").status == 503
    tools.wait_for(lambda: re.search(r"worker \d died; starting it again", blocking.stderr), WITHIN_S, "log")
    tools.wait_for(lambda: len(set(blocking.workers()) & set(before)) == 1, WITHIN_S, "death")
    # Until Envoy has noticed, single requests may find the dead worker: refused, never passed.
    assert {blocking.send(path=ATTACK_PATH).status for _ in range(20)} <= {403, 503}
    tools.wait_for(lambda: {blocking.send(path="/hello").status for _ in range(20)} == {200}, 10, "recovery")
    assert {seen["path"] for seen in app.seen()} == {"/hello"}


def test_one_request_that_hangs_its_worker(blocking: Any, app: Any, tools: Any) -> None:
    """The others go to the other worker, and the hung one is replaced."""
    app.forget()
    before = set(blocking.workers())
    answers: list[Any] = []
    client = threading.Thread(target=lambda: answers.append(blocking.send(path="/hang")))
    client.start()
    tools.wait_for(lambda: "gave no sign of life" in blocking.stderr, HEALED_WITHIN_S, "kill")
    client.join()
    assert [answer.status for answer in answers] == [503]
    tools.wait_for(lambda: len(set(blocking.workers()) - before) == 1, WITHIN_S, "new worker")
    tools.wait_for(lambda: {blocking.send(path="/hello").status for _ in range(20)} == {200}, 10, "recovery")
    assert {seen["path"] for seen in app.seen()} == {"/hello"}


def test_all_workers_hung_means_503_until_they_are_replaced(start_pair: Any, app: Any, tools: Any) -> None:
    pair = start_pair(app.port, "--workers", "2").await_start()
    app.forget()
    for pid in pair.workers():
        os.kill(pid, signal.SIGSTOP)
    assert {pair.send(path=path).status for path in ("/hello", ATTACK_PATH)} == {503}
    assert app.seen() == []
    tools.wait_for(lambda: pair.send(path="/hello").status == 200, HEALED_WITHIN_S, "recovery")
    assert pair.stderr.count("gave no sign of life") == 2
    assert pair.send(path=ATTACK_PATH).status == 403


# Events that cannot be written


def test_a_full_disk_costs_events_and_no_request(start_pair: Any, app: Any, tools: Any) -> None:
    pair = start_pair(app.port, "--workers", "1", "--events", "/dev/full").await_start()
    app.forget()
    for _ in range(5):
        assert pair.send(path="/hello").status == 200
        assert pair.send(path=ATTACK_PATH).status == 403
    tools.wait_for(lambda: "events: cannot write to /dev/full: No space left" in pair.stderr, WITHIN_S, "complaint")
    assert pair.stderr.count("cannot write") == 1
    assert len(app.seen()) == 5
    pair.process.send_signal(signal.SIGTERM)
    assert pair.process.wait(20) == 0
    assert "events: 10 lines were not written to /dev/full" in pair.stderr


def test_a_disk_that_has_room_again_gets_what_waited(start_pair: Any, app: Any, tools: Any) -> None:
    """RLIMIT_FSIZE stands for the disk: a write beyond it fails, also in the middle of a line, also on stderr."""
    pair = start_pair(app.port, "--workers", "1", "--lines", "off").await_start()
    first = pair.send(path="/hello")
    event_of(pair, tools, first)
    [worker] = pair.workers()
    size = (pair.folder / "events").stat().st_size
    _, hard = resource.prlimit(worker, resource.RLIMIT_FSIZE)
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (size + 100, hard))
    answers = [pair.send(path="/hello") for _ in range(20)]
    assert {answer.status for answer in answers} == {200}
    tools.wait_for(lambda: (pair.folder / "events").stat().st_size == size + 100, WITHIN_S, "full disk")
    time.sleep(0.7)  # beyond the first retry
    assert pair.send(path=ATTACK_PATH).status == 403
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (hard, hard))

    def told() -> list[str]:
        found = []
        for line in (pair.folder / "events").read_text().splitlines():
            try:
                found.append(json.loads(line)["request_id"])
            except ValueError:
                continue  # the torn line; it was written again whole
        return found

    ids = [answer.headers["x-request-id"] for answer in (first, *answers)]
    tools.wait_for(lambda: told()[:21] == ids and len(told()) == 22, 10, "all events")


def test_a_reader_that_does_not_read_holds_nothing_up(start_pair: Any, app: Any, tools: Any, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        pair = start_pair(app.port, "--workers", "1", "--events", str(fifo)).await_start()
        app.forget()
        answers = [pair.send(path=f"/hello?{'a' * 900}{number}") for number in range(100)]  # more than a pipe holds
        assert {answer.status for answer in answers} == {200}
        assert pair.send(path=ATTACK_PATH).status == 403
        told = b""

        def read() -> bool:
            nonlocal told
            try:
                while piece := os.read(reader, 65_536):
                    told += piece
            except BlockingIOError:
                pass
            return told.count(b"\n") == 101

        tools.wait_for(read, 10, "all events")
        ids = [json.loads(line)["request_id"] for line in told.splitlines()]
        assert ids[:100] == [answer.headers["x-request-id"] for answer in answers]
    finally:
        os.close(reader)


def test_a_second_start_with_broken_rules_leaves_the_first_running(
    start_pair: Any, app: Any, tools: Any, tmp_path: Path
) -> None:
    """Rules are loaded at start; those that do not load stop the start, and say where."""
    broken = tmp_path / "broken.conf"
    broken.write_text('SecRule ARGS "@rx (" "id:1,phase:2,deny"\n')
    running = start_pair(app.port, "--workers", "1").await_start()
    refused = start_pair(app.port, "--workers", "1", "--rules", str(broken))
    assert refused.process.wait(60) == 2
    assert f"{broken}:1:" in refused.stderr
    assert running.send(path=ATTACK_PATH).status == 403
