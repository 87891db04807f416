"""Detectors and ladder, for every value: they never raise, gates shut out nothing, views are distinct and bounded."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from extproc.detection.contract import Detector, Place
from extproc.detection.inspection import Panel
from extproc.detection.ladder import VIEWS_LIMIT, is_plain, ladder
from extproc.engine.matching import run
from extproc.operators.registry import OPERATORS


class Quiet:
    """A compile context that nobody listens to."""

    def notice(self, text: str) -> None:
        """Says nothing."""

    def read_file(self, name: bytes) -> bytes:
        """Has no files."""
        raise FileNotFoundError(name)


DETECTORS = {
    operator.detector.kind: operator.detector
    for name, compile_operator in OPERATORS.items()
    if name.startswith("detect") and (operator := compile_operator(b"", Quiet())).detector is not None
}

FRAGMENTS = [
    *b"'|\"|`|;|(|)|<|>|{|}|$|&|%|\\|/|..|../|..\\|=|,|.|:|#|*|-|--|/*|*/| |\t|\n|\x00|1|0|a|x".split(b"|"),
    b"|",
    *b" or | and | union | select | from | where | sleep(5)| order by | drop table | insert into |1=1|'a'='a|@@version"
    b"|exec |xp_cmdshell| having | like | in (|null|case when |information_schema.|;select ".split(b"|"),
    *b"/etc/passwd|php://|file:///|windows\\win.ini|0x2f|..;/|\xc0\xaf|proc/self|.ssh/|data:|phar:".split(b"|"),
    *b"cat |;id|$(|${IFS}|&&|whoami|wget http://a|/bin/sh|curl -|<(|2>&1|>/dev/null|c''at|%PATH%".split(b"|"),
    *b"<script>|onerror=|javascript:|alert(1)|</|<!ENTITY|<![CDATA[|]]>|{{7*7}}|${jndi:|<%=|#{|__class__".split(b"|"),
    *b'$ne|[$gt]|)(uid=*|http://169.254.169.254/|gopher://|\r\nSet-Cookie: |O:8:"|rO0AB|<!--#exec '.split(b"|"),
    *b'%27|%2527|&#39;|&lt;|\\u0027|\\x27|\xef\xbc\x87|JyBvciAxPTEtLSA=|{"a":"|"}|a=1&b=|//h/p?q=|eyJ|H4sIA'.split(
        b"|"
    ),
]
TEXTS = st.one_of(st.lists(st.sampled_from(FRAGMENTS), max_size=10).map(b"".join), st.binary(max_size=80))


def is_open(detector: Detector, text: bytes) -> bool:
    """The gate as the contract words it, without an automaton."""
    low = text.lower()
    return not detector.gate or any(
        all(any(literal in low for literal in literals) for literals in alternative) for alternative in detector.gate
    )


@pytest.mark.parametrize("kind", sorted(DETECTORS))
@settings(max_examples=400, deadline=None)
@given(text=TEXTS, place=st.sampled_from(Place))
def test_a_gate_shuts_out_nothing(kind: str, text: bytes, place: Place) -> None:
    detector = DETECTORS[kind]
    finding = detector.detect(text, place)
    if finding is None:
        return
    assert is_open(detector, text)
    assert finding.kind == kind
    assert 1 <= finding.score <= 9
    assert 0 <= finding.span[0] <= finding.span[1] <= len(text)
    assert "\n" not in finding.reason


@pytest.mark.parametrize("kind", sorted(DETECTORS))
def test_gates_are_in_lower_case(kind: str) -> None:
    for alternative in DETECTORS[kind].gate:
        assert alternative
        for literals in alternative:
            assert literals
            assert all(literal and literal == literal.lower() for literal in literals)


@settings(max_examples=400, deadline=None)
@given(text=TEXTS, place=st.sampled_from(Place))
@example(b"%" * 200, Place.ARGUMENT)
@example(b"[" * 5000 + b"]" * 5000, Place.ARGUMENT)
def test_views_are_bounded_and_distinct_in_way_or_text(text: bytes, place: Place) -> None:
    views = list(ladder(text, place))
    assert views[0].text == text
    assert views[0].via == ()
    assert len(views) <= VIEWS_LIMIT
    told = [(view.text, view.via) for view in views]
    assert len(told) == len(set(told))


@settings(max_examples=400, deadline=None)
@given(text=TEXTS)
def test_plain_values_are_no_finding(text: bytes) -> None:
    """What is let go at once is nothing that the detectors would find."""
    if is_plain(text):
        panel = Panel([(detector, ()) for detector in DETECTORS.values()])
        found, is_partly = run(panel.steps(text, Place.ARGUMENT, lambda low: 0))
        assert not any(found)
        assert not is_partly
