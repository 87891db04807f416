"""The workers of one generation: forked from the process that holds the rules, each restarted when it dies.

That process has no threads and never imports gRPC, which does not survive a fork. Workers die with it, also when it
is killed. Unix sockets: a worker listens under a name of its own, which is renamed over the address once it serves,
so that the address always leads to somebody. TCP: generations share the port until the older one leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeAlias

import uvloop

from extproc.model.inspection import Inspector
from extproc.server import app
from extproc.server.pages import Held
from extproc.server.process import drain_pipe, fork, say, signals_as_bytes
from extproc.server.settings import KILL_AFTER_S, ServerSettings, own_address

STABLE_S = 5.0
"""A worker that lived this long died for the first time."""

BACKOFF_S = 0.1
"""Before the second start in a row, then doubled; the first one is immediate."""

MAX_BACKOFF_S = 1.0

BEAT_S = 1.0
"""Between two signs of life of a worker's event loop, and between two looks at them."""

LEAVE = signal.SIGUSR1
"""To a generation and from it to its workers: others serve now; finish what you have and go."""

LEAVE_APART_S = 0.1
"""Between two workers that leave: what one of them cancels (gRPC does) is to find another one that does not."""

Enter: TypeAlias = Callable[[Inspector, int], AbstractContextManager[Held | None]]
"""(inspector, worker number) → what a worker holds while it serves: event writers, metrics, pages."""


@dataclass(frozen=True, slots=True)
class Reports:
    """What the generation tells: all workers serve (once); one died."""

    serves: Callable[[], None]
    worker_died: Callable[[], None]


@dataclass(slots=True)
class _Worker:
    number: int
    address: str
    pid: int = 0
    started: float = 0.0
    beat: float = 0.0  # 0: it gave no sign of life yet, so none is missed
    failures: int = 0
    restart_at: float = 0.0
    was_ready: bool = False


class Crew:
    """All workers of a generation. Run once: `run`."""

    def __init__(
        self,
        settings: ServerSettings,
        inspector: Inspector,
        listeners: Sequence[socket.socket],
        enter: Enter | None,
        reports: Reports,
        channel: int,
    ) -> None:
        """`channel` is the descriptor that `reports` write to, which workers are not to hold open."""
        self._settings = settings
        self._inspector = inspector
        self._listeners = listeners
        self._enter = enter
        self._reports = reports
        self._channel = channel
        self._workers = [_Worker(number, address) for number, address in enumerate(settings.addresses)]
        self._has_served = False
        self._ready_read, self._ready_write = os.pipe()
        self._wake_read, self._wake_write = os.pipe()
        for end in (self._ready_read, self._wake_read, self._wake_write):
            os.set_blocking(end, False)

    def run(self) -> int:
        """Until SIGTERM or LEAVE. Returns the exit code: 0 after a drain, 1 if a worker could not start."""
        with signals_as_bytes(self._wake_write, signal.SIGTERM, LEAVE, signal.SIGCHLD):
            for worker in self._workers:
                self._start(worker)
            return self._supervise()

    def _supervise(self) -> int:
        while True:
            received = self._wait(self._next_look())
            if received & {signal.SIGTERM, LEAVE}:
                self._stop(signal.SIGTERM if signal.SIGTERM in received else LEAVE)
                return 0
            for worker in self._reap():
                if not worker.was_ready:
                    say(f"worker {worker.number} could not start on {worker.address}")
                    self._stop(signal.SIGTERM)
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
        for number in drain_pipe(self._ready_read):
            worker = self._workers[number]
            is_news, worker.beat, worker.was_ready = not worker.beat, now, True
            if is_news and self._has_served:
                _take_over(worker)
        if not self._has_served and all(worker.was_ready for worker in self._workers):
            # Not one by one: a generation of which one worker cannot start must leave no address taken.
            self._has_served = True
            for worker in self._workers:
                _take_over(worker)
            self._reports.serves()
        return set(drain_pipe(self._wake_read))

    def _next_look(self) -> float:
        """Seconds until a start is due or signs of life are looked for."""
        due = [worker.restart_at for worker in self._workers if not worker.pid]
        return max(0.0, min(BEAT_S, *(at - time.monotonic() for at in due))) if due else BEAT_S

    def _kill_hung(self) -> None:
        """A worker whose event loop stands still answers nothing; a new one does. It is buried like any other."""
        now = time.monotonic()
        for worker in self._workers:
            if worker.pid and worker.beat and now - worker.beat > self._settings.hang_after_s:
                say(f"worker {worker.number} gave no sign of life for {self._settings.hang_after_s:g} s; killing it")
                worker.beat = 0.0
                os.kill(worker.pid, signal.SIGKILL)

    def _schedule(self, worker: _Worker) -> None:
        now = time.monotonic()
        worker.failures = 1 if now - worker.started >= STABLE_S else worker.failures + 1
        delay = 0.0 if worker.failures == 1 else min(BACKOFF_S * 2 ** (worker.failures - 2), MAX_BACKOFF_S)
        worker.restart_at = now + delay
        say(f"worker {worker.number} died; starting it again in {delay:.1f} s")
        self._reports.worker_died()

    def _reap(self) -> list[_Worker]:
        gone = []
        for worker in self._workers:
            if worker.pid and os.waitpid(worker.pid, os.WNOHANG)[0]:
                worker.pid = 0
                gone.append(worker)
        return gone

    def _stop(self, number: signal.Signals) -> None:
        """`number` to all, then patience, then SIGKILL. SIGTERM while they leave shortens it, a second one ends it."""
        is_leaving = number is LEAVE
        patience_s = self._settings.leave_grace_s + KILL_AFTER_S if is_leaving else self._settings.stop_limit_s
        deadline = time.monotonic() + patience_s
        waiting = [worker for worker in self._workers if worker.pid]
        while any(worker.pid for worker in self._workers):
            while waiting:
                worker = waiting.pop(0)
                if worker.pid:
                    # One that does not serve yet has nothing to finish, and no handler of its own.
                    os.kill(worker.pid, number if worker.beat else signal.SIGKILL)
                if is_leaving:
                    break
            received = self._wait(LEAVE_APART_S if waiting else max(0.0, deadline - time.monotonic()))
            self._reap()
            is_over = signal.SIGTERM in received and not is_leaving
            if is_over or time.monotonic() >= deadline:
                self._signal_all(signal.SIGKILL)
                for worker in self._workers:
                    if worker.pid:
                        os.waitpid(worker.pid, 0)
                        worker.pid = 0
            elif signal.SIGTERM in received:
                is_leaving = False
                deadline = min(deadline, time.monotonic() + self._settings.drain_grace_s)

    def _signal_all(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, number)

    def _start(self, worker: _Worker) -> None:
        worker.started = time.monotonic()
        worker.beat = 0.0
        worker.pid = fork(f"worker {worker.number}", lambda: self._work(worker))

    def _work(self, worker: _Worker) -> int:
        for end in (self._channel, self._ready_read, self._wake_read, self._wake_write):
            os.close(end)

        async def serve(held: Held | None) -> None:
            loop = asyncio.get_running_loop()
            ending: asyncio.Future[app.Ending] = loop.create_future()

            def end(how: app.Ending) -> None:
                if not ending.done():
                    ending.set_result(how)

            loop.add_signal_handler(signal.SIGTERM, end, app.Ending.DRAIN)
            loop.add_signal_handler(LEAVE, end, app.Ending.LEAVE)
            beats: list[asyncio.Task[None]] = []

            def tell_ready() -> None:
                _tell(self._ready_write, worker.number)
                beats.append(asyncio.create_task(_beat(self._ready_write, worker.number)))

            address = own_address(worker.address)
            await app.run(self._settings, self._inspector, address, self._listeners, held, ending, tell_ready)

        entered = self._enter(self._inspector, worker.number) if self._enter is not None else nullcontext()
        with entered as held, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(held))
        return 0


def _take_over(worker: _Worker) -> None:
    """From now on the address leads to this worker; who was connected to its predecessor stays so."""
    own = own_address(worker.address, worker.pid)
    if own != worker.address:
        with contextlib.suppress(FileNotFoundError):  # it died at once, which shows soon enough
            os.replace(own.removeprefix("unix:"), worker.address.removeprefix("unix:"))  # noqa: PTH105 (texts)


def _tell(end: int, number: int) -> None:
    with contextlib.suppress(BlockingIOError):  # a generation that stands still needs no news
        os.write(end, bytes([number]))


async def _beat(end: int, number: int) -> None:
    """Signs of life for as long as the event loop turns."""
    while True:
        await asyncio.sleep(BEAT_S)
        _tell(end, number)
