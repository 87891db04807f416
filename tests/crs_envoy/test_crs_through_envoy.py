"""The Core Rule Set's tests through a real pair: a sample of them with every override, and that the judge can fail.

`make crs` runs all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from extproc.replay.ftw import Stage, read_cases
from tests.crs_envoy.through_envoy import BAR, CRS, Exchange, judge, read_overrides, run

SAMPLE = 12
"""One test in so many."""


def event(*rules: int, coverage: str = "inspected", logdata: str = "") -> dict[str, Any]:
    matches = [{"id": rule, "msg": "m", "logdata": logdata, "variable": "ARGS:a"} for rule in rules]
    return {"rule_ids": list(rules), "matches": matches, "coverage": coverage, "coverage_reason": None}


ANSWERED, CLOSED = Exchange(200, "id"), Exchange(0, "")

JUDGED: dict[str, tuple[Stage, Exchange, dict[str, Any] | None, bool]] = {
    "expected and matched": (Stage(b"", expect_ids=(1,)), ANSWERED, event(1, 2), True),
    "expected, another matched": (Stage(b"", expect_ids=(1,)), ANSWERED, event(2), False),
    "expected, nothing inspected": (Stage(b"", expect_ids=(1,)), CLOSED, None, False),
    "not expected, nothing inspected": (Stage(b"", no_expect_ids=(1,)), CLOSED, None, False),
    "not expected, not matched": (Stage(b"", no_expect_ids=(1,)), ANSWERED, event(), True),
    "not expected but matched": (Stage(b"", no_expect_ids=(1,)), ANSWERED, event(1), False),
    "only half inspected": (Stage(b"", no_expect_ids=(1,)), ANSWERED, event(coverage="partly"), False),
    "text in the log": (Stage(b"", match_regex='id "1"'), ANSWERED, event(1), True),
    "text not in the log": (Stage(b"", match_regex='id "1"'), ANSWERED, event(2), False),
    "text that must not be in the log": (Stage(b"", no_match_regex="abc"), ANSWERED, event(1, logdata="abc"), False),
    "status": (Stage(b"", status=400), Exchange(400, ""), None, True),
    "another status": (Stage(b"", status=400), ANSWERED, event(), False),
    "closed as expected": (Stage(b"", expect_error=True), CLOSED, None, True),
    "answered, though a close is expected": (Stage(b"", expect_error=True), ANSWERED, event(), False),
}


@pytest.mark.parametrize("name", JUDGED)
def test_the_judge(name: str) -> None:
    stage, seen, found, is_right = JUDGED[name]
    assert (not list(judge(stage, seen, found))) is is_right


@pytest.mark.envoy
@pytest.mark.crs
@pytest.mark.slow
@pytest.mark.skipif(not (CRS / "rules").is_dir(), reason=f"no Core Rule Set in {CRS}; set CRS_DIR")
def test_a_sample_and_every_override(envoy_binary: Path) -> None:
    overrides = read_overrides()
    cases = list(read_cases([CRS / "tests"]))
    chosen = [case for number, case in enumerate(cases) if number % SAMPLE == 0 or case.title in overrides]
    assert overrides.keys() <= {case.title for case in chosen}
    results = run(chosen, overrides)
    failed = {result.case.title: result.failures for result in results if result.failures}
    assert 1 - len(failed) / len(results) >= BAR, failed
    assert not failed.keys() & overrides.keys()
