"""Patterns that users write, by RE2: linear in the text, one byte one character."""

from __future__ import annotations

from typing import Any

import re2

MAX_PATTERN_BYTES = 1_000_000
"""Memory of one compiled pattern."""


def compile_pattern(pattern: str) -> Any:
    """A pattern over bytes, as RE2 object. Raises ValueError with a sentence that mends it."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.dot_nl = True
    options.max_mem = MAX_PATTERN_BYTES
    options.log_errors = False
    try:
        return re2.compile(pattern.encode("utf-8"), options)
    except re2.error as error:
        reason = error.args[0] if error.args else "not a pattern"
        said = reason.decode("latin-1") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"is no regular expression that RE2 takes: {said}") from None
