"""JUnit XML of a run → the table in docs/CONFORMANCE.md."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

BEGIN, END = "<!-- table: written by a run -->", "<!-- end of the table -->"


def write_table(page: Path, reports: list[Path]) -> None:
    """Replaces what stands between the marks of the page."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{page}: the marks of the table are not there")
    found: dict[str, tuple[str, str, str]] = {}
    for row in (row for report in reports for row in read_rows(report)):
        # A case that one run could not bring about may have been run by another.
        if row[0] not in found or found[row[0]][2].startswith("not applicable"):
            found[row[0]] = row
    # G before E: the conversation first.
    rows = sorted(found.values(), key=lambda row: (row[0][0] != "G", row[0]))
    lines = ["| case | what | result |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    page.write_text("\n".join((before + BEGIN, *lines, END + after)), encoding="utf-8")


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
