"""Is such a thing anywhere in the text? One look by re2, in time linear in its length, before anything is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from re2 import _re2

_RE2: Any = _re2.RE2
_UNANCHORED: Any = _RE2.Anchor.UNANCHORED

MAX_MEM_BYTES = 8 * 1024 * 1024
"""What one pattern may use, program and DFA cache together. Beyond it re2 gets slower, never wrong."""


def seeker(pattern: bytes) -> Callable[[bytes], bool]:
    """Does `pattern` (RE2's syntax, letters in either case, one byte one character) match anywhere in a text?"""
    options = _RE2.Options()
    options.encoding = _RE2.Options.Encoding.LATIN1
    options.max_mem = MAX_MEM_BYTES
    options.case_sensitive = False
    options.dot_nl = True
    options.log_errors = False
    options.never_capture = True
    compiled = _RE2(pattern, options)
    if not compiled.ok():
        raise ValueError(compiled.error().decode("latin-1"))
    search = compiled.Match

    def is_in(text: bytes) -> bool:
        return bool(search(_UNANCHORED, text, 0, len(text))[0][0] >= 0)

    return is_in
