"""What the prefilter relies on: every value that matches holds one of `words` and is at least `min_bytes` long."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.operators.registry import OPERATORS


class Silent:
    """A CompileContext with one phrase file."""

    def read_file(self, name: bytes) -> bytes:
        return b"Foo\n\xc9A\nab"

    def notice(self, text: str) -> None:
        pass


TEXT_OPERATORS = ["beginswith", "contains", "containsword", "endswith", "pm", "streq", "strmatch", "within"]
ALPHABET = st.sampled_from([b"a", b"A", b"b", b"o", b"Fo", b" ", b"\x00", b"\xe9", b"\xc9", b"|41|", b"%", b"4", b"9"])
TEXTS = st.lists(ALPHABET, max_size=8).map(b"".join)
FIXED = [
    ("pmfromfile", b"x"),
    ("detectsqli", b""),
    ("detectxss", b""),
    ("rx", b"a(b|o)"),
    ("validatebyterange", b"1-64,66-255"),
    ("validatebyterange", b"32-126"),
    ("validateurlencoding", b""),
    ("validateutf8encoding", b""),
    ("ipmatch", b"10.0.0.0/8"),
    ("eq", b"9"),
    ("ge", b"4"),
    ("verifycc", rb"\d+"),
    ("unconditionalmatch", b""),
    ("nomatch", b""),
    ("rbl", b"x"),
]


def _drained(steps):
    try:
        while True:
            next(steps)
    except StopIteration as end:
        return end.value


def _holds(operator, value):
    captures = operator.test(value)
    assert operator.test(value) == captures
    if operator.steps is not None:
        assert _drained(operator.steps(value)) == captures
    if captures is None:
        return
    assert len(value) >= operator.min_bytes
    assert all(isinstance(group, bytes) for group in captures)
    assert operator.needed_bytes is None or not operator.needed_bytes.isdisjoint(value)
    if operator.words is not None:
        lowered = value.lower()
        assert any(word in lowered for word in operator.words)


@pytest.mark.parametrize("name", TEXT_OPERATORS)
@given(argument=TEXTS, before=TEXTS, value=TEXTS)
@settings(max_examples=300, deadline=None)
def test_text_operators_keep_their_promise(name, argument, before, value):
    operator = OPERATORS[name](argument, Silent())
    for candidate in (value, before + argument, argument + value, before + argument.swapcase() + value, argument):
        _holds(operator, candidate)


@pytest.mark.parametrize(("name", "argument"), FIXED)
@given(value=st.one_of(TEXTS, st.binary(max_size=12)))
@settings(max_examples=200, deadline=None)
def test_the_others_keep_their_promise(name, argument, value):
    _holds(OPERATORS[name](argument, Silent()), value)


@given(
    words=st.lists(st.text("abAB", min_size=1, max_size=4), min_size=1, max_size=14),
    value=st.text("abAB ", max_size=20),
)
@settings(max_examples=500, deadline=None)
def test_pm_reports_what_a_naive_search_reports(words, value):
    """First end, then longest, then first written; the automaton and the short-list path alike."""
    lowered = value.lower()
    ends = [
        (start + len(word), -len(word), index, word)
        for index, word in enumerate(words)
        for start in range(len(value))
        if lowered.startswith(word.lower(), start)
    ]
    expected = (min(ends)[3].encode(),) if ends else None
    assert OPERATORS["pm"](" ".join(words).encode(), Silent()).test(value.encode()) == expected
