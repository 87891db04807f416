"""What metrics, spans and events have in common on their way to an OTLP collector: a bound, a count, one complaint."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable

from opentelemetry.sdk.resources import Resource

from extproc import __version__

TIMEOUT_S = 5.0
"""Of one export; an unreachable collector costs its thread time and nobody else."""

STOP_S = 2.0
"""How long a worker that ends waits for what has not been sent yet."""

GIVE_UP_S = 0.5
"""And then for the thread that was told to give up."""

# The exporters' own lines come with every try; `Reach` tells the same once.
_exporters = logging.getLogger("opentelemetry.exporter")
_exporters.addHandler(logging.NullHandler())
_exporters.propagate = False


def resource() -> Resource:
    """Who sends."""
    return Resource.create({"service.name": "extproc", "service.version": __version__})


class Reach:
    """Whether something reaches the collector; told when that changes."""

    def __init__(self, what: str) -> None:
        """`what`: in the plural, as people read it."""
        self._what = what
        self._is_well = True

    def note(self, is_well: bool) -> None:
        """The outcome of an export."""
        if is_well is not self._is_well:
            said = "reach the collector again" if is_well else "do not reach the collector"
            print(f"extproc: {self._what} {said}", file=sys.stderr, flush=True)
        self._is_well = is_well


class Delivery:
    """What is under way: at most so many items and bytes; `dropped` counts what will never arrive."""

    def __init__(self, what: str, limit: int, limit_bytes: int) -> None:
        self.dropped = 0
        self.waiting = 0
        self._waiting_bytes = 0
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._reach = Reach(what)
        self._lock = threading.Lock()

    def admits(self, size_bytes: int) -> bool:
        """May one more be on its way? False: it is counted as dropped. Never blocks for long, never raises."""
        with self._lock:
            if self.waiting >= self._limit or self._waiting_bytes + size_bytes > self._limit_bytes:
                self.dropped += 1
                return False
            self.waiting += 1
            self._waiting_bytes += size_bytes
            return True

    def export(self, send: Callable[[], bool], number: int, size_bytes: int) -> None:
        """Sends `number` items that were admitted; `send` returns whether they arrived."""
        is_well = False
        try:
            is_well = send()
        finally:
            with self._lock:
                self.waiting -= number
                self._waiting_bytes -= size_bytes
                if not is_well:
                    self.dropped += number
            self._reach.note(is_well)

    def stop(self, end: Callable[[], None], interrupt: Callable[[], None]) -> None:
        """Within STOP_S and GIVE_UP_S: `end` sends what waits; `interrupt` lets it give up."""
        thread = threading.Thread(target=end, daemon=True)
        thread.start()
        thread.join(STOP_S)
        if thread.is_alive():
            interrupt()
            thread.join(GIVE_UP_S)
