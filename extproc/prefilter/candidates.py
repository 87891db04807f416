"""Step 3, which rules can match this text at all?

The guarantee: a rule that is left out cannot match. `candidates` may say "maybe" too often, never "no"
wrongly. It rests on the clauses it is given (a clause is a set of literals of which every match holds at
least one) and on nothing else; a rule without clauses is always a candidate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from extproc.prefilter.automaton import Automaton

Clauses: TypeAlias = Sequence[frozenset[bytes]]
"""All of them must hold: of each, one literal occurs in the ASCII-lower-cased text. At most CLAUSES_LIMIT."""

CLAUSES_LIMIT = 2
"""Clauses per rule. Each costs a column of bits; a third would rarely rule anything out."""


SHORT_TEXT_BYTES = 128
"""So long a text holds few words more than once; in a longer one each is looked at once, bytes."""


class Prefilter:
    """Rules as bits, their clauses as one automaton. Immutable."""

    __slots__ = ("_automaton", "_bits", "_masks", "_unclaimed")

    def __init__(self, rules: Sequence[tuple[int, Clauses]]) -> None:
        """`rules`: (bit position, clauses); literals lower case.

        Raises ValueError for more clauses than CLAUSES_LIMIT, for an empty clause (it could never hold),
        a literal that is empty or not in lower case, and a bit given twice.
        """
        bits = 1 + max((bit for bit, _ in rules), default=-1)
        masks: dict[bytes, int] = {}
        unclaimed = 0
        seen = 0
        for bit, clauses in rules:
            if seen >> bit & 1:
                raise ValueError(f"bit {bit} is given twice")
            seen |= 1 << bit
            _check(bit, clauses)
            for column in range(CLAUSES_LIMIT):
                flag = 1 << (column * bits + bit)
                if column < len(clauses):
                    for literal in clauses[column]:
                        masks[literal] = masks.get(literal, 0) | flag
                else:
                    unclaimed |= flag
        words = sorted(masks)
        self._automaton = Automaton(words)
        # One number per literal: bit n says "first clause of rule n holds", bit n + bits "second clause
        # of rule n holds". So a literal costs one OR, however many rules ask for it.
        self._masks = [masks[word] for word in words]
        self._bits = bits
        self._unclaimed = unclaimed

    @property
    def byte_words(self) -> frozenset[int]:
        """The one-byte words among the literals."""
        return self._automaton.byte_words

    def held_by(self, values: Iterable[int]) -> int:
        """What a text holds by its single bytes, `values` (either case): the second argument of `candidates`."""
        held = self._unclaimed
        masks, word_of_byte = self._masks, self._automaton.word_of_byte
        for byte in bytes(values).lower():
            index = word_of_byte.get(byte)
            if index is not None:
                held |= masks[index]
        return held

    def candidates(self, text: bytes, held: int | None = None) -> int:
        """Rules that may match: their bits. `text` is lower-cased by ASCII rules (`bytes.lower`).

        `held` is what `held_by` says of the bytes of `text`; None: not known.
        """
        masks = self._masks
        if held is None:
            held = self.held_by(self._automaton.byte_words.intersection(text))
        if len(text) <= SHORT_TEXT_BYTES:
            for _, index in self._automaton.occurrences(text):
                held |= masks[index]
        else:
            for index in self._automaton.find_words(text):
                held |= masks[index]
        return held & held >> self._bits


def _check(bit: int, clauses: Clauses) -> None:
    if len(clauses) > CLAUSES_LIMIT:
        raise ValueError(f"rule {bit} has {len(clauses)} clauses, more than {CLAUSES_LIMIT}; give the best ones")
    for clause in clauses:
        if not clause:
            raise ValueError(f"rule {bit} has a clause without literals; leave the clause out")
        for literal in clause:
            if not literal or literal != literal.lower():
                raise ValueError(f"rule {bit}: the literal {literal!r} is empty or not in lower case")
