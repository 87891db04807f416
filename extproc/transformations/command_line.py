"""t:cmdLine: the many ways to write one shell command, made one."""

from __future__ import annotations

import re

from extproc.transformations.contract import Transformation
from extproc.transformations.letter_case import UPPER_CASE

_DROPPED = b"\\\"'^"
_SPACED = b",;\t\r\n"
_TABLE = bytes.maketrans(_SPACED, b" " * len(_SPACED)).lower()
"""Byte → byte: separators to space, then ASCII lower case."""

_SPACES = re.compile(rb" +(?=[/(])|  +")


def cmd_line(value: bytes) -> bytes:
    """Reference manual, *cmdLine*: escapes and quotes out, separators to one space, no space before `/` and `(`."""
    plain = value.translate(_TABLE, _DROPPED)
    if b" " not in plain:
        return plain
    return _SPACES.sub(_squeeze, plain)


def _squeeze(found: re.Match[bytes]) -> bytes:
    end = found.end()
    return b"" if found.string[end : end + 1] in (b"/", b"(") else b" "


CMD_LINE = Transformation("cmdLine", cmd_line, UPPER_CASE | frozenset(_DROPPED + _SPACED + b" "))
