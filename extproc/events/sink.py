"""Where events go: whole lines to a file, stdout or stderr, written by a thread so that no verdict waits.

`write` only puts a line into a bounded queue. When the queue is full (a slow or full disk) the line
is dropped, counted and told on stderr: an answer to a request never waits for a log. The file exists from the
constructor on; several processes may append to it, because each `write(2)`, with
O_APPEND, holds whole lines. The thread is started after fork, by each worker for itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import select
import sys
import threading
import time
from pathlib import Path

QUEUE_LINES = 10_000
"""Lines that wait for the disk, at most. At 65,536 bytes a line it is memory that counts: see QUEUE_BYTES."""

QUEUE_BYTES = 32 * 1024 * 1024
"""Bytes that wait for the disk, at most."""

WRITE_BYTES = 4096
"""Lines that wait are written together up to that size, which a pipe takes in one piece (PIPE_BUF), whoever else writes
to it: each write is a thread's turn, and takes the interpreter from whoever answers a request."""

RETRY_S = 0.5
"""Pause after a failed write (disk full, pipe closed) before the same line is tried again."""

STOP_S = 2.0
"""How long `stop` waits for what is still queued."""

KEPT_FILES = 5
"""Rotated files that are kept beside the current one: FILE.1 is the youngest."""

STDOUT, STDERR = "-", "&2"
"""Targets that are no file."""

STDERR_DESCRIPTOR = 2


class EventSink:
    """Appends lines to `target` (a path, `-` for stdout, `&2` for stderr).

    `max_file_bytes` 0: the file is never rotated here. A file that something else has moved away
    (logrotate) is created anew within a second. `dropped` counts lines that no one will see,
    `written` those that are in the file.
    """

    def __init__(self, target: str, max_file_bytes: int = 0, kept_files: int = KEPT_FILES) -> None:
        """Open the file. Raises OSError if it cannot be written."""
        self.dropped = 0
        self.written = 0
        self._target = target
        self._path = None if target in (STDOUT, STDERR) else Path(target)
        self._max_file_bytes = max_file_bytes
        self._write_bytes = min(WRITE_BYTES, max_file_bytes or WRITE_BYTES)
        self._kept_files = kept_files
        self._fd = _open(self._path) if self._path else (sys.stderr if target == STDERR else sys.stdout).fileno()
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._queued_bytes = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_stopping = threading.Event()
        self._ahead = b""
        self._is_torn = False
        self._has_reported = False
        self._told_dropped = 0
        self._is_dropping = False
        self._checked_at = time.monotonic()

    def start(self) -> None:
        """Start writing; call it in the process that writes, after fork. A second call does nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="events", daemon=True)
            self._thread.start()

    def write(self, line: bytes) -> bool:
        """Queue one line that ends in a newline. False: dropped and counted. Never blocks, never raises."""
        with self._lock:
            is_full = self._lines.qsize() >= QUEUE_LINES or self._queued_bytes + len(line) > QUEUE_BYTES
            if not is_full and not self._is_stopping.is_set():
                self._queued_bytes += len(line)
                self._lines.put(line)
                return True
            self.dropped += 1
            is_news = is_full and not self._is_dropping
            self._is_dropping |= is_full
        if is_news:
            _say(f"events: {self._name} takes no more; lines are dropped until it does")
        return False

    @property
    def waiting(self) -> int:
        """Lines that are queued."""
        return self._lines.qsize()

    def stop(self, timeout_s: float = STOP_S) -> None:
        """Write what is queued, for at most `timeout_s`; lines that could not be written are counted."""
        with self._lock:
            is_first = not self._is_stopping.is_set()
            self._is_stopping.set()
            if is_first:
                self._lines.put(None)
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                self.dropped += max(self._lines.qsize() - 1, 0) + bool(self._ahead)
                is_first = False  # the thread may still need the file
            if self.dropped > self._told_dropped:
                _say(f"events: {self.dropped - self._told_dropped} lines were not written to {self._name}")
                self._told_dropped = self.dropped
        if is_first and self._path:
            os.close(self._fd)

    def _run(self) -> None:
        while lines := self._next():
            size = len(lines)
            while lines := self._put(lines):
                if self._is_stopping.wait(RETRY_S):
                    # No time left to wait for the disk: one last try, then what is left is lost.
                    self.dropped += self._put(lines).count(b"\n")
                    break
            with self._lock:
                self._queued_bytes -= size

    def _next(self) -> bytes:
        """One line, or as many as wait and fit WRITE_BYTES; empty at the end."""
        line = self._ahead or self._lines.get()
        self._ahead = b""
        lines: list[bytes] = []
        size = 0
        while line is not None:
            size += len(line)
            if lines and size > self._write_bytes:
                self._ahead = line
                break
            lines.append(line)
            try:
                line = self._lines.get_nowait()
            except queue.Empty:
                break
        else:
            if lines:
                self._lines.put(None)  # read again when these are written
        return b"".join(lines)

    def _put(self, lines: bytes) -> bytes:
        """Whole lines, in one write; what is left of them. A torn line (disk full in its middle) is ended and written
        again."""
        try:
            self._look_after_file(len(lines))
            data = b"\n" + lines if self._is_torn else lines
            count = os.write(self._fd, data)
            if count < len(data):
                whole = data.rfind(b"\n", self._is_torn, count) + 1
                self.written += data.count(b"\n", self._is_torn, whole)
                self._is_torn = count > whole or (self._is_torn and not count)
                return data[whole:] if whole else lines
            self._is_torn = False
        except OSError as error:
            if not self._has_reported:
                self._has_reported = True
                _say(f"events: cannot write to {self._name}: {error.strerror}; retrying")
            return lines
        self._has_reported = False
        self.written += lines.count(b"\n")
        if self._is_dropping and self._lines.qsize() < QUEUE_LINES // 2:
            with self._lock:
                lost, self._told_dropped, self._is_dropping = self.dropped - self._told_dropped, self.dropped, False
            _say(f"events: {self._name} takes lines again; {lost} were dropped")
        return b""

    @property
    def _name(self) -> str:
        return str(self._path) if self._path else {STDOUT: "stdout", STDERR: "stderr"}[self._target]

    def _look_after_file(self, next_bytes: int) -> None:
        """Reopen a file that was moved away, and move it away when it is large enough."""
        if self._path is None:
            return
        now = time.monotonic()
        size = os.fstat(self._fd).st_size if self._max_file_bytes else 0
        is_due = self._max_file_bytes and size and size + next_bytes > self._max_file_bytes
        if not is_due and now - self._checked_at < 1.0:
            return
        self._checked_at = now
        if not _is_same_file(self._path, self._fd):
            self._reopen()
        elif is_due:
            # Another worker may be at it too: who holds the lock looks again before it moves anything.
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            try:
                if _is_same_file(self._path, self._fd):
                    _rotate(self._path, self._kept_files)
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            self._reopen()

    def _reopen(self) -> None:
        if self._path is not None:
            fresh = _open(self._path)
            os.close(self._fd)
            self._fd = fresh


def _say(text: str) -> None:
    """A line on stderr, if it takes one now: whoever calls may be answering a request. Its disk may be full too."""
    room = select.poll()
    room.register(STDERR_DESCRIPTOR, select.POLLOUT)
    if room.poll(0):
        with contextlib.suppress(OSError):
            print(text, file=sys.stderr, flush=True)


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)


def _is_same_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _rotate(path: Path, kept_files: int) -> None:
    for number in range(kept_files - 1, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number + 1}"))
    if kept_files:
        path.replace(path.with_name(f"{path.name}.1"))
    else:
        path.unlink()
