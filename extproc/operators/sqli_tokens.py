"""A fragment of SQL → tokens (kind, text), tolerant as no database is: every byte sequence has tokens.

One regex, tried at each position; the group that took part says which form was found. Every repetition
in it is possessive or over one set of bytes, so a fragment is read in linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

from extproc.operators.sqli_words import WORDS

Token: TypeAlias = tuple[str, bytes]
"""(kind, text): words in upper case, anything else as written, quotes and all."""

WORD_BYTES = 31
"""A longer word is a name, whatever it says, bytes; no reserved word is longer."""

_SPACES = rb"[\x00-\x20\x7f\xa0]*+"
_IN_WORD = rb"[^\x00\x09-\x0d \xa0!\"#%&'()*+,\-/:;<=>?@\[\\\]^{|}~]"
_IN_VARIABLE = rb"[^\x00\x09-\x0d !\"#%&'()*+,\-/:;<=>?@\\^`|~]"
_DIGITS = rb"(?:[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)"
_SUFFIX = rb"(?:[DdFf](?=[\x00\x09-\x0d \xa0;Uu]|\Z))?+"


def _inside(quote: bytes) -> bytes:
    """What follows an opening quote, to the closing one or the end; doubled and escaped quotes do not close."""
    return rb"(?:[^\\" + quote + rb"]++|\\[\s\S]|" + quote * 2 + rb")*+(?:" + quote + rb"|\\)?+"


def _oracle(closing: bytes) -> bytes:
    """The inside of q'(...)' after its opening bracket: to `closing` and a quote, or the end."""
    return rb"(?:(?!" + closing + rb"')[\s\S])*+(?:" + closing + rb"')?+"


_FORMS: dict[str, bytes] = {
    # A word, unless its letters begin a literal: b'01' x'4F' n'..' e'..' q'(..)' nq'(..)' u&'..'
    "word": rb"(?!(?:[BbXxNnEe]|[Nn]?+[Qq]|[Uu]&)')[A-Za-z_\x80-\x9f\xa1-\xff]" + _IN_WORD + rb"*+",
    # Digits with an exponent that never comes are no token at all: `1.e(` is read as `(`.
    "nothing": _DIGITS + rb"[Ee][+-]?+(?![0-9])" + _SUFFIX,
    "number": rb"0[Xx][0-9A-Fa-f\x00]++|0[Bb][01\x00]++|(?!0[BbXx])" + _DIGITS + rb"(?:[Ee][+-]?+[0-9]++)?+" + _SUFFIX
    # An amount of money, a bit string, a hex string, NULL as MySQL dumps write it.
    + rb"|\$(?!\.(?![0-9.,\x00]))[0-9.,\x00]++|[Bb]'[01\x00]*+'|[Xx]'[0-9A-Fa-f\x00]*+'|\\N",
    "string": rb"'" + _inside(rb"'") + rb"|\"" + _inside(rb'"')
    # National and escaped strings, when anything follows the quote; PostgreSQL's $tag$..$tag$; Oracle's q'(..)'.
    + rb"|[NnEe]'(?=[\s\S])" + _inside(rb"'") + rb"|[Uu]&'" + _inside(rb"'")
    + rb"|\$(?P<tag>[A-Za-z]*+)\$(?:(?!\$(?P=tag)\$)[\s\S])*+(?:\$(?P=tag)\$)?+"
    + rb"|[Nn]?+[Qq]'(?:\(" + _oracle(rb"\)") + rb"|\[" + _oracle(rb"\]") + rb"|\{" + _oracle(rb"\}")
    + rb"|<" + _oracle(rb">") + rb"|(?P<delimiter>[!-')-;=-Z\\-z|-\x7f])" + _oracle(rb"(?P=delimiter)") + rb")",
    "variable": rb"@@?+(?:`" + _inside(rb"`") + rb"|'" + _inside(rb"'") + rb"|\"" + _inside(rb'"')
    + rb"|" + _IN_VARIABLE + rb"*+)",
    "back_quoted": rb"`" + _inside(rb"`"),
    "name": rb"\[[^\]]*+\]?+|\$(?:\." + _IN_WORD + rb"*+)?+|0[BbXx]|[Nn][Qq]|[BbXxNnEeQq]",
    "evil": rb"/\*!(?:(?!\*/)[\s\S])*+(?:\*/)?+|/\*(?:(?!\*/|/\*)[\s\S])*+/\*(?:/|(?:(?!\*/)[\s\S])*+\*/)",
    "comment": rb"/\*(?:(?!\*/)[\s\S])*+(?:\*/)?+|--(?=[\x00\x09-\x0d \xa0]|\Z)[^\n]*+",
    "ansi": rb"--[^\n]*+|#",
    "mark": rb"<=>|!!|!<|!=|!>|&=|&&|\*=|:=|::|<<|<=|<>|<@|>=|>>|\|\||\|/|\|=|[!%&*+\-/:<=>^|~(){},;.?\]\\]",
}  # fmt: skip

MARKS: dict[bytes, str] = {
    **dict.fromkeys(b"<=> !< != !> &= *= := << <= <> <@ >= >> |/ |= & < = > ^ | #".split(), "o"),
    **dict.fromkeys(b"! !! ~".split(), "u"),
    **dict.fromkeys(b"+ -".split(), "p"),
    **dict.fromkeys(b"* / %".split(), "m"),
    **dict.fromkeys(b"&& ||".split(), "&"),
    **{mark: mark.decode() for mark in b"( ) { } , ; . : \\".split()},
    **dict.fromkeys(b"? ]".split(), "?"),
    b"::": "j",
}
"""Punctuation → kind."""


def _compile(forms: dict[str, bytes]) -> re.Pattern[bytes]:
    groups = (b"(?P<%s>%s)" % (name.encode(), pattern) for name, pattern in forms.items())
    return re.compile(_SPACES + rb"(?:" + rb"|".join(groups) + rb")")


ANSI = _compile(_FORMS)
"""`--` begins a comment whatever follows, `#` is an operator."""

MYSQL = _compile({**_FORMS, "comment": _FORMS["comment"] + rb"|#[^\n]*+", "ansi": rb"(?!)"})
"""`--` begins a comment before a space or at the end, `#` always does."""

_FORM_OF_INDEX = {index: name for name, index in ANSI.groupindex.items()}
_WORD = ANSI.groupindex["word"]
_MARK = ANSI.groupindex["mark"]


def _kind_of_form(form: str, text: bytes) -> str:
    """The kind of a token that is neither word nor mark; empty if it is no token."""
    match form:
        case "back_quoted":
            inside = text[1:].removesuffix(b"`")
            if not inside:
                return "d" if text == b"``" else "e"
            return "f" if WORDS.get(inside.upper(), "n") in "fq" else "n"
        case "ansi":
            return "o" if text == b"#" else "c"
    return {"nothing": "", "number": "1", "string": "s", "variable": "v", "name": "n", "evil": "X", "comment": "c"}[
        form
    ]


def _reserved_prefix(word: bytes) -> tuple[str, bytes] | None:
    """`SELECT.A` and ``OR`a` `` are the reserved word and a rest; any other word with a dot is one name."""
    for end, byte in enumerate(word):
        if byte in b".`" and (kind := WORDS.get(word[:end], "n")) not in "nw":
            return kind, word[:end]
    return None


def tokenize(value: bytes, position: int, pattern: re.Pattern[bytes]) -> Iterator[Token]:
    """The tokens of `value` from `position` on; `pattern` is ANSI or MYSQL."""
    match_at = pattern.match
    kind_of_word = WORDS.get
    while found := match_at(value, position):
        index = found.lastindex or 0
        position = found.end()
        if index == _WORD:
            word = found["word"].upper()
            kind = kind_of_word(word)
            if kind is None:
                kind = "n"
                if (b"." in word or b"`" in word) and (prefix := _reserved_prefix(word)):
                    kind = prefix[0]
                    position -= len(word) - len(prefix[1])
                    word = prefix[1]
            yield kind, word
        elif index == _MARK:
            mark = found["mark"]
            # A colon that nothing follows is an operator.
            yield MARKS[mark] if mark != b":" or position < len(value) else "o", mark
        else:
            text = found[index]
            if kind := _kind_of_form(_FORM_OF_INDEX[index], text):
                yield kind, text


_STRING = re.compile(rb"(?:[NnEe]|[Uu]&)?(['\"])(?:(?!\1)[^\\]|\\[\s\S]|\1\1)*+\\?+(\1?)")


def open_quote(text: bytes) -> bytes:
    """The quote that the text of a string token opens and never closes, or empty."""
    found = _STRING.match(text)
    return found[1] if found and not found[2] else b""


_REST_OF_STRING = {quote: re.compile(_inside(quote)) for quote in (b"'", b'"')}


def end_of_string(value: bytes, quote: bytes) -> int:
    """Where the first token ends if `value` stands inside `quote`; len(value) if no quote closes it."""
    found = _REST_OF_STRING[quote].match(value)
    return found.end() if found else 0
