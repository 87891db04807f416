"""Plain counters of one worker: a few dict increments per request, no locks, no library.

A snapshot is JSON data, so that any process can add those of all workers up. Every label is bounded: what comes beyond
the bound is counted under `other`, so no client can make the numbers grow.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Any, TypeAlias

from extproc.model.verdict import Coverage, Decision, Outcome

MAX_ROUTES = 100
"""Route names told apart."""

MAX_RULES = 500
"""Rules told apart."""

MAX_REASONS = 64
"""Reasons of incomplete inspection told apart."""

LEAST = frozenset({"certificate_expires"})
"""Gauges of which the least of all workers counts, not the sum."""

OTHER = "other"

BUCKETS_US = (100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000)
"""Upper bounds of the histogram of inspection times, microseconds; one more bucket holds the rest."""

Series: TypeAlias = dict[tuple[str, ...], int]

Snapshot: TypeAlias = dict[str, Any]
"""Series by name; a series is {labels joined by `\\n`: number}."""


class Counters:
    """Of one worker. `count` is called once per decision."""

    def __init__(self) -> None:
        self._decisions: Series = {}
        self._rules: Series = {}
        self._coverage: Series = {}
        self._shadow: Series = {}
        self._buckets = [0] * (len(BUCKETS_US) + 1)
        self._duration_us = 0
        self._body_bytes = 0
        self._routes: set[str] = set()
        self._rule_ids: set[int] = set()
        self._reasons: set[str] = set()
        self.gauges: dict[str, int] = {}
        """Read when a snapshot is made: open streams, ..."""
        self.totals: dict[str, int] = {}
        """Further counters by name: events dropped, ..."""
        self.refused: dict[str, int] = {}
        """Clients that were not let in, by why: a few fixed words."""

    def count(self, decision: Decision) -> None:
        """Adds one decision."""
        route = _bounded(decision.route or "none", self._routes, MAX_ROUTES)
        mode = decision.mode.value
        _add(self._decisions, (decision.verdict.value, decision.would.value, mode, route))
        if decision.matches:
            told = "blocked" if decision.verdict is Outcome.BLOCK else "passed"
            for rule_id in {match.rule_id for match in decision.matches}:
                _add(self._rules, (str(_bounded(rule_id, self._rule_ids, MAX_RULES)), told))
        if decision.coverage is not Coverage.INSPECTED:
            reason = _bounded(decision.coverage_reason or "unknown", self._reasons, MAX_REASONS)
            _add(self._coverage, (decision.coverage.value, str(reason), route))
        if decision.shadow is not None:
            _add(self._shadow, (decision.would.value, decision.shadow.would.value))
        self._buckets[bisect_left(BUCKETS_US, decision.duration_us)] += 1
        self._duration_us += decision.duration_us
        self._body_bytes += decision.body_bytes

    def snapshot(self) -> Snapshot:
        """All numbers so far, JSON data."""
        return {
            "decisions": _joined(self._decisions),
            "rules": _joined(self._rules),
            "coverage": _joined(self._coverage),
            "shadow": _joined(self._shadow),
            "refused": dict(self.refused),
            "buckets": list(self._buckets),
            "duration_us": self._duration_us,
            "totals": {**self.totals, "request_body_bytes": self._body_bytes},
            "gauges": dict(self.gauges),
        }


def _bounded(value: Any, known: set[Any], limit: int) -> Any:
    if value in known:
        return value
    if len(known) < limit:
        known.add(value)
        return value
    return OTHER


def _add(series: Series, key: tuple[str, ...]) -> None:
    series[key] = series.get(key, 0) + 1


def _joined(series: Series) -> dict[str, int]:
    return {"\n".join(key): number for key, number in series.items()}


def empty() -> Snapshot:
    """A snapshot of nothing."""
    return Counters().snapshot()


def add(snapshots: Iterable[Snapshot], *, with_gauges: bool = True) -> Snapshot:
    """The sum of snapshots. `with_gauges`: without, what is gone has no open streams."""
    total = empty()
    for one in snapshots:
        for name in ("decisions", "rules", "coverage", "shadow", "refused", "totals", "gauges"):
            if name == "gauges" and not with_gauges:
                continue
            series = total[name]
            for key, number in one.get(name, {}).items():
                is_least = name == "gauges" and key in LEAST
                series[key] = min(series.get(key, number), number) if is_least else series.get(key, 0) + number
        total["buckets"] = [ours + theirs for ours, theirs in zip(total["buckets"], one["buckets"], strict=True)]
        total["duration_us"] += one["duration_us"]
    return total
