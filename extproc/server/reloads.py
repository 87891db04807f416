"""What the supervisor knows of rules and reloads, in memory that all its descendants share: one writes, all read.

The supervisor answers no questions, workers do (metrics, status), and they were forked long before the next reload:
so the state lives in a shared mapping. A checksum keeps readers from half a state; a writer killed in the middle
leaves an unreadable one, never a wrong one.
"""

from __future__ import annotations

import json
import mmap
import struct
import time
import zlib
from dataclasses import asdict, dataclass

CAPACITY_BYTES = 16_384
"""Of the mapping. Only `reason` can be long; it is cut."""

REASON_BYTES = 8_192
"""Of `reason`, as JSON; what is beyond is cut."""

READ_TRIES = 100
"""Until a reader gives up on a state that is being written; writing takes microseconds."""

_HEAD = struct.Struct("=II")
"""Bytes of JSON that follow, and their CRC-32."""


@dataclass(frozen=True, slots=True)
class ReloadStatus:
    """Times are seconds since 1970, 0 for never.

    `outcome` of the last attempt: `loading`, `serving`, `failed` (did not load), `refused` (failed its rehearsal).
    With the last two, `reason` says what and where, and the rules of `generation` go on.
    """

    generation: int = 0
    ruleset: str = ""
    serving_since: float = 0.0
    attempts: int = 0
    failures: int = 0
    outcome: str = "loading"
    reason: str = ""
    attempted_at: float = 0.0
    load_s: float = 0.0
    rehearsal: str = ""
    worker_deaths: int = 0

    @property
    def is_current(self) -> bool:
        """Do the rules on disk and those that run agree, as far as anybody knows? The gauge to set an alarm on."""
        return self.outcome in ("loading", "serving")


class SharedStatus:
    """Made before the first fork. `write` by the supervisor alone; `read` by anybody."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, CAPACITY_BYTES)
        self.write(ReloadStatus())

    def write(self, status: ReloadStatus) -> None:
        """Replaces the state."""
        fields = asdict(status)
        fields["reason"] = status.reason.encode()[: REASON_BYTES // 6].decode(errors="ignore")  # `\uXXXX` at worst
        data = json.dumps(fields).encode()
        self._memory[: _HEAD.size + len(data)] = _HEAD.pack(len(data), zlib.crc32(data)) + data

    def read(self) -> ReloadStatus | None:
        """The state; None if none could be read whole."""
        for _ in range(READ_TRIES):
            size, checksum = _HEAD.unpack_from(self._memory)
            data = self._memory[_HEAD.size : _HEAD.size + size]
            if zlib.crc32(data) == checksum:
                return ReloadStatus(**json.loads(data))
            time.sleep(0)
        return None
