"""t:htmlEntityDecode: `&#65;` `&#x41;` `&lt;`, with or without the semicolon."""

from __future__ import annotations

import re

from extproc.transformations.contract import Transformation
from extproc.transformations.marks import AMPERSAND

_ENTITY = re.compile(rb"&(?:#x([0-9a-f]+)|#([0-9]+)|(quot|amp|lt|gt|nbsp));?", re.IGNORECASE)
_NAMED = {b"quot": b'"', b"amp": b"&", b"lt": b"<", b"gt": b">", b"nbsp": b"\xa0"}

_LONG_MAX = 2**63 - 1


def html_entity_decode(value: bytes) -> bytes:
    """Reference manual, *htmlEntityDecode*: of a number the low byte counts, of names quot, amp, lt, gt and nbsp.

    Not as libmodsecurity 3.0.15 does: there a name swallows all letters and digits that follow it (`&ltscript`
    gives `<`), which hides what a browser will see; we keep them.
    """
    if AMPERSAND not in value:
        return value
    return _ENTITY.sub(_decode, value)


def _decode(found: re.Match[bytes]) -> bytes:
    hexadecimal, decimal, name = found.groups()
    if name:
        return _NAMED[name.lower()]
    code = _number(hexadecimal, 16, 16) if hexadecimal else _number(decimal, 10, 19)
    return bytes([code & 0xFF])


def _number(digits: bytes, base: int, longest: int) -> int:
    """strtol(): beyond 64 bits it stays at the largest value, whose low byte is 0xFF.

    `longest`: no number of more significant digits fits, so int() never sees a long text (it is quadratic).
    """
    if len(digits) >= longest:
        digits = digits.lstrip(b"0")
        if len(digits) > longest:
            return _LONG_MAX
    return min(int(digits or b"0", base), _LONG_MAX)


HTML_ENTITY_DECODE = Transformation("htmlEntityDecode", html_entity_decode, frozenset(b"&"))
