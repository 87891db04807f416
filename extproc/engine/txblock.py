"""Runs of rules that look at TX alone: their outcome depends on a few variables, so it is remembered.

The Core Rule Set begins with some thirty rules that set defaults, and ends each phase with a dozen that add up
scores. Given the same values in, they write the same values out. A block is such a run; its memo maps the
values it reads to the changes it makes. What a block cannot tell (a rule of it is logged, denies, sets
something else) is not remembered: then its rules run one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from extproc.actions.macro import MacroText
from extproc.engine.ruleset import Rule

MIN_WORK = 3
"""Rules and setvars of a run; with fewer it is not worth a look at the memo."""

MEMO_ENTRIES = 256
"""Remembered inputs of a block; more start anew."""

Outcome: TypeAlias = tuple[dict[bytes, bytes], tuple[bytes, ...], int]
"""(variables written, variables removed, where rules go on: 0 for right behind)."""

Inputs: TypeAlias = tuple[bytes | None, ...]


def _keys_read(text: MacroText | None) -> set[bytes] | None:
    """TX keys that a text refers to; None if it refers to anything else."""
    keys: set[bytes] = set()
    for part in text.parts if text is not None else ():
        if isinstance(part, bytes):
            continue
        collection, key = part
        if collection != "TX" or key is None:
            return None
        keys.add(key)
    return keys


def keys_used(rule: Rule) -> set[bytes] | None:
    """TX keys that the rule reads or writes; None if it touches anything but TX, or could be told of."""
    keys: set[bytes] = set()
    for link in (rule, *rule.chain):
        if link.controls or link.expirevars or link.initcols or link.has_capture or link.is_multi_match:
            return None
        for target in (*link.targets, *link.exclusions):
            if target.collection != "TX" or target.key is None:
                return None
            keys.add(target.key)
        texts = [link.dynamic_argument, *(setvar.value for setvar in link.setvars)]
        for text in texts:
            read = _keys_read(text)
            if read is None:
                return None
            keys |= read
        for setvar in link.setvars:
            if setvar.collection != "TX" or not setvar.key.is_constant:
                return None
            keys.add(setvar.key.source)
    return keys


class TxBlock:
    """Consecutive direct rules on TX alone. `mask` holds their bits, `span` every bit from first to last.

    `writes`: the variables that they may set.
    """

    __slots__ = ("_keys", "_memo", "mask", "span", "writes")

    def __init__(self, rules: Sequence[Rule], keys: set[bytes]) -> None:
        self.mask = sum(1 << rule.index for rule in rules)
        self.span = (1 << rules[-1].index + 1) - (1 << rules[0].index)
        self.writes = frozenset(
            setvar.key.source for rule in rules for link in (rule, *rule.chain) for setvar in link.setvars
        )
        self._keys = tuple(sorted(keys))
        self._memo: dict[Inputs, Outcome | None] = {}

    def inputs(self, tx: dict[bytes, bytes], pins: Mapping[bytes, bytes]) -> Inputs:
        """The values that the outcome depends on; where the block would set what is pinned, the pins as well."""
        values = tuple(map(tx.get, self._keys))
        if not pins or self.writes.isdisjoint(pins):
            return values
        return (*values, b" ".join([b"%s=%s" % pin for pin in pins.items()]))

    def recall(self, inputs: Inputs) -> tuple[bool, Outcome | None]:
        """(is it known?, the outcome; None: run the rules one by one)."""
        outcome = self._memo.get(inputs)
        return outcome is not None or inputs in self._memo, outcome

    def remember(self, inputs: Inputs, tx: dict[bytes, bytes] | None, resume: int) -> None:
        """Keep what became of the inputs; `tx` None: it cannot be told by TX alone."""
        if len(self._memo) >= MEMO_ENTRIES:
            self._memo.clear()
        if tx is None:
            self._memo[inputs] = None
            return
        before = dict(zip(self._keys, inputs, strict=False))  # behind the values there may be pins
        written = {key: tx[key] for key in self._keys if key in tx and tx[key] != before[key]}
        removed = tuple(key for key in self._keys if key not in tx and before[key] is not None)
        self._memo[inputs] = (written, removed, resume)


def find_blocks(rules: Sequence[Rule]) -> dict[int, TxBlock]:
    """Blocks by the index of their first rule. `rules`: the direct rules of a variant, in order."""
    blocks: dict[int, TxBlock] = {}
    run: list[Rule] = []
    keys: set[bytes] = set()
    for rule in (*rules, None):
        used = keys_used(rule) if rule is not None else None
        if rule is not None and used is not None:
            run.append(rule)
            keys |= used
            continue
        if sum(1 + sum(len(link.setvars) for link in (rule, *rule.chain)) for rule in run) >= MIN_WORK:
            blocks[run[0].index] = TxBlock(run, keys)
        run, keys = [], set()
    return blocks
