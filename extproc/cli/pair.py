"""The pair under one parent: engine first, then Envoy; whichever dies comes back; Envoy leaves first.

Both are always to be running, so what the parent does is a short loop: wait for a signal, bury, start again.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from extproc.cli.children import STOP_SIGNALS, Fork, Signals, describe_exit, has_terminal, spawn
from extproc.model.errors import ExtprocError
from extproc.proxy.admin import Admin
from extproc.proxy.binary import last_complaint

POLL_S = 0.02
"""Between two looks at what announces itself by no signal (readiness, drain)."""

ENGINE_START_LIMIT_S = 120.0
"""To SERVING, rules loaded."""

ENVOY_START_LIMIT_S = 30.0
"""To open listeners."""

KILL_AFTER_S = 5.0
"""From SIGTERM to SIGKILL, beyond the drain."""

FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.1, 1.0
"""Before a second start, doubled up to the latter while it keeps dying."""

STABLE_S = 10.0
"""Who lived this long died for the first time."""

ENVOY_DEATHS = 5
"""In a row without becoming stable; then the pair gives up whole."""


@dataclass(frozen=True, slots=True)
class PairPlan:
    """What to run. `is_engine_ready` asks the engine; `announce` is called once clients are served.

    `engine` is its whole life, in a fork of ours, so that a new one need not start Python and import everything
    first: that was most of the time in which clients got 503.
    """

    engine: Callable[[], int]
    envoy: Sequence[str]
    envoy_log: Path
    admin: Admin
    is_engine_ready: Callable[[], bool]
    announce: Callable[[], None]
    say: Callable[[str], None]
    drain_seconds: float
    engine_stop_seconds: float


class _StopRequested(Exception):  # noqa: N818  # not an error
    """A signal asked us to end."""


@dataclass(slots=True)
class _Member:
    """One of the two. `process` is None while it is away."""

    name: str
    process: subprocess.Popen[bytes] | Fork | None = None
    started: float = 0.0
    deaths: int = 0
    restart_at: float = field(default=0.0)


class Pair:
    """Run once: `run`."""

    def __init__(self, plan: PairPlan) -> None:
        self._plan = plan
        self._engine = _Member("the engine")
        self._envoy = _Member("Envoy")
        self._signals = Signals()
        self._has_terminal = has_terminal()

    def run(self) -> int:
        """Until a signal or a fault that cannot be healed. Returns the exit code; nothing is left running."""
        with self._signals:
            try:
                code = self._begin()
                if code is None:
                    self._plan.announce()
                    code = self._supervise()
                return code
            except _StopRequested:
                self._end()
                return 0
            finally:
                for member in (self._envoy, self._engine):
                    _kill(member)

    def _begin(self) -> int | None:
        """Engine, then Envoy. None when both serve, else the exit code."""
        plan = self._plan
        self._start(self._engine)
        if not self._await(self._engine, plan.is_engine_ready, ENGINE_START_LIMIT_S):
            code = _code(self._engine)
            if code is None:
                plan.say(f"the engine did not get ready within {ENGINE_START_LIMIT_S:.0f} s")
            elif code < 0:
                plan.say(f"the engine ended {describe_exit(code)} while it started")
            # Otherwise it has said itself what is wrong.
            return code if code is not None and code > 0 else 1
        self._start(self._envoy)
        if not self._await(self._envoy, plan.admin.is_live, ENVOY_START_LIMIT_S):
            plan.say(self._envoy_fault())
            return 1
        return None

    def _supervise(self) -> int:
        while True:
            self._wait(self._next_restart())
            for member in (self._engine, self._envoy):
                code = _code(member)
                if code is not None:
                    member.process = None
                    self._schedule(member, code)
            if self._envoy.deaths > ENVOY_DEATHS:
                self._plan.say(self._envoy_fault())
                return 1
            for member in (self._engine, self._envoy):
                if member.process is None and member.restart_at <= time.monotonic():
                    self._start(member)

    def _start(self, member: _Member) -> None:
        member.started = time.monotonic()
        if member is self._engine:
            member.process = Fork(self._plan.engine)
            return
        with self._plan.envoy_log.open("wb") as log:
            try:
                member.process = spawn(self._plan.envoy, stderr=log)
            except OSError as error:
                raise ExtprocError(f"{self._plan.envoy[0]} cannot be started: {error.strerror}") from error

    def _schedule(self, member: _Member, code: int) -> None:
        now = time.monotonic()
        member.deaths = 1 if now - member.started >= STABLE_S else member.deaths + 1
        delay = min(FIRST_BACKOFF_S * 2 ** (member.deaths - 1), MAX_BACKOFF_S)
        member.restart_at = now + delay
        meanwhile = "requests are answered 503" if member is self._engine else "the port is closed"
        self._plan.say(f"{member.name} ended {describe_exit(code)}; starting it again, meanwhile {meanwhile}")

    def _next_restart(self) -> float:
        """Seconds to the next start that is due; a day when nothing is."""
        due = [member.restart_at for member in (self._engine, self._envoy) if member.process is None]
        return min(due) - time.monotonic() if due else 86_400.0

    def _await(self, member: _Member, is_ready: Callable[[], bool], limit_s: float) -> bool:
        """False when the member died or the time is over."""
        deadline = time.monotonic() + limit_s
        while not is_ready():
            if _code(member) is not None or time.monotonic() >= deadline:
                return False
            self._wait(POLL_S)
        return True

    def _wait(self, timeout_s: float) -> None:
        found = self._signals.next(timeout_s)
        if found is signal.SIGHUP and not (self._has_terminal and not has_terminal()):
            if self._engine.process is not None:
                self._engine.process.send_signal(signal.SIGHUP)  # it loads its rules anew
        elif found in STOP_SIGNALS or found is signal.SIGHUP:
            raise _StopRequested

    def _end(self) -> None:
        """Envoy finishes what it has, then the engine; a second signal ends the patience."""
        self._plan.say("stopping; once more to stop at once")
        try:
            if self._envoy.process is not None:
                deadline = time.monotonic() + self._plan.drain_seconds
                self._plan.admin.drain()
                while self._plan.admin.active_requests() and time.monotonic() < deadline:
                    self._wait(POLL_S)
            self._terminate(self._envoy, KILL_AFTER_S)
            self._terminate(self._engine, self._plan.engine_stop_seconds + KILL_AFTER_S)
        except _StopRequested:
            return  # `run` kills what is left

    def _terminate(self, member: _Member, patience_s: float) -> None:
        if member.process is None:
            return
        member.process.terminate()
        deadline = time.monotonic() + patience_s
        while member.process.poll() is None and time.monotonic() < deadline:
            self._wait(POLL_S)

    def _envoy_fault(self) -> str:
        return f"Envoy does not run: {last_complaint(self._plan.envoy_log) or 'it did not get ready'}"


def _code(member: _Member) -> int | None:
    return member.process.poll() if member.process is not None else None


def _kill(member: _Member) -> None:
    if member.process is not None:
        member.process.kill()  # harmless when it ended: the process is still ours to bury
        member.process.wait()
