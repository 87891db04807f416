"""Minutes three to five of a newcomer, done and printed: their traffic, one false alarm cured, blocking switched on.

    python -m tests.steer.minutes

Starts a demo app and a pair in a folder of its own; ends what it started. docs/OBSERVABILITY.md shows what it printed.
"""

from __future__ import annotations

import http.client
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

POLICY = "schema: extproc.policy/1\ndefaults:\n  mode: monitor\n"
NOTE = "text=Try: SELECT name FROM users WHERE id=1 OR 1=1--"
FORM = {"content-type": "application/x-www-form-urlencoded"}
PATIENCE_S = 60.0
USERS = 5


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def ask(port: int, method: str, path: str, body: str | None = None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, FORM if body else {})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def show(folder: Path, *arguments: str) -> str:
    """Runs one command in `folder`, prints it and what it said."""
    print(f"$ extproc {' '.join(arguments)}")
    command = [sys.executable, "-m", "extproc", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    print((done.stdout + done.stderr).rstrip() + "\n")
    if done.returncode:
        raise SystemExit(f"extproc {arguments[0]} ended with {done.returncode}")
    return done.stdout


def await_status(port: int, wanted: int) -> None:
    """Until the note is answered so. SystemExit when it never is."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if ask(port, "POST", "/notes", NOTE) == wanted:
            return
        time.sleep(0.2)
    raise SystemExit(f"the note was never answered {wanted}")


def main() -> None:
    app, port, control = free_port(), free_port(), free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "waf.yaml").write_text(POLICY)
        demo = [sys.executable, "-m", "extproc.cli.demo_app", "--listen", f"127.0.0.1:{app}"]
        demo += ["--control", f"127.0.0.1:{control}"]
        pair = [sys.executable, "-m", "extproc", "up", "--listen", f"127.0.0.1:{port}", "--app", f"127.0.0.1:{app}"]
        pair += ["--mode", "block", "--policy", "waf.yaml", "--events", "events.jsonl", "--time-budget", "5s"]
        with (folder / "log").open("wb") as log:
            started = [subprocess.Popen(demo, stdout=log, stderr=log)]
            started.append(subprocess.Popen(pair, cwd=folder, stderr=log))
        try:
            minutes(folder, port)
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait(PATIENCE_S)


def minutes(folder: Path, port: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while "listening on" not in (folder / "log").read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    print("# Minute 3: my own traffic. The policy watches and blocks nothing.\n")
    for _ in range(USERS):
        ask(port, "GET", "/hello")
        ask(port, "POST", "/notes", "text=buy milk")
    ask(port, "POST", "/notes", NOTE)
    time.sleep(0.5)  # events are on disk within 100 ms
    report = show(folder, "report", "--events", "events.jsonl", "--since", "3m")
    found = re.search(r"extproc allow (\w+)", report)
    if found is None:
        raise SystemExit("the report names nothing to allow")
    print("# Minute 4: fix one. The running engine takes it up by itself.\n")
    show(
        folder,
        "allow",
        found[1],
        "--events",
        "events.jsonl",
        "--policy",
        "waf.yaml",
        "--owner",
        "shop",
        "--expires",
        "30d",
    )
    show(folder, "check", "waf.yaml")
    print("# Minute 5: turn it on. The note still passes, an attack elsewhere does not.\n")
    policy = (folder / "waf.yaml").read_text().replace("mode: monitor", "mode: block")
    (folder / "waf.yaml").write_text(policy)
    deadline = time.monotonic() + PATIENCE_S
    while ask(port, "GET", "/?q=%27%20OR%201=1--") != 403 and time.monotonic() < deadline:
        time.sleep(0.2)
    await_status(port, 200)
    print(f"POST /notes with the note  {ask(port, 'POST', '/notes', NOTE)}")
    print(f"GET /?q=' OR 1=1--         {ask(port, 'GET', '/?q=%27%20OR%201=1--')}")


if __name__ == "__main__":
    main()
