"""Chains over names that hold for no one: what they leave in TX is remembered.

A site's clients send the same names in the same order (of headers, cookies, arguments). A rule that looks at names,
copies each into TX and lets its chain look there (Core Rule Set, 920450) does the same work for every request, and its
chain hardly ever holds. Given the same names and the same variables it leaves the same variables: those are kept. A
chain that holds is never kept; neither is a rule that looks at anything but names and TX.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from extproc.actions.macro import MacroText
from extproc.actions.setvar import Assignment
from extproc.engine.ruleset import Rule, Target

MEMO_ENTRIES = 256
"""Remembered outcomes of a rule; more start anew."""

NAMES_BYTES = 2048
"""Names of an exchange that are remembered, together; longer ones are not, bytes."""

CAPTURES = tuple(b"%d" % number for number in range(10))

Variables: TypeAlias = dict[bytes, bytes]

Outcome: TypeAlias = tuple[
    Variables, tuple[bytes, ...], tuple[bytes, ...], tuple[tuple[bytes, bytes], ...], Rule | None
]
"""(TX written, TX removed, keys among them that are made of macros, MATCHED_VARS, the last link that matched)."""


class ChainMemo:
    """The outcomes of one rule. `keys`: the TX variables that it reads or writes under a name of their own."""

    __slots__ = ("_outcomes", "keys")

    def __init__(self, keys: Iterable[bytes]) -> None:
        self.keys = tuple(sorted(keys))
        self._outcomes: dict[object, Outcome] = {}

    def inputs(self, names: Sequence[bytes | None], tx: Variables, made: Iterable[bytes]) -> object:
        """All that the outcome depends on. `made`: keys of TX variables that are made of macros."""
        return (tuple(names), tuple(map(tx.get, self.keys)), tuple([(key, tx.get(key)) for key in made]))

    def recall(self, inputs: object) -> Outcome | None:
        """What the rule left the last time; None if that is not known."""
        return self._outcomes.get(inputs)

    def remember(
        self,
        inputs: object,
        before: Variables,
        after: Variables,
        made: tuple[bytes, ...],
        matched_vars: Sequence[tuple[bytes, bytes]],
        link: Rule | None,
    ) -> None:
        """Keep what the rule left. `made`: the keys of macros that came to those of the inputs."""
        if len(self._outcomes) >= MEMO_ENTRIES:
            self._outcomes.clear()
        touched = {*self.keys, *made, *[key for key, value in after.items() if before.get(key) != value]}
        written = {key: after[key] for key in touched if key in after}
        removed = tuple(key for key in touched if key not in after)
        self._outcomes[inputs] = (written, removed, made, tuple(matched_vars), link)


def chain_memo_of(rule: Rule, tx_keys_of: Callable[[Target], Iterable[bytes]]) -> ChainMemo | None:
    """A memo for a rule whose chain depends on names and TX alone, else None.

    `tx_keys_of`: the keys that rules set by name and that a pattern covers.
    """
    collections = {target.collection for target in rule.targets}
    if not rule.chain or len(collections) != 1 or not next(iter(collections)).endswith("_NAMES"):
        return None
    if rule.operator is None or any(target.is_count for target in rule.targets):
        return None
    keys: set[bytes] = set()
    for link in (rule, *rule.chain):
        if link.controls or link.expirevars or link.initcols:
            return None
        if link.has_capture:
            keys.update(CAPTURES)
        for setvar in link.setvars:
            if setvar.collection != "TX":
                return None
            if setvar.key.is_constant:
                keys.add(setvar.key.source)
            elif setvar.assignment is not Assignment.SET:
                return None  # what it would add to is not known by name
        texts = [link.dynamic_argument, *(text for setvar in link.setvars for text in (setvar.key, setvar.value))]
        for text in texts:
            if not _reads_tx_only(text, keys):
                return None
    for target in (target for link in rule.chain for target in (*link.targets, *link.exclusions)):
        if target.collection != "TX" or target.is_count:
            return None
        keys.update([target.key] if target.key is not None else tx_keys_of(target))
    return ChainMemo(keys)


def _reads_tx_only(text: MacroText | None, keys: set[bytes]) -> bool:
    for part in text.parts if text is not None else ():
        if isinstance(part, bytes) or part[0] in ("MATCHED_VAR", "MATCHED_VAR_NAME"):
            continue
        collection, key = part
        if collection != "TX" or key is None:
            return False
        keys.add(key)
    return True
