"""The supervisor: one generation serves; another is built beside it when rules change; the better one stays.

It never loads rules, has no threads and never imports gRPC: every generation is a fork of the same clean memory.
What goes wrong with a new one is told, and the old one goes on; what goes wrong with the one that serves is mended
by starting another.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from extproc import compiled
from extproc.model.errors import RulesetRefused, SecLangErrors
from extproc.model.files import FilesRead
from extproc.server.app import preload
from extproc.server.generation import Attempt, Generation, HasFailed, HasLoaded, HasRead, Load, Serves, WorkerDied, live
from extproc.server.process import drain_pipe, say, signals_as_bytes
from extproc.server.reloads import ReloadStatus, SharedStatus
from extproc.server.settings import KILL_AFTER_S, ServerSettings
from extproc.server.watch import Watch
from extproc.server.workers import LEAVE, STABLE_S, Enter

LEAVING_LIMIT = 2
"""Generations that finish their last streams, each with rules in memory. When another is wanted the eldest gets
`drain_grace_s` more, and the next load waits for that."""

RETRY_S = 0.1
"""Before the second start of a generation in a row, doubled up to MAX_RETRY_S; the first is immediate."""

MAX_RETRY_S = 1.0

SHOWN_FINDINGS = 5
"""Of broken rules, in the line about a reload; `extproc check` shows all."""

IDLE_S = 86_400.0
"""To wait when nothing is due."""


Told: TypeAlias = Callable[[ReloadStatus, str], None]
"""(the state after a reload that came to something or not, what had asked for it) → whoever wants to know."""


def run(
    settings: ServerSettings,
    load: Load,
    enter: Enter | None = None,
    status: SharedStatus | None = None,
    told: Told | None = None,
) -> int:
    """Serves until SIGTERM or SIGINT; SIGHUP loads anew, and so does a change of what was read.

    `settings` say where to listen and how patient to be; workers get those that `load` returns. Raises what stops
    the first load. Returns the exit code: 0 after a drain, 1 if a worker could not start.
    """
    if not _are_free(settings.addresses):
        return 1
    preload(settings)
    gc.collect()
    gc.freeze()  # what generations would write to when they look for garbage among it, and so each hold for itself
    listeners = [listen(address) for address in (settings.health, settings.metrics) if address]
    try:
        return _Supervisor(settings, load, enter, listeners, status or SharedStatus(), told).run()
    finally:
        for listener in listeners:
            listener.close()
        for address in settings.addresses:
            if address.startswith("unix:"):
                with contextlib.suppress(OSError):
                    Path(address.removeprefix("unix:")).unlink()


class _Supervisor:
    def __init__(
        self,
        settings: ServerSettings,
        load: Load,
        enter: Enter | None,
        listeners: Sequence[socket.socket],
        status: SharedStatus,
        told: Told | None,
    ) -> None:
        self._settings = settings
        self._load = load
        self._enter = enter
        self._listeners = listeners
        self._shared = status
        self._told = told
        self._status = ReloadStatus()
        self._watch = Watch()
        self._serving: Generation | None = None
        self._coming: Generation | None = None
        self._leaving: list[Generation] = []
        self._why = "start"  # why another generation is wanted; empty: none is
        self._start_at = 0.0
        self._look_at = 0.0
        self._deaths = 0
        self._has_served = False
        self._wake_read, self._wake_write = os.pipe()
        for end in (self._wake_read, self._wake_write):
            os.set_blocking(end, False)

    def run(self) -> int:
        with signals_as_bytes(self._wake_write, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            try:
                return self._supervise()
            finally:
                for generation in self._all():
                    generation.send(signal.SIGKILL)
                    generation.bury(is_waiting=True)

    def _all(self) -> list[Generation]:
        return [found for found in (self._serving, self._coming, *self._leaving) if found is not None]

    def _supervise(self) -> int:
        while True:
            received = self._wait(self._next_due())
            if received & {signal.SIGTERM, signal.SIGINT}:
                self._stop()
                return 0
            if signal.SIGHUP in received:
                self._want("SIGHUP")
            for generation in self._all():
                self._listen_to(generation)
            code = self._bury()
            if code is not None:
                return code
            self._kill_overdue()
            self._look()
            if self._why and time.monotonic() >= self._start_at:
                self._start()

    def _wait(self, timeout_s: float) -> set[int]:
        select.select([self._wake_read, *(found.channel for found in self._all())], [], [], timeout_s)
        return set(drain_pipe(self._wake_read))

    def _next_due(self) -> float:
        """Seconds until something is to be done that nobody tells about."""
        due = [self._look_at] if self._is_watching() else []
        if self._coming is not None and self._coming.error is None:
            due.append(self._coming.started + self._settings.load_limit_s)
        elif self._why and len(self._leaving) < LEAVING_LIMIT:
            due.append(self._start_at)
        return max(0.0, min(due) - time.monotonic()) if due else IDLE_S

    # What to build, and when

    def _is_watching(self) -> bool:
        return self._settings.watch_s > 0 and self._has_served

    def _look(self) -> None:
        now = time.monotonic()
        if self._is_watching() and now >= self._look_at:
            self._look_at = now + self._settings.watch_s
            changed = self._watch.look()
            if changed:
                self._want(f"{changed} changed")

    def _want(self, why: str) -> None:
        self._why = why
        self._start_at = time.monotonic()

    def _start(self) -> None:
        if self._coming is not None:
            return  # the wish stays, and the newest one holds
        if len(self._leaving) >= LEAVING_LIMIT:
            self._leaving[0].hurry()
            return
        why, self._why = self._why, ""
        self._note(attempts=self._status.attempts + 1, outcome="loading", reason="", attempted_at=time.time())
        attempt = Attempt(self._status.attempts, FilesRead(), self._baseline)
        others = [self._wake_read, self._wake_write, *(found.channel for found in self._all())]
        self._coming = Generation(self._status.attempts, why)
        self._coming.start(lambda channel: live(attempt, self._load, self._listeners, self._enter, channel), others)

    @property
    def _baseline(self) -> object:
        serving = self._serving
        return serving.loaded.baseline if serving is not None and serving.loaded is not None else None

    # What generations tell

    def _listen_to(self, generation: Generation) -> None:
        for told in generation.read():
            match told:
                case HasRead(looks):
                    self._watch.know(looks)
                case HasLoaded():
                    generation.loaded = told
                case HasFailed(error):
                    generation.error = error
                case Serves():
                    self._promote(generation, generation.loaded)
                case WorkerDied():
                    self._note(worker_deaths=self._status.worker_deaths + 1)

    def _promote(self, generation: Generation, loaded: HasLoaded | None) -> None:
        assert loaded is not None  # noqa: S101 (it was told before)
        before, self._serving, self._coming = self._serving, generation, None
        if before is not None:
            before.send(LEAVE)
            self._leaving.append(before)
        took_s = time.monotonic() - generation.started
        if not self._has_served:
            form = "" if compiled.why_plain is None else f"; hot modules from source, slower: {compiled.why_plain}"
            say(f"serving on {', '.join(self._settings.addresses)}; rules {loaded.ruleset}{form}")
        else:
            old = self._status.ruleset
            is_same = "the same as before" if old == loaded.ruleset else f"before {old}"
            say(f"reloaded in {took_s:.1f} s ({generation.why}); rules {loaded.ruleset}, {is_same}")
        if loaded.report:
            say(loaded.report)
        is_reload, self._has_served = self._has_served, True
        self._note(
            generation=generation.number,
            ruleset=loaded.ruleset,
            serving_since=time.time(),
            outcome="serving",
            reason="",
            load_s=loaded.load_s,
            rehearsal=loaded.report,
        )
        if self._told is not None and is_reload:
            self._told(self._status, generation.why)

    def _bury(self) -> int | None:
        """Takes leave of those who ended. An exit code if that ends the server: nobody ever served."""
        for generation in self._all():
            if not generation.bury():
                continue
            self._listen_to(generation)
            generation.close()
            if generation in self._leaving:
                self._leaving.remove(generation)
            elif generation is self._serving:
                self._serving = None
                self._mend(generation)
            else:
                self._coming = None
                if not self._has_served:
                    if generation.error is not None:
                        raise generation.error
                    return 1
                self._give_up(generation)
        return None

    def _mend(self, generation: Generation) -> None:
        """Who served is dead, and its workers with it."""
        is_first = time.monotonic() - generation.started >= STABLE_S
        self._deaths = 1 if is_first else self._deaths + 1
        say(f"the rules' process ended {_how(generation)}; starting it again")
        if self._coming is None and not self._why:
            self._retry("the process before it died")

    def _give_up(self, generation: Generation) -> None:
        """A new generation that never served; whoever serves goes on."""
        reason = _words(generation)
        outcome = "refused" if isinstance(generation.error, RulesetRefused) else "failed"
        self._note(failures=self._status.failures + 1, outcome=outcome, reason=reason)
        goes_on = f"rules {self._status.ruleset} go on" if self._serving is not None else "nothing serves"
        say(f"reload {outcome} ({generation.why}), {goes_on}: {reason}")
        if self._told is not None:
            self._told(self._status, generation.why)
        if self._serving is None and not self._why:
            self._deaths += 1
            self._retry(generation.why)

    def _retry(self, why: str) -> None:
        self._why = why
        delay = 0.0 if self._deaths <= 1 else min(RETRY_S * 2 ** (self._deaths - 2), MAX_RETRY_S)
        self._start_at = time.monotonic() + delay

    def _kill_overdue(self) -> None:
        coming = self._coming
        is_late = coming is not None and time.monotonic() - coming.started >= self._settings.load_limit_s
        if coming is not None and is_late and coming.error is None:
            coming.error = TimeoutError(f"not ready within {self._settings.load_limit_s:g} s; it was ended")
            coming.send(signal.SIGKILL)  # buried when the kernel says so

    def _note(self, **changed: Any) -> None:
        self._status = replace(self._status, **changed)
        self._shared.write(self._status)

    # The end

    def _stop(self) -> None:
        """SIGTERM to all, then patience, then SIGKILL. A second SIGTERM or SIGINT ends the patience."""
        deadline = time.monotonic() + self._settings.stop_limit_s + KILL_AFTER_S
        for generation in self._all():
            generation.send(signal.SIGTERM)
        while True:
            left = [found for found in self._all() if found.code is None and not found.bury()]
            if not left:
                return
            received = self._wait(max(0.0, deadline - time.monotonic()))
            if received & {signal.SIGTERM, signal.SIGINT} or time.monotonic() >= deadline:
                return  # `run` kills what is left


def _how(generation: Generation) -> str:
    code = generation.code or 0
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"


def _words(generation: Generation) -> str:
    """Why a generation never served, on one line."""
    error = generation.error
    if error is None:
        at_what = "starting workers" if generation.loaded is not None else "loading"
        return f"its process ended {_how(generation)} while {at_what}"
    if isinstance(error, SecLangErrors):
        shown = "; ".join(str(finding) for finding in error.findings[:SHOWN_FINDINGS])
        more = len(error.findings) - SHOWN_FINDINGS
        return shown + (f"; and {more} more" if more > 0 else "")
    return " ".join(str(error).split()) or type(error).__name__


def _are_free(addresses: tuple[str, ...]) -> bool:
    """Says which TCP port somebody else listens on: later we share ports with ourselves, and could not tell."""
    for number, address in enumerate(addresses):
        if not address.startswith("unix:"):
            try:
                listen(address).close()
            except OSError as error:
                say(f"worker {number} could not start on {address}: {os.strerror(error.errno or 0)}")
                return False
    return True


def listen(address: str) -> socket.socket:
    """`IP:PORT` → a listening socket. Raises OSError."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    return socket.create_server((host, int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
