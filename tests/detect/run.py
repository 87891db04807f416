"""`make detect`: what is caught, what is blocked wrongly, what it costs. `measured / bar / pass` per row.

Exit 1 on a missed bar.

    python -m tests.detect.run [--rules own ...] [--parts corpus variants changes benign fields cost] [--share 0.1]

Detection is told for the half that the detectors were tuned on and for the half they were not (see `material`); bars
judge the second. Of the benign collection nothing is tuned on by text, and all of it is judged.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Sequence

from tests.bench.engines import Missing
from tests.bench.report import Report
from tests.detect.benign.collection import collection
from tests.detect.changes import CHANGES, HARMLESS, LONG
from tests.detect.cost import measure_cost
from tests.detect.fields import measure_fields
from tests.detect.judges import JUDGES, Judge
from tests.detect.material import Value, corpus, variants
from tests.detect.placing import place

JUDGED = "own"
"""The rule set that the bars are for."""

CHANGED = (JUDGED, "crs-pl1", "crs-pl1-nested")
"""Rule sets that changed forms are told for: what the decode ladder is worth to own rules and to those of others."""

SOURCE_BARS = {"PayloadsAllTheThings": 92.0, "HttpParamsDataset": 98.5}
"""Least percent caught of the half not tuned on."""

VARIANTS_BAR, CHANGE_BAR, LONG_BAR = 90.0, 5.0, 15.0
"""Least percent of each class of variants; most points that a change may cost."""

BENIGN_BARS = {"content": 20.0, "api": 0.0, "hard": 600.0}
"""Most blocked of 10,000, by sort of traffic."""

CORPUS_BENIGN_BAR = 1
"""Most blocked of the corpus's benign values."""

EASY_BAR = 50.0
"""CRS PL1 must block at least so many of 10,000 of the collection, or it is too easy."""

CHANGED_VALUES = 120
"""Values of a class that are changed: enough to tell 5 points, few enough to take a minute."""

OTHER_PLACES = ("json", "multipart", "part in base64", "grpc", "form in ibm037", "json in utf-16", "cookie")
"""Where values of the corpus are put besides a query."""

PLACED_VALUES = 800
"""Values that are put there."""

PARTS = ("corpus", "variants", "changes", "places", "benign", "fields", "cost")


def percent(part: float, whole: float) -> float:
    """Of 100; of nothing it is 100."""
    return 100 * part / whole if whole else 100.0


class Caught:
    """Counts by any key."""

    def __init__(self) -> None:
        self.all: Counter[str] = Counter()
        self.caught: Counter[str] = Counter()

    def count(self, key: str, is_caught: bool) -> None:
        """One value."""
        self.all[key] += 1
        self.caught[key] += is_caught

    def share(self, key: str) -> float:
        """Percent caught."""
        return percent(self.caught[key], self.all[key])


def tell_corpus(report: Report, rules: str, judge: Judge, attacks: Sequence[Value], benign: Sequence[Value]) -> None:
    """Detection by source and class in both halves; alarms on the corpus's benign values."""
    told = Caught()
    missed = []
    for value in attacks:
        is_caught, _ = judge(place(value.text, value.place))
        half = "tuned" if value.is_tuned else "held out"
        told.count(f"{value.source} {half}", is_caught)
        told.count(f"{value.kind} {half}", is_caught)
        if not is_caught and value.is_tuned:
            missed.append([value.kind, value.text])
    for name in sorted(told.all):
        bar = next((bar for source, bar in SOURCE_BARS.items() if name == f"{source} held out"), None)
        judged = bar if rules == JUDGED else None
        report.row(f"{rules}: caught, {name}", told.share(name), judged, "%", f"of {told.all[name]}", is_least=True)
    alarms = [value.text for value in benign if judge(place(value.text, value.place))[0]]
    judged = CORPUS_BENIGN_BAR if rules == JUDGED else None
    report.row(f"{rules}: blocked, benign of the corpus", len(alarms), judged, note=f"of {len(benign)}")
    report.raw[f"{rules} corpus"] = {"missed, tuned half": missed, "alarms": alarms}


def tell_variants(report: Report, rules: str, judge: Judge, attacks: Sequence[Value], twins: Sequence[Value]) -> None:
    """Detection of the classes that the corpus lacks, and alarms on the twins."""
    told, alarms = Caught(), Caught()
    missed = []
    for value in attacks:
        is_caught, _ = judge(place(value.text, value.place))
        told.count(value.kind, is_caught)
        if not is_caught:
            missed.append([value.kind, value.place, value.text])
    wrong = []
    for value in twins:
        is_blocked, ids = judge(place(value.text, value.place))
        alarms.count(value.kind, is_blocked)
        if is_blocked:
            wrong.append([value.kind, value.place, value.text, sorted(ids)])
    for kind in sorted(told.all):
        bars = (VARIANTS_BAR, 0) if rules == JUDGED else (None, None)
        report.row(
            f"{rules}: caught, variants of {kind}",
            told.share(kind),
            bars[0],
            "%",
            f"of {told.all[kind]}",
            is_least=True,
        )
        report.row(f"{rules}: blocked, twins of {kind}", alarms.caught[kind], bars[1], note=f"of {alarms.all[kind]}")
    report.raw[f"{rules} variants"] = {"missed": missed, "alarms": wrong}


def tell_changes(report: Report, rules: str, judge: Judge, attacks: Sequence[Value]) -> None:
    """Points lost by each change, per class, over the same values unchanged; of the half not tuned on."""
    by_kind: dict[str, list[Value]] = {}
    for value in attacks:
        if not value.is_tuned and value.place == "query":
            by_kind.setdefault(value.kind, []).append(value)
    raw = {}
    for kind, values in sorted(by_kind.items()):
        r = random.Random(kind)
        sample = r.sample(values, min(CHANGED_VALUES, len(values)))
        plain = percent(sum(judge(place(value.text, "query"))[0] for value in sample), len(sample))
        for name, change in CHANGES.items():
            if (kind, name) in HARMLESS:
                continue
            caught = percent(sum(judge(place(change(value.text, r), "query"))[0] for value in sample), len(sample))
            raw[f"{kind}, {name}"] = caught
            bar = (LONG_BAR if name in LONG else CHANGE_BAR) if rules == JUDGED else None
            report.row(
                f"{rules}: points lost, {kind}, {name}", plain - caught, bar, note=f"{caught:.0f} of {plain:.0f} %"
            )
    report.raw[f"{rules} changes"] = raw


def tell_places(report: Report, rules: str, judge: Judge, attacks: Sequence[Value], benign: Sequence[Value]) -> None:
    """Points lost where the same values are sent by other ways, and alarms there; of the half not tuned on."""
    held_out = [value.text for value in attacks if not value.is_tuned]
    r = random.Random("places")
    sample = r.sample(held_out, min(PLACED_VALUES, len(held_out)))
    harmless = [value.text for value in r.sample(list(benign), min(PLACED_VALUES, len(benign)))]
    in_query = percent(sum(judge(place(text, "query"))[0] for text in sample), len(sample))
    for where in OTHER_PLACES:
        caught = percent(sum(judge(place(text, where))[0] for text in sample), len(sample))
        alarms = sum(judge(place(text, where))[0] for text in harmless)
        bars = (CHANGE_BAR, 0) if rules == JUDGED else (None, None)
        report.row(
            f"{rules}: points lost, {where}", in_query - caught, bars[0], note=f"{caught:.1f} of {in_query:.1f} %"
        )
        report.row(f"{rules}: blocked, benign of the corpus, {where}", alarms, bars[1], note=f"of {len(harmless)}")


def tell_benign(report: Report, rules: str, judge: Judge, share: float) -> None:
    """Alarms by group and sort of the collection."""
    groups, sorts = Caught(), Caught()
    alarms: dict[str, list[list[object]]] = {}
    for sort, group, sent in collection(share):
        is_blocked, ids = judge(sent)
        groups.count(group, is_blocked)
        sorts.count(sort, is_blocked)
        sorts.count("all", is_blocked)
        if is_blocked:
            alarms.setdefault(group, []).append(
                [sorted(ids), sent.method, sent.target, sent.body.decode("latin-1")[:2000]]
            )
    for group in groups.all:
        report.row(f"{rules}: blocked per 10,000, {group}", groups.share(group) * 100, note=f"of {groups.all[group]}")
    for sort in sorts.all:
        if rules == JUDGED:
            report.row(f"{rules}: blocked per 10,000, {sort}", sorts.share(sort) * 100, BENIGN_BARS.get(sort))
        else:
            bar = EASY_BAR if rules == "crs-pl1" and sort == "all" else None
            report.row(f"{rules}: blocked per 10,000, {sort}", sorts.share(sort) * 100, bar, is_least=True)
    report.raw[f"{rules} benign"] = alarms


def main() -> int:
    """0: every bar held; 1: one missed; 2: no corpus."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", nargs="+", default=list(JUDGES), choices=list(JUDGES))
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--share", type=float, default=1.0, help="of corpus and collection, 0 to 1")
    arguments = parser.parse_args()
    try:
        attacks, benign = corpus()
    except FileNotFoundError as error:
        print(f"needs the corpus (CORPUS_DIR): {error}", file=sys.stderr)
        return 2
    step = max(1, round(1 / arguments.share))
    attacks, benign = attacks[::step], benign[::step]
    own_attacks, twins = variants()
    report = Report("detect")
    for rules in arguments.rules:
        report.heading(f"rules {rules}")
        try:
            judge = JUDGES[rules]()
        except Missing as missing:
            report.lacks(rules, str(missing))
            continue
        if "corpus" in arguments.parts:
            tell_corpus(report, rules, judge, attacks, benign)
        if "variants" in arguments.parts:
            tell_variants(report, rules, judge, own_attacks, twins)
        if "changes" in arguments.parts and rules in CHANGED:
            tell_changes(report, rules, judge, [*attacks, *own_attacks])
        if "places" in arguments.parts:
            tell_places(report, rules, judge, attacks, benign)
        if "benign" in arguments.parts:
            tell_benign(report, rules, judge, arguments.share)
    if "fields" in arguments.parts:
        measure_fields(report, [*attacks, *own_attacks], arguments.share)
    if "cost" in arguments.parts:
        measure_cost(report)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
