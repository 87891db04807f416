"""What all tests share: which form of the hot modules they meet."""

from __future__ import annotations

import pytest

from extproc import compiled


def pytest_report_header() -> str:
    """A line at the top of each run."""
    return f"hot modules: {'compiled' if compiled.why_plain is None else f'source ({compiled.why_plain})'}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make test` runs them once more, from source."""
    if compiled.why_plain is None:
        for item in items:
            if item.get_closest_marker("plain"):
                item.add_marker(pytest.mark.skip(reason="for the source alone: EXTPROC_COMPILED=0 pytest -m plain"))
