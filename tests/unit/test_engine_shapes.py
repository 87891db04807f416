"""What follows from the bytes of a value alone: rules and steps that are left out, and that nothing else is."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from extproc.engine import shapes
from extproc.engine.matching import EveryRule, ValueClass, rule_test
from extproc.engine.plan import Plan
from extproc.engine.ruleset import Ruleset
from extproc.engine.shapes import QUIET, Shapes, byte_clauses
from extproc.model.phase import Phase
from extproc.seclang.assemble import Sources, load_ruleset

RULES = r"""
SecRule ARGS "@rx <script[^>]*>" "id:1,phase:2,pass,t:none,t:urlDecodeUni,t:htmlEntityDecode"
SecRule ARGS "@rx union\s+select" "id:2,phase:2,pass,t:none,t:lowercase,t:replaceComments,t:compressWhitespace"
SecRule ARGS "@rx ^[A-Z]+$" "id:3,phase:2,pass,t:none,t:base64Decode"
SecRule ARGS "!@rx ^[a-z ]*$" "id:4,phase:2,pass,t:none,t:removeNulls"
SecRule ARGS "@detectSQLi" "id:5,phase:2,pass,t:none,t:urlDecodeUni,t:removeNulls"
SecRule ARGS "@pm ;ls ;id" "id:6,phase:2,pass,t:none,t:cmdLine,t:normalizePath,multiMatch"
SecRule ARGS "@rx \.\./" "id:7,phase:2,pass,t:none,t:urlDecode,t:jsDecode,t:normalizePathWin,multiMatch"
SecRule ARGS "@validateByteRange 32-126" "id:8,phase:2,pass,t:none"
SecRule ARGS "@contains x" "id:9,phase:2,pass,t:none,t:hexDecode,t:uppercase,t:lowercase"
SecRule ARGS "@endsWith =" "id:10,phase:2,pass,t:none,t:base64Encode,t:trim"
"""


@pytest.fixture
def ruleset(tmp_path: Path) -> Ruleset:
    file = tmp_path / "rules.conf"
    file.write_text(RULES)
    return load_ruleset(Sources((file,)))


def value_class(ruleset: Ruleset, plan: Plan) -> ValueClass:
    [segment] = plan.segments[Phase.REQUEST_BODY]
    [collection] = segment.variant({}, 0).collections
    found, _ = collection.info(b"q")
    assert found is not None
    return found


PIECES = [
    b"<script>", b"%3Cscript>", b"&lt;script&gt;", b"UNION", b"union", b" /**/", b" ", b"\t", b"select", b"QUJD", b"=",
    b"==", b"\x00", b"' or 1=1--", b"%27", b";ls", b";^l\"s", b";/x/..//./l", b"../", b"..\\", b"%2e%2e%2f", b"\\x2e",
    b"./", b"a", b"x", b"78", b"\xff", b"\xc2\xa0", b"A", b"Zz", b",", b"-", b"#", b"&", b"\n", b"PHNjcmlwdD4=",
]  # fmt: skip


def test_what_is_left_out_could_not_have_matched(ruleset: Ruleset) -> None:
    """Each value as a new one and, worked out by its shape, as one of known bytes; in slices as well."""
    whole, narrow = Plan(ruleset, EveryRule(-1)), Plan(ruleset)
    slow, fast = value_class(ruleset, whole), value_class(ruleset, narrow)
    source = random.Random(1)
    matched = set()
    for _ in range(4000):
        value = b"".join(source.choices(PIECES, k=source.randrange(6)))
        expected = sorted(slow.match(value, {}))
        matched |= {index for index, _, _ in expected}
        for _ in range(2):
            assert sorted(fast.match(value, {})) == expected, value
    assert len(matched) == len(RULES.strip().splitlines())


def test_a_value_without_what_rules_need_meets_only_those_that_need_nothing(ruleset: Ruleset) -> None:
    fast = value_class(ruleset, Plan(ruleset))
    for _ in range(2):
        fast.match(b"abc", {})
    root = fast._root
    mask, _, steps = fast._shapes.of(b"abc").programs[root]
    ids = {rule.index: rule.id for rule in ruleset.phases[Phase.REQUEST_BODY]}
    assert {ids[index] for index in ids if mask >> index & 1} == {4}
    assert [step.apply.__name__ for step in steps] == ["base64_decode", "hex_decode", "base64_encode"]


@pytest.mark.parametrize(
    ("rule_id", "expected"),
    [
        (1, [b"<", b">"]),
        (2, [b"\t\n\x0b\x0c\r "]),
        (3, []),
        (4, []),
        (6, [b";"]),
        (8, [bytes([*range(32), *range(127, 256)])]),
        (7, [b"."]),
        (9, []),
        (10, [b"="]),
    ],
)
def test_bytes_that_a_match_must_hold(ruleset: Ruleset, rule_id: int, expected: list[bytes]) -> None:
    found = byte_clauses(ruleset.by_id[rule_id], QUIET)
    assert sorted(bytes(sorted(clause)) for clause in found) == expected


def test_a_detector_needs_more_than_letters_and_digits(ruleset: Ruleset) -> None:
    [needed] = byte_clauses(ruleset.by_id[5], QUIET)
    assert needed == frozenset(range(256)) - frozenset(b"0123456789") - set(range(65, 91)) - set(range(97, 123))


def distinct_values(count: int) -> list[bytes]:
    """Values of bytes that no two of them share as a set, all of which some rule tells apart."""
    telling = b"%&;\\<>/.,-#=\" '\x00\n"
    return [bytes(byte for place, byte in enumerate(telling) if number >> place & 1) for number in range(1, count + 1)]


def test_shapes_are_kept_up_to_a_bound(ruleset: Ruleset, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Plan(ruleset)._shapes
    values = distinct_values(shapes.SHAPES + 1)
    for value in values:
        known.of(value)
        assert known.of(value).bytes != shapes._EVERY_BYTE or len(known._known_sets) == shapes.SHAPES
    assert len(known._known_sets) == shapes.SHAPES
    assert known.of(values[-1]).bytes == shapes._EVERY_BYTE  # full: taken for anything
    monkeypatch.setattr(shapes, "TURNOVER", known._finds + 1)
    assert len(known.of(values[-1]).bytes) < 17
    assert len(known._known_sets) == 1


def test_residuals_are_kept_up_to_a_bound(ruleset: Ruleset) -> None:
    known = Plan(ruleset)._shapes
    longest = b"A" * shapes.RESIDUAL_BYTES
    for value in (b"A", b"A", longest, longest + b"A"):
        known.of(value)
    assert longest in known.known
    assert longest + b"A" not in known.known
    source = random.Random(2)
    for _ in range(shapes.RESIDUALS):
        known.of(bytes(source.choices(b"A;", k=shapes.RESIDUAL_BYTES)))
        assert len(known.known) <= shapes.RESIDUALS


def test_sets_that_came_once_are_forgotten_at_the_bound(ruleset: Ruleset) -> None:
    known = Plan(ruleset)._shapes
    for value in distinct_values(shapes.SEEN_ONCE + 1):
        known.of(value)
        assert len(known._seen_once) <= shapes.SEEN_ONCE


def test_a_letter_that_is_a_word_of_its_own_is_not_quiet(tmp_path: Path) -> None:
    file = tmp_path / "rules.conf"
    file.write_text('SecRule ARGS "@pm q" "id:1,phase:2,pass,t:none,t:hexEncode,t:uppercase"\n')
    ruleset = load_ruleset(Sources((file,)))
    plan = Plan(ruleset)
    assert ord("q") not in plan._shapes.quiet_set
    file.write_text('SecRule ARGS "@pm e" "id:1,phase:2,pass,t:none,t:hexEncode"\n')
    ruleset = load_ruleset(Sources((file,)))
    fast = value_class(ruleset, Plan(ruleset))
    for _ in range(2):
        assert [index for index, _, _ in fast.match(b"n", {})] == [0]  # 6e


def test_without_narrowing_every_rule_is_allowed(ruleset: Ruleset) -> None:
    rules = list(ruleset.phases[Phase.REQUEST_BODY])
    wide = Shapes(rules, EveryRule(-1), is_narrowing=False)
    assert all(wide.allowed(()) >> rule.index & 1 for rule in rules)
    assert all(rule_test(rule) is not None for rule in rules)
