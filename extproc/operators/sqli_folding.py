"""Tokens → fingerprint: what can be left out is left out, and the first five kinds that remain are kept.

A stack of kinds. Each token is pushed; then the top three and the top two are looked up in tables that say what
they become (`1 o 1` → `1`: a calculation is a number). The walk knows nothing of SQL, the tables hold it all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import product
from typing import NamedTuple

from extproc.operators.sqli_tokens import Token
from extproc.operators.sqli_words import PHRASE_STARTS, PHRASES, SHOWN

FINGERPRINT_TOKENS = 5
"""A fingerprint has at most this many kinds."""

READ_AHEAD = 6
"""With so many kinds on the stack none of the first five can change any more."""


class Fold(NamedTuple):
    """What the top of the stack becomes: the kinds that take its place and whose texts they keep.

    `again`: the new top is looked up once more, with what lies below (2), without (1), not at all (0).
    """

    kinds: str
    kept: tuple[int, ...]
    again: int = 2


def _table(*rules: tuple[str, str, int]) -> dict[str, Fold]:
    """Rules (places, result, again) spelled out: each place is a kind or a set of them in brackets.

    A digit in `result` keeps that token as it is; `0=f` keeps it with a new kind. Of two rules for the same
    kinds the first holds.
    """
    table: dict[str, Fold] = {}
    for places, result, again in rules:
        kept = tuple(int(digit) for digit in re.findall(r"(\d)(?:=.)?", result))
        for kinds in product(*(place.strip("[]") for place in places.split(" "))):
            renamed = {int(index): kind for index, kind in re.findall(r"(\d)=(.)", result)}
            new = "".join(renamed.get(index, kinds[index]) for index in kept)
            table.setdefault("".join(kinds), Fold(new, kept, again))
    return table


_NAME = "nwyde"
_VALUE = "vx"
_OPERATOR = "oupmjl"
_UNARY = "up"
_KEYWORD = "ki"
_FUNCTION = "fq"

PAIRS = _table(
    ("s s", "0", 0),
    ("; ;", "0", 0),
    (f"[{_OPERATOR}&] [{_UNARY}t]", "0", 2),
    (f"( [{_UNARY}]", "0", 1),
    # `; IF` begins a statement.
    ("; q", "0 1=T", 0),
    ("[wx] (", "0=f 1", 1),
    ("y (", "0=z 1", 1),
    ("i (", "0=o 1", 1),
    (f"i [{_OPERATOR}EUBTki&1vxwntAfqsX){{}},;.:?\\yde]", "0=n 1", 1),
    ("l (", "0=f 1", 1),
    (f"t [{_NAME}1t({_FUNCTION}{_VALUE}s]", "1", 2),
    # A back slash: NULL in a dump, or a number that an operator follows.
    ("\\ [mp]", "0=1 1", 1),
    (f"\\ [{_OPERATOR}EUBTki&1vxwntAfqsX(){{}},;.:?\\yde]", "1", 2),
    ("( (", "0", 2),
    (") )", "0", 2),
    ("{ [nwy]", "", 2),
    ("{ [de]", "0 1=X", 0),
    ("[EUBTki&1vxwntAfqscX(){},;.:?\\ydeoupmj] }", "0", 2),
)
"""The top two kinds → what they become."""

TRIPLES = _table(
    (f"1 [{_OPERATOR}] 1", "0", 2),
    (f"[{_OPERATOR}] [EUBTki&1vxwntAfqsX){{}},;.:?\\yde{_OPERATOR}] [{_OPERATOR}]", "0", 2),
    (f"& [EUBTki&1vxwntAfqsX(){{}},;.:?\\yde{_OPERATOR}] &", "0", 2),
    (f"[{_VALUE}] [{_OPERATOR}] [{_VALUE}1{_NAME}]", "0", 2),
    (f"[{_NAME}1] [{_OPERATOR}] [1{_NAME}]", "0", 2),
    (f"[{_NAME}1{_VALUE}s] j t", "0", 2),
    (f"[{_NAME}1{_VALUE}s] , [1{_NAME}s{_VALUE}]", "0", 2),
    (f"[EB,] [{_UNARY}] (", "0 2", 2),
    (f"[{_KEYWORD}EB] [{_UNARY}] [1{_NAME}{_VALUE}s{_FUNCTION}]", "0 2", 2),
    (f", [{_UNARY}] [1{_NAME}{_VALUE}s]", "", 2),
    (f", [{_UNARY}] [{_FUNCTION}]", "0 2", 2),
    (f"[{_NAME}] . [{_NAME}]", "0", 2),
    (f"E . [{_NAME}]", "0 2", 2),
    # USER() is a call, USER(x) is not.
    (f"z ( [EUBTki&1vxwntAfqsX({{}},;.:?\\yde{_OPERATOR}]", "0=n 1 2", 1),
)
"""The top three kinds → what they become; looked up before the top two."""

_CALCULATIONS = _table(
    (f"1 [{_OPERATOR},] ( 1 )", "0", 2),
    (f"[{_NAME}] [{_OPERATOR}] ( [{_NAME}1] )", "0", 2),
    ("1 ) , ( 1", "0", 2),
    (f"[{_NAME}] ) [{_OPERATOR}] ( [{_NAME}]", "0", 2),
)
"""Five kinds at the very beginning that are no more than the first of them."""

_LEADING = f"(t{_UNARY}"
"""Kinds that say nothing at the beginning."""

_SHOWN = str.maketrans(SHOWN)


def fold(tokens: Iterable[Token]) -> tuple[str, list[bytes]]:
    """The kinds that remain, as a fingerprint shows them, and the texts of them."""
    kinds = ""
    texts: list[bytes] = []
    comment = None
    is_leading = True
    look = 2
    for kind, text in tokens:
        if kind == "c":
            comment = text
            continue
        comment = None
        if is_leading:
            if kind in _LEADING:
                continue
            is_leading = False
        kinds += kind
        texts.append(text)
        again, look = look, 2
        while again:
            size = len(kinds)
            if again == 2 and size >= 3:
                folded = TRIPLES.get(kinds[-3:])
                if folded:
                    top = texts[-3:]
                    kinds = kinds[:-3] + folded.kinds
                    texts[-3:] = [top[index] for index in folded.kept]
                    again = folded.again
                    continue
            if size >= 5:
                folded = _CALCULATIONS.get(kinds[:5])
                if folded:
                    kinds = kinds[0] + kinds[5:]
                    texts[1:5] = []
                    continue
            if size < 2:
                break
            if texts[-2] in PHRASE_STARTS:
                phrase = texts[-2] + b" " + texts[-1].upper()
                joined = PHRASES.get(phrase)
                if joined:
                    kinds = kinds[:-2] + joined
                    texts[-2:] = [phrase]
                    again = 1
                    continue
                if kinds[-2:] == "An" and b"_" in texts[-1]:
                    kinds = kinds[:-1] + "t"
                    continue
            folded = PAIRS.get(kinds[-2:])
            if not folded:
                if size >= READ_AHEAD:
                    return _finish(kinds, texts)
                break
            top = texts[-2:]
            kinds = kinds[:-2] + folded.kinds
            texts[-2:] = [top[index] for index in folded.kept]
            again = folded.again
            look = 2 if again else 1
    if comment is not None and not is_leading and len(kinds) < 5:
        kinds += "c"
        texts.append(comment)
    return _finish(kinds, texts)


def _finish(kinds: str, texts: list[bytes]) -> tuple[str, list[bytes]]:
    kinds = kinds[:FINGERPRINT_TOKENS]
    if "X" in kinds:
        return "X", texts
    if len(kinds) > 2 and kinds[-1] == "e":
        kinds = kinds[:-1] + "c"  # MySQL reads a lone back quote at the end as a comment
    return kinds.translate(_SHOWN), texts
