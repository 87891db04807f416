"""Child processes that cannot outlive us, and the signals that tell about them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that the kernel sends when the parent dies, however it dies."""

STOP_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})
WATCHED_SIGNALS = STOP_SIGNALS | {signal.SIGCHLD, signal.SIGHUP}

_LIBC = ctypes.CDLL(None, use_errno=True)  # loaded before any fork: a child between fork and exec should not


def spawn(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a program in a session of its own, so that the terminal's Ctrl-C reaches us alone, tied to our life.

    Only from the main thread of a process without other threads: the kernel watches the thread that forked.
    Raises OSError when the program cannot be started.
    """
    parent = os.getpid()

    def tie() -> None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the mask survives exec; `Signals` may have set it
        if os.getppid() != parent:  # we died before the line above
            os._exit(1)

    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env=environment,
        start_new_session=True,
        preexec_fn=tie,
    )


class Signals:
    """Within it the watched signals wait for `next`, instead of interrupting anything."""

    def __enter__(self) -> Signals:
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED_SIGNALS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while signal.sigtimedwait(WATCHED_SIGNALS, 0) is not None:  # else a second Ctrl-C is raised on the way out
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

    def next(self, timeout_s: float) -> signal.Signals | None:
        """The next signal, None if none comes in time."""
        found = signal.sigtimedwait(WATCHED_SIGNALS, max(0.0, timeout_s))
        return None if found is None else signal.Signals(found.si_signo)


def has_terminal() -> bool:
    """Is there a terminal that our Ctrl-C would come from? Not once it is closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def describe_exit(code: int) -> str:
    """A `Popen.returncode` in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"
