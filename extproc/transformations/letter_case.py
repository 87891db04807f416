"""t:lowercase and t:uppercase: ASCII letters only, whatever the locale."""

from __future__ import annotations

from extproc.transformations.contract import Transformation

UPPER_CASE = frozenset(range(ord("A"), ord("Z") + 1))
LOWER_CASE = frozenset(range(ord("a"), ord("z") + 1))


def lowercase(value: bytes) -> bytes:
    """ASCII letters to lower case (ModSecurity reference manual, *lowercase*)."""
    lowered = value.lower()
    return value if lowered == value else lowered


def uppercase(value: bytes) -> bytes:
    """ASCII letters to upper case (ModSecurity reference manual, *uppercase*)."""
    raised = value.upper()
    return value if raised == value else raised


LOWERCASE = Transformation("lowercase", lowercase, UPPER_CASE, adds=frozenset())
UPPERCASE = Transformation("uppercase", uppercase, LOWER_CASE, adds=UPPER_CASE)
