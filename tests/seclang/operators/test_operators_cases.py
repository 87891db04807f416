"""The operator cases, run by extproc and by libmodsecurity, and random values run by both."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from extproc.operators.registry import OPERATORS

TABLE = json.loads(Path(__file__).with_name("cases.json").read_text())


class Silent:
    """A CompileContext without files."""

    def read_file(self, name: bytes) -> bytes:
        raise FileNotFoundError(name)

    def notice(self, text: str) -> None:
        pass


def _bytes(row):
    name, *texts = row
    return name, *(None if text is None else text.encode("latin-1") for text in texts)


CASES = [_bytes(row) for row in TABLE["cases"]]
DISAGREEMENTS = [_bytes(row) for row in TABLE["disagreements"]]
EXTPROC_ONLY = [_bytes(row) for row in TABLE["extproc_only"]]


def _rule(name, argument):
    return f"@{name} {argument.decode()}".rstrip()


@pytest.mark.parametrize(
    ("name", "argument", "value", "captured"), CASES + [row[:4] for row in DISAGREEMENTS] + EXTPROC_ONLY
)
def test_extproc_matches(name, argument, value, captured):
    captures = OPERATORS[name.lower()](argument, Silent()).test(value)
    assert (None if captures is None else captures[0]) == captured


@pytest.mark.parametrize(("name", "argument"), sorted({row[:2] for row in CASES}))
def test_libmodsecurity_agrees_with_the_table(name, argument, oracle):
    for _, _, value, captured in [row for row in CASES if row[:2] == (name, argument)]:
        matches, group = oracle.operate(_rule(name, argument), value)
        assert matches == (captured is not None), value
        assert group in (None, captured), value


@pytest.mark.parametrize(("name", "argument", "value", "captured", "theirs"), DISAGREEMENTS)
def test_each_disagreement_is_still_one(name, argument, value, captured, theirs, oracle):
    matches, group = oracle.operate(_rule(name, argument), value)
    assert ((group or b"") if matches else None) == theirs
    assert theirs != captured


EMPTY = [row for row in EXTPROC_ONLY if row[1] == b"" and row[0] != "geoLookup"]


@pytest.mark.parametrize(("name", "argument", "value", "captured"), EMPTY)
def test_an_empty_macro_matches_as_in_libmodsecurity(name, argument, value, captured, oracle):
    matches, _ = oracle.operate(f"@{name} %{{tx.unset}}", value)
    assert matches == (captured is not None)


TEXT = [b"foo", b"FOO", b" ", b"a", b"1", b"_", b"fo", b"o", b"-", b"\x00", b"\xe9"]
NUMBER = [b"1", b"9", b"0", b" ", b"-", b"+", b"\t", b"a", b"\x00", b"5", b"\v"]
PHRASE = [b"he", b"HE", b"s", b"r", b"sh", b"us", b"\x00", b" ", b"\xe9", b"\xc9"]
PERCENT = [b"%", b"4", b"f", b"g", b"%41", b"\x00"]
UTF8 = [bytes([byte]) for byte in b"\xc3\xa9\xe2\x82\xac\xf0\x9f\x80a\x00\xed\xa0\xf5\xc0\xe0\xef\xbf"]
DIGITS = [bytes([byte]) for byte in b"0123456789"]
RANDOM = [
    *((name, "foo a foo", TEXT, 7) for name in ("contains", "containsWord", "beginsWith", "endsWith", "within")),
    *((name, "oo", TEXT, 7) for name in ("contains", "containsWord", "strmatch", "streq", "within")),
    *((name, limit, NUMBER, 6) for name in ("eq", "ge", "gt", "le", "lt") for limit in ("5", "-1", "19", "a")),
    *(("pm", phrases, PHRASE, 7) for phrases in ("he hers she", "us rs", "a zz", "ss rr es Hes")),
    ("validateByteRange", "32-36,38-126", TEXT, 5),
    ("validateUrlEncoding", "", PERCENT, 7),
    ("validateUtf8Encoding", "", UTF8, 6),
    ("verifyCC", r"[-\d]{13,19}", [*DIGITS, b"-"], 20),
    ("verifySSN", r"[-0-9]+", [*DIGITS, b"-"], 11),
    ("verifySVNR", r"\d+", DIGITS, 13),
]
VALUES = 150


@pytest.mark.parametrize(("name", "argument", "pieces", "most"), RANDOM)
def test_both_agree_on_random_values(name, argument, pieces, most, oracle):
    chance = random.Random(f"{name} {argument}")
    test = OPERATORS[name.lower()](argument.encode(), Silent()).test
    for _ in range(VALUES):
        value = b"".join(chance.choices(pieces, k=chance.randrange(most)))
        matches, group = oracle.operate(_rule(name, argument.encode()), value)
        captures = test(value)
        assert matches == (captures is not None), value
        if captures is not None:
            assert group in (None, captures[0]), value
