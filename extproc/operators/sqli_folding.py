"""Tokens → fingerprint: what can be left out is left out, and the first five kinds that remain are kept.

A stack of kinds. Each token is pushed; then the top three and the top two are looked up in tables that say what
they become (`1 o 1` → `1`: a calculation is a number). The walk knows nothing of SQL, the tables hold it all.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from functools import lru_cache
from itertools import islice, product
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

START = "^"
"""The state before anything was kept."""

_MARK_PAIRS_ONLY = "|"
"""Ends a state whose next token is first looked up as the second of a pair, without what lies below."""

STATES = 1 << 15
"""Transitions remembered; the least recently used is forgotten."""


class Step(NamedTuple):
    """The state after a token, and what it keeps of the texts so far and the token's own.

    `kept` is None if all are kept, an int if the first so many are, else the indexes.
    """

    state: str
    kept: int | tuple[int, ...] | None
    is_final: bool


def _reduce(kinds: str, again: int) -> tuple[str, list[int], int, bool]:
    """Fold the top as long as a table says so: kinds, indexes kept, how the next token begins, is it over?"""
    kept = list(range(len(kinds)))
    following = 2
    while again:
        size = len(kinds)
        if again == 2 and size >= 3 and (fold := TRIPLES.get(kinds[-3:])):
            top = kept[-3:]
            kinds = kinds[:-3] + fold.kinds
            kept[-3:] = [top[index] for index in fold.kept]
            again = fold.again
            continue
        if size >= 5 and kinds[:5] in _CALCULATIONS:
            kinds = kinds[0] + kinds[5:]
            del kept[1:5]
            continue
        fold = PAIRS.get(kinds[-2:]) if size >= 2 else None
        if not fold:
            return kinds, kept, following, size >= READ_AHEAD
        top = kept[-2:]
        kinds = kinds[:-2] + fold.kinds
        kept[-2:] = [top[index] for index in fold.kept]
        again = fold.again
        following = 2 if again else 1
    return kinds, kept, following, False


@lru_cache(STATES)
def _push(state: str, kind: str, again: int = 2) -> Step:
    """What a token of `kind` makes of `state`."""
    if state == START:
        if kind in _LEADING:
            return Step(START, 0, False)
        state = ""
    elif state.endswith(_MARK_PAIRS_ONLY):
        state = state[:-1]
        again = 1
    kinds, kept, following, is_final = _reduce(state + kind, again)
    size = len(kept)
    new = kinds if following == 2 else kinds + _MARK_PAIRS_ONLY
    if size == len(state) + 1:
        return Step(new, None, is_final)
    return Step(new, size if kept == list(range(size)) else tuple(kept), is_final)


STEP_TOKENS = 256
"""Tokens that `fold_steps` reads in one go."""


class Folded(NamedTuple):
    """How far the folding has come: the state, the texts of its kinds, and a comment that may be the end."""

    state: str
    texts: list[bytes]
    comment: bytes | None
    is_final: bool = False

    def shown(self) -> tuple[str, list[bytes]]:
        """The fingerprint, and the texts of its kinds (and of some that follow)."""
        state, texts, comment, _ = self
        if comment is not None and state != START and len(texts) < FINGERPRINT_TOKENS:
            return _show(state.rstrip(_MARK_PAIRS_ONLY) + "c"), [*texts, comment]
        return _show(state), texts


def fold(tokens: Iterable[Token]) -> tuple[str, list[bytes]]:
    """The fingerprint of a fragment, and the texts of its kinds (and of some that follow)."""
    return _fold(tokens, START, [], None).shown()


def fold_steps(tokens: Iterable[Token]) -> Generator[None, None, tuple[str, list[bytes]]]:
    """The same, STEP_TOKENS at a time."""
    rest = iter(tokens)
    folded = Folded(START, [], None)
    while (some := list(islice(rest, STEP_TOKENS))) and not folded.is_final:
        folded = _fold(some, folded.state, folded.texts, folded.comment)
        yield
    return folded.shown()


def _fold(tokens: Iterable[Token], state: str, texts: list[bytes], comment: bytes | None) -> Folded:
    is_final = False
    for kind, text in tokens:
        if kind == "c":
            comment = text
            continue
        comment = None
        again = 2
        if texts and texts[-1] in PHRASE_STARTS:
            if joined := PHRASES.get(texts[-1] + b" " + text):
                text = texts.pop() + b" " + text
                state = state.rstrip(_MARK_PAIRS_ONLY)[:-1]
                kind = joined
                again = 1
            elif state[-1] == "A" and kind == "n" and b"_" in text:
                kind = "t"
        state, kept, is_final = _push(state, kind, again)
        texts.append(text)
        if kept is not None:
            if isinstance(kept, int):
                del texts[kept:]
            else:
                texts = [texts[index] for index in kept]
        if is_final:
            break
    return Folded(state, texts, comment, is_final)


@lru_cache(STATES)
def _show(state: str) -> str:
    """A state as a fingerprint."""
    kinds = state.strip(START + _MARK_PAIRS_ONLY)[:FINGERPRINT_TOKENS]
    if "X" in kinds:
        return "X"
    if len(kinds) > 2 and kinds[-1] == "e":
        kinds = kinds[:-1] + "c"  # MySQL reads a lone back quote at the end as a comment
    return kinds.translate(_SHOWN)
