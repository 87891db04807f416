"""Step 4, many regular expressions over one value at once: which of them match?

For patterns from which the prefilter learns nothing (no literal is required): one automaton (re2::Set)
over the few of a transformation chain costs about as much as a single search. Keep sets small: the states
of large ones multiply with each other on hostile text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from re2 import _re2

from extproc.operators.rx import options

SET_MEM_BYTES = 16 * 1024 * 1024
"""Memory of one set, program and DFA cache together; a set that does not fit answers "all of them"."""


class PatternSet:
    """Patterns as `Operator.pattern` has them.

    `matching` may name a pattern too many, never one too few; who needs captures runs the operator.
    """

    __slots__ = ("_all", "_match", "_sentinel")

    def __init__(self, patterns: Sequence[bytes], max_mem_bytes: int = SET_MEM_BYTES) -> None:
        """Raises ValueError if re2 refuses one of the patterns."""
        chosen = options(max_mem_bytes)
        built: Any = _re2.Set(_re2.RE2.Anchor.UNANCHORED, chosen)
        for pattern in patterns:
            if built.Add(pattern) < 0:
                raise ValueError(f"re2 refuses the pattern {pattern.decode('latin-1')!r}; mend or split it")
        # Matches everything. When its number is missing, the DFA ran out of memory: the binding has no
        # other way to say so, and an empty answer would be a wrong "no". (No text that does it is known:
        # Compile leaves room for twenty states, and a full cache is emptied.)
        self._sentinel: int = built.Add(b"\\A")
        self._all = tuple(range(len(patterns)))
        # A set that failed to compile must not be asked: re2 would crash the process.
        self._match = built.Match if built.Compile() else None

    def matching(self, value: bytes) -> tuple[int, ...]:
        """Positions of the patterns that match somewhere in `value`, ascending."""
        if self._match is None:
            return self._all
        found: list[int] = self._match(value)
        if len(found) == 1 and found[0] == self._sentinel:
            return ()
        if self._sentinel not in found:
            return self._all
        found.remove(self._sentinel)
        return tuple(sorted(found))
