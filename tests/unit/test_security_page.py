"""docs/SECURITY.md: every known hole has its row, and what shows it closed exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "SECURITY.md").read_text(encoding="utf-8")
CASES = (ROOT / "docs" / "CONFORMANCE.md").read_text(encoding="utf-8")
HOLES = [f"S{number}" for number in range(1, 31)]

_OWN = TEXT.partition("## The holes")[2].partition("## Attached to")[0]
ROWS = {row[0]: row[1:] for row in re.findall(r"^\| (S\d+) \| (.*) \| (.*) \| (.*) \|$", _OWN, re.MULTILINE)}


def test_every_hole_has_a_row() -> None:
    assert list(ROWS) == HOLES


def test_every_row_names_what_shows_it() -> None:
    for hole, (_, _, shown) in ROWS.items():
        assert re.search(r"\b[GE]\d\d\b|`tests/", shown), hole


def test_what_is_named_exists() -> None:
    for case in set(re.findall(r"\b[GE]\d\d\b", TEXT)):
        assert re.search(rf"^\| {case} \| .* \| (passed|not applicable: .*) \|$", CASES, re.MULTILINE), case
    for file in set(re.findall(r"`(tests/[^`]*)`", TEXT)):
        assert (ROOT / file).exists(), file
    for page in set(re.findall(r"\b([A-Z]+\.md)\b", TEXT)):
        assert (ROOT / "docs" / page).exists(), page


def test_what_shows_a_hole_closed_was_run() -> None:
    """A case that reads `not applicable` shows nothing."""
    shown = {case for _, _, names in ROWS.values() for case in re.findall(r"\b[GE]\d\d\b", names)}
    for case in shown:
        assert re.search(rf"^\| {case} \| .* \| passed \|$", CASES, re.MULTILINE), case
