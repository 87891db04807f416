"""Processes of a bench: started, waited for, their CPU time read, ended. Only what was started here is touched."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.bench.report import ROOT

START_LIMIT_S = 120.0
STOP_LIMIT_S = 20.0

CPUCLOCK_SCHED = 2
"""Linux's per-process CPU clocks: clock id `~pid << 3 | 2` counts utime + stime of all threads, in nanoseconds."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


class Process:
    """One command with all that descends from it."""

    def __init__(self, name: str, argv: Sequence[str], folder: Path, more: Mapping[str, str] | None = None) -> None:
        """What it says goes to `folder`/NAME.log."""
        self.name = name
        self.log = folder / f"{name.replace(' ', '-')}.log"
        with self.log.open("wb") as out:
            self._process = subprocess.Popen(
                list(argv),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **(more or {})},
            )

    def is_alive(self) -> bool:
        """Has it not ended yet?"""
        return self._process.poll() is None

    def await_ready(self, is_ready: Callable[[], bool], limit_s: float = START_LIMIT_S) -> None:
        """Until `is_ready`. Raises RuntimeError with what it said last when it ends before, or takes too long."""
        end = time.monotonic() + limit_s
        while not is_ready():
            if not self.is_alive() or time.monotonic() > end:
                said = self.log.read_text(errors="replace").strip().splitlines()[-3:]
                raise RuntimeError(f"{self.name} did not start: {' | '.join(said) or 'it said nothing'}")
            time.sleep(0.05)

    def cpu_s(self) -> float:
        """CPU seconds so far of the process and its live descendants."""
        return sum(_cpu_s(pid) for pid in self.pids())

    def cpu_by_command(self) -> dict[str, float]:
        """The same, by the name of the program."""
        told: dict[str, float] = {}
        for pid in self.pids():
            with contextlib.suppress(OSError):
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                told[name] = told.get(name, 0.0) + _cpu_s(pid)
        return told

    def pids(self) -> list[int]:
        """The process and its live descendants."""
        return [self._process.pid, *_descendants(self._process.pid)]

    def stop(self) -> None:
        """SIGTERM, then SIGKILL for what is left of what it started."""
        known = self.pids()
        if self.is_alive():
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_LIMIT_S)
        if self.is_alive():
            for pid in {*known, *self.pids()}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._process.wait()


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *_descendants(int(child))]
    return found


def _cpu_s(pid: int) -> float:
    try:
        return time.clock_gettime(~pid << 3 | CPUCLOCK_SCHED)
    except OSError:  # gone meanwhile
        return 0.0


def accepts(port: int) -> bool:
    """Does somebody listen on that port of 127.0.0.1?"""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def python(*arguments: str) -> list[str]:
    """A command line of this Python."""
    return [sys.executable, *arguments]
