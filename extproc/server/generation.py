"""One generation: a process that loads the rules, freezes them, forks the workers and looks after them to the end.

It is forked from a supervisor that never held rules, so each load starts from clean memory and takes it along when
it goes. What it has to tell (what was read, whether it loaded, that it serves) goes through a pipe.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from extproc.model.errors import ExtprocError
from extproc.model.files import FilesRead
from extproc.model.inspection import Inspector
from extproc.server.process import fork
from extproc.server.settings import ServerSettings
from extproc.server.watch import Looks
from extproc.server.workers import Crew, Enter, Reports

OOM_SCORE = 500
"""While rules are being loaded: when memory runs out, whoever serves stays (proc(5), oom_score_adj)."""

_SIZE = struct.Struct("=I")
_OOM_FILE = Path("/proc/self/oom_score_adj")


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a load is given: its number (1 is the start), where to note what it reads, and what the last one left.

    `baseline` is that of the rules that run now, None at the start.
    """

    number: int
    files: FilesRead
    baseline: object


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load brings: the rules, the settings to serve them with, what the next load is compared with.

    `report` is a sentence on them for people. `baseline` crosses processes, so it is plain data.
    """

    inspector: Inspector
    settings: ServerSettings
    baseline: object = None
    report: str = ""


Load: TypeAlias = Callable[[Attempt], Loaded]
"""Runs in the process of the generation, which has no threads and never imported gRPC.

Raises what stops it: at the start that ends the server, later the running rules go on."""


@dataclass(frozen=True, slots=True)
class HasRead:
    """Of a load that came to its end, good or bad."""

    looks: Looks


@dataclass(frozen=True, slots=True)
class HasLoaded:
    """The rules are in memory; workers are being forked."""

    ruleset: str
    baseline: object
    report: str
    load_s: float


@dataclass(frozen=True, slots=True)
class HasFailed:
    """Nothing was loaded."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Serves:
    """All workers take streams on their addresses."""


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """And is started again."""


Told: TypeAlias = HasRead | HasLoaded | HasFailed | Serves | WorkerDied


class Generation:
    """The supervisor's side. `read` what it tells, `send` it signals, `bury` it when it ended."""

    def __init__(self, number: int, why: str) -> None:
        self.number = number
        self.why = why
        self.pid = 0
        self.started = time.monotonic()
        self.loaded: HasLoaded | None = None
        self.error: Exception | None = None
        self.code: int | None = None
        self._is_hurried = False
        self._channel, self._end = os.pipe()
        os.set_blocking(self._channel, False)
        self._buffer = b""

    def start(self, live: Callable[[int], int], others: Sequence[int]) -> None:
        """Forks. `live(channel)` is the child's life and gives its exit code; `others` it must not hold open."""

        def begin() -> int:
            for descriptor in (self._channel, *others):
                os.close(descriptor)
            return live(self._end)

        self.pid = fork(f"generation {self.number}", begin)
        os.close(self._end)

    @property
    def channel(self) -> int:
        """Readable when it told something, or ended."""
        return self._channel

    def read(self) -> list[Told]:
        """What it told since the last call."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._channel, 65_536):
                self._buffer += data
        told: list[Told] = []
        while len(self._buffer) >= _SIZE.size:
            size = _SIZE.size + _SIZE.unpack_from(self._buffer)[0]
            if len(self._buffer) < size:
                break
            told.append(pickle.loads(self._buffer[_SIZE.size : size]))  # noqa: S301 (written by our own fork)
            self._buffer = self._buffer[size:]
        return told

    def send(self, number: signal.Signals) -> None:
        """To a process that was not buried yet, so its id is nobody else's."""
        if self.code is None:
            os.kill(self.pid, number)

    def hurry(self) -> None:
        """Its last streams have had their time."""
        if not self._is_hurried:
            self._is_hurried = True
            self.send(signal.SIGTERM)

    def bury(self, *, is_waiting: bool = False) -> bool:
        """True once, when it has ended; `code` says how."""
        if self.code is not None:
            return False
        pid, status = os.waitpid(self.pid, 0 if is_waiting else os.WNOHANG)
        if not pid:
            return False
        self.code = os.waitstatus_to_exitcode(status)
        return True

    def close(self) -> None:
        """After `bury` and the last `read`."""
        os.close(self._channel)


def live(attempt: Attempt, load: Load, listeners: Sequence[socket.socket], enter: Enter | None, channel: int) -> int:
    """The life of a generation, in its process. Returns the exit code."""

    def tell(message: Told) -> None:
        data = pickle.dumps(message)
        data = _SIZE.pack(len(data)) + data
        while data:  # a signal may cut a write short
            data = data[os.write(channel, data) :]

    begun = time.monotonic()
    try:
        with _first_to_go():
            loaded = load(attempt)
    except Exception as error:
        tell(HasRead(attempt.files.looks))
        tell(HasFailed(_portable(error)))
        return 1
    gc.collect()
    gc.freeze()  # out of the collector's reach, which would touch and so copy the pages that workers share
    tell(HasRead(attempt.files.looks))
    tell(HasLoaded(loaded.inspector.ruleset_hash, loaded.baseline, loaded.report, time.monotonic() - begun))
    return Crew(
        loaded.settings,
        loaded.inspector,
        listeners,
        enter,
        Reports(lambda: tell(Serves()), lambda: tell(WorkerDied())),
        channel,
    ).run()


@contextlib.contextmanager
def _first_to_go() -> Iterator[None]:
    """Raised without privilege, and back: the lower bound stays what it was."""
    before = ""
    with contextlib.suppress(OSError):
        before = _OOM_FILE.read_text()
        _OOM_FILE.write_text(str(max(OOM_SCORE, int(before))))
    try:
        yield
    finally:
        if before:
            with contextlib.suppress(OSError):
                _OOM_FILE.write_text(before)


def _portable(error: Exception) -> Exception:
    """One that arrives as it was sent."""
    try:
        if str(pickle.loads(pickle.dumps(error))) == str(error):  # noqa: S301 (our own)
            return error
    except Exception:  # noqa: S110 (told below in other words)
        pass
    return ExtprocError(f"{type(error).__name__}: {error}")
