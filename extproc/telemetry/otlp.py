"""Metrics to an OTLP collector: the sums of all workers as OpenTelemetry's own data, sent by its own exporter.

Not through instruments: the workers' numbers exist already, and an asynchronous histogram is not in the API. Source:
the OpenTelemetry metrics data model; cumulative temporality.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Metric as SdkMetric
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from extproc import __version__
from extproc.telemetry.collector import TIMEOUT_S, Reach, resource
from extproc.telemetry.families import COUNTER, HISTOGRAM, Metric

EXPORT_EVERY_S = 15.0


class MetricsPusher:
    """Sends what `collect` gives, from a thread of its own. A failed export is told once, and tried again."""

    def __init__(self, endpoint: str, collect: Callable[[], Iterable[Metric]], every_s: float = EXPORT_EVERY_S) -> None:
        """`endpoint` is a collector's base URL (`http://collector:4318`)."""
        self._exporter = OTLPMetricExporter(endpoint=f"{endpoint.rstrip('/')}/v1/metrics", timeout=TIMEOUT_S)
        self._collect = collect
        self._every_s = every_s
        self._stop = threading.Event()
        self._started_ns = time.time_ns()
        self._thread = threading.Thread(target=self._run, name="otlp-metrics", daemon=True)
        self._reach = Reach("metrics")

    def start(self) -> None:
        """Begins to send."""
        self._thread.start()

    def stop(self) -> None:
        """A last export, within TIMEOUT_S."""
        self._stop.set()
        self._thread.join(TIMEOUT_S)

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self._export()
        self._export()

    def _export(self) -> None:
        data = sdk_data(self._collect(), self._started_ns, time.time_ns())
        is_well = self._exporter.export(data, timeout_millis=TIMEOUT_S * 1000) is MetricExportResult.SUCCESS
        self._reach.note(is_well)


def sdk_data(metrics: Iterable[Metric], started_ns: int, now_ns: int) -> MetricsData:
    """Our metrics as the SDK's data; times are nanoseconds since 1970."""
    scope = ScopeMetrics(
        scope=InstrumentationScope("extproc", __version__),
        metrics=[_metric(metric, started_ns, now_ns) for metric in metrics],
        schema_url="",
    )
    return MetricsData([ResourceMetrics(resource=resource(), scope_metrics=[scope], schema_url="")])


def _metric(metric: Metric, started_ns: int, now_ns: int) -> SdkMetric:
    cumulative = AggregationTemporality.CUMULATIVE
    if metric.kind == HISTOGRAM:
        point = HistogramDataPoint(
            attributes={},
            start_time_unix_nano=started_ns,
            time_unix_nano=now_ns,
            count=sum(metric.buckets),
            sum=metric.sum,
            bucket_counts=list(metric.buckets),
            explicit_bounds=list(metric.bounds),
            min=0.0,
            max=0.0,
        )
        return SdkMetric(metric.name, metric.help, metric.unit, Histogram([point], cumulative))
    points = [
        NumberDataPoint(dict(zip(metric.labels, labels, strict=True)), started_ns, now_ns, number)
        for labels, number in metric.points
    ]
    data = Sum(points, cumulative, is_monotonic=True) if metric.kind == COUNTER else Gauge(points)
    return SdkMetric(metric.name, metric.help, metric.unit, data)
