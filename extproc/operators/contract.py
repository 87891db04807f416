"""What an operator is: a compiled argument, then value → captures | None."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from extproc.detection.contract import Detector

Captures: TypeAlias = tuple[bytes, ...]
"""Group 0 (the matched part), then the groups of the pattern; a group that took no part is b""."""


class CompileContext(Protocol):
    """What a compile function may ask for beside its argument."""

    def read_file(self, name: bytes) -> bytes:
        """A data file beside the rule file. Raises OSError when it cannot be read."""
        ...

    def notice(self, text: str) -> None:
        """Something the user should know at load: a fallback taken, an argument without effect."""
        ...


@dataclass(frozen=True, slots=True)
class Operator:
    """A compiled operator. `test` is pure: the same value gives the same answer.

    `words`: lower-case literals (ASCII folded) of which every matching value holds at least one,
    or None if none is proven. `pattern` is set by @rx alone: the pattern as re2 runs it, from which
    the prefilter derives stronger clauses. `min_bytes`: no shorter value matches. `detector` is set by the
    operators of `detectors`: the engine asks it itself, with the value's place; a finding under `least_score`
    (0: under the transaction's threshold) is no match. `needed_bytes`: byte values of which every matching value holds
    at least one, or None. `steps`: the same as `test`, that stops now and then, for a value long enough to matter.
    """

    name: str
    argument: bytes
    test: Callable[[bytes], Captures | None]
    words: frozenset[bytes] | None = None
    pattern: bytes | None = None
    min_bytes: int = 0
    detector: Detector | None = None
    least_score: int = 0
    steps: Callable[[bytes], Generator[None, None, Captures | None]] | None = None
    needed_bytes: frozenset[int] | None = None


Compile: TypeAlias = Callable[[bytes, CompileContext], Operator]
"""Argument as written (macros expanded by the engine) → operator.

Raises ValueError with a sentence that says what is wrong and how to mend it.
"""
