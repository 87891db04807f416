"""t:compressWhitespace, t:removeWhitespace, t:trim, t:trimLeft, t:trimRight."""

from __future__ import annotations

import re

from extproc.transformations.contract import Transformation

C_WHITESPACE = b"\t\n\v\f\r "
"""isspace() in the C locale; also what bytes.strip() takes off."""

NO_BREAK_SPACE = b"\xc2\xa0"
"""In UTF-8. libmodsecurity takes out either byte wherever it stands, so other letters lose their 0xC2 too."""

_TRIGGERS = frozenset(C_WHITESPACE)
_AS_SPACE = bytes.maketrans(C_WHITESPACE, b" " * len(C_WHITESPACE))
_SPACES = re.compile(rb"  +")


def compress_whitespace(value: bytes) -> bytes:
    """Every run of white space becomes one space (reference manual, *compressWhitespace*)."""
    return squeeze_spaces(value.translate(_AS_SPACE))


def squeeze_spaces(value: bytes) -> bytes:
    """Every run of spaces becomes one."""
    return _SPACES.sub(b" ", value) if value.find(b"  ") >= 0 else value


def remove_whitespace(value: bytes) -> bytes:
    """White space is taken out, the bytes of the no-break space as well (reference manual, *removeWhitespace*)."""
    return value.translate(None, C_WHITESPACE + NO_BREAK_SPACE)


COMPRESS_WHITESPACE = Transformation("compressWhitespace", compress_whitespace, _TRIGGERS, adds=frozenset(b" "))
REMOVE_WHITESPACE = Transformation(
    "removeWhitespace", remove_whitespace, _TRIGGERS | frozenset(NO_BREAK_SPACE), adds=frozenset()
)
TRIM = Transformation("trim", bytes.strip, _TRIGGERS, adds=frozenset())
TRIM_LEFT = Transformation("trimLeft", bytes.lstrip, _TRIGGERS, adds=frozenset())
TRIM_RIGHT = Transformation("trimRight", bytes.rstrip, _TRIGGERS, adds=frozenset())
