"""Drives one request through the engine and says what it cost, in CPU time of this thread: company hardly counts."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path

from extproc.cli.wiring import CRS_PREAMBLE
from extproc.engine.inspector import EngineInspection, EngineInspector, EngineSettings
from extproc.engine.plan import Plan
from extproc.engine.ruleset import Ruleset
from extproc.model.deadline import Deadline
from extproc.model.verdict import Decision, Mode, Outcome, Verdict
from extproc.replay.http1 import Request
from extproc.seclang.assemble import Sources, crs_files, load_ruleset

ROOT = Path(__file__).parents[2]
CRS = Path(os.environ.get("CRS_DIR", ROOT.parent / "shared" / "crs"))

BUDGET_US = 600_000_000
"""No live timeout holds here."""


@dataclass(frozen=True, slots=True)
class Cost:
    """`slice_ms`: the longest step between two interruptions."""

    name: str
    outcome: str
    reason: str | None
    total_ms: float
    slice_ms: float
    slices: int


def load_crs(paranoia: int) -> Ruleset:
    """The Core Rule Set as `extproc --crs` runs it."""
    return load_ruleset(Sources(crs_files(CRS), preamble=CRS_PREAMBLE.format(paranoia=paranoia).encode()))


class Engine:
    """One rule set; `mode` MONITOR runs every rule, whatever the first ones say."""

    def __init__(self, ruleset: Ruleset, mode: Mode = Mode.MONITOR, has_views: bool = False) -> None:
        self.decisions: list[Decision] = []
        plan = Plan(ruleset, has_views=has_views)
        self._inspector = EngineInspector(plan, EngineSettings(mode), self.decisions.append)

    def cost(self, name: str, request: Request, times: int = 1) -> Cost:
        """The cheapest of `times` runs: the rest is noise of the machine. Raises what the engine raises."""
        costs = [self._run(name, request) for _ in range(times)]
        return min(costs, key=lambda cost: (cost.slice_ms, cost.total_ms))

    def _run(self, name: str, request: Request) -> Cost:
        inspection = self._inspector.open()
        deadline = Deadline(time.thread_time_ns, BUDGET_US)
        steps = _exchange(inspection, request, deadline)
        total = longest = slices = 0
        verdict: Verdict | None = None
        while verdict is None:
            begun = time.thread_time_ns()
            deadline.start_slice()
            try:
                next(steps)
            except StopIteration as end:
                verdict = end.value
            took = time.thread_time_ns() - begun
            total, longest, slices = total + took, max(longest, took), slices + 1
        inspection.close(None)
        return Cost(name, str(verdict.outcome), verdict.coverage_reason, total / 1e6, longest / 1e6, slices)


def _exchange(inspection: EngineInspection, request: Request, deadline: Deadline) -> Generator[None, None, Verdict]:
    verdict = yield from inspection.request_headers(request.head, deadline)
    if verdict.outcome is Outcome.PENDING:
        verdict = yield from inspection.request_body(request.body, True, deadline)
    return verdict


def print_costs(title: str, costs: list[Cost], total_ms: float, slice_ms: float) -> None:
    """A table on stdout (pytest -s shows it), dearest first, and build/hostile-TITLE.json."""
    print(f"\n{title}: {len(costs)} inputs; bounds {total_ms:.0f} ms in all, {slice_ms:.0f} ms in one step")
    for cost in sorted(costs, key=lambda cost: -cost.total_ms):
        print(
            f"  {cost.name:<42} {cost.total_ms:8.1f} / {total_ms:.0f} ms  step {cost.slice_ms:6.1f} / {slice_ms:.0f} ms"
            f"  {'pass' if cost.total_ms <= total_ms and cost.slice_ms <= slice_ms else 'MISSED'}"
            f"  {cost.outcome} {cost.reason or ''}"
        )
    file = ROOT / "build" / f"hostile-{title}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps([asdict(cost) for cost in costs], indent=1), encoding="utf-8")
