"""What goes wrong with streams, told once a second at most: a flood of requests must not become a flood of lines."""

from __future__ import annotations

import time
from collections.abc import Callable

INTERVAL_S = 1.0
"""Between two lines about the same reason."""


class Complaints:
    """`say` gets the lines. What was held back is counted in the next line about the same reason."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._told: dict[str, float] = {}
        self._held_back: dict[str, int] = {}

    def tell(self, reason: str, text: str) -> None:
        """`reason` is one of a few fixed words, `text` the line."""
        now = self._clock()
        if now - self._told.get(reason, now - INTERVAL_S) < INTERVAL_S:
            self._held_back[reason] = self._held_back.get(reason, 0) + 1
            return
        self._told[reason] = now
        more = self._held_back.pop(reason, 0)
        self._say(f"{text} ({more} more like it before)" if more else text)
