"""Patterns of the detectors: a vertical tab is a blank, whether told alone, within a class or denied."""

from __future__ import annotations

import pytest

from extproc.detection.pattern import find, find_here


@pytest.mark.parametrize(
    ("expression", "text", "is_match"),
    [
        (rb"a\sb", b"a\x0bb", True),
        (rb"a\sb", b"a b", True),
        (rb"a[\s,]b", b"a\x0bb", True),
        (rb"a[^\s]b", b"a\x0bb", False),
        (rb"a\Sb", b"a\x0bb", False),
        (rb"a\Sb", b"acb", True),
        (rb"a\\sb", rb"a\sb", True),
        (rb"\[\s", b"[\x0b", True),
    ],
)
def test_a_vertical_tab_is_a_blank(expression: bytes, text: bytes, is_match: bool) -> None:
    assert (find(expression)(text, 0) is not None) is is_match


def test_a_denied_blank_within_a_class_is_refused() -> None:
    with pytest.raises(ValueError, match="within a class"):
        find(rb"[\S,]")


def test_where_a_search_begins() -> None:
    assert find(b"b")(b"ab", 0) is not None
    assert find_here(b"b")(b"ab", 0) is None
    assert find_here(b"b")(b"ab", 1) is not None


def test_a_broken_expression_is_refused() -> None:
    with pytest.raises(ValueError, match="re2 refuses"):
        find(b"(")
