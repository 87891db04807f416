"""Decisions as spans: one for each sampled inspection, part of the trace that the request belongs to.

Made after the answer, from the decision, with its own times. Made in each worker, after the fork.
Names: the OpenTelemetry trace API; parents: W3C Trace Context.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from extproc import __version__
from extproc.model.trace import TraceParent
from extproc.model.verdict import Decision
from extproc.telemetry.collector import TIMEOUT_S, Delivery, resource

NAME = "extproc.inspect"

QUEUE_SPANS = 2048
"""Spans that wait to be sent, at most; what is more is dropped and counted."""

BATCH_SPANS = 512
"""Spans of one export."""

EVERY_MS = 1000
"""From a span to its export, at most, while the collector answers."""

MAX_RULES = 32
"""Rule ids of one span."""

MAX_ROUTE_CHARS = 256
"""A longer name of a route is cut."""


def parent_context(parent: TraceParent | None) -> Context:
    """What a span or a log record is made in, so that it belongs to the trace; empty without a parent."""
    if parent is None:
        return Context()
    caller = SpanContext(
        int(parent.trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=TraceFlags(parent.is_sampled)
    )
    return set_span_in_context(NonRecordingSpan(caller), Context())


class SpanSender:
    """Sends spans to `endpoint`, a collector's base URL. `takes` before `send`."""

    def __init__(self, endpoint: str, ratio: float) -> None:
        """`ratio`: of the requests that belong to no trace; the others are sampled as their caller says."""
        self._ratio = ratio
        self._delivery = Delivery("spans", QUEUE_SPANS, limit_bytes=QUEUE_SPANS)
        self._exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=TIMEOUT_S)
        self._processor = BatchSpanProcessor(
            _Counted(self._exporter, self._delivery),
            max_queue_size=QUEUE_SPANS,
            schedule_delay_millis=EVERY_MS,
            max_export_batch_size=BATCH_SPANS,
        )
        # `takes` has decided; a sampler that says no would cost as much as half a span.
        provider = TracerProvider(sampler=ALWAYS_ON, resource=resource(), shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("extproc", __version__)

    @property
    def dropped(self) -> int:
        """Spans that the collector never got."""
        return self._delivery.dropped

    def takes(self, decision: Decision) -> bool:
        """Is it sampled? As its caller's flag says; without a caller by a draw, as its trace id would be one too."""
        if decision.trace is not None:
            return decision.trace.is_sampled
        return random.random() < self._ratio  # noqa: S311 - no secret

    def send(self, decision: Decision, route: str) -> None:
        """`route`: as it may be shown. Nothing else of the request is in a span. Never blocks, never raises."""
        if not self._delivery.admits(1):
            return
        started_ns = round(decision.time * 1e6) * 1000  # a float holds no nanoseconds
        span = self._tracer.start_span(
            NAME,
            parent_context(decision.trace),
            attributes={
                "extproc.verdict": decision.verdict.value,
                "extproc.would": decision.would.value,
                "extproc.mode": decision.mode.value,
                "extproc.route": route[:MAX_ROUTE_CHARS],
                "extproc.coverage": decision.coverage.value,
                "extproc.coverage_reason": decision.coverage_reason or "",
                "extproc.score": decision.score,
                "extproc.rule": decision.rule_id,
                "extproc.rule_ids": list(dict.fromkeys(match.rule_id for match in decision.matches))[:MAX_RULES],
                "extproc.incident": decision.incident,
            },
            start_time=started_ns,
        )
        span.end(started_ns + decision.duration_us * 1000)

    def stop(self) -> None:
        """Sends what waits, within STOP_S."""
        self._delivery.stop(self._processor.shutdown, self._exporter.shutdown)


class _Counted(SpanExporter):
    def __init__(self, exporter: SpanExporter, delivery: Delivery) -> None:
        self._exporter = exporter
        self._delivery = delivery

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        def send() -> bool:
            return self._exporter.export(spans) is SpanExportResult.SUCCESS

        self._delivery.export(send, len(spans), size_bytes=len(spans))
        return SpanExportResult.SUCCESS  # whatever came of it is counted and told

    def shutdown(self) -> None:
        self._exporter.shutdown()
