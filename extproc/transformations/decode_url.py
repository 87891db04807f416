"""t:urlDecode, t:urlDecodeUni, t:urlEncode: percent escapes."""

from __future__ import annotations

import re

from extproc.transformations.contract import Transformation
from extproc.transformations.escapes import HEX_PAIR, low_byte
from extproc.transformations.marks import PERCENT

_ESCAPE = re.compile(rb"%([0-9a-fA-F]{2})")
_ESCAPE_UNI = re.compile(rb"%(?:([0-9a-fA-F]{2})|[uU]([0-9a-fA-F]{4}))")

_SAFE = b"*0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ENCODED = [bytes([byte]) if byte in _SAFE else b"+" if byte == 0x20 else b"%%%02x" % byte for byte in range(256)]


def url_decode(value: bytes) -> bytes:
    """`%HH` and `+` (reference manual, *urlDecode*); a broken escape stays as it is."""
    value = value.replace(b"+", b" ")
    if PERCENT not in value:
        return value
    return _ESCAPE.sub(lambda found: HEX_PAIR[found[1]], value)


def url_decode_uni(value: bytes) -> bytes:
    """As url_decode, and `%uHHHH` (reference manual, *urlDecodeUni*).

    Without a SecUnicodeMap the low byte of a code unit counts; the full-width forms FF01 to FF5E become ASCII.
    """
    value = value.replace(b"+", b" ")
    if PERCENT not in value:
        return value
    return _ESCAPE_UNI.sub(_decode_uni, value)


def _decode_uni(found: re.Match[bytes]) -> bytes:
    pair = found[1]
    return HEX_PAIR[pair] if pair else low_byte(int(found[2], 16))


def url_encode(value: bytes) -> bytes:
    """All but ASCII letters, digits and `*` is escaped, in lower case; space is `+` (reference manual, *urlEncode*)."""
    if not value.translate(None, _SAFE):
        return value
    return b"".join([_ENCODED[byte] for byte in value])


URL_DECODE = Transformation("urlDecode", url_decode, frozenset(b"%+"))
URL_DECODE_UNI = Transformation("urlDecodeUni", url_decode_uni, frozenset(b"%+"))
URL_ENCODE = Transformation("urlEncode", url_encode, frozenset(range(256)) - frozenset(_SAFE))
