"""Numbers of all workers: counted, bounded, added up, told to Prometheus, a collector and people."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from extproc.model.phase import Phase
from extproc.model.verdict import Coverage, Decision, Match, Mode, Outcome
from extproc.telemetry import prometheus, status
from extproc.telemetry.collector import Reach
from extproc.telemetry.counters import BUCKETS_US, MAX_REASONS, MAX_ROUTES, MAX_RULES, Counters, add
from extproc.telemetry.families import Facts, describe, metrics
from extproc.telemetry.folder import FOLD_AFTER, NumbersFolder
from extproc.telemetry.otlp import MetricsPusher
from extproc.telemetry.worker import WorkerNumbers
from tests.otlp_receiver import Collector

FACTS = Facts(version="1", ruleset="abc", mode="block", started=time.time() - 10, workers=2, reloads={"good": 1})


def decision(**changes: Any) -> Decision:
    fields: dict[str, Any] = {
        "time": 1.0,
        "incident": "I",
        "request_id": "",
        "verdict": Outcome.ALLOW,
        "mode": Mode.BLOCK,
        "would": Outcome.ALLOW,
        "coverage": Coverage.INSPECTED,
        "coverage_reason": None,
        "method": b"GET",
        "host": b"h",
        "path": b"/",
        "client": "192.0.2.1",
        "route": "app",
        "phase": Phase.REQUEST_HEADERS,
        "score": 0,
        "status": 0,
        "rule_id": 0,
        "matches": (),
        "duration_us": 300,
        **changes,
    }
    return Decision(**fields)


def matched(*rule_ids: int) -> tuple[Match, ...]:
    return tuple(Match(rule_id, Phase.REQUEST_BODY, "ARGS:q") for rule_id in rule_ids)


def counted(*decisions: Decision) -> Counters:
    counters = Counters()
    for one in decisions:
        counters.count(one)
    return counters


def samples(total: dict[str, Any], facts: Facts = FACTS) -> dict[tuple[str, ...], float]:
    """What Prometheus' own parser reads: (name, label values) → number."""
    text = prometheus.text(metrics(total, facts)).decode()
    return {
        (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_decision_is_in_every_series_it_belongs_to() -> None:
    found = samples(
        counted(
            decision(duration_us=300, body_bytes=7),
            decision(verdict=Outcome.BLOCK, would=Outcome.BLOCK, matches=matched(1, 1, 2), duration_us=90),
            decision(mode=Mode.MONITOR, would=Outcome.BLOCK, matches=matched(1), duration_us=5_000_000),
            decision(coverage=Coverage.PARTLY, coverage_reason="stream", route=""),
        ).snapshot()
    )
    decisions = "extproc_decisions_total"
    assert found[decisions, "mode=block", "route=app", "verdict=allow", "would=allow"] == 1
    assert found[decisions, "mode=monitor", "route=app", "verdict=allow", "would=block"] == 1
    assert found["extproc_rule_matches_total", "request=blocked", "rule=1"] == 1  # requests, not matches
    assert found["extproc_rule_matches_total", "request=passed", "rule=1"] == 1
    assert found["extproc_incomplete_total", "coverage=partly", "reason=stream", "route=none"] == 1
    assert found["extproc_inspection_seconds_bucket", "le=0.0001"] == 1
    assert found["extproc_inspection_seconds_bucket", "le=1.0"] == 3
    assert found["extproc_inspection_seconds_bucket", "le=+Inf"] == found["extproc_inspection_seconds_count",] == 4
    assert found["extproc_inspection_seconds_sum",] == pytest.approx(5.00069)
    assert found["extproc_request_body_bytes_total",] == 7
    assert found["extproc_reload_failed",] == 0
    assert found["extproc_info", "mode=block", "ruleset=abc", "version=1"] == 1


def test_a_failed_reload_is_an_alarm() -> None:
    facts = Facts("1", "abc", "block", 0.0, 1, is_last_reload_good=False, last_reload_reason="x.conf:3: no")
    assert samples(Counters().snapshot(), facts)["extproc_reload_failed",] == 1


@pytest.mark.parametrize(
    ("changes", "series", "limit"),
    [
        (lambda n: {"route": f"r{n}"}, "decisions", MAX_ROUTES),
        (lambda n: {"matches": matched(n)}, "rules", MAX_RULES),
        (lambda n: {"coverage": Coverage.PARTLY, "coverage_reason": f"r{n}"}, "coverage", MAX_REASONS),
    ],
    ids=["routes", "rules", "reasons"],
)
def test_no_client_makes_the_numbers_grow(changes: Any, series: str, limit: int) -> None:
    found = counted(*(decision(**changes(number)) for number in range(1, limit + 50))).snapshot()[series]
    assert len(found) == limit + 1
    assert sum(found.values()) == limit + 49
    assert sum(number for key, number in found.items() if "other" in key.split("\n")) == 49


def test_buckets_end_where_they_say() -> None:
    for at, bound in enumerate(BUCKETS_US):
        found = counted(decision(duration_us=bound), decision(duration_us=bound + 1)).snapshot()["buckets"]
        assert (found[at], found[at + 1]) == (1, 1)


def write_and_end(folder: Path, requests: int) -> None:
    """Another process counts, writes and is gone."""
    script = (
        "import sys, os, time; sys.path.insert(0, sys.argv[1]);"
        "from pathlib import Path; from extproc.telemetry.folder import NumbersFolder;"
        "from extproc.telemetry.counters import empty; s = empty(); s['decisions']['allow'] = int(sys.argv[3]);"
        "s['gauges']['streams'] = 5; NumbersFolder(Path(sys.argv[2])).write(f'{os.getpid()}-{time.time_ns()}', s)"
    )
    command = [sys.executable, "-c", script, str(Path(__file__).parents[2]), str(folder), str(requests)]
    subprocess.run(command, check=True)


def test_workers_add_up_and_the_dead_keep_their_counts(tmp_path: Path) -> None:
    folder = NumbersFolder(tmp_path)
    write_and_end(tmp_path, 3)
    mine = {**Counters().snapshot(), "decisions": {"allow": 4}, "gauges": {"streams": 2}}
    folder.write(f"{os.getpid()}-1", mine)
    assert folder.read().total["decisions"] == {"allow": 7}
    assert folder.read().total["gauges"] == {"streams": 2}  # what is gone has no open streams
    assert folder.read().workers == 1


def test_the_folder_does_not_grow_with_restarts(tmp_path: Path) -> None:
    folder = NumbersFolder(tmp_path)
    for number in range(FOLD_AFTER + 1):
        write_and_end(tmp_path, 1)
        folder.fold()
        assert folder.read().total["decisions"] == {"allow": number + 1}
    assert len(list(tmp_path.glob("*.json"))) <= FOLD_AFTER
    # Killed between writing the sum and removing what is in it: nobody is counted twice.
    folded = json.loads((tmp_path / "gone.json").read_text())
    (tmp_path / f"{folded['names'][0]}.json").write_text(
        json.dumps({**Counters().snapshot(), "decisions": {"allow": 9}})
    )
    assert folder.read().total["decisions"] == {"allow": FOLD_AFTER + 1}


def test_a_broken_file_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "1-1.json").write_text("{")
    assert NumbersFolder(tmp_path).read().total["decisions"] == {}


def test_without_a_folder_a_worker_tells_its_own() -> None:
    numbers = WorkerNumbers(NumbersFolder(None), lambda: FACTS)
    numbers.count(decision())
    with numbers.writing(0, {"streams": lambda: 3}, {}, {}):
        pass
    kind, text = numbers.prometheus_page()
    assert b'extproc_decisions_total{mode="block",route="app",verdict="allow",would="allow"} 1.0' in text
    assert b"extproc_streams 3.0" in text
    assert kind.startswith("text/plain")


def test_numbers_are_written_while_serving(tmp_path: Path) -> None:
    numbers = WorkerNumbers(NumbersFolder(tmp_path), lambda: FACTS)
    with numbers.writing(0, {}, {"events_dropped": lambda: 2}, {}):
        numbers.count(decision())
        deadline = time.monotonic() + 10
        while not NumbersFolder(tmp_path).read().total["decisions"] and time.monotonic() < deadline:
            time.sleep(0.02)
    total = NumbersFolder(tmp_path).read().total
    assert sum(total["decisions"].values()) == 1
    assert total["totals"]["events_dropped"] == 2


def test_numbers_that_did_not_change_are_not_written_again(tmp_path: Path) -> None:
    numbers = WorkerNumbers(NumbersFolder(tmp_path), lambda: FACTS)
    looks: list[int] = []  # made before each write
    with numbers.writing(0, {"streams": lambda: len(looks) // 3}, {"looks": lambda: looks.append(1) or 0}, {}):
        written: dict[int, None] = {}
        deadline = time.monotonic() + 30
        while len(looks) < 5 and time.monotonic() < deadline:
            for file in tmp_path.glob("*.json"):
                written[file.stat().st_ino] = None
            time.sleep(0.02)
    assert len(looks) >= 5
    assert len(written) == 2  # of no stream, of one


def test_status_says_what_was_not_inspected() -> None:
    total = counted(
        decision(),
        decision(coverage=Coverage.UNINSPECTED, coverage_reason="overloaded"),
        decision(
            route="ws", coverage=Coverage.PARTLY, coverage_reason="stream", would=Outcome.BLOCK, matches=matched(7)
        ),
    ).snapshot()
    found = status.status(total, FACTS)
    assert found["coverage"]["app"] == {"requests": 2, "partly": 0, "uninspected": 1, "inspected_percent": 50.0}
    assert (found["requests"], found["would_block"], found["rules"]) == (3, 1, {"7": 1})
    assert found["reasons"] == {"partly stream ws": 1, "uninspected overloaded app": 1}
    assert found["latency_us"] == {"p50": 500, "p99": 500}
    assert json.loads(status.as_json(found)) == found


def test_the_page_escapes_what_it_shows() -> None:
    total = counted(decision(route="<script>alert(1)</script>")).snapshot()
    facts = Facts("1", "<b>", "block", 0.0, 1, is_last_reload_good=False, last_reload_reason="<i>")
    page = status.as_page(status.status(total, facts)).decode()
    assert "<script>" not in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert "FAILED, older rules serve" in page


@pytest.mark.parametrize(
    ("buckets", "share", "bound"),
    [([0] * 14, 0.5, None), ([1] + [0] * 13, 0.5, 100), ([1, 1] + [0] * 12, 0.99, 250), ([0] * 13 + [1], 0.5, -1)],
)
def test_quantile(buckets: list[int], share: float, bound: int | None) -> None:
    assert status.quantile(buckets, share) == bound


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.stop()


def test_a_collector_gets_the_same_numbers(collector: Collector) -> None:
    total = add([counted(decision()).snapshot(), counted(decision(duration_us=90)).snapshot()])
    pusher = MetricsPusher(collector.url, lambda: metrics(total, FACTS), every_s=600)
    pusher.start()
    pusher.stop()
    ((path, request),) = collector.requests
    assert path == "/v1/metrics"
    (resource,) = request.resource_metrics
    assert {"service.name": "extproc"}.items() <= {
        one.key: one.value.string_value for one in resource.resource.attributes
    }.items()
    found = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
    (point,) = found["extproc_decisions"].sum.data_points
    assert (point.as_double, found["extproc_decisions"].sum.is_monotonic) == (2.0, True)
    (histogram,) = found["extproc_inspection_seconds"].histogram.data_points
    assert (histogram.count, list(histogram.bucket_counts)[:3], histogram.sum) == (2, [1, 0, 1], pytest.approx(0.00039))
    assert set(found) == {metric.name for metric in metrics(total, FACTS)}


def test_an_unreachable_collector_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    pusher = MetricsPusher("http://127.0.0.1:9", lambda: metrics(Counters().snapshot(), FACTS), every_s=0.05)
    pusher.start()
    pusher.stop()
    assert capsys.readouterr().err.count("do not reach the collector") == 1


def test_news_of_the_collector_is_told_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    reach = Reach("spans")
    for is_well in (True, False, False, True, True, False):
        reach.note(is_well)
    away, back = "extproc: spans do not reach the collector", "extproc: spans reach the collector again"
    assert capsys.readouterr().err.splitlines() == [away, back, away]


def test_the_document_names_every_metric() -> None:
    text = (Path(__file__).parents[2] / "docs" / "OBSERVABILITY.md").read_text()
    assert describe() in text, "put the output of extproc.telemetry.families.describe() there"
