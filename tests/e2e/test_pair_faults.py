"""What dies comes back, what is down lets nothing through, and nothing stays behind."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from typing import Any

import pytest

pytestmark = pytest.mark.envoy

ATTACK_PATH = "/?q=%27%20OR%201=1--"
BACK_WITHIN_S = 3.0


def kill(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


VICTIMS = {
    "one worker": lambda pair: pair.workers()[:1],
    "all workers": lambda pair: pair.workers(),
    "the supervisor": lambda pair: [pair.supervisor()],
    "the rules' process": lambda pair: pair.generations(),
    "all of the engine": lambda pair: [pair.supervisor(), *pair.generations(), *pair.workers()],
}


@pytest.mark.parametrize("victims", VICTIMS)
def test_a_killed_engine_lets_nothing_through_and_is_back(start_pair: Any, app: Any, tools: Any, victims: str) -> None:
    pair = start_pair(app.port, "--workers", "2").await_start()
    app.forget()
    with tools.Load(pair) as load:
        time.sleep(0.5)
        pids = VICTIMS[victims](pair)
        assert pids
        killed = time.monotonic()
        kill(pids)
        time.sleep(BACK_WITHIN_S + 1.5)
    statuses = Counter(status for _, status in load.clean)
    assert set(statuses) <= {200, 503}, statuses
    assert {status for _, status in load.attack} <= {403, 503}
    # From three seconds on after the kill, everything is as before.
    assert {status for started, status in load.clean if started > killed + BACK_WITHIN_S} == {200}
    assert {status for started, status in load.attack if started > killed + BACK_WITHIN_S} == {403}
    assert {seen["path"] for seen in app.seen()} == {"/hello"}
    assert len(app.seen()) == statuses[200]


KILLING_S = float(os.environ.get("KILLING_SECONDS", "15"))
"""How long processes die at random; a minute shows more."""


@pytest.mark.slow
@pytest.mark.timeout(KILLING_S + 120)
def test_no_attack_passes_while_processes_die_at_random(start_pair: Any, app: Any, tools: Any) -> None:
    pair = start_pair(app.port, "--workers", "2").await_start()
    app.forget()
    source = random.Random(1)
    killed: Counter[str] = Counter()
    with tools.Load(pair) as load:
        end = time.monotonic() + KILLING_S
        while time.monotonic() < end:
            time.sleep(source.uniform(0.05, 1.0))
            name = source.choice([*VICTIMS, "one worker", "one worker"])
            try:
                kill(VICTIMS[name](pair))
                killed[name] += 1
            except (StopIteration, ProcessLookupError):
                continue  # the victim is away already
        tools.wait_for(lambda: {pair.send(path="/hello").status for _ in range(5)} == {200}, 10, "recovery")
    clean = Counter(status for _, status in load.clean)
    attacks = Counter(status for _, status in load.attack)
    print(f"killed {dict(killed)}; clean {dict(clean)}; attacks {dict(attacks)}")
    assert sum(killed.values()) > 5
    assert set(attacks) <= {403, 503}
    assert set(clean) <= {200, 503}
    assert {seen["path"] for seen in app.seen()} == {"/hello"}
    assert pair.send(path=ATTACK_PATH).status == 403


def test_an_engine_that_is_away_means_503_with_a_request_id(start_pair: Any, app: Any, tools: Any) -> None:
    pair = start_pair(app.port, "--workers", "1").await_start()
    app.forget()
    workers = pair.workers()
    asleep = [pair.supervisor(), *pair.generations()]  # so that nobody starts the worker again
    for pid in asleep:
        os.kill(pid, signal.SIGSTOP)
    try:
        kill(workers)
        answer = tools.wait_for(
            lambda: (found := pair.send(path="/hello")) and found.status != 200 and found, 5, "failing request"
        )
        assert answer.status == 503
        told = json.loads(answer.body)
        assert told == {"error": "service unavailable", "request_id": answer.headers["x-request-id"]}
        assert answer.headers["x-waf-incident"] is None
        assert pair.send("POST", "/hello", body=b"x=1").status == 503
        tools.wait_for(lambda: pair.send(path="/.well-known/waf/ready").status == 503, 10, "not ready")
    finally:
        for pid in asleep:
            os.kill(pid, signal.SIGCONT)
    tools.wait_for(lambda: pair.send(path="/hello").status == 200, 10, "recovery")
    tools.wait_for(lambda: pair.send(path="/.well-known/waf/ready").status == 200, 10, "readiness")


def test_a_killed_envoy_is_started_again(start_pair: Any, app: Any, tools: Any) -> None:
    pair = start_pair(app.port, "--workers", "1").await_start()
    first = pair.envoy()
    kill([first])
    tools.wait_for(lambda: tools.answers(pair.port, "/hello"), 10, "Envoy")
    assert pair.envoy() != first
    assert pair.send(path=ATTACK_PATH).status == 403
    assert "Envoy ended by SIGKILL" in pair.stderr


def test_an_envoy_that_cannot_come_back_ends_the_whole(start_pair: Any, app: Any, tools: Any) -> None:
    import socket

    pair = start_pair(app.port, "--workers", "1").await_start()
    family = pair.descendants()
    kill([pair.envoy()])
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tools.wait_for(lambda: not _fails(lambda: thief.bind(("127.0.0.1", pair.port))), 5, "free port")
        thief.listen()
        assert pair.process.wait(30) == 1
    assert "Envoy does not run" in pair.stderr
    assert "Address already in use" in pair.stderr
    assert not [pid for pid in family if tools.is_alive(pid)]


def _fails(action: Any) -> bool:
    try:
        action()
    except OSError:
        return True
    return False


def test_kill_9_of_the_parent_leaves_nothing(start_pair: Any, app: Any, tools: Any) -> None:
    pair = start_pair(app.port, "--workers", "2").await_start()
    family = pair.descendants()
    # Supervisor, rules' process, two workers, Envoy.
    assert len(family) == 5, [tools.command_of(pid) for pid in family]
    pair.process.kill()
    pair.process.wait()
    tools.wait_for(lambda: not [pid for pid in family if tools.is_alive(pid)], 5, "end of all")


def test_the_next_start_clears_what_a_killed_one_left(
    start_pair: Any, app: Any, tools: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    first = start_pair(app.port, "--workers", "1").await_start()
    [left] = tmp_path.glob("extproc-up-*")
    assert left.stat().st_mode & 0o777 == 0o700
    second = start_pair(app.port, "--workers", "1").await_start()
    assert left.exists()  # it is in use
    first.process.kill()
    first.process.wait()
    third = start_pair(app.port, "--workers", "1").await_start()
    assert not left.exists()
    for pair in (second, third):
        pair.process.send_signal(signal.SIGTERM)
        assert pair.process.wait(15) == 0
    assert list(tmp_path.glob("extproc-up-*")) == []


def test_an_app_that_is_down_is_not_blamed_on_the_waf(start_pair: Any, tools: Any) -> None:
    port = tools.free_port()
    pair = start_pair(port, "--workers", "1").await_start()
    assert f"the app at 127.0.0.1:{port} does not answer yet" in pair.stderr
    answer = pair.send(path="/hello")
    assert answer.status == 503
    assert json.loads(answer.body)["error"] == "the app did not answer"
    assert answer.headers["x-waf-incident"] is None
    assert pair.send(path=ATTACK_PATH).status == 403
    app = tools.start_app(port)
    try:
        tools.wait_for(lambda: pair.send(path="/hello").status == 200, 10, "app")
    finally:
        app.stop()
