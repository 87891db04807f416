"""Where numbers meet the server: a folder for a pair's counters, the pages of a worker, the export to a collector."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from extproc import __version__
from extproc.cli.decisions import Decisions
from extproc.cli.private_folder import private_folder
from extproc.config import Config
from extproc.model.verdict import Decision
from extproc.server.pages import Held, Page
from extproc.server.process import say
from extproc.server.reloads import ReloadStatus, SharedStatus
from extproc.telemetry.families import Facts
from extproc.telemetry.folder import NumbersFolder
from extproc.telemetry.worker import WorkerNumbers

PREFIX = "extproc-numbers-"
"""Of the folder."""


class Telemetry:
    """Made before the first fork. `count` takes each decision; `serving` is what a worker holds."""

    def __init__(self, config: Config, reloads: SharedStatus) -> None:
        self._config = config
        self._reloads = reloads
        self._started = time.time()
        self.mode = config.mode
        """The effective one, once rules are loaded."""
        self._held = contextlib.ExitStack()
        self.folder = _make_folder(self._held)
        self._numbers = WorkerNumbers(NumbersFolder(self.folder), self._facts)

    def count(self, decision: Decision) -> None:
        """Adds one decision to the worker's numbers."""
        self._numbers.count(decision)

    def close(self) -> None:
        """The numbers are nobody's any more."""
        self._held.close()

    @contextlib.contextmanager
    def serving(self, number: int, decisions: Decisions) -> Iterator[Held]:
        """While a worker serves. `decisions`: what is lost of them is counted."""
        held = Held()
        held.gauges["events_waiting"] = lambda: decisions.waiting
        held.pages["/metrics"] = lambda accept: Page(*self._numbers.prometheus_page())
        held.pages["/status"] = lambda accept: Page(*self._numbers.status_page(accept))
        totals = {
            "events_dropped": lambda: decisions.dropped,
            "spans_dropped": lambda: decisions.spans_dropped,
        }
        with self._numbers.writing(number, held.gauges, totals, held.refused), self._pushing(number):
            yield held

    @contextlib.contextmanager
    def _pushing(self, number: int) -> Iterator[None]:
        """Worker 0 speaks for all of them."""
        if not self._config.otlp or number != 0:
            yield
            return
        from extproc.telemetry.otlp import MetricsPusher  # half a second of imports that few need

        pusher = MetricsPusher(self._config.otlp, self._numbers.metrics)
        pusher.start()
        try:
            yield
        finally:
            pusher.stop()

    def _facts(self) -> Facts:
        reload = self._reloads.read() or ReloadStatus()
        good = max(0, reload.attempts - reload.failures - (reload.outcome == "loading"))
        return Facts(
            version=__version__,
            ruleset=reload.ruleset,
            mode=self.mode,
            started=self._started,
            workers=0,
            generation=reload.generation,
            reloads={"good": max(0, good - 1), "failed": reload.failures},  # the first load is the start
            is_last_reload_good=reload.is_current,
            last_reload=reload.attempted_at,
            last_reload_reason=reload.reason,
        )


def _make_folder(held: contextlib.ExitStack) -> Path | None:
    """In /dev/shm where there is one: it is memory, and no disk that can be full. Those of the killed are removed."""
    for parent in (Path("/dev/shm"), None):  # noqa: S108 - the folder itself is private
        with contextlib.suppress(OSError):
            return held.enter_context(private_folder(PREFIX, parent))
    say("no folder for numbers can be made: metrics and status are of the worker that answers, not of all")
    return None
