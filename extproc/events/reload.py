"""The event of a reload (`extproc.reload/1`): one line beside those of decisions, whether it came to something or not.

Written at once and by itself, as it is told by a process without threads, which must not wait for a reader either.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
from datetime import UTC, datetime

from extproc.events.sink import STDOUT

SCHEMA = "extproc.reload/1"

REASON_CHARACTERS, OTHER_CHARACTERS = 360, 120
"""Of the reason, and of the other texts: a line is one write into a pipe (PIPE_BUF of pipe(7)), escapes and all."""

STDOUT_DESCRIPTOR = 1


def write(
    target: str, *, time: float, outcome: str, why: str, generation: int, ruleset: str, reason: str, rehearsal: str
) -> None:
    """Appends the event to `target` (a path, or `-`). It is lost when that takes nothing now; nothing is raised.

    `outcome`: `serving`, `failed` or `refused`; `ruleset` and `generation` are what serves now, `why` what asked for
    the reload, `reason` what went wrong.
    """
    event = {
        "schema": SCHEMA,
        "time": datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "outcome": outcome,
        "why": why[:OTHER_CHARACTERS],
        "generation": generation,
        "ruleset": ruleset,
        "reason": reason[:REASON_CHARACTERS] or None,
        "rehearsal": rehearsal[:OTHER_CHARACTERS] or None,
    }
    line = json.dumps(event).encode() + b"\n"
    with contextlib.suppress(OSError):
        if target == STDOUT:
            _write(STDOUT_DESCRIPTOR, line)
            return
        # By its name, as the file may have been moved away since the start.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(target, flags, 0o640)
        try:
            _write(descriptor, line)
        finally:
            os.close(descriptor)


def _write(descriptor: int, line: bytes) -> None:
    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    if room.poll(0):
        os.write(descriptor, line)
