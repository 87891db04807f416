"""@detectXSS on every value: the guard changes no verdict, matches keep their promises, padding hides nothing."""

from __future__ import annotations

import re2
from hypothesis import example, given, settings
from hypothesis import strategies as st

from extproc.operators.detect_xss import MIN_BYTES, WORDS, detect_xss
from extproc.operators.rx import LARGE_PROGRAM_BYTES, options
from extproc.operators.xss_grammar import RUNS_CODE

UNGUARDED = re2.compile(RUNS_CODE, options(LARGE_PROGRAM_BYTES))

HTML = st.sampled_from(
    [
        *b"<|</|>|/|=|'|\"|`| |\x00|!--|-->|--!>|!|?|%|%>|![CDATA[|]]>|!doctype|script|svg|style|onclick|href".split(
            b"|"
        ),
        *b"to|x|javascript:|data:|&#106;|&#|java|attributename|xmlns:a|[if |import|on|\xa0|1".split(b"|"),
        *(bytes([byte]) for byte in range(256)),
    ]
)
VALUES = st.one_of(st.lists(HTML, max_size=12).map(b"".join), st.binary(max_size=60))


@settings(max_examples=1500, deadline=None)
@given(VALUES)
@example(b"<!`")
@example(b"x='onclick=1")
@example(b"==onclick=1")
def test_the_guard_changes_no_verdict_and_matches_keep_their_promise(value: bytes) -> None:
    found = detect_xss(value)
    assert (found is not None) == (UNGUARDED.search(value) is not None)
    if found is not None:
        assert found == (value,)
        assert len(value) >= MIN_BYTES
        assert any(word in value for word in WORDS)


@settings(max_examples=1000, deadline=None)
@given(VALUES)
def test_case_does_not_matter_but_in_the_mark_of_a_data_section(value: bytes) -> None:
    if b"[cdata[" not in value.lower():
        assert (detect_xss(value.swapcase()) is None) == (detect_xss(value) is None)


CLOSED = st.sampled_from(
    b"<b>|</b>|<p a=b c='d>' e=\"<svg>\">|<!-- x > -->|<![CDATA[<svg>]]>|<% > %>|<?x>|<!x>|</ x>|a < b |text|\xff|<br/>"
    b"|<p =x>|<p a==b>".split(b"|")
)
CODE = st.sampled_from([b"<svg>", b"<p onclick=1>", b"<a href='java", b"<!-- `", b"<!doctype", b"</script x>"])


@settings(max_examples=500, deadline=None)
@given(st.lists(CLOSED, max_size=200), CODE, st.binary(max_size=20))
def test_nothing_in_front_hides_what_runs_code(before: list[bytes], code: bytes, behind: bytes) -> None:
    """Whole tags and comments, however many, lead back to text; what follows is read as if it stood alone."""
    assert detect_xss(b"".join(before) + code)
    if code.endswith((b">", b"`", b"doctype")):
        assert detect_xss(b"".join(before) + code + behind)


@settings(max_examples=300, deadline=None)
@given(st.lists(CLOSED.filter(lambda piece: b"svg" not in piece), max_size=200))
def test_what_is_closed_and_harmless_stays_harmless(pieces: list[bytes]) -> None:
    assert detect_xss(b"".join(pieces)) is None
