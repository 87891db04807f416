"""Metrics as text for Prometheus, by its own library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from extproc.telemetry.families import COUNTER, HISTOGRAM, Metric

CONTENT_TYPE = CONTENT_TYPE_LATEST


def text(metrics: Iterable[Metric]) -> bytes:
    """The exposition of `metrics`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Found(list(metrics)))
    return generate_latest(registry)


class _Found(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def describe(self) -> Iterator[Family]:
        return iter(())

    def collect(self) -> Iterator[Family]:
        for metric in self._metrics:
            yield _family(metric)


def _family(metric: Metric) -> Family:
    if metric.kind == HISTOGRAM:
        histogram = HistogramMetricFamily(metric.name, metric.help)
        counts: list[tuple[str, float]] = []
        so_far = 0
        for bound, count in zip((*map(str, metric.bounds), "+Inf"), metric.buckets, strict=True):
            so_far += count
            counts.append((bound, so_far))
        histogram.add_metric([], counts, metric.sum)
        return histogram
    make = CounterMetricFamily if metric.kind == COUNTER else GaugeMetricFamily
    family = make(metric.name, metric.help, labels=metric.labels)
    for labels, number in metric.points:
        family.add_metric(labels, number)
    return family
