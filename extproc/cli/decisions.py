"""Decisions → events and lines for people, out of the way of the requests that they are about."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from extproc.config import EVENTS_TO_COLLECTOR, Config
from extproc.events.line import human
from extproc.events.masking import Masking
from extproc.events.record import encode
from extproc.events.scrubber import Scrubber
from extproc.events.sink import STDERR, EventSink
from extproc.model.errors import ConfigError
from extproc.model.verdict import Coverage, Decision, Outcome

if TYPE_CHECKING:
    from extproc.telemetry.event_logs import EventLogs
    from extproc.telemetry.traces import SpanSender

DELAY_S = 0.04
"""From the first decision that waits to its encoding: several are encoded in one go, and written by one turn of a
thread. On disk within 100 ms is what is promised."""

BATCH = 8
"""So many that wait are encoded at once, so that no encoding holds the event loop for long."""


class Decisions:
    """Made before the fork, so that the file exists from the start; `writing` runs in each worker."""

    def __init__(self, config: Config) -> None:
        """Raises ConfigError when the file cannot be written."""
        self._tells_all = config.lines == "all"
        self._lines = None if config.lines == "off" else EventSink(STDERR)
        self._events = None
        if config.events == EVENTS_TO_COLLECTOR:
            if not config.otlp:
                raise ConfigError(config.sources["events"], "otlp needs --otlp URL: where the events go")
        elif config.events:
            try:
                self._events = EventSink(config.events, config.events_limit)
            except OSError as error:
                raise ConfigError(config.sources["events"], f"{config.events}: {error.strerror}") from error
        if config.traces and not config.otlp:
            raise ConfigError(config.sources["traces"], "needs --otlp URL: where the spans go")
        self._config = config
        self._takes_all = bool(config.events or config.traces)
        self._spans: SpanSender | None = None
        self._event_logs: EventLogs | None = None
        self._waiting: list[tuple[Decision, Masking]] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def dropped(self) -> int:
        """Events and lines that no one will see."""
        return sum(sink.dropped for sink in self._sinks)

    @property
    def waiting(self) -> int:
        """Events and lines on their way; what waits for its encoding is one."""
        return len(self._waiting) + sum(sink.waiting for sink in self._sinks)

    @property
    def _sinks(self) -> list[EventSink | EventLogs]:
        return [sink for sink in (self._events, self._event_logs, self._lines) if sink is not None]

    @property
    def spans_dropped(self) -> int:
        """Spans that no one will see."""
        return self._spans.dropped if self._spans is not None else 0

    def publish(self, decision: Decision, masking: Masking) -> None:
        """Takes one decision; encodes it a moment later, or at once where no event loop runs."""
        if not (self._takes_all or self._is_told(decision)):
            return
        self._waiting.append((decision, masking))
        count = len(self._waiting)
        if count == 1:
            try:
                self._timer = asyncio.get_running_loop().call_later(DELAY_S, self._flush)
            except RuntimeError:
                self._flush()
        elif count == BATCH:
            asyncio.get_running_loop().call_soon(self._flush)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """While a worker serves: its threads write; at the end what is left is written out."""
        for file in (self._events, self._lines):
            if file is not None:
                file.start()
        # Half a second of imports that few need.
        if self._config.traces:
            from extproc.telemetry.traces import SpanSender

            self._spans = SpanSender(self._config.otlp, self._config.traces)
        if self._config.events == EVENTS_TO_COLLECTOR:
            from extproc.telemetry.event_logs import EventLogs

            self._event_logs = EventLogs(self._config.otlp)
        try:
            yield
        finally:
            self._flush()
            for sink in self._sinks:
                sink.stop()
            if self._spans is not None:
                self._spans.stop()

    def _is_told(self, decision: Decision) -> bool:
        """Is there a line about it?"""
        return self._lines is not None and (self._tells_all or _is_telling(decision))

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        waiting, self._waiting = self._waiting, []
        for decision, masking in waiting:
            is_told = self._is_told(decision)
            is_sampled = self._spans is not None and self._spans.takes(decision)
            is_event = self._events is not None or self._event_logs is not None
            if not (is_event or is_told or is_sampled):
                continue
            scrubber = Scrubber(masking, decision)
            if self._spans is not None and is_sampled:
                self._spans.send(decision, scrubber.string(decision.route))
            if is_event:
                line = encode(decision, masking, scrubber)
                if self._events is not None:
                    self._events.write(line)
                if self._event_logs is not None:
                    self._event_logs.write(line, decision)
            if is_told and self._lines is not None:
                self._lines.write(human(decision, masking, scrubber).encode("utf-8", "backslashreplace") + b"\n")


def _is_telling(decision: Decision) -> bool:
    """Something for a person to look at."""
    if decision.shadow is not None and decision.shadow.would is Outcome.BLOCK:
        return True
    return decision.would is Outcome.BLOCK or bool(decision.matches) or decision.coverage is not Coverage.INSPECTED
