"""Which values need no reading at all: their tokens can only be names, numbers, operators and commas.

No pattern of `sqli_grammar` holds for such a fingerprint (a test goes through the patterns). The guard sees less than
the tokenizer: where it is not sure it says so, and the value is read.

The proof, step by step. A value without any byte outside PLAIN has no string, variable, round or square bracket,
semicolon, back quote or `#`; without `--`, `/*`, `&&` and `||` it has no comment, and no logic operator but a word.
So all its tokens are names, numbers, operators, dots, commas, colons, braces, question marks, back slashes and
reserved words. A reserved word stands in it as a run of letters, or as the end of a run after a digit (`1eOR`, `0xOR`,
`\\NOR`; such a run of three letters and more is not judged here). The runs are compared with all reserved words of
other kinds, and with one word of every phrase. What passes has tokens that fold to kinds in HARMLESS_KINDS.
"""

from __future__ import annotations

import re
import string

from extproc.operators.sqli_words import PHRASES, WORDS

HARMLESS_KINDS = "n1ot.,:?{}\\"
"""The kinds that a harmless value folds to; the last of a fingerprint may be `k` (IN) instead."""

HARMLESS_KINDS_WITHOUT_NUMBERS = "not.,:?{}&"
"""The same for a value without digits and back slashes: AND, OR and XOR are harmless in it, and IN is not."""

_PUNCTUATION = b"!%&*+,-./:<=>?\\]^_{|}~"

PLAIN = bytes(
    {*range(0x21), *range(0x7F, 0x100), *string.ascii_letters.encode(), *string.digits.encode(), *_PUNCTUATION}
)
"""The bytes that a harmless value may hold; two of them together may be more than they are alone."""

_DIGITS = string.digits.encode() + b"\\"

_LETTERS = bytes(byte if byte in string.ascii_uppercase.encode() + b"_" else 0x20 for byte in bytes(range(256)).upper())
"""Translation: letters to upper case, everything else but the underscore to a space."""

_LETTER_RUN = re.compile(rb"[A-Z_]+")

_MAY_HIDE_A_WORD = re.compile(rb"[0-9]\.?[A-Za-z_]{3}|\\[Nn]")


def _suspects(harmless_kinds: str) -> frozenset[bytes]:
    """For every word and every phrase of another kind a run of letters that it has."""
    runs = {_LETTER_RUN.findall(word)[0] for word, kind in WORDS.items() if kind not in harmless_kinds}
    for phrase, kind in PHRASES.items():
        words = phrase.split()
        if kind not in harmless_kinds and runs.isdisjoint(words):
            runs.add(max(words, key=len))
    return frozenset(runs)


_SUSPECTS = _suspects("nwyoulti1")
_SUSPECTS_WITHOUT_NUMBERS = _suspects("nwyoult&")


def is_harmless(value: bytes) -> bool:
    """True only if no way of reading `value` makes it an injection."""
    if value.isalnum():
        return True
    if value.translate(None, PLAIN) or b"--" in value or b"/*" in value or b"&&" in value or b"||" in value:
        return False
    has_numbers = len(value.translate(None, _DIGITS)) < len(value)
    if has_numbers and _MAY_HIDE_A_WORD.search(value):
        return False
    words = value.translate(_LETTERS).split()
    return _SUSPECTS.isdisjoint(words) or (not has_numbers and _SUSPECTS_WITHOUT_NUMBERS.isdisjoint(words))
