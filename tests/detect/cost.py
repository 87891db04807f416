"""What detection costs: CPU per benign value, the worst of hostile ones, and per request against other engines."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence
from urllib.parse import urlencode

from tests.bench.engine import interleave, ratio
from tests.bench.engines import LibDdwaf, Missing, Ours, load_ours, to_model
from tests.bench.report import Report, percentile
from tests.bench.traffic import FORM, mixed
from tests.detect.benign import passages
from tests.detect.hostile import dearest
from tests.detect.material import corpus
from tests.detect.placing import post

MEAN_BAR_US, P99_BAR_US, WORST_BAR_US = 40.0, 600.0, 5000.0

CRS_BAR, DDWAF_BAR = 0.5, 3.0
"""CPU per request of the mixed stream, as a share of the same engine with CRS PL1, and of libddwaf."""

VALUES = 1500
TRIES = 3
"""Each value is measured so often and the least counts: what else runs on the machine is not the value's."""


def benign_mix(number: int) -> list[str]:
    """Values as they come: half everyday ones of the corpus, half texts of the collection."""
    r = random.Random("cost")
    makers = (passages.english, passages.documentation, passages.forum, passages.name, passages.foreign)
    everyday = r.sample([value.text for value in corpus()[1]], number // 2)
    return everyday + [r.choice(makers)(r) for _ in range(number - number // 2)]


def _cost_us(engine: Ours, values: Sequence[str | bytes]) -> list[float]:
    """Microseconds each value adds to a form of one field."""
    requests = [to_model(post("/p", FORM, urlencode({"q": value}).encode())) for value in ["", *values]]
    least = [float("inf")] * len(requests)
    for _ in range(TRIES):
        for number, request in enumerate(requests):
            begun = time.thread_time_ns()
            engine.pass_through(request)
            least[number] = min(least[number], (time.thread_time_ns() - begun) / 1e3)
    return [max(0.0, spent - least[0]) for spent in least[1:]]


def measure_cost(report: Report) -> None:
    """Rows of CPU per value and per request."""
    report.heading("CPU of the own rules, nothing remembered")
    engine = Ours(load_ours("own"), has_memo=False)
    mix = benign_mix(VALUES)
    spent = _cost_us(engine, mix)
    report.row("CPU per benign value, median", statistics.median(spent), None, "us")
    report.row("CPU per benign value, mean", statistics.mean(spent), MEAN_BAR_US, "us")
    report.row("CPU per benign value, p99", percentile(spent, 0.99), P99_BAR_US, "us")
    hostile = dearest(lambda value: _cost_us(engine, [value])[0])
    worst, unit = hostile[0]
    report.row("CPU of the worst value of 8 KB", worst, WORST_BAR_US, "us", f"{unit!r}, of {len(hostile)} kinds")
    report.raw["cost"] = {
        "hostile": [(spent, repr(unit)) for spent, unit in hostile[:100]],
        "dearest": sorted(zip(spent, mix, strict=True), reverse=True)[:20],
    }

    report.heading("CPU per request, mixed stream")
    engines: dict[str, Ours | LibDdwaf] = {"own": Ours(load_ours("own"))}
    try:
        engines["crs-pl1"] = Ours(load_ours("crs-pl1"))
    except Missing as missing:
        report.lacks("crs-pl1", str(missing))
    peer = None
    try:
        peer = engines["libddwaf"] = LibDdwaf()
    except Missing as missing:
        report.lacks("libddwaf", str(missing))
    times = interleave(dict(engines), mixed, 100, 9)
    report.row("CPU per request, own", statistics.median(times["own"]), None, "us")
    for name, bar in (("crs-pl1", CRS_BAR), ("libddwaf", DDWAF_BAR)):
        if name in engines:
            report.row(f"CPU per request, own over {name}", ratio(times, "own", name), bar)
    if peer is not None:
        peer.close()
    report.raw["requests"] = times
