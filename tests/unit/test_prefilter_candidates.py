"""Which rules can match: one bit per rule, two clauses each."""

from __future__ import annotations

import pytest

from extproc.prefilter.candidates import CLAUSES_LIMIT, Clauses, Prefilter


def clause(*literals: bytes) -> frozenset[bytes]:
    return frozenset(literals)


RULES: list[tuple[int, Clauses]] = [
    (0, [clause(b"union"), clause(b"select", b"all")]),
    (1, [clause(b"'", b'"')]),
    (2, []),
    (5, [clause(b"union", b"'")]),
    (64, [clause(b"<script"), clause(b">")]),
]

CASES = [
    (b"", {2}),
    (b"union", {2, 5}),
    (b"select", {2}),
    (b"union all", {0, 2, 5}),
    (b"select union", {0, 2, 5}),
    (b"o'neil", {1, 2, 5}),
    (b"<script", {2}),
    (b"<script>", {2, 64}),
    (b"<script" + b" " * 100 + b'"union all>', {0, 1, 2, 5, 64}),
]


def named(prefilter: Prefilter, text: bytes) -> int:
    return prefilter.candidates(text, prefilter.held_by(set(text)))


@pytest.mark.parametrize(("text", "expected"), CASES, ids=lambda value: None)
def test_candidates(text: bytes, expected: set[int]) -> None:
    assert named(Prefilter(RULES), text) == sum(1 << bit for bit in expected)


def test_without_rules_there_is_no_candidate() -> None:
    assert named(Prefilter([]), b"abc") == 0


def test_without_clauses_every_rule_is_a_candidate() -> None:
    assert named(Prefilter([(0, []), (3, [])]), b"") == 0b1001


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ([(0, [clause(b"ab")] * (CLAUSES_LIMIT + 1))], "more than"),
        ([(0, [clause()])], "without literals"),
        ([(0, [clause(b"Ab")])], "lower case"),
        ([(0, [clause(b"")])], "empty"),
        ([(0, []), (0, [])], "twice"),
    ],
)
def test_rules_that_could_not_be_sound_are_refused(rules: list[tuple[int, Clauses]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Prefilter(rules)


def test_edge_of_the_clauses_limit() -> None:
    rules = [(0, [clause(b"ab"), clause(b"cd")][:CLAUSES_LIMIT])]
    assert named(Prefilter(rules), b"abcd") == 1
