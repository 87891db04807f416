"""Forks that cannot outlive their parent, start with signals of their own and never return into the parent's code."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator

PR_SET_PDEATHSIG = 1
"""prctl(2)."""

_LIBC = ctypes.CDLL(None)  # loaded before any fork

_OURS = (signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1)
_OF_THE_TERMINAL = (signal.SIGINT, signal.SIGHUP)


def fork(name: str, life: Callable[[], int]) -> int:
    """The child's process id. `life` runs in the child and gives its exit code; what it raises is told on stderr.

    Only for a process without threads: locks that another thread holds would stay locked in the child.
    """
    parent = os.getpid()
    with _signals_held():
        pid = os.fork()
        if pid:
            return pid
        _become_child(parent)
    code = 1
    try:
        code = life()
    except BaseException as fault:
        say(f"{name}: {type(fault).__name__}: {fault}")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@contextlib.contextmanager
def signals_as_bytes(end: int, *numbers: signal.Signals) -> Iterator[None]:
    """Within it these signals become bytes in the pipe, so that waiting for them and for others is one select."""
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    old = signal.set_wakeup_fd(end, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(old)
        for number, handler in before.items():
            signal.signal(number, handler)


def drain_pipe(end: int) -> bytes:
    """What waits in a pipe that does not block."""
    try:
        return os.read(end, 4096)
    except BlockingIOError:
        return b""


def say(line: str) -> None:
    """To people, on stderr."""
    sys.stderr.write(f"extproc: {line}\n")
    sys.stderr.flush()


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """A signal between the fork and the child's own handlers would be taken for one of the parent's."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _become_child(parent: int) -> None:
    signal.set_wakeup_fd(-1)
    for number in _OURS:
        signal.signal(number, signal.SIG_DFL)
    for number in _OF_THE_TERMINAL:  # the supervisor decides
        signal.signal(number, signal.SIG_IGN)
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
