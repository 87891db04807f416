r"""The decode ladder: a value → views of it, each with the decodings that led there.

An app decodes once more than a filter expects: a second percent decoding, entities in a page, `\u0027` in a script,
Base64 in a cookie, JSON in a form field. So each value is taken down the ladder as far as it goes, and every view is
judged by the same grammar; decoding alone proves nothing. Two kinds of steps:

- *spellings* change a text as a whole (percent, entities, escapes, ...). They are applied in turn, round by round, and
  every text in between is a view: a decoding can also destroy an attack.
- *structures* take a text apart (JSON, forms, URLs, JWT, Base64): each part is a value of its own. A text that is JSON
  from end to end is told by its leaves and keys, not by its quotes and colons (`View.is_structure`).

A step is tried only where its mark is (`%`, `&`, `\`, ...), so plain values cost next to nothing.
"""

from __future__ import annotations

import json
import re
import zlib
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.entities import html5
from typing import Any, TypeAlias

from extproc.detection.contract import UNCOUNTED, Place, Reading
from extproc.detection.formats import is_fixed

ROUNDS = 4
"""Times that the spellings of one text are undone in turn; what is hidden deeper is not found."""

NESTING = 4
"""Structures inside structures."""

VIEWS_LIMIT = 48
"""Views of one value; more are not looked at and the event says `partly`."""

PARTS_LIMIT = 512
"""Names and values of one form or URL that are told apart; of more the event says `partly`."""

VIEW_STEPS, VIEW_BYTES_A_STEP = 4, 20
"""What a view costs, with the search for the gates' literals in it: so many steps, and one more for so many bytes."""

STAGES_LIMIT_BYTES = 1024
"""Of a longer text few of the stages within a round are views: what percent and overlong UTF-8 leave, new back slashes,
and the round as a whole. The others differ in a few signs, and each costs as much as the text."""

UNDOING_BYTES_A_STEP = 40
"""The same for a spelling that is undone."""

STRUCTURE_LIMIT_BYTES = 65_536
"""Of a text that is taken apart; a larger one is judged as a text."""

UNPACKED_LIMIT_BYTES = 65_536
"""What gzip in Base64 may unpack to; the rest is left out."""

SENTENCE_MIN_BYTES = 12
"""Of a sentence that something stands behind."""

PADDING_MIN_BYTES = 256
"""Of one letter at a text's beginning; shorter runs are shouting and lines drawn."""

WORDS_MIN_BYTES = 4096
"""Of letters, digits and blanks at a text's beginning; no language goes on so long without a sign."""

ENCODED_MIN_BYTES = 8
"""Shorter Base64 cannot be told from a word; `;id;` takes eight."""


@dataclass(frozen=True, slots=True)
class View:
    """One text to judge. `via` names the decodings, outermost first.

    `is_structure`: taken apart, and its parts are views; only what is about structures is asked of it.
    """

    text: bytes
    via: tuple[str, ...]
    place: Place
    is_structure: bool = False


# Spellings

_DULL = bytes(byte for byte in range(0x01, 0x80) if byte not in b"%&\\+<")
"""Bytes that begin no spelling."""

_HEX_DIGITS = b"0123456789abcdefABCDEF"
_HEX_PAIRS = {bytes((a, b)): bytes((int(bytes((a, b)), 16),)) for a in _HEX_DIGITS for b in _HEX_DIGITS}
_PERCENT_UNI = re.compile(rb"%[uU]([0-9a-fA-F]{4})")


def _percent(text: bytes) -> bytes:
    """`%HH` and `%uHHHH`. A plus is a blank only in a text that has escapes and no blanks: a form once more."""
    if b"%" not in text:
        return text
    if b"%u" in text or b"%U" in text:
        text = _PERCENT_UNI.sub(lambda found: _utf8(int(found[1], 16)), text)
    first, *rest = text.split(b"%")
    parts = [first]
    for part in rest:
        byte = _HEX_PAIRS.get(part[:2])
        if byte is None:
            parts += (b"%", part)
        else:
            parts += (byte, part[2:])
    decoded = b"".join(parts)
    if b"+" in text and b" " not in text and decoded != text:
        decoded = b"".join([part.replace(b"+", b" ") if index % 2 == 0 else part for index, part in enumerate(parts)])
    return decoded


_ENTITY = re.compile(rb"&(?:#[xX]0*([0-9a-fA-F]{1,6})|#0*([0-9]{1,7})|([a-zA-Z]{2,24}));?")
_NAMED = {
    name.removesuffix(";").lower().encode(): text.encode()
    for name, text in sorted(html5.items(), reverse=True)
    if text.isascii()
}
"""Entities that stand for ASCII, names in lower case: what a page shows of the others is no syntax."""


def _entities(text: bytes) -> bytes:
    """`&lt;` `&#60;` `&#x3c`, with or without the semicolon and with any zeros (HTML, 13.2.5.72 on)."""
    return _ENTITY.sub(_entity, text) if b"&" in text else text


def _entity(found: re.Match[bytes]) -> bytes:
    hexadecimal, decimal, name = found.groups()
    if name is not None:
        return _NAMED.get(name.lower(), found[0])
    return _utf8(int(hexadecimal, 16) if hexadecimal is not None else int(decimal))


_ESCAPE = re.compile(
    rb"\\(?:u\{0*([0-9a-fA-F]{1,6})\}|u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([0-3]?[0-7]{1,2})|(.))", re.DOTALL
)
_LETTERS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v", b"f": b"\f", b"b": b"\b", b"\n": b""}


def _escapes(text: bytes) -> bytes:
    r"""Escapes of JavaScript and JSON strings: `\u0027` `\u{27}` `\x27` `\47` `\n` `\'`."""
    return _ESCAPE.sub(_escape, text) if b"\\" in text else text


def _escape(found: re.Match[bytes]) -> bytes:
    braced, four, two, octal, other = found.groups()
    if other is not None:
        return _LETTERS.get(other, other)
    if octal is not None:
        return bytes((int(octal, 8) & 0xFF,))
    return _utf8(int(braced or four or two, 16))


_CSS_ESCAPE = re.compile(rb"\\([0-9a-fA-F]{2,6})[ \t\n\f\r]?")


def _css(text: bytes) -> bytes:
    r"""Escapes of CSS with two hexadecimal digits or more, and its comments: `\6a avasc/**/ript`."""
    if b"\\" not in text:
        return text
    return _CSS_ESCAPE.sub(lambda found: _utf8(int(found[1], 16)), _unwrap(text, b"/*", b"*/", keeps_inside=False))


def _unwrap(text: bytes, opening: bytes, closing: bytes, keeps_inside: bool) -> bytes:
    """The text without these marks, with or without what stands between them. Linear: each byte is read once."""
    parts: list[bytes] = []
    position = 0
    while True:
        start = text.find(opening, position)
        end = text.find(closing, start + len(opening)) if start >= 0 else -1
        if end < 0:
            return b"".join((*parts, text[position:])) if parts else text
        parts.append(text[position:start])
        if keeps_inside:
            parts.append(text[start + len(opening) : end])
        position = end + len(closing)


def _fold_table() -> dict[int, str]:
    table = {0xFF01 + offset: chr(0x21 + offset) for offset in range(94)}
    for shown, twins in (
        ("'", "‘’‚‛′‵ʹʻʼʽˈ´`＇᾽᾿ꞌ"),
        ('"', "“”„‟″‶ʺ˝＂〃"),
        ("/", "∕⁄⧸／╱⟋"),
        ("\\", "∖⧵⧹＼﹨╲"),
        (".", "․。．｡﹒"),
        ("<", "‹〈＜﹤⟨〈˂"),
        (">", "›〉＞﹥⟩〉˃"),
        ("=", "＝﹦꞊᐀"),
        ("(", "（﹙⁽❨"),
        (")", "）﹚⁾❩"),
        (";", "；﹔;"),
        (":", "：﹕ː∶"),
        ("|", "｜∣ǀ"),
        ("-", "‐‑‒﹣－−"),
        (" ", "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"),
        ("", "\u200b\u200c\u200d\u2060\ufeff\u00ad"),
        ("i", "ıİⅰ"),
        ("s", "ſ"),
        ("K", "\u212a"),
    ):
        table.update(dict.fromkeys(map(ord, twins), shown))
    del table[ord("`")]
    return table


_FOLD = _fold_table()


def _unicode(text: bytes) -> bytes:
    """Full width and look-alikes as ASCII, as databases and runtimes fold them on their own."""
    if text.isascii():
        return text
    try:
        return text.decode().translate(_FOLD).encode()
    except UnicodeDecodeError:
        return text


_BROKEN = re.compile(
    rb"[\xc0\xc1][\x00-\xff]|\xe0[\x80-\x9f\x00-\x7f][\x00-\xff]|\xf0[\x80-\x8f][\x80-\xbf][\x80-\xbf]", re.DOTALL
)


def _overlong(text: bytes) -> bytes:
    """Overlong and half-broken UTF-8 as lenient decoders read it: the low bits (`C0 AF` is a slash)."""
    if text.isascii():
        return text
    return _BROKEN.sub(_low_bits, text)


def _low_bits(found: re.Match[bytes]) -> bytes:
    *_, lead, last = found[0]
    # A last byte that continues nothing stays what it is: `C0 2E` is a dot to those who only skip the lead.
    return bytes((last if last < 0x80 else ((lead & 0x03) << 6 | last & 0x3F) & 0x7F,))


_UTF7 = re.compile(rb"\+A[A-Za-z0-9/]{1,64}-")


def _utf7(text: bytes) -> bytes:
    """UTF-7 (RFC 2152), which old browsers guess: `+ADw-script+AD4-`."""
    if b"+A" not in text or not _UTF7.search(text):
        return text
    try:
        return text.decode("utf-7").encode()
    except UnicodeError:
        return text


def _nul(text: bytes) -> bytes:
    return text.replace(b"\x00", b"") if b"\x00" in text else text


def _cdata(text: bytes) -> bytes:
    return _unwrap(text, b"<![CDATA[", b"]]>", keeps_inside=True) if b"<![CDATA[" in text else text


SPELLINGS: tuple[tuple[str, bytes, Callable[[bytes], bytes]], ...] = (
    ("percent", b"%", _percent),
    ("overlong", b"\xff", _overlong),
    ("unicode", b"\xff", _unicode),
    ("entities", b"&", _entities),
    ("escapes", b"\\", _escapes),
    ("css", b"\\", _css),
    ("cdata", b"<", _cdata),
    ("utf-7", b"+", _utf7),
    ("nul", b"\x00", _nul),
)
"""(name in `via`, the mark without which it changes nothing - 0xFF: any byte that is no ASCII -, what it does)."""


_OF_JSON = frozenset(("escapes", "css"))
"""Spellings that undo what JSON itself escapes."""

_TELLING = frozenset(("percent", "overlong"))
"""Spellings of which honest texts hold little; what they leave is always a view."""


def _utf8(code: int) -> bytes:
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        return bytes((code & 0xFF,))
    return chr(code).encode()


# Structures

Part: TypeAlias = tuple[str, bytes, Place]
"""(name of the step, text, place)."""

_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{6,}={0,2}")
_DATA_URL = re.compile(rb"data:[\w.+/-]*(?:;[\w=.-]+)*;base64,([A-Za-z0-9+/_-]+={0,2})", re.IGNORECASE)
_JWT = re.compile(rb"(?:[Bb]earer )?(eyJ[\w-]+)\.([\w-]+)\.[\w-]*")
_CONTROLS = bytes(byte for byte in range(0x20) if byte not in b"\t\n\r") + b"\x7f"
_WORDS_ONLY = re.compile(rb"[\w \t.,-]*")
_FORM = re.compile(rb"[\w.\[\]%+*$~@:-]{0,128}=[^&\s]*(?:&[\w.\[\]%+*$~@:-]{0,128}(?:=[^&\s]*)?)*")
_BEFORE_JSON = frozenset((b"{", b"[", b" ", b"\t", b"\r", b"\n", b"\v", b"\f"))
_URL = re.compile(rb"(?:[a-zA-Z][a-zA-Z0-9+.-]{1,15}:)?//[^/?#\s]*([^?#\s]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)


def _json(text: bytes) -> list[Part] | None:
    """Keys and string leaves of a text that is a JSON object or array from end to end; duplicates kept."""
    if text[:1] not in _BEFORE_JSON:
        return None
    edges = text.strip()
    if len(edges) < 2 or edges[:1] + edges[-1:] not in (b"{}", b"[]"):
        return None
    parts: list[Part] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        for key, value in pairs:
            parts.append(("json", _encode(key), Place.NAME))
            leaves(value)

    def leaves(value: Any) -> None:
        if isinstance(value, str):
            parts.append(("json", _encode(value), Place.ARGUMENT))
        elif isinstance(value, list):
            for one in value:
                leaves(one)

    try:
        leaves(json.loads(edges, object_pairs_hook=note))
    except (ValueError, RecursionError):
        return None
    return parts


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _form(text: bytes) -> list[Part] | None:
    if b"=" not in text or not _FORM.fullmatch(text):
        return None
    parts: list[Part] = []
    for pair in text.split(b"&", PARTS_LIMIT // 2):
        name, _, value = pair.partition(b"=")
        parts.append(("form", _percent(name), Place.NAME))
        parts.append(("form", _percent(value.replace(b"+", b" ")), Place.ARGUMENT))
    return parts


def _url(text: bytes) -> list[Part] | None:
    """Path, arguments and fragment of a URL, or of a path with arguments."""
    found = _URL.fullmatch(text) if b"//" in text[:20] else None
    if found is not None:
        path, query, fragment = found[1], found[2], found[3]
    elif text[:1] == b"/" and b"?" in text:
        path, _, query = text.partition(b"?")
        fragment = None
    else:
        return None
    parts: list[Part] = [("url", path, Place.PATH)] if path else []
    for pair in query.split(b"&", PARTS_LIMIT // 2) if query else ():
        name, _, value = pair.partition(b"=")
        parts.append(("url", _percent(name), Place.NAME))
        parts.append(("url", _percent(value.replace(b"+", b" ")), Place.ARGUMENT))
    if fragment:
        parts.append(("url", fragment, Place.ARGUMENT))
    return parts


def _base64(text: bytes) -> list[Part] | None:
    """What Base64 of either alphabet hides, if it is text; gzip inside is unpacked."""
    if len(text) < ENCODED_MIN_BYTES:
        return None
    jwt = _JWT.fullmatch(text) if b"eyJ" in text[:10] else None
    if jwt is not None:
        return [("jwt", decoded, Place.ARGUMENT) for part in jwt.groups() if (decoded := _plain_of(part)) is not None]
    data_url = _DATA_URL.fullmatch(text) if text[:5].lower() == b"data:" else None
    encoded = data_url[1] if data_url is not None else text.strip()
    if data_url is None and (not _BASE64.fullmatch(encoded) or encoded.isdigit() or _has_one_case(encoded)):
        return None
    decoded = _plain_of(encoded)
    return None if decoded is None else [("base64", decoded, Place.ARGUMENT)]


def _has_one_case(text: bytes) -> bool:
    """One or none: Base64 of a text has both."""
    return text == text.lower() or text == text.upper()


def _plain_of(encoded: bytes) -> bytes | None:
    """The text, None if the bytes are no text or only words. Source: RFC 4648, 4 and 5."""
    digits = encoded.rstrip(b"=")
    if len(digits) % 4 == 1:
        return None
    try:
        decoded = b64decode(digits + b"=" * (-len(digits) % 4), b"-_" if b"-" in digits or b"_" in digits else None)
    except Base64Error:
        return None
    if decoded[:2] == b"\x1f\x8b":
        unpacker = zlib.decompressobj(wbits=31)
        try:
            decoded = unpacker.decompress(decoded, UNPACKED_LIMIT_BYTES)
        except zlib.error:
            return None
    if decoded[:2] in (b"\xff\xfe", b"\xfe\xff") or decoded[1::2].count(0) > len(decoded) // 3:
        decoded = decoded.removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff").replace(b"\x00", b"")
    if decoded.translate(None, _CONTROLS) != decoded:
        return None
    try:
        decoded.decode()
    except UnicodeDecodeError:
        return None
    return None if _WORDS_ONLY.fullmatch(decoded) and not _BASE64.fullmatch(decoded) else decoded


STRUCTURES: tuple[Callable[[bytes], list[Part] | None], ...] = (_json, _url, _base64, _form)
"""The first that knows the text takes it apart."""


# The ladder

_SHORT_WORD = re.compile(
    rb"[A-Za-z0-9_.-]{0,7}|[a-z0-9_.-]{0,11}|[A-Z0-9_.-]{0,11}"
    rb"|(?=.{0,11}\Z)[A-Z]?[a-z]+(?:[A-Z][a-z]+)*[0-9._-]{0,3}"
    rb"|[0-9.,: +-]*|[\w.-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64}){1,4}"
)
_INNER_SEGMENT = re.compile(rb"[\w.~-]*")
_INNER_SEGMENTS = re.compile(rb"[\w.~/-]*")


_WORDS = re.compile(rb"[A-Za-z0-9 ]{%d,}+" % WORDS_MIN_BYTES)
_SENTENCE = re.compile(rb"[\"'(]?(?:[A-Z][a-z]|[AI] |[\x80-\xff])|[\w ,'-]{24}|.{0,4}\Z", re.DOTALL)
"""How a sentence begins, or the rest of one behind an abbreviation."""


def is_plain(value: bytes) -> bool:
    """Numbers, short identifiers, mail addresses, values of a fixed format: no grammar could read them as an attack."""
    return _SHORT_WORD.fullmatch(value) is not None or is_fixed(value)


def ladder(value: bytes, place: Place, reading: Reading = UNCOUNTED) -> Iterator[View]:
    """The views of a value, itself first, distinct. `reading` is told if there would be more."""
    waiting: list[tuple[bytes, tuple[str, ...], Place, int]] = [(value, (), place, 0)]
    seen = {value}
    count = 0
    position = 0
    while position < len(waiting):
        text, via, where, depth = waiting[position]
        position += 1
        is_json = False
        for view in _spellings(text, via, where, reading):
            if count == VIEWS_LIMIT or not reading.spend(VIEW_STEPS + len(view.text) // VIEW_BYTES_A_STEP):
                reading.leave_out()
                return
            count += 1
            parts = _take_apart(view.text, depth, where)
            if _is_more_hidden(view.text, parts, depth):
                reading.leave_out()
            is_json = is_json or (len(parts) > 0 and parts[0][0] == "json")
            # The escapes of JSON are its own: without them it is no JSON, and no text either.
            is_structure = (len(parts) > 0 and parts[0][0] == "json") or (is_json and view.via[-1] in _OF_JSON)
            yield View(view.text, view.via, where, True) if is_structure else view
            for name, part, part_place in parts:
                if part not in seen and not is_plain(part):
                    seen.add(part)
                    waiting.append((part, (*view.via, name), part_place, depth + 1))


def _is_more_hidden(text: bytes, parts: list[Part], depth: int) -> bool:
    """Is the text of a structure that was not taken apart, or not to its end?"""
    if len(parts) > PARTS_LIMIT and parts[0][0] != "json":
        return True
    if len(parts) == 1:
        return parts[0][0] in ("base64", "jwt") and len(parts[0][1]) >= UNPACKED_LIMIT_BYTES
    if parts or (depth < NESTING and len(text) <= STRUCTURE_LIMIT_BYTES):
        return False
    return any(structure(text[:STRUCTURE_LIMIT_BYTES]) for structure in STRUCTURES) or text[:1] in (b"{", b"[")


def hides_nothing(text: bytes, low: bytes, place: Place) -> bool:
    """Is every view of the text a piece of it, byte for byte? `low`: the text in lower case.

    Then no view holds a literal that the text does not, and one look at the text's own literals speaks for all.
    """
    marks = text.translate(None, _DULL)
    if marks and (marks.strip(b"&<") or b"<![CDATA[" in text or _entities(text) != text):
        return False
    # What may be Base64 within a structure has capitals and small letters, or is announced.
    return not _take_apart(text, 0, place) or (text == low and b"base64," not in low)


def _take_apart(text: bytes, depth: int, place: Place) -> list[Part]:
    if len(text) >= PADDING_MIN_BYTES:
        rest = _behind_padding(text)
        if rest:
            return [("padding", rest, place)]
    if depth == NESTING or len(text) > STRUCTURE_LIMIT_BYTES:
        return []
    if place is Place.PATH and depth == 0:
        if _INNER_SEGMENTS.fullmatch(text):
            return []
        return [("segment", one, Place.PATH) for one in text.split(b"/") if not _INNER_SEGMENT.fullmatch(one)]
    for structure in STRUCTURES:
        parts = structure(text)
        if parts:
            return parts
    rest = _behind_sentence(text) if place is Place.ARGUMENT and len(text) > SENTENCE_MIN_BYTES else b""
    return [("sentence", rest, place)] if rest else []


def _behind_padding(text: bytes) -> bytes:
    """What stands behind letters that are there to push it out of somebody's sight; nothing if there are none."""
    if text[8:16] == text[:1] * 8 and text[:1].isalnum():
        rest = text.lstrip(text[:1])
        return rest.lstrip() if len(text) - len(rest) >= PADDING_MIN_BYTES else b""
    words = _WORDS.match(text) if len(text) > WORDS_MIN_BYTES else None
    return b"" if words is None else text[words[0].rfind(b" ") + 1 :]


def _behind_sentence(text: bytes) -> bytes:
    """What stands behind the last sentence and is none itself: its first letters are not a sentence's."""
    if text[-1:] in b".!?":
        return b""  # a sentence to its end, as nearly all texts are
    end = max(text.rfind(b". "), text.rfind(b"! "), text.rfind(b"? "))
    if end < SENTENCE_MIN_BYTES or not text[end - 2 : end].islower():
        return b""
    rest = text[end + 2 :].lstrip(b" ")
    # `Int! = 10` is a declaration of GraphQL.
    return b"" if rest[:1] == b"=" or _SENTENCE.match(rest) else rest


def _spellings(text: bytes, via: tuple[str, ...], place: Place, reading: Reading) -> Iterator[View]:
    """The text, and what becomes of it round by round."""
    yield View(text, via, place)
    seen = {text}
    for _ in range(ROUNDS):
        marks = set(text.translate(None, _DULL))
        if not marks:
            return
        has_high = max(marks) >= 0x80
        before = text
        for name, mark, undo in SPELLINGS:
            # Percent to its end before the others: a backslash belongs to the path that it stands in.
            for _ in range(ROUNDS if name == "percent" else 1):
                if mark[0] not in marks and not (has_high and mark == b"\xff"):
                    break
                if not reading.spend(1 + len(text) // UNDOING_BYTES_A_STEP):
                    return
                undone = undo(text)
                if undone == text:
                    break
                via = (*via, name)
                # The spellings that follow may have new marks to work on.
                marks.update(undone.translate(None, _DULL))
                has_high = max(marks) >= 0x80
                is_stage = (
                    name in _TELLING or len(undone) <= STAGES_LIMIT_BYTES or undone.count(b"\\") > text.count(b"\\")
                )
                text = undone
                if is_stage and text not in seen:
                    seen.add(text)
                    yield View(text, via, place)
        if text == before:
            return
        if text not in seen:
            seen.add(text)
            yield View(text, via, place)
    if any(mark[0] in marks and undo(text) != text for _, mark, undo in SPELLINGS):
        reading.leave_out()
