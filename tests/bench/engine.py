"""`make bench`, part 1: the engine alone, in process, against libmodsecurity (and libddwaf) in the same run.

Rounds are interleaved: in every round each engine gets the same requests, new in that round, in an order that
turns; what is compared are the ratios within a round, and the median of rounds is the figure.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from extproc.model.verdict import Mode
from extproc.prefilter.automaton import Automaton
from extproc.replay.explain_watch import watch
from extproc.seclang.assemble import Sources, load_ruleset
from tests.bench.engines import (
    RULE_SETS,
    LibDdwaf,
    LibModSecurity,
    Missing,
    Ours,
    detectors_that_never_match,
    load_ours,
    to_model,
)
from tests.bench.report import Report, geometric_mean, median
from tests.bench.traffic import KINDS, WORDS, Sent, Source, json_of, mixed

KIND_BAR, MEAN_BAR, MIXED_BAR = 1 / 2, 1 / 3, 1 / 6
"""CPU of ours as a share of libmodsecurity's."""

DETECTOR_BAR = 0.15
"""Share of @detectSQLi and @detectXSS in cold CPU."""

PHRASES_BAR = 1.5
"""Scan of prose with 100,000 phrases, over the same with 1,000."""

LINEAR_BAR = 1.5
"""CPU per KB of a body of 128 KB, over that of 32 KB: below that the rest of a request shows."""

COUNTS = {
    "small GET": 60,
    "browser GET": 30,
    "form POST": 20,
    "JSON 2 KB": 10,
    "JSON 64 KB": 2,
    "SQLi": 30,
    "XSS": 30,
    "mixed": 100,
}
"""Requests per engine, kind and round."""

WARM_UP = 3
"""Rounds of the same shape before the first that counts: both engines build what they build lazily."""

REPEATS = 5
"""Times a request is sent again for the repeated case."""

PHRASE_COUNTS = (1_000, 10_000, 100_000)
BODY_KB = (1, 2, 4, 8, 16, 32, 64, 128)

_serial = count()


class Engine(Protocol):
    """What is timed."""

    def run(self, requests: Sequence[Sent]) -> float: ...


def fresh(make: Callable[[random.Random], Sent], number: int) -> list[Sent]:
    """Requests that were never made before in this run."""
    return Source("engine", next(_serial)).take(make, number)


def interleave(engines: dict[str, Engine], make: Callable[[random.Random], Sent], number: int, rounds: int) -> Times:
    """CPU microseconds per request, by engine, one figure per round."""
    times: Times = {name: [] for name in engines}
    names = list(engines)
    for turn in range(-WARM_UP, rounds):
        requests = fresh(make, max(1, number // 4) if turn < 0 else number)
        for place in range(len(names)):
            name = names[(place + turn) % len(names)]
            spent = engines[name].run(requests)
            if turn >= 0:
                times[name].append(spent / len(requests) * 1e6)
    return times


Times = dict[str, list[float]]


def ratio(times: Times, ours: str, theirs: str) -> float:
    """Median over rounds of the ratio within a round."""
    return median([a / b for a, b in zip(times[ours], times[theirs], strict=True)])


class Repeated:
    """The same requests again and again: everything that can be remembered is."""

    def __init__(self, engine: Ours) -> None:
        self._engine = engine

    def run(self, requests: Sequence[Sent]) -> float:
        """CPU seconds of one pass after the second: what comes once is not remembered."""
        self._engine.run(requests)
        self._engine.run(requests)
        return self._engine.run([sent for sent in requests for _ in range(REPEATS)]) / REPEATS


def compare(report: Report, rules: str, rounds: int) -> None:
    """Ours against libmodsecurity, by kind and in the mixed stream."""
    report.heading(f"engine alone, rules {rules}: CPU as a share of libmodsecurity's, values new")
    try:
        ruleset = load_ours(rules)
    except Missing as missing:
        report.lacks(f"engine {rules}", str(missing))
        return
    engines: dict[str, Engine] = {"ours": Ours(ruleset), "no memo": Ours(ruleset, has_memo=False)}
    engines["repeated"] = Repeated(Ours(ruleset))
    try:
        engines["libmodsecurity"] = LibModSecurity(rules)
    except Missing as missing:
        report.lacks(f"libmodsecurity {rules}", str(missing))
    is_judged = rules.startswith("crs") and "libmodsecurity" in engines
    ratios: list[float] = []
    raw = report.raw.setdefault(rules, {})
    for kind, make in {**KINDS, "mixed": mixed}.items():
        times = raw[kind] = interleave(engines, make, COUNTS[kind], rounds)
        micros = {name: median(some) for name, some in times.items()}
        if "libmodsecurity" not in engines:
            report.row(f"{rules} {kind}", micros["ours"], unit="us")
            continue
        share = ratio(times, "ours", "libmodsecurity")
        note = (
            f"{micros['ours']:.0f} of {micros['libmodsecurity']:.0f} us; "
            f"nothing remembered {micros['no memo']:.0f}, repeated {micros['repeated']:.0f}"
        )
        if kind == "mixed":
            report.row(f"{rules} geometric mean of the seven", geometric_mean(ratios), MEAN_BAR if is_judged else None)
            report.row(f"{rules} mixed stream", share, MIXED_BAR if is_judged else None, note=note)
        else:
            ratios.append(share)
            report.row(f"{rules} {kind}", share, KIND_BAR if is_judged else None, note=note)
    if "libmodsecurity" in engines:
        _agree(report, rules, engines["ours"], engines["libmodsecurity"])


def _agree(report: Report, rules: str, ours: Any, theirs: Any) -> None:
    """Do both say the same of what was measured? A fast wrong answer would be worth nothing."""
    differing, asked, stopped = 0, 0, 0
    for kind, make in {**KINDS, "mixed": mixed}.items():
        for sent in fresh(make, 3 if kind == "JSON 64 KB" else 20):
            (is_blocked, ids), (is_blocked_there, ids_there) = ours.tell(sent), theirs.tell(sent)
            asked += 1
            stopped += is_blocked
            if is_blocked != is_blocked_there:
                differing += 1
                report.raw[rules].setdefault("differing", []).append(
                    {"kind": kind, "target": sent.target, "ours": sorted(ids), "theirs": sorted(ids_there)}
                )
    report.row(f"{rules} verdicts that differ", differing, unit=f"of {asked}", note=f"{stopped} blocked by ours")


def detectors(report: Report, rounds: int) -> None:
    """What the detectors cost: the same rules with detectors that look at nothing."""
    report.heading("share of @detectSQLi and @detectXSS in cold CPU, CRS PL1")
    try:
        whole = Ours(load_ours("crs-pl1"), has_memo=False)
        with detectors_that_never_match():
            blind = Ours(load_ours("crs-pl1"), has_memo=False)
    except Missing as missing:
        report.lacks("detectors", str(missing))
        return
    raw = report.raw["detectors"] = {}
    for kind, make in {**KINDS, "mixed": mixed}.items():
        times = raw[kind] = interleave({"whole": whole, "blind": blind}, make, 2 * COUNTS[kind], rounds)
        report.row(f"detectors' share, {kind}", max(0.0, 1 - ratio(times, "blind", "whole")), DETECTOR_BAR)


def candidates(report: Report) -> None:
    """How many rules meet a value, how many the prefilter leaves, how many operators run."""
    report.heading("candidates per request (rule × value), nothing remembered")
    for rules in RULE_SETS:
        try:
            plan = Ours(load_ours(rules)).plan
        except Missing as missing:
            report.lacks(f"candidates {rules}", str(missing))
            continue
        for kind, make in {**KINDS, "mixed": mixed}.items():
            requests = fresh(make, 2 if kind == "JSON 64 KB" else 20)
            sums = [0, 0, 0]
            for sent in requests:
                for run in watch(plan, Mode.MONITOR, to_model(sent)).transaction.runs:
                    for collection, values in zip(run.variant.collections, run.values, strict=True):
                        for key, value in values:
                            value_class, _ = collection.info(key)
                            if value_class is not None:
                                for place, mask in enumerate(value_class.account(value)):
                                    sums[place] += mask.bit_count()
            applicable, named, run_ = (total / len(requests) for total in sums)
            report.row(
                f"{rules} {kind}: operators run",
                run_,
                note=f"{applicable:.0f} apply, {named:.0f} named by the prefilter",
            )


def phrases(report: Report, rounds: int) -> None:
    """Cost of the scan against the number of phrases."""
    report.heading("automaton: scan of 8 KB against the number of phrases")
    source = Source("phrases")
    automata = {size: Automaton(source.phrases(size)) for size in PHRASE_COUNTS}
    texts = {"prose": source.prose, "random text": source.noise}
    for what, text in texts.items():
        engines: dict[str, Engine] = {str(size): _Scan(automaton, text) for size, automaton in automata.items()}
        times = report.raw[f"phrases {what}"] = interleave(engines, _no_request, 40, rounds)
        first = str(PHRASE_COUNTS[0])
        for size in PHRASE_COUNTS[1:]:
            bar = PHRASES_BAR if what == "prose" else None
            note = f"{median(times[str(size)]):.0f} us against {median(times[first]):.0f} us"
            report.row(
                f"{what}, {size:,} phrases over {PHRASE_COUNTS[0]:,}", ratio(times, str(size), first), bar, note=note
            )
    with tempfile.TemporaryDirectory() as folder:
        _phrase_rules(report, source, Path(folder), rounds)


def _no_request(_: random.Random) -> Sent:
    return Sent("GET", "/", ())


class _Scan:
    """One automaton over new text."""

    def __init__(self, automaton: Automaton, text: Callable[[int], bytes]) -> None:
        self._automaton = automaton
        self._text = text

    def run(self, requests: Sequence[Sent]) -> float:
        """One text per request, whatever the request is."""
        texts = [self._text(8192) for _ in requests]
        find = self._automaton.find
        begun = time.thread_time_ns()
        for text in texts:
            find(text)
        return (time.thread_time_ns() - begun) / 1e9


def _phrase_rules(report: Report, source: Source, folder: Path, rounds: int) -> None:
    """The same through the whole engine: one @pmFromFile rule on the arguments of a form with 4 KB of prose."""
    engines: dict[str, Engine] = {}
    for size in (PHRASE_COUNTS[0], PHRASE_COUNTS[-1]):
        (folder / f"{size}.data").write_bytes(b"\n".join(source.phrases(size)))
        rules = folder / f"{size}.conf"
        rules.write_text(
            'SecRuleEngine On\nSecRequestBodyAccess On\nSecRule ARGS "@pmFromFile '
            f'{size}.data" "id:1,phase:2,deny,t:none,msg:\'phrase\'"\n'
        )
        engines[str(size)] = Ours(load_ruleset(Sources((rules,))))

    def make(r: random.Random) -> Sent:
        body = "&".join(f"{word}=" + "+".join(r.choices(WORDS, k=60)) for word in r.sample(WORDS, 10)).encode()
        headers = (("host", "a"), ("content-type", "application/x-www-form-urlencoded"))
        return Sent("POST", "/", headers, body)

    times = report.raw["phrases, engine"] = interleave(engines, make, 20, rounds)
    first, last = engines
    note = f"{median(times[last]):.0f} us against {median(times[first]):.0f} us"
    report.row("whole engine, @pmFromFile 100,000 over 1,000", ratio(times, last, first), note=note)


def body_sizes(report: Report, rounds: int) -> None:
    """Cost against body size: linear, or not."""
    report.heading("cost against body size, JSON of texts, CRS PL1, nothing remembered")
    try:
        engine = Ours(load_ours("crs-pl1"), has_memo=False)
    except Missing as missing:
        report.lacks("body sizes", str(missing))
        return
    per_kb: dict[int, list[float]] = {size: [] for size in BODY_KB}
    raw = report.raw["body sizes"] = {"us per request": {str(size): [] for size in BODY_KB}}
    for turn in range(-1, rounds):
        for size in BODY_KB:
            requests = fresh(json_of(size * 1024), max(2, 32 // size))
            each = engine.run(requests) / len(requests) * 1e6
            kilobytes = sum(len(sent.body) for sent in requests) / len(requests) / 1024
            if turn >= 0:
                per_kb[size].append(each / kilobytes)
                raw["us per request"][str(size)].append(each)
    for size in BODY_KB:
        report.row(f"JSON of {size} KB", median(per_kb[size]), unit="us/KB")
    linear = median([big / small for big, small in zip(per_kb[128], per_kb[32], strict=True)])
    report.row("per KB, 128 KB over 32 KB", linear, LINEAR_BAR)


def ddwaf(report: Report, rounds: int) -> None:
    """The second reference: another engine with other rules, native."""
    report.heading("libddwaf with its own recommended rules, native evaluation only (conversion not counted)")
    try:
        peer = LibDdwaf()
    except Missing as missing:
        report.lacks("libddwaf", str(missing))
        return
    try:
        engines: dict[str, Engine] = {"libddwaf": peer, "own": Ours(load_ours("own"))}
        try:
            engines["crs-pl1"] = Ours(load_ours("crs-pl1"))
        except Missing as missing:
            report.lacks("libddwaf against CRS", str(missing))
        raw = report.raw["libddwaf"] = {"rules": peer.rules}
        for kind, make in {**KINDS, "mixed": mixed}.items():
            times = raw[kind] = interleave(engines, make, COUNTS[kind], rounds)
            others = ", ".join(
                f"{name} {ratio(times, name, 'libddwaf'):.1f}x" for name in engines if name != "libddwaf"
            )
            peer.run(requests := fresh(make, COUNTS[kind]))
            caught = f"{peer.matched} of {len(requests)} matched"
            report.row(f"libddwaf {kind}", median(times["libddwaf"]), unit="us", note=f"{others}; {caught}")
    finally:
        peer.close()


PARTS: dict[str, Callable[[Report, int], None]] = {
    **{rules: (lambda report, rounds, rules=rules: compare(report, rules, rounds)) for rules in RULE_SETS},
    "detectors": detectors,
    "candidates": lambda report, rounds: candidates(report),
    "phrases": phrases,
    "bodies": body_sizes,
    "ddwaf": ddwaf,
}


def main() -> int:
    """Exit code 1 if a bar was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default all")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds per figure (default 7)")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - PARTS.keys()
    if unknown:
        parser.error(f"unknown part {', '.join(sorted(unknown))}")
    report = Report("-".join(["engine", *arguments.parts]))
    for name, part in PARTS.items():
        if not arguments.parts or name in arguments.parts:
            part(report, arguments.rounds)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
