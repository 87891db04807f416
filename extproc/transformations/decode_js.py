r"""t:jsDecode: the escapes of a JavaScript string, `\uHHHH` `\xHH` `\OOO` `\n`."""

from __future__ import annotations

import re

from extproc.transformations.contract import Transformation
from extproc.transformations.escapes import HEX_PAIR, LETTERS, low_byte
from extproc.transformations.marks import BACKSLASH

# An octal escape has three digits only if it fits a byte. The last branch takes any byte, so
# that each backslash is read once and the scan stays linear.
_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([0-3][0-7]{2}|[0-7]{1,2})|(.))", re.DOTALL)


def js_decode(value: bytes) -> bytes:
    """Reference manual, *jsDecode*. An unknown escape loses its backslash; a lone one at the end stays."""
    if BACKSLASH not in value:
        return value
    return _ESCAPE.sub(_decode, value)


def _decode(found: re.Match[bytes]) -> bytes:
    digits: bytes = found[found.lastindex or 0]
    match found.lastindex:
        case 1:
            return low_byte(int(digits, 16))
        case 2:
            return HEX_PAIR[digits]
        case 3:
            return bytes([int(digits, 8)])
    return LETTERS.get(digits, digits)


JS_DECODE = Transformation("jsDecode", js_decode, frozenset(b"\\"))
