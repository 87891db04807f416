"""Step 3, pattern → literals of which every match must hold at least one.

The walk goes over the tree that Python's own parser of regular expressions builds. At each node it keeps
what is certain: the texts a node can match, if they are few (`exact`), else the texts it begins and ends
with, and the clauses proven so far. Whatever is not understood proves nothing: an empty answer is always
right. Case: texts are folded as `bytes.lower` does, ASCII letters only; the value is compared folded too,
so flags do not matter here.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any, TypeAlias

from extproc.prefilter.candidates import CLAUSES_LIMIT

PRODUCT_LIMIT = 64
"""Texts that may come out of joining two sets. Beyond it the two are kept apart: weaker, never wrong."""

CLASS_LIMIT = 16
"""Bytes of a class that takes part in joining; a larger one is still a clause if it is punctuation only."""

WIDE_CLASS_LIMIT = 64
"""Bytes of a class that is a clause by itself."""

SET_LIMIT = 2000
"""Literals in one clause."""

LITERAL_LIMIT_BYTES = 32
"""Length of one literal; longer ones are cut, they tell no more."""

Texts: TypeAlias = frozenset[bytes]

_NOTHING: Texts = frozenset((b"",))
_ALPHANUMERIC = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789")
_CATEGORIES: dict[Any, frozenset[int]] = {
    sre.CATEGORY_DIGIT: frozenset(b"0123456789"),
    sre.CATEGORY_SPACE: frozenset(b" \t\n\r\f\v"),
    sre.CATEGORY_WORD: _ALPHANUMERIC | frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ_"),
}
_EVERY_BYTE = frozenset(range(256))
_CATEGORIES |= {
    sre.CATEGORY_NOT_DIGIT: _EVERY_BYTE - _CATEGORIES[sre.CATEGORY_DIGIT],
    sre.CATEGORY_NOT_SPACE: _EVERY_BYTE - _CATEGORIES[sre.CATEGORY_SPACE],
    sre.CATEGORY_NOT_WORD: _EVERY_BYTE - _CATEGORIES[sre.CATEGORY_WORD],
}

# How often a byte stands in harmless values, roughly: what makes a literal a good or a poor one.
_OFTEN = (
    (b"eaionrts", 0.055),
    (b"lcdumphg", 0.028),
    (b"bfyvwkjxzq", 0.009),
    (b"0123456789", 0.02),
    (b" ", 0.05),
    (b'/.-_=:,"', 0.015),
    (b"&%+;()?'", 0.006),
    (b"<>{}[]*@!#$|\\^~`\n\r\t", 0.002),
)
_RARE = 0.0005
_FREQUENCY = [next((often for some, often in _OFTEN if byte in some), _RARE) for byte in range(256)]


@dataclass(frozen=True, slots=True)
class _Proof:
    """What is certain of the text that a node matches, folded.

    `exact`: it is one of these. Else it begins with one of `prefix`, ends with one of `suffix` (`b""`:
    nothing is known) and holds a literal of each of `clauses`.
    """

    exact: Texts | None = None
    prefix: Texts = _NOTHING
    suffix: Texts = _NOTHING
    clauses: tuple[Texts, ...] = ()


_UNKNOWN = _Proof()
_EMPTY = _Proof(exact=_NOTHING)


def required_clauses(pattern: bytes) -> tuple[frozenset[bytes], ...]:
    """Up to CLAUSES_LIMIT clauses that hold for every value in which `pattern` finds a match.

    A clause: sets of literals, of which at least one occurs in the value after `bytes.lower`. Literals are
    folded, and two bytes long at least, or one byte that is no letter or digit. Best clause first. ()
    if nothing is proven. `pattern` as re2 runs it (`Operator.pattern`).
    """
    tree = _parse(pattern)
    if tree is None:
        return ()
    proof = _sequence(tree)
    return _best([*proof.clauses, *_claim(proof.exact)])


def required_min_bytes(pattern: bytes) -> int:
    """No value shorter than this holds a match of `pattern`; 0 if nothing is proven."""
    tree = _parse(pattern)
    return 0 if tree is None else int(tree.getwidth()[0])


_SPELLINGS = re.compile(rb"\\x\{([0-9A-Fa-f]+)\}|\\(.)|(\{,)|(\[:\^?[a-z]+:\])", re.DOTALL)


@lru_cache(maxsize=8)  # both functions above are asked for the same pattern in turn
def _parse(pattern: bytes) -> Any:
    """The tree, or None where re2 and Python's parser might read the pattern differently."""
    is_alike = True

    def respell(found: re.Match[bytes]) -> bytes:
        nonlocal is_alike
        digits, escaped, open_repeat, posix = found.groups()
        if digits is not None:
            is_alike = is_alike and int(digits, 16) <= 0xFF
            return b"\\x%02x" % (int(digits, 16) & 0xFF)
        if open_repeat:  # text for re2, a quantifier for Python
            return b"\\{,"
        if posix or escaped == b"Z":
            is_alike = False
        return b"\\Z" if escaped == b"z" else found[0]

    spelled = _SPELLINGS.sub(respell, pattern)
    if not is_alike:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # "possible nested set" and its like: read differently some day
            return _parser.parse(spelled)
    except (re.error, OverflowError, RecursionError, Warning):
        return None


def _sequence(items: Iterable[tuple[Any, Any]]) -> _Proof:
    """Items one after the other. `run` is what the text up to here ends with."""
    run = _NOTHING
    prefix: Texts | None = None  # None as long as `run` is all there is
    clauses: list[Texts] = []
    for operation, argument in items:
        proof = _node(operation, argument)
        if proof.exact is not None:
            joined = _join(run, proof.exact)
            if joined is not None:
                run = joined
                continue
            following = proof.exact
        else:
            joined = _join(run, proof.prefix)
            run = run if joined is None else joined
            following = proof.suffix
            clauses += proof.clauses
        clauses += _claim(run)
        prefix = run if prefix is None else prefix
        run = following
    if prefix is None:
        return _Proof(exact=run)
    return _Proof(None, prefix, run, _best([*clauses, *_claim(run)]))


def _node(operation: Any, argument: Any) -> _Proof:
    if operation is sre.LITERAL:
        return _Proof(exact=frozenset((bytes((argument,)).lower(),)))
    if operation is sre.IN:
        return _class(_members(argument))
    if operation is sre.SUBPATTERN:
        return _sequence(argument[3])
    if operation is sre.ATOMIC_GROUP:
        return _sequence(argument)
    if operation is sre.BRANCH:
        return _branches([_sequence(branch) for branch in argument[1]])
    if operation in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
        low, high, item = argument
        return _repeat(low, high, _sequence(item))
    if operation in (sre.AT, sre.ASSERT, sre.ASSERT_NOT):
        return _EMPTY  # takes no room: what stands around it touches
    return _UNKNOWN


def _members(items: Sequence[tuple[Any, Any]]) -> frozenset[int]:
    """The bytes of a class."""
    found: set[int] = set()
    is_negated = False
    for operation, argument in items:
        if operation is sre.NEGATE:
            is_negated = True
        elif operation is sre.LITERAL:
            found.add(argument)
        elif operation is sre.RANGE:
            found.update(range(argument[0], argument[1] + 1))
        elif operation is sre.CATEGORY and argument in _CATEGORIES:
            found |= _CATEGORIES[argument]
        else:
            return _EVERY_BYTE
    return _EVERY_BYTE - found if is_negated else frozenset(found)


def _class(members: frozenset[int]) -> _Proof:
    folded = frozenset(bytes((byte,)).lower() for byte in members)
    if len(folded) <= CLASS_LIMIT:
        return _Proof(exact=folded)
    if len(folded) <= WIDE_CLASS_LIMIT:
        return _Proof(clauses=_claim(folded))
    return _UNKNOWN


def _branches(branches: Sequence[_Proof]) -> _Proof:
    """One of several. A clause of the whole is made of one clause of each branch."""
    exacts = [branch.exact for branch in branches if branch.exact is not None]
    if len(exacts) == len(branches):
        texts = frozenset().union(*exacts)
        if len(texts) <= SET_LIMIT:
            return _Proof(exact=texts)
    prefix = _union(branch.prefix if branch.exact is None else branch.exact for branch in branches)
    suffix = _union(branch.suffix if branch.exact is None else branch.exact for branch in branches)
    choices = [_best([*branch.clauses, *_claim(branch.exact)]) for branch in branches]
    clauses: list[Texts] = []
    if all(choices):
        for column in range(CLAUSES_LIMIT):
            clauses += _claim(frozenset().union(*(choice[min(column, len(choice) - 1)] for choice in choices)))
    return _Proof(None, prefix, suffix, _best(clauses))


def _union(sets: Iterable[Texts]) -> Texts:
    texts: Texts = frozenset().union(*sets)
    return texts if len(texts) <= SET_LIMIT else _NOTHING


def _repeat(low: Any, high: Any, item: _Proof) -> _Proof:
    """`item{low,high}`."""
    if high == 0:
        return _EMPTY
    if low == 0:
        return _Proof(exact=item.exact | _NOTHING) if high == 1 and item.exact is not None else _UNKNOWN
    if item.exact is None:
        return item if low == high == 1 else _Proof(None, item.prefix, item.suffix, item.clauses)
    power, count = item.exact, 1
    while count < low:
        longer = _join(power, item.exact)
        if longer is None:
            break
        power, count = longer, count + 1
    if count == high:
        return _Proof(exact=power)
    return _Proof(None, power, power, _claim(power))


def _join(left: Texts, right: Texts) -> Texts | None:
    """Each of `left` followed by each of `right`; None if that is too much to keep."""
    product = len(left) * len(right)
    if product > SET_LIMIT or (product > PRODUCT_LIMIT and min(len(left), len(right)) > 1):
        return None
    if left is _NOTHING or right is _NOTHING:
        return right if left is _NOTHING else left
    if max(map(len, left), default=0) + max(map(len, right), default=0) > LITERAL_LIMIT_BYTES:
        return None
    return frozenset([head + tail for head in left for tail in right])


@lru_cache(maxsize=4096)  # the same texts are asked about at each level of nesting
def _claim(texts: Texts | None) -> tuple[Texts, ...]:
    """The clause that one of `texts` occurs; () if that says nothing or would hold for nearly any value."""
    if not texts or len(texts) > SET_LIMIT or b"" in texts:
        return ()
    if any(len(text) == 1 and text[0] in _ALPHANUMERIC for text in texts):
        return ()
    lengths = _lengths(texts)
    if len(lengths) == 1:
        return (texts,)
    return (frozenset([text for text in texts if not _holds_one_of(text, texts, lengths)]),)


def _lengths(texts: Texts) -> list[int]:
    return sorted(set(map(len, texts)))


def _holds_one_of(text: bytes, texts: Texts, lengths: Sequence[int]) -> bool:
    """Is one of `texts` (of these lengths) a part of `text`, and not all of it?"""
    size = len(text)
    for length in lengths:
        if length >= size:
            return False
        for at in range(size - length + 1):
            if text[at : at + length] in texts:
                return True
    return False


@lru_cache(maxsize=4096)
def _rate(clause: Texts) -> float:
    """How often the clause holds at one place of a harmless value, by guess."""
    total = 0.0
    for literal in clause:
        chance = 1.0
        for byte in literal:
            chance *= _FREQUENCY[byte]
        total += chance
    return round(total, 12)  # the order of a set, and so of the sum, is not the same in every process


def _best(clauses: Sequence[Texts]) -> tuple[Texts, ...]:
    """The rarest clauses, at most CLAUSES_LIMIT, without those that follow from a better one."""
    if len(clauses) <= 1:
        return tuple(clauses)
    chosen: list[Texts] = []
    for clause in sorted(dict.fromkeys(clauses), key=_rate):
        if not any(_follows(clause, better) for better in chosen):
            chosen.append(clause)
            if len(chosen) == CLAUSES_LIMIT:
                break
    return tuple(chosen)


def _follows(clause: Texts, better: Texts) -> bool:
    """Does `clause` hold wherever `better` does?"""
    lengths = _lengths(clause)
    return all(literal in clause or _holds_one_of(literal, clause, lengths) for literal in better)
