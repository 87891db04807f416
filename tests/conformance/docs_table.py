"""What runs came to → the tables in docs/CONFORMANCE.md."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

CASES_TABLE = ("<!-- table: written by a run -->", "<!-- end of the table -->")
FAULTS_TABLE = ("<!-- faults: written by a run -->", "<!-- end of the faults -->")
ENVOYS_TABLE = ("<!-- faulty Envoys: written by a run -->", "<!-- end of the faulty Envoys -->")
CONFIGURATIONS_TABLE = ("<!-- configurations: written by a run -->", "<!-- end of the configurations -->")
ATTACHED_TABLE = ("<!-- attachments: written by a run -->", "<!-- end of the attachments -->")
"""Where a table of docs/CONFORMANCE.md begins and ends."""

FOUND_ROW = re.compile(r"^\| `([a-z0-9-]+)` \| .* \| ([A-Z\d, ]*) \|$", re.MULTILINE)


def write_table(page: Path, marks: tuple[str, str], lines: list[str]) -> None:
    """Replaces what stands between the marks of the page."""
    text = page.read_text(encoding="utf-8")
    begin, end = marks
    before, _, rest = text.partition(begin)
    _, mark, after = rest.partition(end)
    if not mark:
        raise ValueError(f"{page}: the marks of the table are not there")
    page.write_text("\n".join((before + begin, *lines, end + after)), encoding="utf-8")


def case_lines(rows: list[tuple[str, str, str]]) -> list[str]:
    """A line per case, the conversation before Envoy."""
    ordered = sorted(rows, key=lambda row: (row[0][0] != "G", row[0]))
    return ["| case | what | result |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in ordered)]


def found_lines(subject: str, says: dict[str, str], found: dict[str, dict[str, str]]) -> list[str]:
    """A line per fault: what is wrong, and the cases that failed."""
    lines = [f"| fault | {subject} | found by |", "|---|---|---|"]
    for name, text in says.items():
        cases = sorted(case for case, result in found[name].items() if result == "FAILED")
        lines.append(f"| `{name}` | {text} | {', '.join(cases)} |")
    return lines


def read_found(page: Path, marks: tuple[str, str]) -> dict[str, list[str]]:
    """Such a table as it stands: fault → cases."""
    text = page.read_text(encoding="utf-8").partition(marks[0])[2].partition(marks[1])[0]
    return {name: cases.split(", ") if cases else [] for name, cases in FOUND_ROW.findall(text)}


def read_rows(report: Path) -> list[tuple[str, str, str]]:
    """Number, expectation (else title), result; one per case."""
    rows = []
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314  # written by our own run
        number, _, title = case.attrib["name"].partition("[")[2].rstrip("]").partition(" ")
        says = next((item.attrib["value"] for item in case.iter("property") if item.attrib["name"] == "expects"), "")
        rows.append((number, says or title, _result(case)))
    return rows


def _result(case: ElementTree.Element) -> str:
    skipped = case.find("skipped")
    if skipped is not None:
        return skipped.attrib.get("message", "skipped")
    return "FAILED" if case.find("failure") is not None or case.find("error") is not None else "passed"
