r"""t:escapeSeqDecode: the escapes of a C string, `\n` `\xHH` `\OOO`."""

from __future__ import annotations

import re

from extproc.transformations.contract import Transformation
from extproc.transformations.escapes import HEX_PAIR, LETTERS
from extproc.transformations.marks import BACKSLASH

_ESCAPE = re.compile(rb"\\(?:[xX]([0-9a-fA-F]{2})|([0-7]{1,3})|(.))", re.DOTALL)


def escape_seq_decode(value: bytes) -> bytes:
    """Reference manual, *escapeSeqDecode*: as jsDecode, but `\\X41` counts, `\\u` does not, octal wraps at a byte."""
    if BACKSLASH not in value:
        return value
    return _ESCAPE.sub(_decode, value)


def _decode(found: re.Match[bytes]) -> bytes:
    digits: bytes = found[found.lastindex or 0]
    match found.lastindex:
        case 1:
            return HEX_PAIR[digits]
        case 2:
            return bytes([int(digits, 8) & 0xFF])
    return LETTERS.get(digits, digits)


ESCAPE_SEQ_DECODE = Transformation("escapeSeqDecode", escape_seq_decode, frozenset(b"\\"))
