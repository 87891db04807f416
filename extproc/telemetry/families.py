"""The sum of all workers' numbers as named metrics: the one list that Prometheus, OTLP and the documents share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from extproc.telemetry.counters import BUCKETS_US, Snapshot, empty

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """`name` without Prometheus' `_total`. A histogram's only point holds its counts by bucket and its sum."""

    name: str
    kind: str
    help: str
    unit: str = ""
    labels: tuple[str, ...] = ()
    points: tuple[tuple[tuple[str, ...], float], ...] = ()
    buckets: tuple[int, ...] = ()
    bounds: tuple[float, ...] = ()
    sum: float = 0.0


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known beside the counters. `reloads` by outcome; times in seconds since 1970."""

    version: str
    ruleset: str
    mode: str
    started: float
    workers: int
    generation: int = 1
    reloads: dict[str, int] = field(default_factory=dict)
    is_last_reload_good: bool = True
    last_reload: float = 0.0
    last_reload_reason: str = ""


SERIES = {
    "decisions": (
        "extproc_decisions",
        "Requests decided, by what was answered, what block mode would have answered, effective mode and route.",
        ("verdict", "would", "mode", "route"),
    ),
    "rules": (
        "extproc_rule_matches",
        "Requests in which a rule matched, by whether the request was blocked; in monitor mode too.",
        ("rule", "request"),
    ),
    "coverage": (
        "extproc_incomplete",
        "Requests that were not inspected whole, by how much was, why not, and route.",
        ("coverage", "reason", "route"),
    ),
    "shadow": (
        "extproc_shadow_decisions",
        "Requests that shadow rules saw, by what the rules and the shadow rules would have answered.",
        ("would", "shadow_would"),
    ),
    "refused": (
        "extproc_clients_refused",
        "Connections to a port with TLS that were not let in, by why (docs/SECURITY.md).",
        ("reason",),
    ),
}

TOTALS = {
    "events_dropped": ("extproc_events_dropped", "Decision events that could not be written in time."),
    "spans_dropped": ("extproc_spans_dropped", "Spans that the collector did not get."),
    "request_body_bytes": ("extproc_request_body_bytes", "Bytes of request bodies that were inspected."),
}

GAUGES = {
    "streams": ("extproc_streams", "Requests that are being inspected now."),
    "events_waiting": ("extproc_events_waiting", "Decision events that wait to be written."),
    "certificate_expires": (
        "extproc_certificate_expires_seconds",
        "When the certificate in use expires, seconds since 1970; 0: the engine listens without TLS.",
    ),
}


def metrics(total: Snapshot, facts: Facts) -> Iterator[Metric]:
    """Every metric there is, in the order of the documents; one without a point so far is named all the same."""
    for series, (name, text, labels) in SERIES.items():
        points = tuple((tuple(key.split("\n")), float(number)) for key, number in sorted(total[series].items()))
        yield Metric(name, COUNTER, text, labels=labels, points=points)
    yield Metric(
        "extproc_inspection_seconds",
        HISTOGRAM,
        "Time from the first message of a request to its decision, inspection alone.",
        unit="s",
        buckets=tuple(total["buckets"]),
        bounds=tuple(bound / 1e6 for bound in BUCKETS_US),
        sum=total["duration_us"] / 1e6,
    )
    for key, (name, text) in TOTALS.items():
        yield Metric(name, COUNTER, text, points=(((), float(total["totals"].get(key, 0))),))
    for key, (name, text) in GAUGES.items():
        yield Metric(name, GAUGE, text, points=(((), float(total["gauges"].get(key, 0))),))
    yield Metric("extproc_workers", GAUGE, "Engine processes that serve.", points=(((), float(facts.workers)),))
    yield Metric(
        "extproc_reloads",
        COUNTER,
        "Reloads of rules and policy by outcome.",
        labels=("outcome",),
        points=tuple(((outcome,), float(number)) for outcome, number in sorted(facts.reloads.items())),
    )
    yield Metric(
        "extproc_reload_failed",
        GAUGE,
        "1 while the newest rules or policy could not be loaded and older ones serve: alert on it.",
        points=(((), 0.0 if facts.is_last_reload_good else 1.0),),
    )
    yield Metric(
        "extproc_info",
        GAUGE,
        "Always 1; the version and the hash of the rule set that serves.",
        labels=("version", "ruleset", "mode"),
        points=(((facts.version, facts.ruleset, facts.mode), 1.0),),
    )
    yield Metric(
        "extproc_start_time_seconds",
        GAUGE,
        "When this pair started, seconds since 1970.",
        unit="s",
        points=(((), facts.started),),
    )


def describe() -> str:
    """The table of docs/OBSERVABILITY.md, Markdown; names as Prometheus has them."""
    rows = ["| metric | labels | meaning |", "|---|---|---|"]
    for metric in metrics(empty(), Facts("", "", "", 0.0, 0)):
        name = metric.name + ("_total" if metric.kind == COUNTER else "")
        rows.append(f"| `{name}` | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.help} |")
    return "\n".join(rows) + "\n"
