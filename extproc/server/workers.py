"""The supervisor: rules loaded once, one forked worker per address, each restarted when it dies.

The parent has no threads and never imports gRPC, which does not survive a fork; it loads the rules, freezes them
out of the garbage collector's reach (so that their memory stays shared) and forks. Workers die with it, also
when it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeAlias

from extproc.model.inspection import Inspector
from extproc.server.settings import ServerSettings

PR_SET_PDEATHSIG = 1
"""prctl(2)."""

STABLE_S = 5.0
"""A worker that lived this long died for the first time."""

BACKOFF_S = 0.1
"""Before the second start in a row, then doubled; the first one is immediate."""

MAX_BACKOFF_S = 1.0

BEAT_S = 1.0
"""Between two signs of life of a worker's event loop, and between two looks of the supervisor at them."""

KILL_AFTER_S = 2.0
"""Beyond drain delay and grace; then a worker is killed."""

Enter: TypeAlias = Callable[[Inspector, int], AbstractContextManager[object]]
"""(inspector, worker number) → what a worker holds while it serves: event writers, metrics."""


@dataclass(slots=True)
class _Worker:
    number: int
    address: str
    pid: int = 0
    started: float = 0.0
    beat: float = 0.0  # 0: it gave no sign of life yet, so none is missed
    failures: int = 0
    restart_at: float = 0.0


def run(settings: ServerSettings, load: Callable[[], Inspector], enter: Enter | None = None) -> int:
    """Serves until SIGTERM or SIGINT; SIGHUP is passed over with a line.

    `load` runs once, before the first fork; what it raises goes to the caller.

    Returns the exit code: 0 after a drain, 1 if a worker could not start.
    """
    inspector = load()
    gc.collect()
    gc.freeze()
    listener = _listen(settings.health) if settings.health else None
    try:
        return _Supervisor(settings, inspector, listener, enter).run()
    finally:
        if listener is not None:
            listener.close()


class _Supervisor:
    def __init__(
        self, settings: ServerSettings, inspector: Inspector, listener: socket.socket | None, enter: Enter | None
    ) -> None:
        self._settings = settings
        self._inspector = inspector
        self._listener = listener
        self._enter = enter
        self._workers = [_Worker(number, address) for number, address in enumerate(settings.addresses)]
        self._ready: set[int] = set()
        self._ready_read, self._ready_write = os.pipe()
        self._wake_read, self._wake_write = os.pipe()
        for end in (self._ready_read, self._wake_read, self._wake_write):
            os.set_blocking(end, False)

    def run(self) -> int:
        with self._signals():
            for worker in self._workers:
                self._start(worker)
            return self._supervise()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Signals become bytes in a pipe, so that waiting for them and for workers is one select."""
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
        before = {number: signal.signal(number, lambda *_: None) for number in numbers}
        old = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(old)
            for number, handler in before.items():
                signal.signal(number, handler)
            for end in (self._ready_read, self._ready_write, self._wake_read, self._wake_write):
                os.close(end)

    def _supervise(self) -> int:
        while True:
            received = self._wait(self._next_look())
            if signal.SIGTERM in received or signal.SIGINT in received:
                self._stop()
                return 0
            if signal.SIGHUP in received:  # to many servers it means: load anew; here it must at least not mean: end
                _say("SIGHUP does nothing here: rules are loaded at start, so a restart loads new ones")
            for worker in self._reap():
                if worker.number not in self._ready:
                    _say(f"worker {worker.number} could not start on {worker.address}")
                    self._stop()
                    return 1
                self._schedule(worker)
            self._kill_hung()
            now = time.monotonic()
            for worker in self._workers:
                if not worker.pid and worker.restart_at <= now:
                    self._start(worker)

    def _wait(self, timeout_s: float | None) -> set[int]:
        """Signals that came, after at most `timeout_s`; notes which workers said that they serve."""
        begun = time.monotonic()
        select.select([self._wake_read, self._ready_read], [], [], timeout_s)
        now = time.monotonic()
        if timeout_s is not None and now - begun > timeout_s + BEAT_S:
            for worker in self._workers:  # the machine or we ourselves stood still: that proves nothing
                worker.beat = now if worker.beat else 0.0
        for number in _drain_pipe(self._ready_read):
            self._workers[number].beat = now
            if number not in self._ready:
                self._ready.add(number)
                if len(self._ready) == len(self._workers):
                    _say(f"serving on {', '.join(self._settings.addresses)}; rules {self._inspector.ruleset_hash}")
        return set(_drain_pipe(self._wake_read))

    def _next_look(self) -> float:
        """Seconds until a start is due or signs of life are looked for."""
        due = [worker.restart_at for worker in self._workers if not worker.pid]
        return max(0.0, min(BEAT_S, *(at - time.monotonic() for at in due))) if due else BEAT_S

    def _kill_hung(self) -> None:
        """A worker whose event loop stands still answers nothing; a new one does. It is buried like any other."""
        now = time.monotonic()
        for worker in self._workers:
            if worker.pid and worker.beat and now - worker.beat > self._settings.hang_after_s:
                _say(f"worker {worker.number} gave no sign of life for {self._settings.hang_after_s:g} s; killing it")
                worker.beat = 0.0
                os.kill(worker.pid, signal.SIGKILL)

    def _schedule(self, worker: _Worker) -> None:
        now = time.monotonic()
        worker.failures = 1 if now - worker.started >= STABLE_S else worker.failures + 1
        delay = 0.0 if worker.failures == 1 else min(BACKOFF_S * 2 ** (worker.failures - 2), MAX_BACKOFF_S)
        worker.restart_at = now + delay
        _say(f"worker {worker.number} died; starting it again in {delay:.1f} s")

    def _reap(self) -> list[_Worker]:
        gone = []
        for worker in self._workers:
            if worker.pid and os.waitpid(worker.pid, os.WNOHANG)[0]:
                worker.pid = 0
                gone.append(worker)
        return gone

    def _stop(self) -> None:
        """SIGTERM to all, then patience, then SIGKILL. A second SIGTERM or SIGINT ends the patience."""
        deadline = time.monotonic() + self._settings.drain_delay_s + self._settings.drain_grace_s + KILL_AFTER_S
        self._signal_all(signal.SIGTERM)
        while any(worker.pid for worker in self._workers):
            received = self._wait(max(0.0, deadline - time.monotonic()))
            self._reap()
            if received & {signal.SIGTERM, signal.SIGINT} or time.monotonic() >= deadline:
                self._signal_all(signal.SIGKILL)
                for worker in self._workers:
                    if worker.pid:
                        os.waitpid(worker.pid, 0)
                        worker.pid = 0

    def _signal_all(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, number)

    def _start(self, worker: _Worker) -> None:
        parent = os.getpid()
        worker.started = time.monotonic()
        worker.beat = 0.0
        worker.pid = os.fork()
        if worker.pid:
            return
        code = 1
        try:
            _become_worker(parent)
            code = self._work(worker)
        except BaseException as fault:  # a fork never returns into the parent's code
            _say(f"worker {worker.number}: {type(fault).__name__}: {fault}")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _work(self, worker: _Worker) -> int:
        import uvloop  # after the fork, as gRPC below: both start threads or hold loops

        from extproc.server import app

        async def serve() -> None:
            stop = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
            beats: list[asyncio.Task[None]] = []

            def tell_ready() -> None:
                _tell(self._ready_write, worker.number)
                beats.append(asyncio.create_task(_beat(self._ready_write, worker.number)))

            await app.run(self._settings, self._inspector, worker.address, self._listener, stop, tell_ready)

        held = self._enter(self._inspector, worker.number) if self._enter is not None else nullcontext()
        with held, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())
        return 0


def _become_worker(parent: int) -> None:
    """Signals as at the start of a process, and death together with the supervisor."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGHUP):  # of the terminal: the supervisor decides
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    return socket.create_server((host, int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def _drain_pipe(end: int) -> bytes:
    try:
        return os.read(end, 4096)
    except BlockingIOError:
        return b""


def _tell(end: int, number: int) -> None:
    with contextlib.suppress(BlockingIOError):  # a supervisor that stands still needs no news
        os.write(end, bytes([number]))


async def _beat(end: int, number: int) -> None:
    """Signs of life for as long as the event loop turns."""
    while True:
        await asyncio.sleep(BEAT_S)
        _tell(end, number)


def _say(line: str) -> None:
    sys.stderr.write(f"extproc: {line}\n")
    sys.stderr.flush()
