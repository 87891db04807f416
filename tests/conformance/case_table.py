"""The closing table of the conformance suite: one line per case, what it came to."""

from __future__ import annotations

import pytest

FILES = "suite_"
"""How the files of the suite begin. Other tests may run in the same session, and are none of this table's."""


class Table:
    """A pytest plugin. `title` stands above the table; cases are named by the parameter of their test."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._lines: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file, _, test = report.nodeid.partition("::")
        case = test.partition("[")[2].rstrip("]")
        if not case or not file.rpartition("/")[2].startswith(FILES) or (report.when != "call" and report.passed):
            return
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            self._lines[case] = reason.removeprefix("Skipped: ")
        else:
            self._lines[case] = "passed" if report.passed else "FAILED"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._lines:
            terminalreporter.section(self._title)
        for case in sorted(self._lines):
            terminalreporter.write_line(f"{case:<34} {self._lines[case]}")
