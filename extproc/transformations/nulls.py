"""t:removeNulls and t:replaceNulls: what NUL bytes would hide from a C program."""

from __future__ import annotations

from extproc.transformations.contract import Transformation

_NUL = frozenset(b"\x00")


def remove_nulls(value: bytes) -> bytes:
    """NUL bytes are taken out (reference manual, *removeNulls*)."""
    return value.replace(b"\x00", b"")


def replace_nulls(value: bytes) -> bytes:
    """NUL bytes become spaces (reference manual, *replaceNulls*)."""
    return value.replace(b"\x00", b" ")


REMOVE_NULLS = Transformation("removeNulls", remove_nulls, _NUL, adds=frozenset())
REPLACE_NULLS = Transformation("replaceNulls", replace_nulls, _NUL, adds=frozenset(b" "))
