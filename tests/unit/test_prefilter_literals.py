"""Literals that a pattern requires: what is claimed, and where nothing may be claimed."""

from __future__ import annotations

import pytest

from extproc.prefilter import literals
from extproc.prefilter.literals import required_clauses, required_min_bytes

# Pattern as re2 runs it, the clauses, each as its literals in order.
CLAIMED: list[tuple[bytes, list[list[bytes]]]] = [
    (b"union", [[b"union"]]),
    (b"(?i)UNION", [[b"union"]]),
    (b"(?ms)(?i:UnIon)", [[b"union"]]),
    (b"\\xc9X", [[b"\xc9x"]]),  # not an ASCII letter: stays as it is
    (b"union[a-z]*select", [[b"select"], [b"union"]]),
    (b"a|b", []),  # single letters say nothing
    (b"7", []),
    (b"'", [[b"'"]]),
    (b"\\x00|\\xff", [[b"\x00", b"\xff"]]),
    (b"foo|bar|'", [[b"'", b"bar", b"foo"]]),
    (b"foo|b|bar", []),
    (b"fo(?:o|ur)", [[b"foo", b"four"]]),
    (b"foo(?:bar)?", [[b"foo"]]),
    (b"(?:foo)?bar", [[b"bar"]]),
    (b"(?:foo)*", []),
    (b"(?:foo)+", [[b"foo"]]),
    (b"(?:foo){2}", [[b"foofoo"]]),
    (b"(?:foo){2,3}x", [[b"foofoox"]]),
    (b"fo+bar", [[b"obar"], [b"fo"]]),
    (b"a{0}foo", [[b"foo"]]),
    (b"f[o0]o", [[b"f0o", b"foo"]]),
    (b"f.o", []),
    (b"to.ob", [[b"ob"], [b"to"]]),
    (b"[<>]", [[b"<", b">"]]),
    (b"x[^a]y", []),
    (b"^foo$", [[b"foo"]]),
    (b"fo\\bo\\z", [[b"foo"]]),
    (b"a\\s(?:b|c)", [[b"a" + ws + c for ws in (b"\t", b"\n", b"\x0b", b"\x0c", b"\r", b" ") for c in (b"b", b"c")]]),
    (b"(?:a.+b|c.+d)=", [[b"b=", b"d="]]),
    (b"(?:sleep\\(.*\\)|bench\\(.*,)", [[b"bench(", b"sleep("], [b")", b","]]),
    (b"$[a-z]{40}<script", [[b"<script"]]),
    (b"\\x{27}\\x{3c}", [[b"'<"]]),
    (b"a{,3}bc", [[b"a{,3}bc"]]),  # for re2 this is text
    (b"((((foo))))", [[b"foo"]]),
    (b"", []),
    (b"a?", []),
]

NOT_UNDERSTOOD = [
    b"foo\\Zbar",
    b"\\Qfoo.bar\\E",
    b"[[:alpha:]]foo",
    b"\\pLfoo",
    b"\\x{100}foo",
    b"foo(?i)bar",
    b"(?U)foo+",
    b"foo\\Cbar",
    b"foo(",
    b"[[a]foo]",
    b"foo" + b"(" * 5000,
]


@pytest.mark.parametrize(("pattern", "expected"), CLAIMED, ids=lambda value: None)
def test_required_clauses(pattern: bytes, expected: list[list[bytes]]) -> None:
    assert [sorted(clause) for clause in required_clauses(pattern)] == [sorted(clause) for clause in expected]


@pytest.mark.parametrize("pattern", NOT_UNDERSTOOD, ids=lambda value: None)
def test_what_is_not_understood_proves_nothing(pattern: bytes) -> None:
    assert required_clauses(pattern) == ()
    assert required_min_bytes(pattern) == 0


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [(b"abc", 3), (b"a?b{2,}c*", 2), (b"\\x{27}.", 2), (b"^$", 0), (b"foo|a", 1), (b"(?ms)(?i:\\W{4})\\z", 4)],
)
def test_required_min_bytes(pattern: bytes, expected: int) -> None:
    assert required_min_bytes(pattern) == expected


def alternatives(count: int) -> bytes:
    """Words without a common beginning, which the parser would factor out."""
    return b"|".join((b"%05d" % n)[::-1] for n in range(count))


def test_edge_of_the_set_limit() -> None:
    (clause,) = required_clauses(alternatives(literals.SET_LIMIT))
    assert len(clause) == literals.SET_LIMIT
    assert required_clauses(alternatives(literals.SET_LIMIT + 1)) == ()


def test_edge_of_the_product_limit() -> None:
    assert literals.PRODUCT_LIMIT == 64
    assert len(required_clauses(b"[<>{}()!$][<>{}()!$]")[0]) == 64  # 8 times 8, all pairs
    assert {len(literal) for literal in required_clauses(b"[<>{}()!$][<>{}()!$|]")[0]} == {1}


def test_edge_of_the_class_limits() -> None:
    wide = bytes(range(0x80, 0x80 + literals.WIDE_CLASS_LIMIT))
    assert required_clauses(b"x[" + wide[: literals.CLASS_LIMIT] + b"]")[0] == frozenset(
        b"x" + wide[n : n + 1] for n in range(literals.CLASS_LIMIT)
    )
    assert required_clauses(b"x[" + wide[: literals.CLASS_LIMIT + 1] + b"]")[0] == frozenset(
        wide[n : n + 1] for n in range(literals.CLASS_LIMIT + 1)
    )
    assert len(required_clauses(b"[" + wide + b"]")[0]) == literals.WIDE_CLASS_LIMIT
    assert required_clauses(b"[" + wide + b"\xfe]") == ()


def test_edge_of_the_literal_limit() -> None:
    text = b"0123456789abcdefghijklmnopqrstuv"
    assert len(text) == literals.LITERAL_LIMIT_BYTES
    assert required_clauses(text) == (frozenset((text,)),)
    assert required_clauses(text + b"<") == (frozenset((text,)), frozenset((b"<",)))


def test_a_clause_that_follows_from_a_better_one_is_left_out() -> None:
    assert required_clauses(b"foo'.*foo'bar") == (frozenset((b"foo'bar",)),)
