"""Rules change while the pair runs: nothing fails, nothing passes unseen, what is broken is told and left out.

E31 of the numbered cases; the long runs are in tests/soak.
"""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.envoy

TRANSPORTS = ("grpc", "http2")
RELOADS = 8
WITHIN_S = 20.0

OTHER = 'SecRule ARGS "@streq other" "id:2001,phase:2,deny,status:403,t:none,log,msg:\'another test attack\'"\n'


def reload(pair: Any, tools: Any, change: Any = None) -> str:
    """Makes the change, asks by SIGHUP and waits until it is over; the line about it."""
    before = count(pair)
    if change is not None:
        change()
    os.kill(pair.supervisor(), signal.SIGHUP)
    tools.wait_for(lambda: count(pair) > before, WITHIN_S, "reload")
    return [line for line in pair.stderr.splitlines() if " reload" in line][-1]


def count(pair: Any) -> int:
    return sum(" reloaded in" in line or " reload failed" in line or " reload refused" in line
               for line in pair.stderr.splitlines())  # fmt: skip


def told_reloads(pair: Any) -> list[dict[str, Any]]:
    return [event for event in pair.events if event["schema"] == "extproc.reload/1"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_reloads_under_load_fail_nothing(start_pair: Any, app: Any, tools: Any, transport: str) -> None:
    # A budget that no busy machine uses up: whoever fails fails by the reload.
    flags = (
        "--workers",
        "2",
        "--watch-seconds",
        "0",
        "--time-budget",
        "30s",
        "--transport",
        transport,
        "--lines",
        "off",
    )
    pair = start_pair(app.port, *flags).await_start()
    rules = pair.folder / "rules.conf"
    app.forget()
    with tools.Load(pair) as load:
        for number in range(RELOADS):
            if number % 2:
                told = reload(pair, tools, lambda number=number: rules.write_text(f"{tools.RULES}# {number}\n{OTHER}"))
            else:
                told = reload(pair, tools)
            assert "reloaded in" in told, told
    clean, attacks = (Counter(status for _, status in noted) for noted in (load.clean, load.attack))
    print(f"{transport}: {RELOADS} reloads, clean {dict(clean)}, attacks {dict(attacks)}")
    assert set(clean) == {200}
    assert set(attacks) == {403}
    assert {seen["path"] for seen in app.seen()} == {"/hello"}
    assert len(app.seen()) == clean[200]
    tools.wait_for(lambda: len(pair.generations()) == 1, WITHIN_S, "leave of the others")
    assert len(pair.workers()) == 2
    # Each request was judged whole by one rule set, and says by which.
    wanted = len(load.clean) + len(load.attack) + RELOADS
    events = tools.wait_for(lambda: len(pair.events) == wanted and pair.events, WITHIN_S, "events")
    kinds = Counter((event["schema"], event.get("coverage", event.get("outcome"))) for event in events)
    assert kinds == {("extproc.decision/1", "inspected"): wanted - RELOADS, ("extproc.reload/1", "serving"): RELOADS}
    hashes = {event["ruleset"] for event in events if event["schema"] == "extproc.reload/1"}
    assert len(hashes) == 2, "with the other rule and without"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_request_in_flight_ends_on_its_rules(start_pair: Any, app: Any, tools: Any, transport: str) -> None:
    """G40 through Envoy: half a body, a reload that drops the rule it breaks, the other half."""
    pair = start_pair(app.port, "--workers", "1", "--watch-seconds", "0", "--transport", transport).await_start()
    app.forget()
    with socket.create_connection(("127.0.0.1", pair.port), timeout=30) as slow:
        slow.sendall(
            b"POST /slow-body HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            b"Content-Length: 13\r\n\r\nq=1"
        )
        time.sleep(0.5)  # for its head to get to a worker
        assert "reloaded in" in reload(pair, tools, lambda: (pair.folder / "rules.conf").write_text(OTHER))
        # Envoy goes over to the new rules when it reads the GOAWAY of the old worker: a matter of milliseconds.
        tools.wait_for(lambda: pair.send(path="/?q=%27%20or%201=1").status == 200, WITHIN_S, "new rules")
        assert pair.send(path="/?q=other").status == 403
        slow.sendall(b"' or 1=1--")
        assert slow.recv(64).startswith(b"HTTP/1.1 403")
    tools.wait_for(lambda: len(pair.generations()) == 1, WITHIN_S, "leave of the other")
    assert "/slow-body" not in [seen["path"] for seen in app.seen()]


def broken_line(folder: Path, config: Path) -> None:
    (folder / "rules.conf").write_text("SecRuleEngine On\nSecRule ARGS @rx\n")


def broken_include(folder: Path, config: Path) -> None:
    (folder / "more.conf").write_text("SecNonsense 1\n")
    (folder / "rules.conf").write_text("SecRuleEngine On\nInclude more.conf\n")


def deny_all(folder: Path, config: Path) -> None:
    (folder / "rules.conf").write_text('SecAction "id:1,phase:1,deny,t:none"\n')


BAD = {
    "a line that does not parse": (broken_line, "reload failed (SIGHUP)", "{0}/rules.conf:2: "),
    "a file that is included": (broken_include, "reload failed (SIGHUP)", "{0}/more.conf:1: "),
    "the file is gone": (lambda folder, _: (folder / "rules.conf").unlink(), "reload failed", "{0}/rules.conf"),
    "an empty file": (lambda folder, _: (folder / "rules.conf").write_text(""), "reload refused", "no rules at all"),
    "everything is denied": (deny_all, "reload refused", "denies every harmless request"),
    "the configuration": (
        lambda _, config: config.write_text("mod: block\n"),
        "reload failed (SIGHUP)",
        "did you mean mode?",
    ),
}


def test_what_is_broken_is_told_and_the_last_good_rules_go_on(
    start_pair: Any, app: Any, tools: Any, tmp_path: Path
) -> None:
    """One pair, mended in between by what it had before."""
    config = tmp_path / "waf.yaml"
    config.write_text("paranoia: 1\n")
    pair = start_pair(app.port, "--workers", "1", "--watch-seconds", "0", "--config", str(config)).await_start()
    for number, (name, (spoil, says, why)) in enumerate(BAD.items()):
        told = reload(pair, tools, lambda spoil=spoil: spoil(pair.folder, config))
        assert says in told, name
        assert why.format(pair.folder) in told, name
        assert ", rules " in told, name
        assert " go on: " in told, name
        [*_, event] = tools.wait_for(lambda number=number: told_reloads(pair)[2 * number :], WITHIN_S, "event")
        assert (event["outcome"], event["why"]) == (says.split()[1], "SIGHUP"), name
        assert event["reason"] in told, name
        assert event["ruleset"] in told, name
        assert pair.send(path="/.well-known/waf/ready").status == 200, name
        assert (pair.send(path="/hello").status, pair.send(path=tools.ATTACK_PATH).status) == (200, 403), name

        def mend(name: str = name) -> None:
            config.write_text("paranoia: 1\n")
            (pair.folder / "rules.conf").write_text(f"{tools.RULES}# after {name}\n")

        assert "reloaded in" in reload(pair, tools, mend), name


def test_what_a_reload_takes_up_of_the_configuration(start_pair: Any, app: Any, tools: Any, tmp_path: Path) -> None:
    config = tmp_path / "waf.yaml"
    config.write_text("body_limit: 64KiB\nupgrade_paths: [/ws]\n")
    pair = start_pair(app.port, "--workers", "1", "--watch-seconds", "0", "--config", str(config)).await_start()
    reload(pair, tools, lambda: config.write_text("body_limit: 1KiB\nupgrade_paths: [/ws]\nparanoia: 2\n"))
    assert "in effect from the next start on: body_limit" in pair.stderr
    assert pair.send("POST", "/hello", body=b"a=" + b"x" * 2000).status == 200


def test_changes_are_found_and_a_hangup_of_up_is_passed_on(start_pair: Any, app: Any, tools: Any) -> None:
    pair = start_pair(app.port, "--workers", "1").await_start()
    (pair.folder / "rules.conf").write_text(OTHER)
    tools.wait_for(lambda: f"({pair.folder}/rules.conf changed); rules" in pair.stderr, WITHIN_S, "reload")
    tools.wait_for(lambda: pair.send(path="/?q=other").status == 403, WITHIN_S, "new rules")
    pair.process.send_signal(signal.SIGHUP)
    tools.wait_for(lambda: "(SIGHUP); rules" in pair.stderr, WITHIN_S, "reload")
    assert pair.process.poll() is None


def test_a_terminal_that_is_closed_ends_up(envoy_binary: Path, app: Any, tools: Any, tmp_path: Path) -> None:
    """The same signal means the other thing where there was a terminal and now is none."""
    terminal, side = pty.openpty()
    argv = [sys.executable, "-m", "extproc", "up", "--listen", f"127.0.0.1:{tools.free_port()}"]
    argv += ["--app", f"127.0.0.1:{app.port}", "--workers", "1"]
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(
            argv,
            stdin=side,
            stdout=said,
            stderr=said,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
    os.close(side)
    try:
        tools.wait_for(lambda: "try, in another" in (tmp_path / "said").read_text(), WITHIN_S, "start")
        os.kill(process.pid, signal.SIGHUP)
        tools.wait_for(lambda: "(SIGHUP); rules" in (tmp_path / "said").read_text(), WITHIN_S, "reload")
        family = tools.descendants_of(process.pid)
        os.close(terminal)
        assert process.wait(20) == 0
        assert not [pid for pid in family if tools.is_alive(pid)]
    finally:
        process.kill()
        process.wait()
