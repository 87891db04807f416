"""HTML that runs code, as one regular expression: pieces of the grammar, put together and run by re2.

Where a fragment of HTML may run code is a regular language: no element is ever closed by name, nothing nests. So what a
walk over tokens would do (HTML standard, section *Tokenization*) is written here as an expression that re2 runs in one
pass, in time linear in the value, from all places at once that the value may be put into:

    text                   <p>VALUE</p>
    an attribute           <p x=VALUE>    (without quotes it is thought to be over already)
    one within quotes      <p x='VALUE'>  <p x="VALUE">  <p x=`VALUE`>

Pieces are unambiguous: a tag, a name or a comment ends where the tokenizer ends it and nowhere else, or the rest would
be read from a wrong place. Hence the pieces that say what comes *instead of* an end: re2 has no look-ahead.
A NUL is white space between attributes and is left out of the names of tags, as in old browsers.
"""

from __future__ import annotations

from collections.abc import Iterable

from extproc.operators.xss_names import (
    CODE_ATTRIBUTE_BEGINNINGS,
    CODE_ATTRIBUTES,
    EVENT_BEGINNINGS,
    EVENTS_OF_OURS,
    NAME_ATTRIBUTES,
    SCHEMES,
    TAG_BEGINNINGS,
    TAGS,
    URL_ATTRIBUTES,
)


def _any(alternatives: Iterable[bytes]) -> bytes:
    return b"(?:" + b"|".join(alternatives) + b")"


def _word(word: bytes, between: bytes = b"") -> bytes:
    """`word` as it is written, with `between` allowed between its bytes."""
    return between.join(b"\\x%02x" % byte for byte in word)


def _words(words: frozenset[bytes], between: bytes = b"") -> bytes:
    return _any(_word(word, between) for word in sorted(words))


# --- attributes -------------------------------------------------------------------------------------------------

_WHITE = rb"[\x00\t-\r ]"
_NAME_BYTE = rb"[^\x00\t-\r />=]"

_NAME = rb"[^\x00\t-\r />]" + _NAME_BYTE + b"*"
"""A name may begin with `=`, since before it there is none that this could follow."""

_NAMES = _NAME + _any((_WHITE + b"+" + _NAME_BYTE + b"+",)) + b"*"
"""Attributes without a value. Only the first may begin with `=`."""

_EQUALS = _WHITE + b"*=" + _WHITE + b"*"
_QUOTED = rb"""(?:'[^']*'|"[^"]*"|`[^`]*`)"""
_UNQUOTED = rb"[^\x00\t-\r >'\"`][^\x00\t-\r >]*"

_ATTRIBUTES = (
    _any(
        (
            rb"[\x00\t-\r /]",
            _NAMES + _any((_WHITE + b"*/", _EQUALS + _any((_QUOTED, _UNQUOTED + _WHITE)))),
        )
    )
    + b"*"
)
"""From between two attributes to between two attributes."""

_END_OF_TAG = b"(?:" + _NAMES + _any((_WHITE + b"*", _EQUALS + b"(?:" + _UNQUOTED + b")?")) + b")?>"
"""From between two attributes out of the tag."""


def _entity(codes: Iterable[int]) -> bytes:
    """A numeric entity for one of `codes`.

    It may end early (`&#x6aa` is read as `j` and `a`, too): that would need look-ahead, and says yes too often only.
    """
    numbers = tuple(codes)
    decimal = _any(b"%d" % code for code in numbers)
    hexadecimal = _any(b"%x" % code for code in numbers)
    return b"&#0*" + decimal + b";?|&#x0*" + hexadecimal + b";?"


def _code_url(skipped: bytes, control: bytes, within: bytes) -> bytes:
    """A URL whose scheme runs code.

    Browsers skip control characters before a scheme, and line feeds and NULs within it (URL standard, *URL parsing*).
    `skipped` and `control` are the bytes that may come first, `within` what may come between two letters.
    """
    between = _any((within, _entity((0, 10)))) + b"*"

    def letter(byte: int) -> bytes:
        return _any((_word(bytes((byte,))), _entity(sorted({byte, ord(chr(byte).upper())}))))

    schemes = _any(between.join(letter(byte) for byte in scheme) for scheme in sorted(SCHEMES))
    return skipped + b"*" + _any((control, _entity(range(0x21)))) + b"*" + schemes


_CODE_URL = _any(
    (
        rb"['\"`]" + _code_url(rb"[\x00-\x20\x7f-\xff]", rb"[\x00-\x20]", rb"[\x00\n]"),
        # Without quotes white space would end the value.
        _code_url(rb"[\x01-\x08\x0e-\x1f\x7f-\xff]", rb"[\x01-\x08\x0e-\x1f]", rb"&#xa;"),
    )
)

_BEGINNINGS = _words(EVENT_BEGINNINGS | CODE_ATTRIBUTE_BEGINNINGS)
_CODE_NAME = _any((_BEGINNINGS + _NAME_BYTE + b"*", _words(CODE_ATTRIBUTES | EVENTS_OF_OURS)))
_KNOWN = CODE_ATTRIBUTES | EVENTS_OF_OURS | URL_ATTRIBUTES | NAME_ATTRIBUTES


_KNOWN_WITH_NULS = rb"\x00*" + _words(_KNOWN, rb"\x00*") + rb"\x00*"
_NAME_AS_VALUE = _any(
    (
        b"['\"`]?" + _BEGINNINGS,
        _words(_KNOWN) + rb"(?:[\x00\t-\r >]|\z)",
        *(_word(quote) + _KNOWN_WITH_NULS + _any((_word(quote), rb"\z")) for quote in (b"'", b'"', b"`")),
    )
)
"""The value of an attribute that names an attribute: a name that matters, quoted or not."""

_CODE_ATTRIBUTE = (
    b"(?:"
    + _NAMES
    + _WHITE
    + b"+)?"
    + _any(
        (
            # A value must begin, even an empty one in quotes or before `>`.
            _CODE_NAME + _EQUALS + rb"[^\x00\t-\r ]",
            _words(URL_ATTRIBUTES) + _EQUALS + _CODE_URL,
            _words(NAME_ATTRIBUTES) + _EQUALS + _NAME_AS_VALUE,
        )
    )
)
"""From between two attributes into the value of one that runs code."""


# --- comments and declarations ----------------------------------------------------------------------------------

# A comment ends at a dash, NULs, a dash or `!`, and `>`. After a dash, what leaves the end as near as it was
# (`_AGAIN`), and what takes it away (`_NOT_THE_END`).
_AGAIN = rb"(?:\x00|-*!-|-+\x00)*"
_NOT_THE_END = rb"(?:[^\-!\x00]|-+[^\-!\x00>]|-*![^\->])"
_COMMENT_TEXT = rb"(?:[^\-]|-" + _AGAIN + _NOT_THE_END + b")*"
_COMMENT = b"!--" + _COMMENT_TEXT + b"-" + _AGAIN + b"(?:-+>|-*!>)"
_COMMENT_BYTE = rb"(?:[^\-]|-\x00*(?:[^\x00\-!]|[\-!][^>]|[\-!]?\z))"

_SERVER_TEXT = b"(?:[^%]|%+[^%>])*"
_SERVER = b"%" + _SERVER_TEXT + b"%+>"
_SERVER_BYTE = rb"(?:[^%]|%(?:[^>]|\z))"
"""Server pages: `<% %>`."""

_DATA_MARK = b"[CDATA["
_DATA = b"!(?-i:" + _word(_DATA_MARK) + rb")(?:[^\]]|\][^\]]|\]\]+[^\]>])*\]\]+>"


_DECLARATION_TEXT = (
    b"(?-i:"
    + b"|".join(
        (
            rb"(?:[^\-\[>][^>]*)?",
            rb"-(?:[^\->][^>]*)?",
            *(
                _word(_DATA_MARK[:length]) + rb"(?:[^>\x%02x][^>]*)?" % _DATA_MARK[length]
                for length in range(1, len(_DATA_MARK))
            ),
        )
    )
    + b")"
)
"""What may stand between `<!` and `>`: not what begins like a comment or a section of data."""

_CONDITION = rb"(?:\[if|xml)"
"""Conditional comments of Internet Explorer, and XML; more must follow."""

_LOADS = b"(?:import|entity)"
_BACK_QUOTE = rb"\x60"
"""Ended an attribute in Internet Explorer, which read the comment again."""

_CODE_COMMENT = _any(
    (
        b"!doctype",
        b"!--"
        + _any(
            (
                _COMMENT_TEXT + b"(?:-" + _AGAIN + b"-*!?)?" + _BACK_QUOTE,
                _CONDITION + _COMMENT_BYTE,
                _LOADS,
            )
        ),
        b"%" + _any((_SERVER_TEXT + b"%*" + _BACK_QUOTE, _CONDITION + _SERVER_BYTE, _LOADS)),
        b"!" + _DECLARATION_TEXT + _BACK_QUOTE,
        rb"\?[^>]*" + _BACK_QUOTE,
        b"[!?]" + _any((_CONDITION + b"[^>]", _LOADS)),
        b"/" + _any((_BACK_QUOTE, b"[^a-z>][^>]*" + _BACK_QUOTE, rb"\[if[^>]")),
    )
)


# --- tags and text ----------------------------------------------------------------------------------------------

_TAG = rb"(?:/?[a-z]|\x00)[^\t-\r />]*"
"""The name of a tag, all of it if what comes next is in `_AFTER_TAG` or `>`."""

_AFTER_TAG = rb"[\t-\r /]"

_CODE_TAGS = _words(TAGS, rb"\x00*") + rb"\x00*"
_CODE_TAG = _any(
    (
        rb"\x00*" + _CODE_TAGS + rb"(?:[\t-\r />]|\z)",
        _words(TAG_BEGINNINGS),
        # A closing tag that is not closed at once is read as an opening one by some.
        b"/" + _any((_CODE_TAGS, _words(TAG_BEGINNINGS) + rb"[^\t-\r />]*")) + rb"(?:[\t-\r /]|\z)",
    )
)

_HARMLESS = _any(
    (
        b"[^<]",
        rb"<+[^<a-z\x00!/?%]",
        b"<+"
        + _any(
            (
                _TAG + _any((_AFTER_TAG + _ATTRIBUTES + _END_OF_TAG, b">")),
                _COMMENT,
                _DATA,
                _SERVER,
                b"!" + _DECLARATION_TEXT + b">",
                rb"\?[^>]*>",
                b"/(?:[^a-z>][^>]*)?>",
            )
        ),
    )
)
"""From text to text: a byte, a whole tag, a whole comment. What runs code is not left out, since it is found anyway."""

_PLACE = rb"""(?:[^']*'|[^"]*"|[^`]*`)?"""
"""To the end of the attribute that the value is put into."""

_TEXT = b"(?:" + _PLACE + _ATTRIBUTES + _END_OF_TAG + b")?" + _HARMLESS + b"*"

RUNS_CODE = rb"(?i)\A" + _any(
    (
        _TEXT + b"<+" + _any((_CODE_TAG, _CODE_COMMENT)),
        _any((_PLACE, _TEXT + b"<+" + _TAG + _AFTER_TAG)) + _ATTRIBUTES + _CODE_ATTRIBUTE,
    )
)
"""Matches a value that runs code in one of the places. In the spelling of re2, for values in Latin-1."""
