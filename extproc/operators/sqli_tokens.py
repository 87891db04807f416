"""A fragment of SQL → tokens (kind, text), tolerant as no database is: every byte sequence has tokens.

One regex, tried at each position; the group that took part says which form was found. Its repetitions are over
alternatives that exclude each other, and nothing that follows them can fail for more than one place to stop: a fragment
is read in linear time. Only sets of bytes are repeated possessively (CPython before 3.11.5 gets groups wrong).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

from extproc.operators.sqli_words import WORDS

Token: TypeAlias = tuple[str, bytes]
"""(kind, text): words in upper case, anything else as written, quotes and all."""

WORD_BYTES = 31
"""A longer word is a name, whatever it says, bytes; no reserved word is longer."""

_SPACES = rb"[\x00-\x20\x7f\xa0]*+"
_IN_PLAIN_WORD = rb"[^\x00\x09-\x0d \xa0!\"#%&'()*+,\-/:;<=>?@\[\\\]^{|}~.`]"
_IN_WORD = rb"[^\x00\x09-\x0d \xa0!\"#%&'()*+,\-/:;<=>?@\[\\\]^{|}~]"
_IN_VARIABLE = rb"[^\x00\x09-\x0d !\"#%&'()*+,\-/:;<=>?@\\^`|~]"
_DIGITS = rb"(?:[0-9]++\.?+[0-9]*+|\.[0-9]++)"
_SUFFIX = rb"(?:[DdFf](?=[\x00\x09-\x0d \xa0;Uu]|\Z))?"


def _inside(quote: bytes) -> bytes:
    """What follows an opening quote, to the closing one or the end; doubled and escaped quotes do not close."""
    return rb"(?:[^\\" + quote + rb"]++|\\[\s\S]|" + quote * 2 + rb")*(?:" + quote + rb"|\\)?"


def _oracle(closing: bytes) -> bytes:
    """The inside of q'(...)' after its opening bracket: to `closing` and a quote, or the end."""
    return rb"(?:(?!" + closing + rb"')[\s\S])*(?:" + closing + rb"')?"


_NOT_BEFORE_LITERAL = rb"[BbXxEe](?!')|[Nn](?!'|[Qq]')|[Qq](?!')|[Uu](?!&')"
_FIRST_LETTER = rb"(?:[AC-DF-MO-PR-TV-WYZac-df-mo-pr-tv-wyz_\x80-\x9f\xa1-\xff]|" + _NOT_BEFORE_LITERAL + rb")"
"""A letter that begins a word, not a literal: b'01' x'4F' n'..' e'..' q'(..)' nq'(..)' u&'..'."""

_AFTER_DASHES = rb"(?=[\x00\x09-\x0d \xa0]|\Z)"
_IN_COMMENT = rb"(?:[^*]++|\*(?!/))*"
_BLOCK_COMMENT = rb"/\*" + _IN_COMMENT + rb"(?:\*/)?"
# For MySQL alone (`/*!`), or a comment within a comment.
_EVIL = rb"/\*!" + _IN_COMMENT + rb"(?:\*/)?|/\*(?:[^*/]++|\*(?!/)|/(?!\*))*/\*(?:/|" + _IN_COMMENT + rb"\*/)"

_FORMS: dict[str, bytes] = {
    "word": _FIRST_LETTER + _IN_PLAIN_WORD + rb"*+(?![.`])",
    # What is never the beginning of something longer; what a run of the same folds to is read in one go.
    "mark": rb"[,?{}\]]|[=%^](?:[=%^][=%^])*|\+++|~++|\(++|(?<=\))\)++|\)|(?:\\(?!N))+"
    + rb"|-(?!-)|/(?!\*)|\.(?![0-9])|:(?![:=])|\*(?!=)|<(?![=<>@])|>(?![=>])|&(?![&=])|!(?![!=<>])|(?<=;);++|;",
    "string": rb"'" + _inside(rb"'") + rb"|\"" + _inside(rb'"')
    # National and escaped strings, when anything follows the quote; PostgreSQL's $tag$..$tag$; Oracle's q'(..)'.
    + rb"|[NnEe]'(?=[\s\S])" + _inside(rb"'") + rb"|[Uu]&'" + _inside(rb"'")
    + rb"|\$(?P<tag>[A-Za-z]*+)\$(?:(?!\$(?P=tag)\$)[\s\S])*(?:\$(?P=tag)\$)?"
    + rb"|[Nn]?+[Qq]'(?:\(" + _oracle(rb"\)") + rb"|\[" + _oracle(rb"\]") + rb"|\{" + _oracle(rb"\}")
    + rb"|<" + _oracle(rb">") + rb"|(?P<delimiter>[!-')-;=-Z\\-z|-\x7f])" + _oracle(rb"(?P=delimiter)") + rb")",
    "number": rb"0[Xx][0-9A-Fa-f\x00]++|0[Bb][01\x00]++|(?!0[BbXx])" + _DIGITS
    + rb"(?:[Ee][+-]?+[0-9]++|(?![Ee]))" + _SUFFIX
    # An amount of money, a bit string, a hex string, NULL as MySQL dumps write it.
    + rb"|\$(?!\.(?![0-9.,\x00]))[0-9.,\x00]++|[Bb]'[01\x00]*+'|[Xx]'[0-9A-Fa-f\x00]*+'|\\N",
    # Digits with an exponent that never comes are no token at all: `1.e(` is read as `(`.
    "nothing": _DIGITS + rb"[Ee][+-]?+(?![0-9])" + _SUFFIX,
    "dotted": _FIRST_LETTER + _IN_WORD + rb"*+",
    "evil": _EVIL,
    "comment": _BLOCK_COMMENT + rb"|--" + _AFTER_DASHES + rb"[^\n]*+",
    "ansi": rb"--[^\n]*+|#(?:\s*+#\s*+#)*",
    "sign": rb"<=>|!!|!<|!=|!>|&=|&&|\*=|:=|::|<<|<=|<>|<@|>=|>>|\|\||\|/|\|=|\|"
    + rb"|-(?:(?!--" + _AFTER_DASHES + rb")-)*",
    "variable": rb"@@?+(?:`" + _inside(rb"`") + rb"|'" + _inside(rb"'") + rb"|\"" + _inside(rb'"')
    + rb"|" + _IN_VARIABLE + rb"*+)",
    "back_quoted": rb"`" + _inside(rb"`"),
    "name": rb"\[[^\]]*+\]?+|\$(?:\." + _IN_WORD + rb"*+)?|0[BbXx]|[Nn][Qq]|[BbXxNnEeQq]",
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


def _any_of(words: Iterable[bytes]) -> bytes:
    """A pattern for whole words that looks at every byte once."""
    rests: dict[bytes, list[bytes]] = {}
    is_word = False
    for word in words:
        if word:
            rests.setdefault(word[:1], []).append(word[1:])
        else:
            is_word = True
    branches = rb"|".join(re.escape(first) + _any_of(rest) for first, rest in rests.items())
    if not branches:
        return b""
    return rb"(?:" + branches + rb")" + (rb"?" if is_word else b"")


_LIST = (
    rb"(?:(?:[0-9]++|(?!(?i:" + _any_of(WORDS) + rb")(?![A-Za-z0-9_]))[A-Za-z_][A-Za-z0-9_]*+)"
    rb"[\x09-\x0d ]*+(?P<separator>[,=+*/%<>^&|-])(?![=<>@*&|-])[\x09-\x0d ]*+){3,}"
)
"""Names and numbers, a comma or an operator after each: folds to its beginning and end, however long it is."""

_FIRST_OF_LIST = re.compile(rb"\s*+([A-Za-z0-9_]++)\s*+([^\s])\s*+([A-Za-z0-9_]++)")

LONG_BYTES = 1024
"""In a longer value lists are skipped in one go, bytes."""


def _compile(is_long: bool, **others: bytes) -> re.Pattern[bytes]:
    forms = {"list": _LIST if is_long else rb"(?!)(?P<separator>)", **_FORMS, **others}
    groups = (b"(?P<%s>%s)" % (name.encode(), pattern) for name, pattern in forms.items())
    return re.compile(_SPACES + rb"(?:" + rb"|".join(groups) + rb"|\Z)")


_MYSQL_COMMENT = _FORMS["comment"] + rb"|#[^\n]*+(?:\s*+#[^\n]*+)*"


class Dialect(NamedTuple):
    """How to read a value of at most LONG_BYTES, and a longer one."""

    short: re.Pattern[bytes]
    long: re.Pattern[bytes]

    def pattern_for(self, value: bytes) -> re.Pattern[bytes]:
        return self.short if len(value) <= LONG_BYTES else self.long


ANSI = Dialect(_compile(False), _compile(True))
"""`--` begins a comment whatever follows, `#` is an operator."""

MYSQL = Dialect(
    _compile(False, comment=_MYSQL_COMMENT, ansi=rb"(?!)"), _compile(True, comment=_MYSQL_COMMENT, ansi=rb"(?!)")
)
"""`--` begins a comment before a space or at the end, `#` always does."""

_FORM_OF_INDEX = {index: name for name, index in ANSI.short.groupindex.items()}
_LIST_INDEX = ANSI.short.groupindex["list"]
_WORD = ANSI.short.groupindex["word"]
_MARK = ANSI.short.groupindex["mark"]
_SIGN = ANSI.short.groupindex["sign"]
_DOTTED = ANSI.short.groupindex["dotted"]


_KIND_OF_FORM = {"number": "1", "string": "s", "variable": "v", "name": "n", "evil": "X", "comment": "c", "nothing": ""}


def _kind_of_form(form: str, text: bytes) -> str:
    """The kind of a token that is neither word nor mark; empty if it is no token."""
    match form:
        case "back_quoted":
            inside = text[1:].removesuffix(b"`")
            if not inside:
                return "d" if text == b"``" else "e"
            return "f" if WORDS.get(inside.upper(), "n") in "fq" else "n"
        case "ansi":
            return "o" if text.startswith(b"#") else "c"
    return _KIND_OF_FORM[form]


def _reserved_prefix(word: bytes) -> tuple[str, bytes] | None:
    """`SELECT.A` and ``OR`a` `` are the reserved word and a rest; any other word with a dot is one name."""
    for end, byte in enumerate(word[: WORD_BYTES + 1]):
        if byte in b".`" and (kind := WORDS.get(word[:end], "n")) not in "nw":
            return kind, word[:end]
    return None


def tokenize(value: bytes, position: int, dialect: Dialect) -> Iterator[Token]:
    """The tokens of `value` from `position` on; of a list in a long value only the first items."""
    pattern = dialect.pattern_for(value)
    kind_of_word = WORDS.get
    kind_of_mark = MARKS.get
    while position >= 0:
        # Every byte begins a token or is a space, so the search never skips anything.
        for found in pattern.finditer(value, position):
            index = found.lastindex
            if index == _WORD:
                word = found[_WORD].upper()
                yield kind_of_word(word, "n"), word
            elif index == _MARK:
                mark = found[_MARK]
                kind = kind_of_mark(mark)
                if kind is None:
                    kind = MARKS[mark[:1]]
                elif kind == ":" and found.end() == len(value):
                    kind = "o"  # a colon that nothing follows
                yield kind, mark
            elif index == _SIGN:
                mark = found[_SIGN]
                yield kind_of_mark(mark) or MARKS[mark[:1]], mark
            elif index == _LIST_INDEX:
                mark = found["separator"]
                first = _FIRST_OF_LIST.match(found[_LIST_INDEX])
                if first:
                    yield "1" if first[1].isdigit() else "n", first[1].upper()
                    yield MARKS[first[2]], first[2]
                    yield "1" if first[3].isdigit() else "n", first[3].upper()
                yield MARKS[mark], mark
            elif index == _DOTTED:
                word = found[_DOTTED].upper()
                if prefix := _reserved_prefix(word):
                    yield prefix
                    position = found.start(_DOTTED) + len(prefix[1])
                    break
                yield kind_of_word(word, "n"), word
            elif index is not None:
                text = found[index]
                if kind := _kind_of_form(_FORM_OF_INDEX[index], text):
                    yield kind, text
        else:
            position = -1


_STRING = re.compile(rb"(?:[NnEe]|[Uu]&)?(['\"])(?:(?!\1)[^\\]|\\[\s\S]|\1\1)*\\?+(\1?)")


def open_quote(text: bytes) -> bytes:
    """The quote that the text of a string token opens and never closes, or empty."""
    found = _STRING.match(text)
    return found[1] if found and not found[2] else b""


_REST_OF_STRING = {quote: re.compile(_inside(quote)) for quote in (b"'", b'"')}


def end_of_string(value: bytes, quote: bytes) -> int:
    """Where the first token ends if `value` stands inside `quote`; len(value) if no quote closes it."""
    found = _REST_OF_STRING[quote].match(value)
    return found.end() if found else 0
