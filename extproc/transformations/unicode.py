"""t:utf8toUnicode: UTF-8 sequences written as `%uHHHH`, for t:urlDecodeUni to fold."""

from __future__ import annotations

import re

from extproc.transformations.contract import Transformation
from extproc.transformations.marks import NUL

_SEQUENCE = re.compile(
    rb"[\xc0-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf7][\x80-\xbf]{3}"  # well-formed, perhaps overlong
    rb"|[\xc0-\xf4]|\x00(?!\Z)"  # dropped
)

_LAST_LEAD = 0xF4
"""A greater lead byte says a code point beyond U+10FFFF."""

_LEAD_BITS = {2: 0x1F, 3: 0x0F, 4: 0x07}
_SMALLEST = {2: 0x80, 3: 0x800, 4: 0x10000}
"""Bytes of a sequence → the smallest code point that needs so many; below it is overlong."""


def utf8_to_unicode(value: bytes) -> bytes:
    """Reference manual, *utf8toUnicode*; four digits, five or six where the code point needs them.

    As libmodsecurity does: NUL vanishes except at the end, a lead byte without its continuation vanishes, a
    stray continuation and the bytes F5 to FF stay (F5 to F7 are written out behind as well), and an overlong
    form or a surrogate is written with its lead byte repeated behind it.
    """
    if value.isascii() and NUL not in value:
        return value
    return _SEQUENCE.sub(_write, value)


def _write(found: re.Match[bytes]) -> bytes:
    sequence = found[0]
    size = len(sequence)
    if size == 1:
        return b""
    code = sequence[0] & _LEAD_BITS[size]
    for byte in sequence[1:]:
        code = code << 6 | byte & 0x3F
    if sequence[0] > _LAST_LEAD:
        return b"%c%%u%04x" % (sequence[0], code)
    if code < _SMALLEST[size] or 0xD800 <= code <= 0xDFFF:
        return b"%%u%04x%c" % (code, sequence[0])
    return b"%%u%04x" % code


UTF8_TO_UNICODE = Transformation(
    "utf8toUnicode", utf8_to_unicode, frozenset(range(0x80, 0x100)) | {0}, adds=frozenset(b"%")
)
