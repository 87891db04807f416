r"""Patterns of the detectors: re2, linear in the text, one byte a character, case aside.

`\s` and `\S` are told with the vertical tab, which re2 leaves out and most languages read as a blank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from re2 import _re2

MAX_MEM_BYTES = 8 * 1024 * 1024
"""What one pattern may use, program and DFA cache together. Beyond it re2 gets slower, never wrong."""

Spans: TypeAlias = Sequence[tuple[int, int]]
"""Of the whole match, then of each group: (start, end), (-1, -1) for a group that took no part."""

Find: TypeAlias = Callable[[bytes, int], Spans | None]
"""(text, where to begin) → spans in the text. `^` and `\\b` see nothing of what is before the beginning."""

_RE2: Any = _re2.RE2


def find(expression: bytes) -> Find:
    """A search for the leftmost match. Raises ValueError when re2 refuses the expression."""
    return _compiled(expression, _RE2.Anchor.UNANCHORED)


def find_here(expression: bytes) -> Find:
    """A match that begins exactly where the search begins. Raises ValueError as `find`."""
    return _compiled(expression, _RE2.Anchor.ANCHOR_START)


def _with_vertical_tab(expression: bytes) -> bytes:
    parts, position, is_class = [], 0, False
    while position < len(expression):
        one = expression[position : position + 1]
        if one == b"\\":
            one = expression[position : position + 2]
            if one in (b"\\s", b"\\S"):
                blanks = b"\\t-\\r "
                if not is_class:
                    blanks = b"[" + (b"^" if one == b"\\S" else b"") + blanks + b"]"
                elif one == b"\\S":
                    raise ValueError(f"\\S within a class: {expression!r}")
                position += 2
                parts.append(blanks)
                continue
        elif one == b"[":
            is_class = True
        elif one == b"]":
            is_class = False
        parts.append(one)
        position += len(one)
    return b"".join(parts)


def _compiled(expression: bytes, anchor: Any) -> Find:
    options = _RE2.Options()
    options.encoding = _RE2.Options.Encoding.LATIN1
    options.max_mem = MAX_MEM_BYTES
    options.log_errors = False
    options.case_sensitive = False
    options.dot_nl = True
    compiled = _RE2(_with_vertical_tab(expression), options)
    if not compiled.ok():
        raise ValueError(f"re2 refuses {expression!r}: {compiled.error().decode('latin-1')}")
    match = compiled.Match

    def search(text: bytes, start: int = 0) -> Spans | None:
        spans: Spans = match(anchor, text, start, len(text))
        return None if spans[0][0] < 0 else spans

    return search
