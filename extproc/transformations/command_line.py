"""t:cmdLine: the many ways to write one shell command, made one."""

from __future__ import annotations

from extproc.transformations.contract import Transformation
from extproc.transformations.letter_case import UPPER_CASE
from extproc.transformations.marks import SPACE
from extproc.transformations.whitespace import squeeze_spaces

_DROPPED = b"\\\"'^"
_SPACED = b",;\t\r\n"
_TABLE = bytes.maketrans(_SPACED, b" " * len(_SPACED)).lower()
"""Byte → byte: separators to space, then ASCII lower case."""


def cmd_line(value: bytes) -> bytes:
    """Reference manual, *cmdLine*: escapes and quotes out, separators to one space, no space before `/` and `(`."""
    plain = value.translate(_TABLE, _DROPPED)
    if SPACE not in plain:
        return plain
    return squeeze_spaces(plain).replace(b" /", b"/").replace(b" (", b"(")


CMD_LINE = Transformation("cmdLine", cmd_line, UPPER_CASE | frozenset(_DROPPED + _SPACED + b" "), adds=frozenset(b" "))
