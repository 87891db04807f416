r"""t:cssDecode: the escapes of CSS 2, `\H` to `\HHHHHH`."""

from __future__ import annotations

import re

from extproc.transformations.contract import Transformation
from extproc.transformations.escapes import low_byte
from extproc.transformations.marks import BACKSLASH

_ESCAPE = re.compile(rb"\\(?:([0-9a-fA-F]{1,6})[\t-\r ]?|(\n)|(.)|\Z)", re.DOTALL)


def css_decode(value: bytes) -> bytes:
    """Reference manual, *cssDecode*. One white space after the digits belongs to the escape.

    The low byte counts, as in urlDecodeUni. An escaped newline and a lone backslash at the end vanish,
    any other byte after a backslash stays without it.
    """
    if BACKSLASH not in value:
        return value
    return _ESCAPE.sub(_decode, value)


def _decode(found: re.Match[bytes]) -> bytes:
    digits, _, other = found.groups(b"")
    if not digits:
        return other
    return low_byte(int(digits, 16))


CSS_DECODE = Transformation("cssDecode", css_decode, frozenset(b"\\"))
