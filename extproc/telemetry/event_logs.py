"""Decision events as OTLP log records: the same line that a file would get, with severity and trace beside it.

Made in each worker, after the fork. Source: the OpenTelemetry logs data model.
"""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult

from extproc import __version__
from extproc.model.verdict import Decision, Outcome
from extproc.telemetry.collector import TIMEOUT_S, Delivery, resource
from extproc.telemetry.traces import parent_context

NAME = "extproc.decision"

QUEUE_EVENTS = 10_000
"""Events that wait for the collector, at most; what is more is dropped and counted."""

QUEUE_BYTES = 32 * 1024 * 1024
"""The same in bytes of their lines."""

BATCH_EVENTS = 64
"""Events of one export: with the longest of lines it is 4 MiB, which collectors take."""

EVERY_MS = 500
"""From an event to its export, at most, while the collector answers."""


class EventLogs:
    """Sends events to `endpoint`, a collector's base URL. `dropped` and `waiting` as of a file's sink."""

    def __init__(self, endpoint: str) -> None:
        """Starts the thread that sends."""
        self._delivery = Delivery("events", QUEUE_EVENTS, QUEUE_BYTES)
        self._exporter = OTLPLogExporter(endpoint=f"{endpoint.rstrip('/')}/v1/logs", timeout=TIMEOUT_S)
        self._processor = BatchLogRecordProcessor(
            _Counted(self._exporter, self._delivery),
            schedule_delay_millis=EVERY_MS,
            max_export_batch_size=BATCH_EVENTS,
            max_queue_size=QUEUE_EVENTS,
        )
        provider = LoggerProvider(resource=resource(), shutdown_on_exit=False)
        provider.add_log_record_processor(self._processor)
        self._logger = provider.get_logger("extproc", __version__)

    @property
    def dropped(self) -> int:
        """Events that the collector never got."""
        return self._delivery.dropped

    @property
    def waiting(self) -> int:
        """Events on their way."""
        return self._delivery.waiting

    def write(self, line: bytes, decision: Decision) -> None:
        """`line`: the event of `decision`, masked. Never blocks, never raises."""
        body = line.rstrip(b"\n").decode("ascii")
        if not self._delivery.admits(len(body)):
            return
        is_denied = decision.would is Outcome.BLOCK
        self._logger.emit(
            LogRecord(
                timestamp=round(decision.time * 1e6) * 1000,
                context=parent_context(decision.trace),
                severity_number=SeverityNumber.WARN if is_denied else SeverityNumber.INFO,
                severity_text="WARN" if is_denied else "INFO",
                body=body,
                attributes={"extproc.incident": decision.incident, "extproc.verdict": decision.verdict.value},
                event_name=NAME,
            )
        )

    def stop(self) -> None:
        """Sends what waits, within the time that a worker has."""
        self._delivery.stop(self._processor.shutdown, self._exporter.shutdown)


class _Counted(LogRecordExporter):
    def __init__(self, exporter: OTLPLogExporter, delivery: Delivery) -> None:
        self._exporter = exporter
        self._delivery = delivery

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        def send() -> bool:
            return self._exporter.export(batch) is LogRecordExportResult.SUCCESS

        self._delivery.export(send, len(batch), sum(len(str(one.log_record.body)) for one in batch))
        return LogRecordExportResult.SUCCESS  # whatever came of it is counted and told

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True  # nothing waits here

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the SDK's own omission
