"""`--profile own+crs`: of the Core Rule Set the noisy rules are out, the quiet ones run, and both sets decide."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.bench.engines import QUIET_RULES, Missing, Ours, load_ours
from tests.detect.placing import place


@pytest.fixture(scope="module")
def both() -> Iterator[Ours]:
    try:
        yield Ours(load_ours("own+crs"))
    except Missing as missing:
        pytest.skip(str(missing))


def named() -> list[tuple[int, int]]:
    """The ids and ranges that the file takes out."""
    found = []
    for line in QUIET_RULES.read_text().splitlines():
        if line.startswith("SecRuleRemoveById"):
            found += [(int(first), int(last or first)) for first, last in re.findall(r"(\d+)(?:-(\d+))?", line)]
    return found


def test_the_noisy_rules_are_out_and_others_run(both: Ours) -> None:
    ids = {rule.id for rule in both.plan.rules}
    out = named()
    assert not [number for number in ids if any(first <= number <= last for first, last in out)]
    assert {942140, 941240, 933151, 944100, 949110, 901001, 7100200} <= ids


def test_both_sets_decide(both: Ours) -> None:
    is_blocked, ids = both.tell(place("information_schema", "query"))
    assert is_blocked
    assert 942140 in ids
    assert 7100200 in both.tell(place("' or 1=1--", "query"))[1]


@pytest.mark.parametrize(
    "text", ["O'Neil and sons", "select a colour from the list", "50% off; today only", "C:\\Users\\Anna\\notes.txt"]
)
def test_harmless_texts_pass(both: Ours, text: str) -> None:
    assert both.tell(place(text, "query")) == (False, frozenset())
