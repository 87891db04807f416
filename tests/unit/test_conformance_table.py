"""docs/CONFORMANCE.md: the table of the last run is whole, and nothing in it failed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conformance.docs_table import BEGIN, END, read_rows, write_table

PAGE = Path(__file__).parents[2] / "docs" / "CONFORMANCE.md"
NUMBERS = [f"G{number:02}" for number in range(1, 45)] + [f"E{number:02}" for number in range(1, 35)]

REPORT = """<testsuites><testsuite>
<testcase name="test_case[G02 attack]"><properties><property name="expects" value="A block."/></properties></testcase>
<testcase name="test_case[G01 clean]"><skipped message="not applicable: needs more"/></testcase>
<testcase name="test_case[E01 broken]"><failure message="x"/></testcase>
</testsuite></testsuites>"""


def test_the_table_is_whole_and_nothing_in_it_failed() -> None:
    rows = re.findall(r"^\| ([GE]\d\d) \| .* \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [number for number, _ in rows] == NUMBERS
    assert not [row for row in rows if row[1] != "passed" and not row[1].startswith("not applicable: ")]


def test_what_a_run_came_to(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    assert read_rows(report) == [
        ("G02", "A block.", "passed"),
        ("G01", "clean", "not applicable: needs more"),
        ("E01", "broken", "FAILED"),
    ]


def test_a_case_that_another_run_could_bring_about(tmp_path: Path) -> None:
    first, second, page = tmp_path / "1.xml", tmp_path / "2.xml", tmp_path / "page.md"
    first.write_text(REPORT)
    second.write_text(REPORT.replace('<skipped message="not applicable: needs more"/>', ""))
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_table(page, [first, second])
    lines = page.read_text().splitlines()
    assert lines[0] == "before"
    assert lines[-1] == "after"
    assert lines[4:7] == ["| G01 | clean | passed |", "| G02 | A block. | passed |", "| E01 | broken | FAILED |"]


def test_a_page_without_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("no table\n")
    with pytest.raises(ValueError, match="marks"):
        write_table(page, [])
