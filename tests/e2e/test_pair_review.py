"""Minutes three to five of a newcomer: see a false alarm, allow it, and the running pair takes it up."""

from __future__ import annotations

import http.client
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.envoy]

PATIENCE_S = 30.0
NOTE = "note=' OR 1=1--"
FORM = {"content-type": "application/x-www-form-urlencoded"}


def post(pair: Any, body: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", pair.port, timeout=10)
    try:
        connection.request("POST", "/api/notes", body, FORM)
        response = connection.getresponse()
        response.read()
        return response.status, response.getheader("x-waf-incident") or ""
    finally:
        connection.close()


def extproc(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "extproc", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_false_alarm_is_seen_allowed_and_gone(start_pair: Callable[..., Any], app: Any, tmp_path: Any) -> None:
    policy = tmp_path / "waf.yaml"
    policy.write_text("schema: extproc.policy/1\ndefaults:\n  mode: block   # switched on\n")
    pair = start_pair(app.port, "--policy", str(policy), "--time-budget", "5s").await_start()
    status, incident = post(pair, NOTE)
    assert status == 403
    events = pair.folder / "events"
    deadline = time.monotonic() + PATIENCE_S
    while incident not in events.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    report = extproc("report", "--events", events, "--since", "10m")
    assert "POST /api/notes  ARGS:note  rules 1001" in report.stdout
    done = extproc("allow", incident, "--events", events, "--policy", policy, "--owner", "shop", "--reason", "notes")
    assert done.returncode == 0, done.stderr
    deadline = time.monotonic() + PATIENCE_S
    while (status := post(pair, NOTE)[0]) != 200 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert status == 200
    assert post(pair, "title=' OR 1=1--")[0] == 403  # another field of the same form
    assert "mode: block   # switched on" in policy.read_text()
