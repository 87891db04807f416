"""What a blocked client reads, where a policy says it: templates by format, checked when they were loaded."""

from __future__ import annotations

from dataclasses import dataclass

PLACEHOLDERS = ("incident", "status", "title")
"""What stands as `${name}` in a template. The rule never does: it would tell an attacker what to change."""


@dataclass(frozen=True, slots=True)
class Templates:
    """One per format; None: the built-in one."""

    html: bytes | None = None
    problem: bytes | None = None
    plain: bytes | None = None
