"""The prefilter never says a wrong "no": what matches holds the literals that are claimed of it."""

from __future__ import annotations

import json
import os
import random
import re
from pathlib import Path
from re import _parser

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pattern_texts import Generator, swap_case

from extproc.operators.contract import Operator
from extproc.operators.rx import compile_rx
from extproc.prefilter.automaton import Automaton
from extproc.prefilter.candidates import Prefilter
from extproc.prefilter.literals import required_clauses, required_min_bytes

ROOT = Path(__file__).parents[2]
CRS = Path(os.environ.get("CRS_DIR", ROOT.parent / "shared" / "crs"))
CORPUS = ROOT.parent / "shared" / "corpus"

needs_crs = pytest.mark.skipif(not (CRS / "rules").is_dir(), reason="no Core Rule Set at CRS_DIR or ../shared/crs")


class Silent:
    def notice(self, text: str) -> None: ...

    def read_file(self, name: bytes) -> bytes:
        raise FileNotFoundError(name)


class Claims:
    """What is claimed of each match of one operator."""

    def __init__(self, operator: Operator) -> None:
        assert operator.pattern is not None
        self.argument = operator.argument
        self.clauses = required_clauses(operator.pattern)
        self.min_bytes = required_min_bytes(operator.pattern)

    def assert_hold(self, value: bytes) -> None:
        """For a value that matches. Checked by plain search, not by the automaton."""
        folded = value.lower()
        for clause in self.clauses:
            assert any(literal in folded for literal in clause), (self.argument, value, sorted(clause)[:10])
        assert len(value) >= self.min_bytes, (self.argument, value)


# --- every pattern of the Core Rule Set, on texts made from the pattern itself --------------------------


def crs_operators() -> list[Operator]:
    found: dict[bytes, None] = {}
    for file in sorted((CRS / "rules").glob("*.conf")):
        lines = [line for line in file.read_bytes().split(b"\n") if not line.lstrip().startswith(b"#")]
        for match in re.finditer(rb'"!?@rx ((?:[^"\\]|\\.)*)"', b"\n".join(lines).replace(b"\\\n", b""), re.DOTALL):
            found[match[1].replace(b'\\"', b'"')] = None
    return [compile_rx(pattern, Silent()) for pattern in found]


@pytest.mark.crs
@needs_crs
def test_texts_made_from_each_core_rule_hold_its_clauses() -> None:
    rng = random.Random(20)
    generator = Generator(rng)
    operators = crs_operators()
    assert len(operators) >= 200
    confirmed = 0
    unmatched = []
    for operator in operators:
        assert operator.pattern is not None
        tree = _parser.parse(operator.pattern.replace(b"\\z", b"\\Z"))
        claims = Claims(operator)
        matches = 0
        for _ in range(40):
            text = generator.text(tree)
            noise = bytes(rng.choices(range(256), k=rng.randint(0, 8)))
            for value in (text, swap_case(text, rng), noise + text, text + b"\n" + noise):
                if operator.test(value) is not None:
                    matches += 1
                    claims.assert_hold(value)
        confirmed += matches
        if not matches:
            unmatched.append(operator.argument)
    # A generator that makes no matching text would prove nothing.
    assert len(unmatched) <= len(operators) // 50, unmatched
    assert confirmed > 60 * len(operators)


@pytest.mark.crs
@needs_crs
@pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus at ../shared/corpus")
def test_prefilter_on_is_prefilter_off_over_the_corpus() -> None:
    operators = crs_operators()
    prefilter = Prefilter([(bit, required_clauses(op.pattern or b"")) for bit, op in enumerate(operators)])
    rng = random.Random(6)
    values = [
        json.loads(line)["value"].encode("utf-8", "surrogatepass")
        for name in ("attacks.jsonl", "benign.jsonl")
        for line in rng.sample((CORPUS / name).read_text("utf-8").splitlines(), 600)
    ]
    matched = 0
    for value in values:
        cut = rng.randrange(len(value) + 1)
        mutated = value[cut:] + rng.choice((b"", b"\n", b"'", b" or 1=1", b"\xff\x00")) + swap_case(value[:cut], rng)
        for text in (value, mutated):
            candidates = prefilter.candidates(text.lower(), prefilter.held_by(set(text)))
            for bit, operator in enumerate(operators):
                if operator.test(text) is not None:
                    matched += 1
                    assert candidates >> bit & 1, (operator.argument, text)
    assert matched > 5000


# --- patterns of any shape, on any text -------------------------------------------------------------------

_ATOMS = [
    "a",
    "b",
    "A",
    "'",
    "<",
    "ab",
    "foo",
    "\\n",
    "\\xe9",
    ".",
    "[ab']",
    "[^a]",
    "[^<']",
    "\\d",
    "\\s",
    "\\W",
    "\\b",
]
_ATOMS += ["^", "$", "\\z", "\\x{3c}", "[a-c]", "[[:punct:]]", "a{,2}", "{", "[{,]", "\\Z", "\\h", "(?i)", "(?-i)"]
_QUANTIFIERS = ["?", "*", "+", "{2}", "{0}", "{1,2}", "{2,}", "*?", "+?", "++", "{0,2}"]


def _compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    group = st.builds("{}{})".format, st.sampled_from(["(?:", "(", "(?i:", "(?P<n>", "(?-s:"]), inner)
    return st.one_of(
        st.lists(inner, min_size=2, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map("|".join),
        group,
        st.builds("{}{}".format, group, st.sampled_from(_QUANTIFIERS)),
    )


_ATOM = st.one_of(
    st.sampled_from(_ATOMS), st.builds("{}{}".format, st.sampled_from(_ATOMS), st.sampled_from(_QUANTIFIERS))
)
_PATTERNS = st.recursive(_ATOM, _compound, max_leaves=8).map(lambda text: text.encode("latin-1"))
_PIECES = [
    b"a",
    b"b",
    b"A",
    b"B",
    b"'",
    b"<",
    b"foo",
    b"FOO",
    b"\n",
    b"\xe9",
    b"0",
    b" ",
    b"{",
    b"{,2}",
    b"a{,2}",
    b",",
]
_TEXTS = st.lists(st.sampled_from(_PIECES), max_size=8).map(b"".join)


@settings(max_examples=1500, deadline=None)
@given(_PATTERNS, st.lists(_TEXTS, min_size=1, max_size=12))
def test_any_pattern_on_any_text(pattern: bytes, values: list[bytes]) -> None:
    try:
        operator = compile_rx(pattern, Silent())
    except ValueError:
        assume(False)
    if operator.pattern is None:
        return
    claims = Claims(operator)
    for value in values:
        if operator.test(value) is not None:
            claims.assert_hold(value)


# --- automaton and candidates against the naive way --------------------------------------------------------

_LITERALS = st.binary(min_size=1, max_size=4).map(bytes.lower) | st.sampled_from([b"'", b"a'", b"foo", b"<", b"oo<"])
_CLAUSES = st.lists(st.frozensets(_LITERALS, min_size=1, max_size=4), max_size=2)
_LONG_TEXTS = st.lists(st.binary(max_size=6) | _LITERALS, max_size=40).map(lambda parts: b"".join(parts).lower())


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.integers(0, 90), _CLAUSES, max_size=12), st.lists(_LONG_TEXTS, min_size=1, max_size=5))
def test_candidates_are_those_of_a_naive_search(rules: dict[int, list[frozenset[bytes]]], texts: list[bytes]) -> None:
    prefilter = Prefilter(list(rules.items()))
    for text in texts:
        expected = sum(
            1 << bit for bit, clauses in rules.items() if all(any(x in text for x in clause) for clause in clauses)
        )
        assert prefilter.candidates(text, prefilter.held_by(set(text))) == expected


@settings(max_examples=400, deadline=None)
@given(st.lists(_LITERALS, unique=True, max_size=20), st.lists(_LONG_TEXTS, min_size=1, max_size=5))
def test_automaton_finds_what_a_naive_search_finds(words: list[bytes], texts: list[bytes]) -> None:
    automaton = Automaton(words)
    for text in texts:
        assert automaton.find(text) == {n for n, word in enumerate(words) if word in text}
