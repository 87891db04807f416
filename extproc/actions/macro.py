"""Macros: `%{tx.score}` inside arguments of actions and operators (reference manual, *Macro Expansion*)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

Lookup: TypeAlias = Callable[[str, bytes | None], bytes]
"""(collection in upper case, key in lower case or None) → value; b"" when there is none."""

Part: TypeAlias = bytes | tuple[str, bytes | None]

_MACRO = re.compile(rb"%\{([^{}]+)\}")


class MacroText:
    """A text with macros, parsed once. `is_constant` texts cost nothing to expand."""

    __slots__ = ("is_constant", "parts", "source")

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.parts = parse_macros(source)
        self.is_constant = all(isinstance(part, bytes) for part in self.parts)

    def expand(self, lookup: Lookup) -> bytes:
        """The text with every macro replaced; unknown names give b""."""
        if self.is_constant:
            return self.source
        if len(self.parts) == 1 and not isinstance(self.parts[0], bytes):
            return lookup(*self.parts[0])
        return b"".join(part if isinstance(part, bytes) else lookup(*part) for part in self.parts)


def parse_macros(source: bytes) -> tuple[Part, ...]:
    """Literal pieces and (collection, key) pairs, in order. Malformed macros stay literal."""
    parts: list[Part] = []
    end = 0
    for found in _MACRO.finditer(source):
        if found.start() > end:
            parts.append(source[end : found.start()])
        collection, _, key = found[1].partition(b"." if b"." in found[1] else b":")
        parts.append((collection.decode("latin-1").upper(), key.lower() or None))
        end = found.end()
    if end < len(source) or not parts:
        parts.append(source[end:])
    return tuple(parts)
