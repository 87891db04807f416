"""Time as an object: how long one request may work, and when to let others run."""

from __future__ import annotations

from collections.abc import Callable

SLICE_US = 2_000
"""Work done in one go before the event loop gets its turn, microseconds."""


class Deadline:
    """A time budget and its current slice. The clock comes in, so a test can replay any request.

    `clock` returns monotonic nanoseconds. `start_slice` is called by whoever drives the steps,
    `is_slice_over` and `is_expired` by whoever does the work.
    """

    __slots__ = ("_clock", "_end_ns", "_slice_end_ns", "_slice_ns")

    def __init__(self, clock: Callable[[], int], budget_us: int, slice_us: int = SLICE_US) -> None:
        now = clock()
        self._clock = clock
        self._end_ns = now + budget_us * 1000
        self._slice_ns = slice_us * 1000
        self._slice_end_ns = now + self._slice_ns

    def shorten(self, budget_us: int) -> None:
        """End no later than this from now."""
        self._end_ns = min(self._end_ns, self._clock() + budget_us * 1000)

    def start_slice(self) -> None:
        """Begin the next slice of work now."""
        self._slice_end_ns = self._clock() + self._slice_ns

    def is_slice_over(self) -> bool:
        """Should the work be interrupted here, to be resumed?"""
        return self._clock() >= self._slice_end_ns

    def is_expired(self) -> bool:
        """Is the whole budget used up?"""
        return self._clock() >= self._end_ns
