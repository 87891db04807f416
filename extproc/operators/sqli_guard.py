"""Which values need no reading at all: whatever their tokens fold to, no pattern of `sqli_grammar` can hold.

The guard sees less than the tokenizer: where it is not sure it says so, and the value is read.

The proof, step by step. A value without any byte outside PLAIN has no string, variable, round or square bracket,
semicolon, back quote or `#`; without `--`, `/*`, `&&` and `||` it has no comment, and no logic operator but a word.
So all its tokens are names, numbers, operators, dots, commas, colons, braces, question marks, back slashes and
reserved words. A reserved word stands in it as a run of letters, or as the end of a run behind a number that takes
letters (`1eOR`, `0xOR`, `\\NOR`; such a run of three letters and more is not judged here). Folding leaves kinds out,
and makes no others than operators, names, types and numbers of what may stand here. So a fingerprint is made of
ALWAYS_THERE and of what the reserved words bring (`_KINDS_OF_WORD`: their own kind, and that of a phrase for one word
of it). With which kinds a pattern can hold is worked out from the patterns themselves: `may_be_injection`.
"""

from __future__ import annotations

import re
import string
from functools import lru_cache

from extproc.operators.sqli_grammar import CONDITIONS, FIVE, FOUR, THREE, places_of
from extproc.operators.sqli_words import PHRASES, SHOWN, WORDS

ALWAYS_THERE = frozenset("not.,:?{}\\")
"""Kinds that any plain value may fold to."""

_PUNCTUATION = b"!%&*+,-./:<=>?\\]^_{|}~"

PLAIN = bytes(
    {*range(0x21), *range(0x7F, 0x100), *string.ascii_letters.encode(), *string.digits.encode(), *_PUNCTUATION}
)
"""The bytes that a harmless value may hold; two of them together may be more than they are alone."""

_SINGLE = bytes(byte for byte in PLAIN if byte not in b"-/*&|")
"""Those of them that are never more."""

_DIGITS = string.digits.encode() + b"\\"

_LETTERS = bytes(byte if byte in string.ascii_uppercase.encode() + b"_" else 0x20 for byte in bytes(range(256)).upper())
"""Translation: letters to upper case, everything else but the underscore to a space."""

_LETTER_RUN = re.compile(rb"[A-Z_]+")

# A digit behind a letter that no number has (exponent, hexadecimal, binary) belongs to a name: `array_0.total`.
_IN_A_NAME = rb"[G-WYZg-wyz_]"
# What stands before the digit is looked at behind it: so the search leaps from digit to digit.
_MAY_HIDE_A_WORD = re.compile(
    rb"[0-9](?<!%b[0-9])(?<!%b[0-9]{2})(?<!%b[0-9]{3})\.?[A-Za-z_]{3}" % (_IN_A_NAME, _IN_A_NAME, _IN_A_NAME)
)
_NULL = re.compile(rb"\\[Nn]")

FEW_WORDS = 32
"""With more words, one of them reserved, reading costs less than looking them up: it stops at the sixth kind."""

_FILE = "F"
"""Stands for OUTFILE and DUMPFILE: without them the fingerprints of a value, a keyword and a value say nothing."""

_IN = "i"
"""IN shows as a keyword where nothing follows it; before anything else it is folded to a name or an operator."""

_EVERYDAY = frozenset(b"AT FOR IN IS LEFT NEXT NOT ORDER READ RIGHT TABLE TABLES TIME WITH".split())
"""Words that do not tell a phrase, as they stand in any text."""


def _kinds_of_words() -> dict[bytes, frozenset[str]]:
    """Run of letters → the kinds that it may bring; nothing for what brings only ALWAYS_THERE."""
    kinds: dict[bytes, set[str]] = {}
    for word, kind in WORDS.items():
        kinds.setdefault(_LETTER_RUN.findall(word)[0], set()).add(kind if kind == _IN else SHOWN.get(kind, kind))
    for phrase, kind in PHRASES.items():
        words = sorted(phrase.split(), key=lambda word: (word in _EVERYDAY, -len(word)))
        kinds.setdefault(words[0], set()).add(kind if kind == _IN else SHOWN.get(kind, kind))
    for word in (b"OUTFILE", b"DUMPFILE"):
        kinds.setdefault(word, set()).add(_FILE)
    return {word: told for word, some in kinds.items() if (told := frozenset(some) - ALWAYS_THERE)}


@lru_cache(4096)
def may_be_injection(kinds: frozenset[str]) -> bool:
    """Is there a pattern that a fingerprint of ALWAYS_THERE and `kinds` can hold?"""
    there = ALWAYS_THERE | kinds
    at_the_end = there | {"k"} if _IN in kinds else there
    for pattern in (*THREE.splitlines(), *FOUR.splitlines(), *FIVE.splitlines()):
        places = places_of(pattern.strip()) if pattern.strip() else []
        if places and all(there.intersection(place) for place in places[:-1]) and at_the_end.intersection(places[-1]):
            return True
    return any(
        there.issuperset(fingerprint[:-1])
        and fingerprint[-1] in at_the_end
        and (_FILE in kinds or "k" not in fingerprint)
        for fingerprint in CONDITIONS
    )


_KINDS_OF_WORD = _kinds_of_words()

_NEVER_ALONE = frozenset("f")
"""Functions: a plain value has no parenthesis, and without a word of another kind they are names."""

_SUSPECTS = frozenset(word for word, kinds in _KINDS_OF_WORD.items() if kinds - _NEVER_ALONE)


def is_harmless(value: bytes) -> bool:
    """True only if no way of reading `value` makes it an injection."""
    if value.isalnum():
        return True
    if (paired := value.translate(None, _SINGLE)) and (
        paired.translate(None, PLAIN)
        or value.find(b"--") >= 0
        or value.find(b"/*") >= 0
        or value.find(b"&&") >= 0
        or value.find(b"||") >= 0
    ):
        return False
    if _MAY_HIDE_A_WORD.search(value) or (value.find(b"\\") >= 0 and _NULL.search(value)):
        return False
    words = value.translate(_LETTERS).split()
    if _SUSPECTS.isdisjoint(words):
        return True
    if len(words) > FEW_WORDS:
        return False
    kinds = frozenset().union(*[_KINDS_OF_WORD[word] for word in words if word in _KINDS_OF_WORD])
    if len(value.translate(None, _DIGITS)) < len(value):
        kinds |= {"1"}
    return not may_be_injection(kinds)
