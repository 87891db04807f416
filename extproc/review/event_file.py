"""Files of decision events: from a point in time on, or as they grow. A line that is none is counted, never fatal."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from extproc.events.record import SCHEMA
from extproc.model.errors import ConfigError

MAX_LINE_BYTES = 1_048_576
"""A longer line is no event."""

BISECT_BYTES = 65_536
"""Where less than this is left to look for the first line in time, lines are read one by one."""

DISORDER_S = 5.0
"""Workers write by turns: an event may stand this much after a younger one."""

Event = dict[str, Any]


class EventFile:
    """One file. `broken` counts lines that were passed over."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError when it cannot be read."""
        self.path = path
        self.broken = 0
        try:
            self._stream: BinaryIO = path.open("rb")
        except OSError as error:
            raise ConfigError(str(path), f"cannot be read: {error.strerror}") from error
        self._rest = b""

    def close(self) -> None:
        """The file is needed no more."""
        self._stream.close()

    def since(self, start: float) -> Iterator[Event]:
        """Events from `start` on, seconds since 1970; a long past is skipped, not read."""
        self._rest = b""
        self._stream.seek(self._offset_of(start - DISORDER_S) if start > 0 else 0)
        for event in self.more():
            if time_of(event) >= start:
                yield event

    def more(self) -> Iterator[Event]:
        """Events that were written since the last call. A rotated file is followed to its successor."""
        while True:
            while line := self._stream.readline(MAX_LINE_BYTES):
                line = self._rest + line
                if not line.endswith(b"\n"):
                    self._rest = line if len(line) < MAX_LINE_BYTES else b""
                    if self._rest:
                        break
                    self.broken += 1
                    continue
                self._rest = b""
                event = parse(line)
                if event is None:
                    self.broken += 1
                else:
                    yield event
            if not self._follow():
                return

    def _follow(self) -> bool:
        """Was the file replaced by another one of its name, or cut?"""
        try:
            now = self.path.stat()
        except OSError:
            return False
        ours = os.fstat(self._stream.fileno())
        if (now.st_dev, now.st_ino) == (ours.st_dev, ours.st_ino):
            if now.st_size >= self._stream.tell():
                return False
            self._stream.seek(0)
        else:
            self._stream.close()
            self._stream = self.path.open("rb")
        self._rest = b""
        return True

    def _offset_of(self, start: float) -> int:
        """An offset at or before the first line of `start`."""
        low, high = 0, os.fstat(self._stream.fileno()).st_size
        while high - low > BISECT_BYTES:
            middle = (low + high) // 2
            self._stream.seek(middle)
            self._stream.readline(MAX_LINE_BYTES)  # the rest of a line
            event = parse(self._stream.readline(MAX_LINE_BYTES))
            if event is not None and time_of(event) < start:
                low = middle
            else:
                high = middle
        self._stream.seek(low)
        if low:
            self._stream.readline(MAX_LINE_BYTES)
        return self._stream.tell()


def parse(line: bytes) -> Event | None:
    """One line as an event, None if it is none of ours."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or event.get("schema") != SCHEMA or not isinstance(event.get("matches"), list):
        return None
    return event if time_of(event) > 0 else None


def time_of(event: Event) -> float:
    """Seconds since 1970, 0 for a time that cannot be read."""
    try:
        return datetime.fromisoformat(str(event.get("time"))).timestamp()
    except ValueError:
        return 0.0


def path_of(event: Event) -> str:
    """The path without the query."""
    return str(event.get("path", "")).partition("?")[0]
