"""@detectSQLi, for every value: it never raises, its guard changes no verdict, and its work grows linearly."""

from __future__ import annotations

import gc
from collections.abc import Callable
from time import process_time_ns

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from extproc.operators.detect_sqli import detect_sqli, find_injection
from extproc.operators.sqli_guard import is_harmless
from extproc.operators.sqli_words import PHRASES, WORDS

SQL = st.sampled_from(
    [
        *WORDS,
        *(word for phrase in PHRASES for word in phrase.split()),
        *(bytes([byte]) for byte in range(256)),
        *b" |0x|0b|1e|1f|1.e|\\N|'|\"|`|--|/*|*/|/*!|&&|#|(|)|or|and|in|=|,|1|a|.|$$|q'(|x'|@".split(b"|"),
    ]
)
FRAGMENTS = st.lists(SQL, max_size=12).map(b"".join)


@settings(max_examples=1500, deadline=None)
@given(st.one_of(FRAGMENTS, st.binary(max_size=60)))
@example(b"1eOR 1eAND")
@example(b"1 1eUNION 1eSELECT 1")
@example(b"1 0xUNION 0xSELECT 1")
@example(b"1--")
@example(b"a COLLATE item_1 ~ d")
@example(b"1e5dUNION 1e5dSELECT 1")
@example(b"x1.union select.2 from")
@example(b"1 and 2")
@example(b"a into outfile b")
@example(b"1/*")
@example(b"a = in and b")
@example(b"x \\Nunion select 1")
def test_the_guard_of_sqli_changes_no_verdict(value: bytes) -> None:
    if is_harmless(value):
        assert find_injection(value) is None
    found = find_injection(value)
    assert detect_sqli(value) == (None if found is None else (found,))


UNITS = (
    b"'a' |(|)|-|\"|\\|/*a|/**/|{a|1,|a=b&|1 or |q'(|$a$|#\n|--x\n|a.|select.|1e|@a|`|[|*/|/*!|order |x'1|;|::|"
    b"a,|union,|$a|"
    b'<a>|<!--|<!---|<a b=|\'"`|<![CDATA[|-\x00|<%|on=|<a href=&#|</|x |= |<a x=" |<a href=" |&#10;|<? '
).split(b"|")

SMALL_BYTES = 8 << 10
TIMES = 8
GROWTH = 32
"""TIMES the input may take this many times the work: linear is 8, a quadratic walk takes 64."""


def work_ns(test: Callable[[bytes], object], value: bytes) -> int:
    """The least processor time of five runs."""
    runs = []
    for _ in range(5):
        start = process_time_ns()
        test(value)
        runs.append(process_time_ns() - start)
    return min(runs)


@pytest.mark.parametrize("unit", UNITS)
def test_a_hostile_value_costs_linear_work(unit: bytes) -> None:
    """A ratio of processor times within one process, with room to spare: a machine's speed does not matter."""
    gc.collect()
    small, large = ((b"<x' " + unit * (size // len(unit))) for size in (SMALL_BYTES, TIMES * SMALL_BYTES))
    floor_ns = 1_000_000
    assert work_ns(find_injection, large) < GROWTH * max(work_ns(find_injection, small), floor_ns)
