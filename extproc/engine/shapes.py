"""The shape of a value: which of the bytes that rules ask for does it hold? What follows from that alone is kept.

Most rules need a quote, a bracket, an angle: a value without one is not their business, and a transformation whose
rules have all gone need not run. Small letters and digits say next to nothing here, so a value is boiled down to what
else it holds, and the few shapes that traffic has are worked out once.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from extproc.engine.ruleset import Rule

if TYPE_CHECKING:
    from extproc.engine.steps import Program, Step

SHAPES = 256
"""Shapes kept, with what follows from them."""

TURNOVER = 65_536
"""Values whose residual is not known that come by before a full store of shapes starts anew, so that it pays."""

SEEN_ONCE = 4096
"""Hashes of sets of bytes that came once; more start anew."""

RESIDUALS = 2048
"""Remembered residuals (what is left of a value without its quiet bytes); more start anew."""

RESIDUAL_BYTES = 16
"""A longer residual is not remembered, only the set of its bytes."""

QUIET = frozenset(string.ascii_lowercase.encode() + string.digits.encode())
"""Bytes that say nothing. Capital letters say that t:lowercase has something to do."""

_COLUMNS = 3
"""Two clauses of the prefilter, and what the operator itself needs."""

_EVERY_BYTE = frozenset(range(256))

_COMMON = frozenset(b" -_./:,")
"""Bytes that tell little, as they stand in most texts."""


class ByteWords(Protocol):
    """What a prefilter knows of single bytes."""

    @property
    def byte_words(self) -> frozenset[int]:
        """The one-byte words that it looks for, lower case."""
        ...

    def held_by(self, values: Iterable[int], /) -> int:
        """What a text holds of which these are the bytes; for `candidates`."""
        ...


class Shape:
    """`held`: see `Prefilter.candidates`. `allowed`: the rules that may match. `programs`: by step, what to do."""

    __slots__ = ("allowed", "bytes", "held", "programs")

    def __init__(self, values: frozenset[int], held: int, allowed: int, programs: dict[Step, Program]) -> None:
        self.bytes = values
        self.held = held
        self.allowed = allowed
        self.programs = programs


class Shapes:
    """All shapes of a plan. `known` is read by whoever is in a hurry: `known.get(value.translate(fold, quiet))`."""

    __slots__ = (
        "_bits",
        "_by_bytes",
        "_finds",
        "_known_sets",
        "_needed",
        "_prefilter",
        "_programs_of_any",
        "_seen_once",
        "_unclaimed",
        "fold",
        "known",
        "quiet",
        "quiet_set",
    )

    def __init__(self, rules: Sequence[Rule], prefilter: ByteWords, is_narrowing: bool = True) -> None:
        """`is_narrowing` False: no rule is left out for what a value does not hold."""
        words = prefilter.byte_words
        quiet = QUIET - words
        self._prefilter = prefilter
        self._bits = 1 + max((rule.index for rule in rules), default=0)
        self._by_bytes: dict[int, int] = {}
        self._unclaimed = 0
        self._needed: dict[int, frozenset[int]] = {}
        self._known_sets: dict[frozenset[int], Shape] = {}
        self.known: dict[bytes, Shape] = {}
        self._seen_once: set[int] = set()
        self._finds = 0
        self._programs_of_any: dict[Step, Program] = {}
        for rule in rules:
            needed = byte_clauses(rule, quiet) if is_narrowing else []
            if needed:
                self._needed[rule.index] = min(needed, key=len)
            for column in range(_COLUMNS):
                flag = 1 << (column * self._bits + rule.index)
                if column < len(needed):
                    for byte in needed[column]:
                        self._by_bytes[byte] = self._by_bytes.get(byte, 0) | flag
                else:
                    self._unclaimed |= flag
        # Bytes that every rule and every transformation treats alike are one and the same.
        fold = bytearray(range(256))
        first_of_role: dict[tuple[object, ...], int] = {}
        transformations = {step.name: step for rule in rules for step in rule.transformations}.values()
        for byte in range(256):
            if byte in quiet:
                continue
            role = (
                self._by_bytes.get(byte, 0),
                prefilter.held_by((byte,)),
                tuple(
                    (byte in (step.triggers or ()), byte in (step.adds or ()), byte in step.spared_by)
                    for step in transformations
                ),
                byte == 0,
            )
            fold[byte] = first_of_role.setdefault(role, byte)
        self.fold = bytes(fold)
        self.quiet = bytes(sorted(quiet))
        self.quiet_set = quiet

    def of(self, value: bytes) -> Shape:
        """The shape of a value that came in."""
        residual = value.translate(self.fold, self.quiet)
        return self.known.get(residual) or self.find(residual)

    def of_transformed(self, text: bytes) -> Shape:
        """The shape of what a transformation made: what looks like Base64 is decoded to anything, so none is kept."""
        residual = text.translate(self.fold, self.quiet)
        shape = self.known.get(residual)
        if shape is None:
            values = frozenset(residual)
            shape = self._known_sets.get(values) or self._any(values)
        return shape

    def find(self, residual: bytes) -> Shape:
        """The shape of a value of which `known` has no residual.

        A shape is worked out and kept when its bytes come a second time; before that they hardly ever come again.
        """
        values = frozenset(residual)
        shape = self._known_sets.get(values)
        self._finds += 1
        if shape is None:
            mark = hash(values)
            is_full = len(self._known_sets) >= SHAPES
            if mark not in self._seen_once or (is_full and self._finds < TURNOVER):
                if len(self._seen_once) >= SEEN_ONCE:
                    self._seen_once.clear()
                self._seen_once.add(mark)
                return self._any(values)
            if is_full:
                self._known_sets.clear()
                self.known.clear()
                self._finds = 0
            shape = self._known_sets[values] = Shape(values, self._prefilter.held_by(values), self.allowed(values), {})
        if len(residual) <= RESIDUAL_BYTES:
            if len(self.known) >= RESIDUALS:
                self.known.clear()
            self.known[residual] = shape
        return shape

    def _any(self, values: frozenset[int]) -> Shape:
        """For the prefilter what the value holds; for all else it may hold any byte."""
        return Shape(_EVERY_BYTE, self._prefilter.held_by(values), -1, self._programs_of_any)

    def needed_by(self, mask: int) -> frozenset[int] | None:
        """Bytes of which a text must hold one to be matched by any of those rules; None if some do without."""
        needed: frozenset[int] = frozenset()
        while mask:
            bit = mask & -mask
            mask ^= bit
            some = self._needed.get(bit.bit_length() - 1)
            if some is None:
                return None
            needed |= some
        return needed

    def allowed(self, values: Iterable[int]) -> int:
        """The rules that may match a text that holds no other bytes than these and quiet ones."""
        held = self._unclaimed
        by_bytes, bits = self._by_bytes, self._bits
        for byte in values:
            held |= by_bytes.get(byte, 0)
        return held & held >> bits & held >> 2 * bits


def byte_clauses(rule: Rule, quiet: frozenset[int]) -> list[frozenset[int]]:
    """Sets of bytes that are not quiet: of each, every text that the rule's first link matches holds one."""
    if rule.is_negated or rule.operator is None:
        return []
    found: list[frozenset[int]] = []
    silent = bytes(quiet)
    for clause in rule.clauses:
        telling: list[bytes] = []
        for literal in clause:
            some = literal.translate(None, silent)
            if not some:
                break
            telling.append(some)
        else:
            # One byte of each literal will do: the one that tells most, and that other literals have as well.
            often = Counter(b"".join(telling))
            found.append(
                frozenset(
                    some[0] if len(some) == 1 else min(some, key=lambda byte: (byte in _COMMON, -often[byte], byte))
                    for some in telling
                )
            )
    needed = rule.operator.needed_bytes
    if needed is not None and not needed & quiet:
        found.append(needed)
    return list(dict.fromkeys(found))[:_COLUMNS]
