"""Starting and stopping: what is wrong is said in one sentence, and an end is orderly."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.envoy


def test_what_is_printed_at_start(start_pair: Any, app: Any) -> None:
    pair = start_pair(app.port, "--workers", "1").await_start()
    lines = pair.stderr.splitlines()
    assert any(line.startswith("extproc: mode block: ") and "--mode" in line for line in lines)
    assert f"extproc: listening on 127.0.0.1:{pair.port}, in front of 127.0.0.1:{app.port}" in lines
    assert any("engine unix:" in line and "/readyz" in line for line in lines)
    assert any("admin" in line for line in lines)
    shown = [line for line in lines if "curl -i" in line]
    assert [f"127.0.0.1:{pair.port}" in line for line in shown] == [True] * 3
    assert [("app's own" in line, "403" in line) for line in shown] == [(True, False), (False, True), (False, True)]


def test_settings_from_a_file(start_pair: Any, app: Any, tmp_path: Path) -> None:
    file = tmp_path / "waf.yaml"
    file.write_text("workers: 1\nbody_limit: 1KiB\nupgrade_paths: [/ws]\n")
    pair = start_pair(app.port, "--config", str(file)).await_start()
    assert len(pair.workers()) == 1
    assert pair.send("POST", "/", body=b"x" * 1024).status == 200
    assert pair.send("POST", "/", body=b"x" * 1025).status == 413


def test_rules_that_only_watch_make_the_pair_only_watch(start_pair: Any, app: Any, tools: Any, tmp_path: Path) -> None:
    file = tmp_path / "watch.conf"
    file.write_text(tools.RULES.replace("SecRuleEngine On", "SecRuleEngine DetectionOnly"))
    pair = start_pair(app.port, "--workers", "1", "--rules", str(file)).await_start()
    assert "mode monitor" in pair.stderr
    assert "SecRuleEngine is weaker than block (--mode)" in pair.stderr
    assert pair.send(path="/?q=%27%20OR%201=1--").status == 200


def test_the_demo_ends_whole(envoy_binary: Path, tools: Any, tmp_path: Path) -> None:
    (tmp_path / "rules.conf").write_text(tools.RULES)
    port = tools.free_port()
    flags = ["--listen", f"127.0.0.1:{port}", "--mode", "block", "--rules", str(tmp_path / "rules.conf")]
    demo = subprocess.Popen([sys.executable, "-m", "extproc.cli.demo", *flags], stderr=subprocess.DEVNULL)
    try:
        tools.wait_for(lambda: tools.is_alive(demo.pid) and tools.answers(port, "/hello"), 60, "demo")
        assert tools.send(port, path="/?q=%27%20OR%201=1--").status == 403
        family = tools.descendants_of(demo.pid)
    finally:
        demo.kill()
        demo.wait()
    tools.wait_for(lambda: not [pid for pid in family if tools.is_alive(pid)], 5, "end of all")


def test_two_pairs_beside_each_other(start_pair: Any, app: Any) -> None:
    first, second = (start_pair(app.port, "--workers", "1") for _ in range(2))
    for pair in (first, second):
        assert pair.await_start().send(path="/?q=%27%20OR%201=1--").status == 403
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(15) == 0
    assert second.send(path="/hello").status == 200


def test_monitor_never_blocks_and_is_the_default(start_pair: Any, app: Any, tools: Any) -> None:
    pair = start_pair(app.port, "--workers", "1", mode="monitor").await_start()
    assert "mode monitor: nothing is blocked" in pair.stderr
    assert pair.send(path="/?q=%27%20OR%201=1--").status == 200
    [event] = tools.wait_for(lambda: pair.events, 5, "event")
    assert (event["verdict"], event["would"], event["mode"]) == ("allow", "block", "monitor")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_in_order(start_pair: Any, app: Any, tools: Any, number: signal.Signals) -> None:
    pair = start_pair(app.port, "--workers", "2").await_start()
    family = pair.descendants()
    pair.process.send_signal(number)
    assert pair.process.wait(15) == 0
    assert not [pid for pid in family if tools.is_alive(pid)]
    assert "Traceback" not in pair.stderr


def test_requests_in_flight_are_finished(start_pair: Any, app: Any, tools: Any) -> None:
    pair = start_pair(app.port, "--workers", "1", "--drain-seconds", "10").await_start()
    answers: list[int] = []
    app.forget()
    client = threading.Thread(target=lambda: answers.append(pair.send(path="/slow?ms=2000").status))
    client.start()
    tools.wait_for(app.seen, 5, "slow request")
    pair.process.send_signal(signal.SIGTERM)
    client.join()
    assert answers == [200]
    assert pair.process.wait(15) == 0


def test_patience_with_requests_in_flight_is_bounded(start_pair: Any, app: Any, tools: Any) -> None:
    pair = start_pair(app.port, "--workers", "1", "--drain-seconds", "1").await_start()
    app.forget()
    client = threading.Thread(target=lambda: _ignore(lambda: pair.send(path="/slow?ms=30000")))
    client.start()
    tools.wait_for(app.seen, 5, "slow request")
    pair.process.send_signal(signal.SIGTERM)
    assert pair.process.wait(15) == 0
    client.join()


def _ignore(action: Any) -> None:
    try:
        action()
    except OSError:
        return


def test_a_second_signal_ends_the_patience(start_pair: Any, app: Any, tools: Any) -> None:
    pair = start_pair(app.port, "--workers", "1", "--drain-seconds", "600").await_start()
    app.forget()
    family = pair.descendants()
    client = threading.Thread(target=lambda: _ignore(lambda: pair.send(path="/slow?ms=60000", timeout=60)))
    client.start()
    tools.wait_for(app.seen, 5, "slow request")
    pair.process.send_signal(signal.SIGINT)
    tools.wait_for(lambda: "stopping" in pair.stderr, 5, "drain")
    time.sleep(0.2)
    pair.process.send_signal(signal.SIGINT)
    assert pair.process.wait(15) == 0
    client.join()
    assert not [pid for pid in family if tools.is_alive(pid)]


def test_ctrl_c_of_a_terminal_reaches_up_alone(start_pair: Any, app: Any) -> None:
    pair = start_pair(app.port, "--workers", "1").await_start()
    own = os.getpgid(pair.process.pid)
    assert {os.getpgid(pid) for pid in pair.descendants()}.isdisjoint({own})


def test_the_port_opens_only_when_the_engine_serves(start_pair: Any, app: Any, tools: Any) -> None:
    pair = start_pair(app.port, "--workers", "1")
    tools.wait_for(lambda: _connects(pair.port) or pair.process.poll() is not None, 60, "open port")
    assert pair.send(path="/?q=%27%20OR%201=1--").status == 403
    assert pair.send(path="/hello").status == 200


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


WRONG: dict[str, tuple[list[str], int, str]] = {
    "no app": (["--app", ""], 2, "--app: must be HOST:PORT"),
    "app is listen": (["--app", "{listen}"], 2, "--app: {listen} is where Envoy is to listen"),
    "no such Envoy": (["--envoy", "/nonexistent/envoy"], 2, "--envoy: /nonexistent/envoy is not a program"),
    "no such rules": (["--rules", "nonexistent"], 2, "--rules: nonexistent is neither a file nor a shipped set"),
    "no such rule set": (["--crs", "/nonexistent"], 2, "--crs: /nonexistent is no Core Rule Set"),
    "broken rules": (["--rules", "{broken}"], 2, "{broken}:2: "),
    "unknown flag": (["--rule", "x"], 2, "unrecognized arguments: --rule x"),
    "unknown mode": (["--mode", "blok"], 2, "--mode: must be one of off, monitor, block"),
    "events nowhere": (["--events", "/nonexistent/events"], 2, "--events: /nonexistent/events: No such file"),
    "an Envoy that fails": (["--envoy", "/bin/false", "--rules", "{good}"], 1, "Envoy does not run"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_sentence(envoy_binary: Path, tmp_path: Path, tools: Any, case: str) -> None:
    flags, code, sentence = WRONG[case]
    broken = tmp_path / "broken.conf"
    broken.write_text("SecRuleEngine On\nSecRule ARGS @rx\n")
    good = tmp_path / "good.conf"
    good.write_text(tools.RULES)
    names = {"listen": f"127.0.0.1:{tools.free_port()}", "broken": str(broken), "good": str(good)}
    command = [sys.executable, "-m", "extproc", "up", "--listen", names["listen"], "--app", "127.0.0.1:1"]
    command += ["--workers", "1", *(flag.format(**names) for flag in flags)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == code, ended.stderr
    told = ("extproc: mode", "extproc: serving", "extproc: rehearsal")
    said = [line for line in ended.stderr.splitlines() if not line.startswith(told)]
    assert sentence.format(**names) in said[0], ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(said) == 1, ended.stderr


def test_a_busy_port_is_one_sentence_and_starts_nothing(start_pair: Any, app: Any, tools: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        pair = start_pair(app.port, port=busy.getsockname()[1])
        assert pair.process.wait(30) == 1
    [line] = pair.stderr.splitlines()
    assert f"--listen: cannot listen on 127.0.0.1:{pair.port}: Address already in use" in line


def test_too_few_open_files_are_told(app: Any, tools: Any, tmp_path: Path, envoy_binary: Path) -> None:
    """The pair works with them, up to as many connections."""
    flags = ["--listen", f"127.0.0.1:{tools.free_port()}", "--app", f"127.0.0.1:{app.port}", "--workers", "1"]
    command = ["bash", "-c", 'ulimit -n 2048 && exec "$@"', "bash", sys.executable, "-m", "extproc", "up", *flags]
    said = tmp_path / "stderr"
    with said.open("wb") as stderr, subprocess.Popen(command, stderr=stderr) as up:
        try:
            tools.wait_for(lambda: "try, in another" in said.read_text(), tools.START_LIMIT_S, "start")
        finally:
            up.terminate()
    assert "limited to 2048 (ulimit -Hn)" in said.read_text().splitlines()[0]


def test_no_envoy_anywhere(app: Any, tools: Any, tmp_path: Path, envoy_binary: Path) -> None:
    """A Python without the extra, and no Envoy on PATH: played by a link to this one elsewhere."""
    (tmp_path / "python").symlink_to(sys.executable)
    program = "import sys; sys.executable = sys.argv.pop(1); from extproc.cli.main import main; sys.exit(main())"
    flags = ["--listen", f"127.0.0.1:{tools.free_port()}", "--app", f"127.0.0.1:{app.port}"]
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "python"), "up", *flags],
        capture_output=True,
        text=True,
        env={"PATH": str(tmp_path)},
        timeout=60,
    )
    assert ended.returncode == 2
    assert "--envoy: no Envoy beside this Python or on PATH" in ended.stderr


TLS_PATCH = """
static_resources:
  listeners:
  - name: ingress
    filter_chains:
    - transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates:
            - {certificate_chain: {filename: FOLDER/tls.crt}, private_key: {filename: FOLDER/tls.key}}
"""


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl for a certificate")
def test_tls_by_a_patch(start_pair: Any, app: Any, tmp_path: Path) -> None:
    names = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=localhost")
    files = ("-keyout", str(tmp_path / "tls.key"), "-out", str(tmp_path / "tls.crt"))
    subprocess.run(["openssl", "req", "-x509", "-nodes", "-days", "1", *names, *files], check=True, capture_output=True)
    (tmp_path / "tls.yaml").write_text(TLS_PATCH.replace("FOLDER", str(tmp_path)))
    pair = start_pair(app.port, "--envoy-patch", str(tmp_path / "tls.yaml"), "--workers", "1").await_start()
    context = ssl.create_default_context(cafile=str(tmp_path / "tls.crt"))
    for path, status in (("/hello", 200), ("/?q=%27%20OR%201=1--", 403)):
        connection = http.client.HTTPSConnection("localhost", pair.port, timeout=10, context=context)
        connection.request("GET", path)
        assert connection.getresponse().status == status
        connection.close()


def test_a_patch_that_opens_a_hole_stops_the_start(start_pair: Any, app: Any, tools: Any, tmp_path: Path) -> None:
    address = "{socket_address: {address: 0.0.0.0, port_value: 9901}, pipe: null}"
    (tmp_path / "open.yaml").write_text(f"admin: {{address: {address}}}\n")
    pair = start_pair(app.port, "--envoy-patch", str(tmp_path / "open.yaml"))
    assert pair.process.wait(20) == 2
    assert "open-admin (S23): admin on 0.0.0.0" in pair.stderr
    assert "--accept-risk open-admin" in pair.stderr


def test_an_accepted_risk_is_told_at_the_start(start_pair: Any, app: Any) -> None:
    flags = ("--route", "/up=upload:pass", "--accept-risk", "partial-body", "--workers", "1")
    pair = start_pair(app.port, *flags).await_start()
    assert "extproc: Accepted in writing: partial-body (S3, S4): listener ingress, route /up" in pair.stderr
