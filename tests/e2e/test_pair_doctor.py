"""The doctor on a running pair: well in both modes, ill in every way that it knows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.envoy]


def doctor(*arguments: object) -> tuple[int, dict[str, tuple[str, str]]]:
    command = [sys.executable, "-m", "extproc", "doctor", "--json", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.stdout, done.stderr
    rows = json.loads(done.stdout)
    return done.returncode, {row["question"]: (row["grade"], row["sentence"]) for row in rows}


def health(pair: Any) -> str:
    found = re.search(r"health http://([\d.:]+)/readyz", (pair.folder / "stderr").read_text())
    assert found
    return found[1]


def of(pair: Any) -> list[str]:
    return [f"--envoy=127.0.0.1:{pair.port}", f"--health={health(pair)}"]


@pytest.mark.parametrize("mode", ["block", "monitor"])
def test_a_pair_that_is_well(start_pair: Callable[..., Any], app: Any, mode: str) -> None:
    pair = start_pair(app.port, "--upgrade-paths", "/ws", mode=mode).await_start()
    code, found = doctor(*of(pair), f"--app=127.0.0.1:{app.port}")
    assert code == 0, found
    assert found["is the engine ready?"] == ("fine", f"yes, mode {mode}")
    assert found["does traffic go through the engine?"][0] == "fine"
    seen = found["is an attack in the query seen?"]
    assert seen[0] == found["is an attack in a body seen?"][0] == "fine"
    assert ("blocked: 403" in seen[1]) is (mode == "block")
    assert re.match(r"[\d.]+ ms in the median", found["how many milliseconds does it add?"][1])
    assert found["do WebSockets work?"][0] == "not asked"


def test_what_is_wrong_is_said(start_pair: Callable[..., Any], app: Any) -> None:
    pair = start_pair(app.port, mode="off").await_start()
    code, found = doctor(*of(pair), f"--app=127.0.0.1:{pair.port}")
    assert code == 1
    assert found["is an attack in the query seen?"] == ("bad", "no: the mode is off, nothing is inspected")
    assert found["can the app be reached beside Envoy?"][0] == "bad"


def test_upgrades_where_they_are_allowed_and_where_not(start_pair: Callable[..., Any], app: Any) -> None:
    pair = start_pair(app.port, "--upgrade-paths", "/ws").await_start()
    question = "do WebSockets work?"
    assert doctor(*of(pair), "--websocket=/ws")[1][question][0] == "fine"
    assert doctor(*of(pair), "--websocket=/chat")[1][question][0] == "bad"


def test_a_request_that_the_engine_never_saw(start_pair: Callable[..., Any], app: Any) -> None:
    """Clients are sent past Envoy: what answers is the app itself."""
    pair = start_pair(app.port).await_start()
    code, found = doctor(f"--envoy=127.0.0.1:{app.port}", f"--health={health(pair)}")
    assert code == 1
    envoy = found["is Envoy ready, and does it reach the engine?"]
    traffic = found.get("does traffic go through the engine?", ("bad", ""))
    assert "bad" in (envoy[0], traffic[0])


def test_nobody_at_home() -> None:
    code, found = doctor("--envoy=127.0.0.1:9", "--health=127.0.0.1:9")
    assert code == 1
    assert list(found) == ["is the engine ready?"]


@pytest.mark.parametrize(
    ("flag", "said"), [("--envoy=8080", "--envoy: must be HOST:PORT"), ("--path=x", "--path: must be a path")]
)
def test_bad_flags(flag: str, said: str) -> None:
    command = [sys.executable, "-m", "extproc", "doctor", flag]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
