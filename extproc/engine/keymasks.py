"""Which rules look at a variable of that name? Worked out by lookup, for names can be new with every request."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from extproc.engine.ruleset import Rule, Target


class KeyMasks:
    """The targets of one collection, as masks of rules: those for every key, those for one, those by pattern."""

    __slots__ = ("_by_key", "_by_test", "_every")

    def __init__(self, targets: Sequence[tuple[Rule, Target]]) -> None:
        self._every = 0
        self._by_key: dict[bytes, int] = {}
        by_test: dict[str, tuple[Callable[[bytes], object], int]] = {}
        for rule, target in targets:
            bit = 1 << rule.index
            if target.key is not None:
                self._by_key[target.key] = self._by_key.get(target.key, 0) | bit
            elif target.key_test is not None:
                # Rules repeat their patterns, and each rule compiled its own: the same text is asked once.
                test, mask = by_test.get(target.text, (target.key_test, 0))
                by_test[target.text] = (test, mask | bit)
            else:
                self._every |= bit
        self._by_test = tuple(by_test.values())

    def of(self, key: bytes | None) -> int:
        """The rules of whose targets one covers the (lower-case) key, as `Target.covers` has it."""
        mask = self._every
        if key is not None:
            mask |= self._by_key.get(key, 0)
            for test, rules in self._by_test:
                if rules & ~mask and test(key) is not None:
                    mask |= rules
        return mask


def masks_of(collection: str, rules: Sequence[Rule]) -> tuple[KeyMasks, KeyMasks]:
    """(what the rules look at in the collection, what they leave out of it)."""
    wanted = [(rule, target) for rule in rules for target in rule.targets if target.collection == collection]
    excluded = [(rule, target) for rule in rules for target in rule.exclusions if target.collection == collection]
    return KeyMasks(wanted), KeyMasks(excluded)
