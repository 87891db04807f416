"""The suite's control for extproc: starts `extproc serve` as it is shipped, and disturbs it from outside.

    pytest tests/conformance --control "python -m tests.conformance.extproc_control"

Knows extproc as a command, its signals and its rule files. Faults come from the process's surroundings: SIGSTOP before
the rules are loaded, a module on PYTHONPATH that makes some paths break the engine (`tests/e2e/injected`), another that
has the server take a body mode which the command line does not offer (`tests/conformance/servers/streamed`).
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
INJECTED = ROOT / "tests" / "e2e" / "injected"
STREAMED = ROOT / "tests" / "conformance" / "servers" / "streamed"
SHIPPED_RULES = ROOT / "extproc" / "rules" / "own.conf"

START_LIMIT_S = 60.0
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
BODY_LIMIT = 1_048_576
FEW_STREAMS = 20

CHANGES = {
    "other": """SecAction "id:1999999,phase:1,pass,nolog"\n""",
    "broken": "SecRule ARGS \n",
}
"""What is written behind the shipped rules."""

RELOADED = re.compile(r"extproc: (reloaded in|reload \w+ \(|SIGHUP does nothing)")

FLAGS = (
    *("--mode", "block", "--upgrade-paths", "/ws", "--body-limit", str(BODY_LIMIT), "--workers", "1"),
    *("--health", "off", "--metrics", "off", "--drain-delay-seconds", "1", "--drain-seconds", "2"),
)

PATIENT = ("--time-budget", "10s")
"""Ten thousand streams on a busy machine take their time; what the budget does is asked of profile `faults`."""

OPTIONS: dict[str, Any] = {"upgrade_path": "/ws", "body_limit": BODY_LIMIT}

PROFILES: dict[str, tuple[tuple[str, ...], dict[str, str], dict[str, Any]]] = {
    "plain": (PATIENT, {}, {}),
    "loading": (PATIENT, {}, {}),
    "reloadable": (PATIENT, {}, {}),
    "few-streams": ((*PATIENT, "--max-streams", str(FEW_STREAMS)), {}, {"max_streams": FEW_STREAMS}),
    "streamed": (PATIENT, {"PYTHONPATH": f"{STREAMED}:{ROOT}"}, {"body_mode": "STREAMED"}),
    "faults": (
        (),
        # What is put in the place of a function is called in the source alone.
        {"PYTHONPATH": f"{INJECTED}:{ROOT}", "EXTPROC_COMPILED": "0"},
        {"fault_path": "/fault", "nothing_path": "/nothing", "slow_path": "/slow"},
    ),
}
"""Flags, environment, and what the suite is told."""


class NotApplicableError(Exception):
    """Something that this version cannot be asked for; the text says why."""


class Server:
    """One `extproc serve` on a unix socket in a folder of its own."""

    def __init__(self, profile: str, folder: Path) -> None:
        flags, environment, options = PROFILES[profile]
        self._path = folder / "grpc.sock"
        self._rules = folder / "rules.conf"
        self._said = folder / "stderr"
        self.options = {**OPTIONS, **options}
        self.target = f"unix:{self._path}"
        command = [sys.executable, "-m", "extproc", "serve", *FLAGS, *flags, "--grpc", self.target]
        if profile == "reloadable":
            shutil.copy(SHIPPED_RULES, self._rules)
            command += ["--rules", str(self._rules)]
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stderr=said)
        if profile == "loading":
            # Long before it could have read any rule: the interpreter alone takes longer to start.
            self.process.send_signal(signal.SIGSTOP)
        else:
            self.await_socket()

    def await_socket(self) -> None:
        """The socket opens when the rules are loaded."""
        end = time.monotonic() + START_LIMIT_S
        while time.monotonic() < end and self.process.poll() is None:
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(str(self._path)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"the server did not start: {self.said[-500:].decode()}")

    def load(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.await_socket()

    def reload(self, rules: str) -> None:
        """Returns when the server has said that it took or refused them."""
        said_before = len(self._said.read_text())
        self._rules.write_text(SHIPPED_RULES.read_text() + CHANGES[rules])
        self.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + START_LIMIT_S
        while time.monotonic() < end:
            answer = RELOADED.search(self._said.read_text(), said_before)
            if answer is not None and answer[1] == "SIGHUP does nothing":
                raise NotApplicableError("rules are read at the start, a change is a restart")
            if answer is not None:
                return
            time.sleep(0.05)
        raise TimeoutError("nothing was said of the reload")

    def usage(self) -> dict[str, int]:
        pids = family(self.process.pid)
        return {
            "bytes": sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES for pid in pids),
            "descriptors": sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids),
        }

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    @property
    def said(self) -> bytes:
        """Everything on its standard error."""
        return self._said.read_bytes()


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in family(int(child)))]


class Owner:
    """Answers the suite's requests."""

    def __init__(self, folder: Path, log: Path) -> None:
        self._folder, self._log = folder, log
        self._servers: dict[str, Server] = {}
        self._numbers = itertools.count()
        self._answers: dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]] = {
            "start": self._start,
            "drain": lambda asked: self._server(asked).process.terminate(),
            "wait": lambda asked: {"exit": self._server(asked).process.wait(START_LIMIT_S)},
            "kill": lambda asked: self._server(asked).kill(),
            "load": lambda asked: self._server(asked).load(),
            "reload": lambda asked: self._server(asked).reload(asked["rules"]),
            "usage": lambda asked: self._server(asked).usage(),
        }

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._answers[asked["do"]](asked) or {}
        except NotApplicableError as reason:
            return {"not_applicable": str(reason)}
        except Exception as fault:  # whatever it is, the case that asked must hear of it
            return {"error": f"{type(fault).__name__}: {fault}"}

    def close(self) -> None:
        with self._log.open("wb") as log:
            for server in self._servers.values():
                server.kill()
                log.write(server.said)

    def _start(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["profile"] not in PROFILES:
            raise NotApplicableError(f"no profile {asked['profile']}")
        name = str(next(self._numbers))
        folder = self._folder / name
        folder.mkdir()
        server = self._servers[name] = Server(asked["profile"], folder)
        return {"server": name, "target": server.target, "options": server.options}

    def _server(self, asked: dict[str, Any]) -> Server:
        return self._servers[asked["server"]]


def main() -> int:
    log = ROOT / "build" / "conformance-servers.log"
    log.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        owner = Owner(Path(folder), log)
        try:
            for line in sys.stdin:
                sys.stdout.write(json.dumps(owner.answer(json.loads(line))) + "\n")
                sys.stdout.flush()
        finally:
            owner.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
