"""Step 4, @validateByteRange @validateUrlEncoding @validateUtf8Encoding: they match what is *not* valid."""

from __future__ import annotations

import re

from extproc.operators.contract import Captures, CompileContext, Operator

REFUSED_WORDS_LIMIT = 8
"""So few refused bytes become words for the prefilter; with more, testing costs less than looking for them."""

_PERCENT = 0x25
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_RANGE = re.compile(rb"\s*([0-9]{1,3})\s*(?:-\s*([0-9]{1,3})\s*)?")


def compile_validate_byte_range(argument: bytes, context: CompileContext) -> Operator:
    """@validateByteRange: a byte outside the list, `1-255` or `9,10,13,32-126` (reference manual, same name).

    Captures the first such byte.
    """
    allowed = bytes(sorted({byte for part in argument.split(b",") for byte in _byte_range(part)}))
    refused = bytes(set(range(256)) - set(allowed))

    def test(value: bytes) -> Captures | None:
        outside = value.translate(None, allowed)
        return (outside[:1],) if outside else None

    few = frozenset(bytes([byte]).lower() for byte in refused) if len(refused) <= REFUSED_WORDS_LIMIT else None
    return Operator("validateByteRange", argument, test, few, min_bytes=1, needed_bytes=frozenset(refused))


def _byte_range(part: bytes) -> range:
    found = _RANGE.fullmatch(part)
    shown = part.decode("utf-8", "replace").strip()
    if found is None:
        raise ValueError(f"@validateByteRange cannot read '{shown}'; write numbers and ranges, such as 9,10,32-126")
    first = int(found[1])
    last = int(found[2]) if found[2] else first
    if not first <= last <= 0xFF:
        raise ValueError(f"@validateByteRange '{shown}' is no range of bytes; they go up from 0 to 255")
    return range(first, last + 1)


def compile_validate_url_encoding(argument: bytes, context: CompileContext) -> Operator:
    """@validateUrlEncoding: a `%` without two hexadecimal digits (reference manual, same name).

    Captures it with the up to two bytes that follow.
    """
    if argument:
        context.notice("@validateUrlEncoding takes no argument; it is without effect")

    def test(value: bytes) -> Captures | None:
        if _PERCENT not in value:
            return None
        found = _BROKEN_ESCAPE.search(value)
        return (value[found.start() : found.start() + 3],) if found else None

    return Operator("validateUrlEncoding", argument, test, frozenset([b"%"]), min_bytes=1)


def compile_validate_utf8_encoding(argument: bytes, context: CompileContext) -> Operator:
    """@validateUtf8Encoding: not UTF-8 by RFC 3629 (reference manual, same name). Captures the first bad bytes.

    Not as libmodsecurity does: a code point beyond U+10FFFF (F4 90 80 80) is refused too.
    """
    if argument:
        context.notice("@validateUtf8Encoding takes no argument; it is without effect")

    def test(value: bytes) -> Captures | None:
        if value.isascii():
            return None
        try:
            value.decode("utf-8")
        except UnicodeDecodeError as error:
            return (value[error.start : error.end],)
        return None

    return Operator("validateUtf8Encoding", argument, test, min_bytes=1)
