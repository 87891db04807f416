"""t:base64Decode, t:base64DecodeExt, t:base64Encode (RFC 4648, section 4)."""

from __future__ import annotations

import binascii
import re

from extproc.transformations.contract import Transformation
from extproc.transformations.marks import EQUALS, NEWLINE, NUL

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_JUNK = bytes(set(range(256)) - set(_ALPHABET + b"="))

_FOREIGN = frozenset(range(256)) - frozenset(_ALPHABET + b"=\r\n ")
"""What strict Base64 does not know."""

_LINES = re.compile(rb"[A-Za-z0-9+/=\r\n ]*")
_STRICT = re.compile(rb"[A-Za-z0-9+/]*={0,2}")
# The look-behind keeps a long run of spaces linear: it is tried from its first space only.
_LINE_END = re.compile(rb"(?<! ) *(?:\r?\n|\Z)")
_PADDING = re.compile(rb"=+")


def base64_decode(value: bytes) -> bytes:
    """Strict (reference manual, *base64Decode*): a value that is not wholly Base64, padding included, stays as it is.

    Line ends, and spaces before them, are allowed anywhere. As libmodsecurity does: a NUL ends the text.
    """
    text = value.partition(b"\x00")[0] if NUL in value else value
    if NEWLINE in text or text.endswith(b" "):
        if not _LINES.fullmatch(text):
            return value
        text = _LINE_END.sub(b"", text)
    if len(text) % 4 or not _STRICT.fullmatch(text):
        return value
    return binascii.a2b_base64(text)


def base64_decode_ext(value: bytes) -> bytes:
    """Forgiving (reference manual, *base64DecodeExt*): what is not of the alphabet is passed over, padding may lack.

    As libmodsecurity does: a padding that leaves a single digit makes the whole value empty; after any other
    padding the digits go on as if it were not there.
    """
    if not value:
        return value
    digits = value.translate(None, _JUNK)
    if EQUALS in digits:
        runs = _PADDING.split(digits)
        count = 0
        for run in runs[:-1]:
            count += len(run)
            if count % 4 == 1:
                return b""
        digits = b"".join(runs)
    rest = len(digits) % 4
    if rest == 1:
        digits = digits[:-1]
    elif rest:
        digits += b"=="
    return binascii.a2b_base64(digits)


def base64_encode(value: bytes) -> bytes:
    """Reference manual, *base64Encode*; no line ends."""
    return binascii.b2a_base64(value, newline=False) if value else value


BASE64_DECODE = Transformation("base64Decode", base64_decode, frozenset(_ALPHABET + b"\n \x00"), spared_by=_FOREIGN)
BASE64_DECODE_EXT = Transformation("base64DecodeExt", base64_decode_ext, None)
BASE64_ENCODE = Transformation("base64Encode", base64_encode, None)
