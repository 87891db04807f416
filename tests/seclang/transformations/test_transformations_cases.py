"""The transformation cases, run by extproc and by libmodsecurity; then both over random texts."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from extproc.transformations.registry import TRANSFORMATIONS

TABLE = json.loads(Path(__file__).with_name("cases.json").read_text())


def _bytes(row: list[str]) -> tuple[str, *tuple[bytes, ...]]:
    name, *texts = row
    return name, *(text.encode("latin-1") for text in texts)


CASES = [_bytes(row) for row in TABLE["cases"]]
DISAGREEMENTS = [_bytes(row) for row in TABLE["disagreements"]]


@pytest.mark.parametrize(("name", "value", "expected"), CASES + [row[:3] for row in DISAGREEMENTS])
def test_extproc_transforms(name, value, expected):
    assert TRANSFORMATIONS[name.lower()].apply(value) == expected


@pytest.mark.parametrize("name", sorted({row[0] for row in CASES}))
def test_libmodsecurity_agrees_with_the_table(name, oracle):
    rows = [row for row in CASES if row[0] == name]
    assert oracle.transform(name, [value for _, value, _ in rows]) == [expected for *_, expected in rows]


@pytest.mark.parametrize(("name", "value", "expected", "theirs"), DISAGREEMENTS)
def test_each_disagreement_is_still_one(name, value, expected, theirs, oracle):
    assert oracle.transform(name, [value]) == [theirs]
    assert theirs != expected


def test_every_transformation_has_cases():
    covered = {row[0].lower().replace("normalize", "normalise") for row in CASES}
    assert covered == {key.replace("normalize", "normalise") for key in TRANSFORMATIONS}


PIECES = {
    "base64": [b"Q", b"U", b"J", b"D", b"==", b"=", b" ", b"\n", b"\r\n", b"\r", b"!", b"\x00", b"QUJD", b"/", b"\xff"],
    "space": [b" ", b"a", b"B", b"/", b"(", b"^", b"\\", b"'", b'"', b",", b";", b"\t", b"\r\n", b"\v", b"\xc2\xa0"],
    "backslash": [
        b"\\",
        b"\\\\",
        b"u",
        b"x",
        b"X",
        b"4",
        b"00",
        b"7",
        b"8",
        b"ff21",
        b"n",
        b" ",
        b"\n",
        b"\x00",
        b"\xff",
    ],
    "entity": [b"&", b"&#", b"&#x", b"4", b"f", b";", b"lt", b"amp", b"GT", b" ", b"0", b"9" * 12, b"\x00", b"\xff"],
    "percent": [b"%", b"%u", b"U", b"4", b"1", b"F", b"00", b"+", b"ff", b"g", b"5f", b"5e", b"\x00", b"\xff"],
    "path": [b"/", b".", b"..", b"a", b"bc", b"\\", b"/../", b"/./", b"...", b"\x00"],
    "comment": [b"/", b"*", b"/*", b"*/", b"<!--", b"-->", b"-", b"--", b"#", b"a", b" ", b"\x00", b"<", b"!", b">"],
    "hex": [b"0", b"x", b"X", b"4", b"1", b"a", b"F", b"g", b"0x", b"\x00", b"\xff", b" "],
    "utf8": [
        b"\xc3",
        b"\xa9",
        b"\xe2",
        b"\x82",
        b"\xac",
        b"\xf0",
        b"\x9f",
        b"\x80",
        b"\xed",
        b"\xf5",
        b"\xc0",
        b"\x00",
        b"a",
    ],
}
SUBJECT = {
    "base64Decode": "base64",
    "base64DecodeExt": "base64",
    "cssDecode": "backslash",
    "escapeSeqDecode": "backslash",
    "jsDecode": "backslash",
    "hexDecode": "hex",
    "sqlHexDecode": "hex",
    "htmlEntityDecode": "entity",
    "normalizePath": "path",
    "normalizePathWin": "path",
    "removeComments": "comment",
    "removeCommentsChar": "comment",
    "replaceComments": "comment",
    "urlDecode": "percent",
    "urlDecodeUni": "percent",
    "utf8toUnicode": "utf8",
}
NOT_COMPARED = {
    "htmlEntityDecode": re.compile(rb"&(?:quot|amp|lt|gt|nbsp)[0-9a-z]", re.IGNORECASE),
    "normalizePathWin": re.compile(rb"\\"),
    "removeComments": re.compile(rb"(?:\*/|-->)\Z"),
}
"""Where the two disagree on purpose, as DISAGREEMENTS shows one by one."""

VALUES = 600


@pytest.mark.parametrize("name", sorted({row[0] for row in CASES}))
def test_both_agree_on_random_texts(name, oracle):
    chance = random.Random(name)
    pieces = PIECES[SUBJECT.get(name, "space")]
    values = [b"".join(chance.choices(pieces, k=chance.randrange(12))) for _ in range(VALUES)]
    values += [chance.randbytes(chance.randrange(12)) for _ in range(VALUES // 4)]
    if name in NOT_COMPARED:
        values = [value for value in values if not NOT_COMPARED[name].search(value)]
    apply = TRANSFORMATIONS[name.lower()].apply
    differing = [
        (value, apply(value), theirs)
        for value, theirs in zip(values, oracle.transform(name, values), strict=True)
        if apply(value) != theirs
    ]
    assert differing == []
