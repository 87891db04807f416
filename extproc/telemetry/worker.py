"""A worker's part: counts its decisions, leaves its numbers where all are added up, shows the sum to who asks."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from extproc.model.verdict import Decision
from extproc.telemetry import prometheus, status
from extproc.telemetry.counters import Counters, Snapshot
from extproc.telemetry.families import Facts, Metric, metrics
from extproc.telemetry.folder import FOLD_EVERY_S, WRITE_EVERY_S, NumbersFolder


class WorkerNumbers:
    """Made before the fork; `count` and `writing` are of the worker."""

    def __init__(self, folder: NumbersFolder, facts: Callable[[], Facts]) -> None:
        """`facts`: what is known beside the counters, at the time of the call; `workers` is filled in here."""
        self._folder = folder
        self._facts = facts
        self._counters = Counters()
        self.count: Callable[[Decision], None] = self._counters.count

    @contextlib.contextmanager
    def writing(
        self,
        number: int,
        gauges: Mapping[str, Callable[[], int]],
        totals: Mapping[str, Callable[[], int]],
        refused: Mapping[str, int],
    ) -> Iterator[None]:
        """While a worker serves: its file is kept current. Worker 0 also folds the files of the dead."""
        stop = threading.Event()
        name = f"{os.getpid()}-{time.time_ns()}"
        written: Snapshot = {}

        def write() -> None:
            nonlocal written
            self._counters.gauges = {key: read() for key, read in list(gauges.items())}
            self._counters.totals |= {key: read() for key, read in totals.items()}
            self._counters.refused = dict(refused)
            snapshot = self._counters.snapshot()
            if snapshot != written:
                self._folder.write(name, snapshot)
                written = snapshot

        def keep() -> None:
            is_well = True
            fold_at = 0.0
            while not stop.wait(WRITE_EVERY_S):
                try:
                    write()
                    if number == 0 and time.monotonic() >= fold_at:
                        self._folder.fold()
                        fold_at = time.monotonic() + FOLD_EVERY_S
                except (OSError, RuntimeError) as error:  # RuntimeError: a dict grew under our eyes; next time, then
                    if is_well and isinstance(error, OSError):
                        print(f"extproc: metrics cannot be written: {error.strerror}", file=sys.stderr, flush=True)
                        is_well = False
                else:
                    is_well = True

        thread = threading.Thread(target=keep, name="numbers", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            with contextlib.suppress(OSError):
                write()

    def metrics(self) -> Iterable[Metric]:
        """Of all workers."""
        return metrics(*self._read())

    def _read(self) -> tuple[Snapshot, Facts]:
        numbers = self._folder.read()
        return numbers.total, replace(self._facts(), workers=numbers.workers)

    def prometheus_page(self) -> tuple[str, bytes]:
        """(content type, exposition)."""
        return prometheus.CONTENT_TYPE, prometheus.text(self.metrics())

    def status_page(self, accept: str) -> tuple[str, bytes]:
        """JSON, or HTML for who asks for it."""
        found = status.status(*self._read())
        if "text/html" in accept:
            return "text/html; charset=utf-8", status.as_page(found)
        return "application/json", status.as_json(found)
