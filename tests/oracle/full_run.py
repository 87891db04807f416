"""All of the corpus through our engine and libmodsecurity; `measured / bar / pass` per row, JSON under build/.

    python tests/oracle/full_run.py [--paranoia 1 2] [--places query] [--share 1.0]

Exit 1 when verdicts agree on less than the bar, or a difference has no explanation.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from oracle_differences import DIFFERENCES, Finding, compare
from oracle_engines import Ours, Theirs, load_crs
from oracle_material import CORPUS, CRS, PLACES, ROOT, corpus

VERDICTS_BAR = 0.995
"""Share of equal verdicts, attacks and benign values together."""

JUDGED_PARANOIA = 2
"""Above it the explained differences (REQUEST_BODY) decide many verdicts; there only unexplained ones count."""

SHOWN = 10
"""Unexplained findings printed per row."""


SUMMARIES = next(one for one in DIFFERENCES if one.name == "sec-action-log")
"""The difference of nearly every blocked request: left out of the count of equal rule sets."""


def compare_all(paranoia: int, place: str, ours: Ours, theirs: Theirs, share: float) -> dict[str, object]:
    """One row: a level and a place."""
    ruleset = ours.plan.ruleset
    values = equal_verdicts = equal_ids = blocked_benign = 0
    kinds: Counter[str] = Counter()
    unexplained: list[Finding] = []
    for value in corpus(share, salt=place):
        sent = PLACES[place](value.text)
        our, their = ours.tell(sent), theirs.tell(sent)
        values += 1
        equal_verdicts += our.is_blocked == their.is_blocked
        findings = list(compare(ruleset, place, value.text, our, their))
        equal_ids += not any(finding.difference is not SUMMARIES for finding in findings)
        blocked_benign += our.is_blocked and value.kind == "benign"
        for finding in findings:
            if finding.difference is None:
                unexplained.append(finding)
            else:
                kinds[finding.difference.name] += 1
    agreement = equal_verdicts / max(values, 1)
    bar = VERDICTS_BAR if paranoia <= JUDGED_PARANOIA else 0.0
    print(
        f"PL{paranoia} {place:<9} verdicts equal {agreement:.3%} of {values} / {bar:.1%} / "
        f"{'pass' if agreement >= bar else 'MISSED'}; unexplained {len(unexplained)} / 0 / "
        f"{'MISSED' if unexplained else 'pass'}; rule sets equal {equal_ids / max(values, 1):.3%}; {dict(kinds)}",
        flush=True,
    )
    for finding in unexplained[:SHOWN]:
        print(f"  {finding}")
    return {
        "paranoia": paranoia,
        "place": place,
        "values": values,
        "equal_verdicts": equal_verdicts,
        "equal_rule_sets": equal_ids,
        "blocked_benign": blocked_benign,
        "differences": dict(kinds),
        "unexplained": [str(finding) for finding in unexplained],
        "is_passed": agreement >= bar and not unexplained,
    }


def main() -> int:
    """0: agreement as wanted; 1: not; 2: nothing to compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paranoia", type=int, nargs="+", default=[1, 2], choices=(1, 2, 3, 4))
    parser.add_argument("--places", nargs="+", default=["query"], choices=list(PLACES))
    parser.add_argument("--share", type=float, default=1.0, help="of the corpus, 0 to 1")
    arguments = parser.parse_args()
    if not (CRS / "rules").is_dir() or not CORPUS.is_dir():
        print(f"needs the Core Rule Set (CRS_DIR, {CRS}) and the corpus (CORPUS_DIR, {CORPUS})", file=sys.stderr)
        return 2
    rows = []
    for paranoia in arguments.paranoia:
        ours, theirs = Ours(load_crs(paranoia)), Theirs(paranoia)
        rows += [compare_all(paranoia, place, ours, theirs, arguments.share) for place in arguments.places]
    file = ROOT / "build" / "oracle.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return 0 if all(row["is_passed"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
