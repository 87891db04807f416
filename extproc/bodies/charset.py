"""Charsets other than ASCII and what extends it: what a body says to an app that believes its label.

`Content-Type: ...; charset=ibm037` turns every byte of an attack into another one, and apps that honour it turn them
back (Java containers, ASP.NET, Python frameworks). So a body with such a label is read twice: as its bytes, and as the
label says. A charset in which ASCII means ASCII needs no second reading: what attacks are made of stands in its bytes
(UTF-8, ISO 8859, Windows and Mac pages, EUC, GBK, Big5, Shift_JIS). One that is not known here cannot be read, and that
is an error. Names are those of the IANA registry and their usual misspellings.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator

from extproc.bodies.contract import BodySteps, Limits, ParsedBody
from extproc.bodies.json_body import json_body
from extproc.bodies.sniff import sniff
from extproc.bodies.transfer_encoding import undo
from extproc.bodies.urlencoded import decode, urlencoded
from extproc.bodies.xml_body import xml_body

CODECS_LIMIT = 3
"""Codecs by which one body or part is read: those of two charsets, of which one does not say its byte order."""

FIELD = b"_charset_"
"""A field of a form that names the charset of all (RFC 7578, 4.6)."""

_PARAMETER = re.compile(rb";\s*charset\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s;,\"']*))", re.IGNORECASE)

_ASCII = re.compile(
    r"utf-?8(?:mb[34]|-sig)?|(?:us-)?ascii|ansi(?:-x3\.4-19\d\d)?|ansi-1251|iso-?646-us|binary|none|null|"
    r"iso-?8859-\d{1,2}(?:-[ei]|:\d{4})?|latin-?\d{0,2}|l\d|"
    r"windows-(?:125\d|874|31j|936|949|1361)|(?:x-)?cp-?(?:125\d|437|720|737|775|85[0-8]|86[0-9]|874|93[26]|949|950)|"
    r"ibm-?(?:437|720|737|775|85[0-8]|86[0-9]|874)|koi8-?(?:r|u|t|ru)|macintosh|x-mac-\w+|mac-?\w+|"
    r"gb-?2312(?:-80)?|gbk|gb-?18030|x-gbk|big5(?:-hkscs)?|x-x-big5|euc-(?:jp|kr|tw|cn)|x-euc-jp|"
    r"shift-?jis|x-sjis|sjis|ms-?kanji|ks-?c-?5601(?:-19\d\d)?|ksc5601|johab|tis-?620|viscii|tcvn|"
    r"x-user-defined|(?:raw-)?unicode-escape"
)
"""Names, with dashes for underscores, of charsets in which the bytes of ASCII mean ASCII and nothing else does. Escapes
of Python's `unicode_escape` the decode ladder undoes."""

_EBCDIC = {
    "cp037": ("037", "us", "ca", "wt", "nl"),
    "cp273": ("273",),
    "cp424": ("424", "he"),
    "cp500": ("500", "be", "ch"),
    "cp875": ("875",),
    "cp1026": ("1026",),
    "cp1140": ("1140", "01140", "ccsid01140"),
}
"""Python's codec → numbers and countries in its names."""

CODECS: dict[str, tuple[str, ...]] = {
    **{
        prefix + number: (codec,)
        for codec, numbers in _EBCDIC.items()
        for number in numbers
        for prefix in (("cp", "cp-", "ibm", "ibm-", "csibm", "ebcdic-cp-") if number[:1].isdigit() else ("ebcdic-cp-",))
    },
    **dict.fromkeys(("utf-16", "utf16", "csutf16", "ucs-2", "ucs2", "iso-10646-ucs-2"), ("utf-16-le", "utf-16-be")),
    **dict.fromkeys(("utf-16le", "utf-16-le", "utf16le", "csutf16le", "unicode", "csunicode"), ("utf-16-le",)),
    **dict.fromkeys(("utf-16be", "utf-16-be", "utf16be", "csutf16be", "unicodefffe"), ("utf-16-be",)),
    **dict.fromkeys(("utf-32", "utf32", "csutf32", "ucs-4", "ucs4", "iso-10646-ucs-4"), ("utf-32-le", "utf-32-be")),
    **dict.fromkeys(("utf-32le", "utf-32-le", "utf32le", "csutf32le"), ("utf-32-le",)),
    **dict.fromkeys(("utf-32be", "utf-32-be", "utf32be", "csutf32be"), ("utf-32-be",)),
    **dict.fromkeys(
        ("utf-7", "utf7", "csutf7", "unicode-1-1-utf-7", "csunicode11utf7", "x-unicode-2-0-utf-7"), ("utf-7",)
    ),
    **dict.fromkeys(("hz", "hz-gb-2312", "hzgb", "hz-gb"), ("hz",)),
    **dict.fromkeys(("iso-2022-jp", "iso2022jp", "csiso2022jp"), ("iso2022_jp",)),
    "iso-2022-jp-1": ("iso2022_jp_1",),
    **dict.fromkeys(("iso-2022-jp-2", "csiso2022jp2"), ("iso2022_jp_2",)),
    "iso-2022-jp-3": ("iso2022_jp_3",),
    "iso-2022-jp-ext": ("iso2022_jp_ext",),
    **dict.fromkeys(("iso-2022-kr", "iso2022kr", "csiso2022kr"), ("iso2022_kr",)),
}
"""Charsets that are read a second time: name → Python's codecs; two where the byte order is not said."""

_WORD = re.compile(rb"[A-Za-z0-9_.\[\]-]+")
_DECLARED = re.compile(rb"\A(\s*<\?xml\b[^>]*?)\sencoding\s*=\s*(?:\"[^\"]*\"|'[^']*')")


def charsets_of(content_type: bytes) -> list[str]:
    """The charsets that a Content-Type names, as the tables have them: the first and the last, for readers take one."""
    found = [_normal(one[1] or one[2] or one[3] or b"") for one in _PARAMETER.finditer(content_type)]
    names = [name for name in found if name]
    return list(dict.fromkeys((names[0], names[-1]))) if names else []


def _normal(name: bytes) -> str:
    return name.strip().lower().replace(b"_", b"-").decode("latin-1")


def codecs_of(charset: str) -> tuple[str, ...] | None:
    """Python's codecs of a charset that has to be decoded; () if its bytes say it all, None if it is not known."""
    codecs = CODECS.get(charset)
    if codecs is None and _ASCII.fullmatch(charset):
        return ()
    return codecs


def read_as(data: bytes, codec: str) -> bytes:
    """As UTF-8. What the codec does not know becomes U+FFFD."""
    return data.decode(codec, "replace").encode("utf-8", "surrogatepass")


def unknown(charset: str) -> bytes:
    """The sentence for REQBODY_ERROR_MSG."""
    return b"Charset: %s is not known." % charset[:40].encode("latin-1", "replace")


def read_pairs(pairs: list[tuple[bytes, bytes]], content_type: bytes) -> list[tuple[bytes, bytes]]:
    """Arguments as the label says, [] if it says nothing else than their bytes. Some readers take a query so, too."""
    codecs = [codec for charset in charsets_of(content_type) for codec in codecs_of(charset) or ()][:CODECS_LIMIT]
    return [pair for codec in codecs for pair in _read_all(pairs, codec)]


def _read_all(pairs: list[tuple[bytes, bytes]], codec: str) -> list[tuple[bytes, bytes]]:
    """A name that is a word of ASCII stays: clients that escape values only send it so, and exclusions name it."""
    return [(name if _WORD.fullmatch(name) else read_as(name, codec), read_as(value, codec)) for name, value in pairs]


def read_by_charset(body: bytes, content_type: bytes, parsed: ParsedBody, limits: Limits) -> BodySteps:
    """What the body says beside what `parsed` (by its bytes) has: `args` are to be added to those.

    `processor` is set where the whole body could be read as the label says; `error` says that a charset is not known,
    or why the body read so is malformed. The limits hold once more.
    """
    found = ParsedBody()
    malformed = b""
    named = []
    for charset in charsets_of(content_type):
        codecs = codecs_of(charset)
        if codecs is None:
            found.error = found.error or unknown(charset)
        named += list(codecs or ())
    for name, value in parsed.args:
        if name == FIELD:
            named += list(codecs_of(_normal(value)) or ())
    for codec in list(dict.fromkeys(named))[:CODECS_LIMIT]:
        if parsed.processor == "MULTIPART":
            found.args += [(name, read_as(value, codec)) for name, value in parsed.args]
            continue
        if parsed.processor == "URLENCODED":
            found.args += _read_all(parsed.args, codec)
            # Separators may be of that charset as well, escaped or not.
            found.args += yield from _form(decode(body)[0], codec, limits)
        yield
        error = yield from _whole(read_as(body, codec), found, parsed.processor, limits)
        malformed = malformed or error
    if not found.processor:  # of two byte orders one is always wrong
        found.error = found.error or malformed
    return found


def _form(body: bytes, codec: str, limits: Limits) -> Generator[None, None, list[tuple[bytes, bytes]]]:
    return (yield from urlencoded(read_as(body, codec), b"", limits)).args


def _whole(text: bytes, found: ParsedBody, processor: str, limits: Limits) -> Generator[None, None, bytes]:
    """The decoded body through the processor that its label asks for, else by its looks; why it is malformed."""
    processor = processor or sniff(text)
    if processor == "URLENCODED":
        inner = yield from urlencoded(text, b"", limits)
    elif processor == "JSON":
        inner = yield from json_body(text, b"", limits)
    elif processor == "XML":
        inner = yield from xml_body(_DECLARED.sub(rb"\1", text, count=1), b"", limits)
    else:
        found.args.append((b"", text))
        return b""
    found.args += inner.args + inner.xml_leaves
    if not inner.error:
        found.processor = processor
    elif processor != "URLENCODED":
        found.args.append((b"", text))
    return inner.error


def readings_of(content: bytes, content_type: bytes, transfer_encoding: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(text, why it could not be read): further readings of a part of multipart, by its own headers (RFC 2045).

    RFC 7578, 4.7 has no transfer encodings any more; some readers undo them.
    """
    plain = undo(content, transfer_encoding)
    if plain is None:
        yield b"", b"Content-Transfer-Encoding of a part is not known."
        return
    if plain != content:
        yield plain, b""
    named: list[str] = []
    for charset in charsets_of(content_type):
        codecs = codecs_of(charset)
        if codecs is None:
            yield b"", unknown(charset)
        named += codecs or ()
    for codec in named[:CODECS_LIMIT]:
        yield read_as(plain, codec), b""
