"""docs/CONFORMANCE.md: the tables of the last runs are whole, and every case passed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conformance.docs_table import (
    CASES_TABLE,
    ENVOYS_TABLE,
    FAULTS_TABLE,
    case_lines,
    found_lines,
    read_found,
    read_rows,
    write_table,
)
from tests.conformance.through_envoy.faulty_envoys import FAULTS

BEGIN, END = CASES_TABLE

PAGE = Path(__file__).parents[2] / "docs" / "CONFORMANCE.md"
NUMBERS = [f"G{number:02}" for number in range(1, 45)] + [f"E{number:02}" for number in range(1, 35)]

REPORT = """<testsuites><testsuite>
<testcase name="test_case[G02 attack]"><properties><property name="expects" value="A block."/></properties></testcase>
<testcase name="test_case[G01 clean]"><skipped message="not applicable: needs more"/></testcase>
<testcase name="test_case[E01 broken]"><failure message="x"/></testcase>
</testsuite></testsuites>"""


def test_the_table_is_whole_and_all_of_it_passed() -> None:
    rows = re.findall(r"^\| ([GE]\d\d) \| .* \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [number for number, _ in rows] == NUMBERS
    assert {result for _, result in rows} == {"passed"}


def test_what_a_run_came_to(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    assert read_rows(report) == [
        ("G02", "A block.", "passed"),
        ("G01", "clean", "not applicable: needs more"),
        ("E01", "broken", "FAILED"),
    ]


def test_a_table_between_its_marks(tmp_path: Path) -> None:
    report, page = tmp_path / "1.xml", tmp_path / "page.md"
    report.write_text(REPORT)
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_table(page, CASES_TABLE, case_lines(read_rows(report)))
    lines = page.read_text().splitlines()
    assert lines[:2] == ["before", BEGIN]
    assert lines[-2:] == [END, "after"]
    assert lines[4:-2] == [
        "| G01 | clean | not applicable: needs more |",
        "| G02 | A block. | passed |",
        "| E01 | broken | FAILED |",
    ]


def test_a_page_without_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("no table\n")
    with pytest.raises(ValueError, match="marks"):
        write_table(page, CASES_TABLE, [])


def test_who_found_a_fault_can_be_read_again(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("\n".join(FAULTS_TABLE))
    found = {"deaf": {"G02": "FAILED", "G01": "FAILED", "G03": "passed"}, "mute": {"G01": "passed"}}
    write_table(page, FAULTS_TABLE, found_lines("the server", {"deaf": "Hears nothing.", "mute": "Says no."}, found))
    assert read_found(page, FAULTS_TABLE) == {"deaf": ["G01", "G02"], "mute": []}


def test_every_faulty_envoy_is_found_by_what_it_does() -> None:
    """The table is whole. `open-admin` does nothing until somebody asks it to."""
    table = read_found(PAGE, ENVOYS_TABLE)
    assert list(table) == list(FAULTS)
    assert [fault for fault, cases in table.items() if not set(cases) - {"E34"}] == ["open-admin"]
