"""What a transformation is: bytes → bytes, and the bytes that must be there for it to do anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Transformation:
    """`apply` returns the very same object when nothing changes, so `is` tells.

    `triggers`: a value without any of these byte values is returned unchanged; None: no promise.
    `adds`: byte values, small letters and digits apart, that the result may hold though the value does not; None: any.
    `spared_by`: a value with one of these byte values, and without NUL, is returned unchanged.
    `name` is the SecLang spelling (`urlDecodeUni`).
    """

    name: str
    apply: Callable[[bytes], bytes]
    triggers: frozenset[int] | None
    adds: frozenset[int] | None = None
    spared_by: frozenset[int] = frozenset()
