"""Child processes that cannot outlive us, and the signals that tell about them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import IO

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that the kernel sends when the parent dies, however it dies."""

STDERR_DESCRIPTOR = 2

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
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: _tie(parent),
    )


class Fork:
    """A child that runs a function of ours in what this process has imported already: it starts at once.

    As `spawn` otherwise: a session of its own, tied to our life, no descriptors of ours but the first three. Has the
    part of `subprocess.Popen` that its owner needs.
    """

    def __init__(self, life: Callable[[], int]) -> None:
        """`life` gives the exit code; it runs to its end in the child. Raises OSError when there is no child."""
        self.returncode: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid:
            return
        code = 1
        try:
            os.setsid()
            _tie(parent)
            _let_go()
            code = life()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def poll(self) -> int | None:
        """The exit code, once it has ended; -N for signal N."""
        return self._bury(os.WNOHANG)

    def wait(self) -> int | None:
        return self._bury(0)

    def send_signal(self, number: int) -> None:
        """Nothing, once it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _bury(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def _tie(parent: int) -> None:
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the mask survives fork and exec; `Signals` may have set it
    if os.getppid() != parent:  # we died before the line above
        os._exit(1)


def _let_go() -> None:
    """Of what only the parent is to hold: a lock on a folder would outlive it for a moment."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for descriptor in [int(name) for name in os.listdir("/proc/self/fd")]:  # noqa: PTH208 (names are all we need)
        if descriptor > STDERR_DESCRIPTOR:
            with contextlib.suppress(OSError):  # the one that listed them
                os.close(descriptor)


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
