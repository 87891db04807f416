"""How often a peer may do what costs it nothing and us something: a bucket that fills with time."""

from __future__ import annotations

import time
from collections.abc import Callable


class Allowance:
    """`burst` at once, then `per_second`."""

    __slots__ = ("_burst", "_clock", "_left", "_per_second", "_seen")

    def __init__(self, burst: int, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._left = float(burst)
        self._seen = clock()

    def take(self) -> bool:
        """One more; False when it is one too many."""
        self._left -= 1.0
        if self._left >= 0.0:
            return True
        now = self._clock()
        self._left = min(float(self._burst), self._left + (now - self._seen) * self._per_second)
        self._seen = now
        return self._left >= 0.0
