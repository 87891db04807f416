"""`make bench-pair`: whole stacks as users run them, every process counted, the app behind them apart.

All stacks run at once and are asked in turns: in each round each gets the same new requests of a kind, in an
order that turns. A stack that lets an attack at a body's end pass is listed as not inspecting it.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

import uvloop

from tests.bench import plot
from tests.bench.engines import Missing
from tests.bench.load import at_rate, closed_loop, send_one
from tests.bench.processes import Process, accepts, free_port, python
from tests.bench.report import ROOT, Report, machine, median, percentile
from tests.bench.stacks import STACKS, Place, Stack
from tests.bench.traffic import ATTACKS, KINDS, Sent, Source, mixed, with_canary

OURS = "Envoy + extproc CRS PL1"
RIVALS = ("nginx + ModSecurity", "Envoy + Coraza ext_proc", "Coraza Go proxy")
BASES = {"nginx + ModSecurity": "nginx alone"}
"""What a stack is without its inspection; Envoy alone for those not named."""

KIND_BAR, EASY_BAR, MIXED_BAR = 1 / 2, 2 / 3, 1 / 3
EASY = frozenset({"small GET", *ATTACKS})
"""Kinds of which transport is a large part."""

LATENCY_BAR = 1 / 2
"""Added latency over that of nginx + ModSecurity, at a quarter of its saturation."""

COUNTS = {
    "small GET": 240,
    "browser GET": 160,
    "form POST": 80,
    "JSON 2 KB": 40,
    "JSON 64 KB": 6,
    "SQLi": 120,
    "XSS": 120,
    "mixed": 240,
}
"""Requests per stack, kind and round."""

CONNECTIONS = 8
SHARES = (1 / 8, 1 / 4, 1 / 2)
"""Fixed rates, as shares of what nginx + ModSecurity can do (of what ours can, where it is missing)."""

RATE_SECONDS = 4.0
MAX_AT_RATE = 2_000
"""Requests per stack, rate and round: the smaller of the two bounds counts."""

PLOT = ROOT / "docs" / "bench-pair.svg"
PARTIAL_PLOT = ROOT / "build" / "bench" / "pair-partial.svg"
"""Of a run that named some stacks: the docs show only whole runs."""

LOGS = ROOT / "build" / "bench" / "logs"

ALLOWED, BLOCKED = 200, 403

_serial = count()


def fresh(make: Callable[[random.Random], Sent], number: int) -> list[bytes]:
    """Requests that were never sent before in this run, as bytes."""
    return [sent.as_http1() for sent in Source("pair", next(_serial)).take(make, number)]


async def start(report: Report, names: list[str], place: Place) -> list[Stack]:
    """Those that can be had; the others are printed with their reason."""
    report.heading("stacks")
    stacks: list[Stack] = []
    for name in names:
        try:
            stack = STACKS[name](place)
        except Missing as missing:
            report.lacks(name, str(missing))
            continue
        stacks.append(stack)
        blind = await _blind_kinds(stack)
        if blind:
            report.lacks(f"{name}: canary", f"not inspected to the end: {', '.join(blind)}")
        report.raw.setdefault("blind", {})[name] = blind
        print(f"{name:<46} runs", flush=True)
    return stacks


async def _blind_kinds(stack: Stack) -> list[str]:
    """Kinds with a body at whose end an attack passes. A clean request must pass every stack."""
    blind = []
    for kind, make in KINDS.items():
        if kind in ATTACKS:
            continue
        sent = Source("canary", kind).take(make, 1)[0]
        status = await send_one(stack.port, sent.as_http1())
        if status != ALLOWED:
            blind.append(f"{kind} (clean request answered {status})")
        elif stack.inspects and await send_one(stack.port, with_canary(sent).as_http1()) != BLOCKED:
            blind.append(kind)
    return blind


async def closed(report: Report, stacks: list[Stack], rounds: int) -> dict[str, dict[str, list[float]]]:
    """CPU microseconds per request: kind → stack → one figure per round. Requests per second beside it."""
    cpu: dict[str, dict[str, list[float]]] = {}
    speeds: dict[str, dict[str, list[float]]] = {}
    odd: dict[str, int] = {}
    for kind, make in {**KINDS, "mixed": mixed}.items():
        cpu[kind] = {stack.name: [] for stack in stacks}
        speeds[kind] = {stack.name: [] for stack in stacks}
        for turn in range(-1, rounds):
            requests = fresh(make, max(4, COUNTS[kind] // 4) if turn < 0 else COUNTS[kind])
            for place in range(len(stacks)):
                stack = stacks[(place + turn) % len(stacks)]
                before = stack.cpu_s()
                told = await closed_loop(stack.port, requests, CONNECTIONS)
                spent = stack.cpu_s() - before
                if turn < 0:
                    continue
                cpu[kind][stack.name].append(spent / len(requests) * 1e6)
                speeds[kind][stack.name].append(len(requests) / told.seconds)
                expected = (ALLOWED, BLOCKED) if kind == "mixed" or kind in ATTACKS else (ALLOWED,)
                unexpected = sum(number for status, number in told.statuses.items() if status not in expected)
                if unexpected:
                    odd[f"{stack.name}, {kind}"] = odd.get(f"{stack.name}, {kind}", 0) + unexpected
    report.raw["closed loop: CPU us per request"] = cpu
    report.raw["closed loop: requests per second"] = speeds
    report.raw["unexpected answers"] = odd
    for what, number in odd.items():
        report.row(f"unexpected answers: {what}", number)
    return cpu


def judge(report: Report, cpu: dict[str, dict[str, list[float]]]) -> None:
    """A table, then ours against each rival."""
    report.heading("whole stacks, closed loop: CPU per request, all processes, us (medians)")
    for kind, by_stack in cpu.items():
        for name, times in by_stack.items():
            report.row(f"{kind}: {name}", median(times), unit="us")
    blind = report.raw.get("blind", {})
    for rival in RIVALS:
        report.heading(f"{OURS} over {rival}, CPU per request")
        for kind, by_stack in cpu.items():
            if OURS not in by_stack or rival not in by_stack:
                report.lacks(f"{kind} over {rival}", "one of the two is missing")
                continue
            share = median([a / b for a, b in zip(by_stack[OURS], by_stack[rival], strict=True)])
            bar = MIXED_BAR if kind == "mixed" else EASY_BAR if kind in EASY else KIND_BAR
            is_blind = any(kind in entry for entry in blind.get(rival, ()))
            note = "not judged: the rival does not inspect it to its end" if is_blind else ""
            report.row(f"{kind} over {rival}", share, None if is_blind else bar, note=note)


async def rates(report: Report, stacks: list[Stack], rounds: int) -> plot.Lines:
    """Latency of the mixed stream at fixed rates; what inspection adds is judged at a quarter of saturation."""
    speeds = report.raw["closed loop: requests per second"]["mixed"]
    reference = "nginx + ModSecurity" if "nginx + ModSecurity" in speeds else OURS
    if reference not in speeds:
        report.lacks("latency at fixed rates", "neither nginx + ModSecurity nor ours runs")
        return {}
    saturation = median(speeds[reference])
    report.heading(
        f"mixed stream at shares of {saturation:.0f}/s, the saturation of {reference}: latency from due time"
    )
    raw: dict[str, dict[str, list[dict[str, float]]]] = {}
    for share in SHARES:
        rate = saturation * share
        number = min(MAX_AT_RATE, int(rate * RATE_SECONDS))
        at_share = raw[f"{share:.3f}"] = {stack.name: [] for stack in stacks}
        for turn in range(rounds):
            requests = fresh(mixed, number)
            for place in range(len(stacks)):
                stack = stacks[(place + turn) % len(stacks)]
                before = stack.cpu_s()
                told = await at_rate(stack.port, requests, rate, turn)
                at_share[stack.name].append(
                    {
                        "p50": percentile(told.milliseconds, 0.5),
                        "p99": percentile(told.milliseconds, 0.99),
                        "cpu_us": (stack.cpu_s() - before) / number * 1e6,
                        "rate": number / told.seconds,
                    }
                )
        for name, figures in at_share.items():
            p50, p99, cpu = (median([one[key] for one in figures]) for key in ("p50", "p99", "cpu_us"))
            report.row(
                f"{rate:.0f}/s: {name}, p50", p50, unit="ms", note=f"p99 {p99:.1f} ms, {cpu:.0f} us CPU a request"
            )
    report.raw["fixed rates"] = {"saturation": saturation, "reference": reference, "by share": raw}
    _judge_latency(report, raw[f"{SHARES[1]:.3f}"])
    return {
        stack.name: [
            (
                saturation * share,
                median([one["p50"] for one in raw[f"{share:.3f}"][stack.name]]),
                median([one["p99"] for one in raw[f"{share:.3f}"][stack.name]]),
            )
            for share in SHARES
        ]
        for stack in stacks
    }


def _judge_latency(report: Report, figures: dict[str, list[dict[str, float]]]) -> None:
    rival = "nginx + ModSecurity"
    if not {OURS, rival, "Envoy alone", "nginx alone"} <= figures.keys():
        report.lacks("added latency", "it takes ours, nginx + ModSecurity, and both proxies alone")
        return
    for key in ("p50", "p99"):
        added = {
            name: median(
                [a[key] - b[key] for a, b in zip(figures[name], figures[BASES.get(name, "Envoy alone")], strict=True)]
            )
            for name in (OURS, rival)
        }
        note = f"{added[OURS]:.2f} ms against {added[rival]:.2f} ms at a quarter of saturation"
        if added[rival] <= 0:
            report.lacks(f"added latency {key}", f"nothing measurable is added by {rival}: {note}")
            continue
        report.row(f"added latency {key} over {rival}", added[OURS] / added[rival], LATENCY_BAR, note=note)


async def run(report: Report, names: list[str], rounds: int) -> None:
    """Start all, ask all, end all."""
    with tempfile.TemporaryDirectory() as where:
        place = Place(free_port(), Path(where))
        app = Process("app", python("-m", "tests.bench.peers.app", str(place.app)), place.folder)
        stacks: list[Stack] = []
        try:
            app.await_ready(lambda: accepts(place.app))
            stacks = await start(report, names, place)
            cpu = await closed(report, stacks, rounds)
            judge(report, cpu)
            lines = await rates(report, stacks, rounds)
            bars = {kind: {name: median(times) for name, times in by.items()} for kind, by in cpu.items()}
            caption = f"{machine()['summary']}; {rounds} interleaved rounds, medians"
            path = PLOT if names == list(STACKS) else PARTIAL_PLOT
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(plot.draw(bars, lines, list(STACKS), caption), encoding="utf-8")
            print(f"\nplot: {path.relative_to(ROOT)}")
        finally:
            for stack in stacks:
                stack.stop()
            app.stop()
            _keep_logs(place.folder)


def _keep_logs(folder: Path) -> None:
    """What the stacks said, for whoever wonders."""
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    for log in folder.rglob("*.log"):
        shutil.copy(log, LOGS / log.name)


def main() -> int:
    """Exit code 1 if a bar was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stacks", nargs="*", metavar="STACK", help=f"of {', '.join(STACKS)}; default all")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds per figure (default 5)")
    arguments = parser.parse_args()
    unknown = set(arguments.stacks) - STACKS.keys()
    if unknown:
        parser.error(f"unknown stack {', '.join(sorted(unknown))}")
    report = Report("pair-partial" if arguments.stacks else "pair")
    uvloop.run(run(report, arguments.stacks or list(STACKS), arguments.rounds))
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
