"""Guards: a look at the one thing a simple link depends on, before it is evaluated in full.

`&REQUEST_HEADERS:Transfer-Encoding "@gt 0"` needs a count, `TX:x "@eq 1"` one value, and so does
`REQUEST_METHOD "!@within %{tx.allowed_methods}"`. A guard that says no spares the walk through targets,
transformations and matches; one that says yes decides nothing. A chain whose first links only look has the guards of
the links behind as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from extproc.engine.matching import rule_test
from extproc.engine.ruleset import Rule

if TYPE_CHECKING:
    from extproc.engine.transaction import Transaction

Guard: TypeAlias = Callable[["Transaction"], bool]

TABULATED_COUNTS = 3
"""Counts whose outcome is worked out beforehand; larger ones are evaluated."""

OUTCOMES = 256
"""Outcomes that a guard over macros remembers; more start anew."""

OUTCOME_BYTES = 64
"""A longer value is looked at each time, bytes."""

FEW_VALUED = frozenset(("REQUEST_METHOD", "REQUEST_PROTOCOL", "REQBODY_PROCESSOR"))
"""Variables with one value each, of which there are few."""

_LEFT_BY_CHAINS = frozenset(("MATCHED_VAR", "MATCHED_VAR_NAME", "MATCHED_VARS", "MATCHED_VARS_NAMES", "RULE"))


def guard_of(rule: Rule) -> Guard | None:
    """A guard for one link, or None if it has none."""
    if rule.operator is None and rule.dynamic is None:
        return None
    if len(rule.targets) != 1 or rule.exclusions or rule.transformations or rule.is_multi_match:
        return None
    target = rule.targets[0]
    key = target.key
    if target.collection in FEW_VALUED and not target.is_count and key is None and target.key_test is None:
        return _few_valued(rule, target.collection)
    if rule.dynamic is not None:
        return None
    test = rule_test(rule)
    if target.collection == "TX" and key is not None:
        if not target.is_count:
            return lambda tx: key in tx.tx and test(tx.tx[key]) is not None
        if_absent, if_present = test(b"0") is not None, test(b"1") is not None
        return lambda tx: if_present if key in tx.tx else if_absent
    if target.collection == "REQUEST_HEADERS" and key is not None:
        if not target.is_count:
            return lambda tx: key in tx.header_counts()
        outcomes = [test(b"%d" % count) is not None for count in range(TABULATED_COUNTS)]

        def count_header(tx: Transaction) -> bool:
            count = tx.header_counts().get(key, 0)
            return count >= TABULATED_COUNTS or outcomes[count]

        return count_header
    return None


def _few_valued(rule: Rule, collection: str) -> Guard | None:
    parts = rule.dynamic_argument.parts if rule.dynamic_argument is not None else ()
    keys: list[bytes] = []
    for part in parts:
        if isinstance(part, bytes):
            continue
        if part[0] != "TX" or part[1] is None:
            return None
        keys.append(part[1])
    known: dict[tuple[bytes | None, ...], bool] = {}

    def look(tx: Transaction) -> bool:
        [(_, value)] = tx.values(collection)
        inputs = (value, *[tx.tx.get(key) for key in keys])
        outcome = known.get(inputs)
        if outcome is None:
            outcome = bool(tx.evaluate(rule))
            if len(value) <= OUTCOME_BYTES:
                if len(known) >= OUTCOMES:
                    known.clear()
                known[inputs] = outcome
        return outcome

    return look


def guard_of_chain(rule: Rule) -> Guard | None:
    """A guard over the links of a chain: as far as those before only look, each must let it pass. None if it has none.

    A chain that stops leaves MATCHED_VARS behind: not for rule sets of which `reads_what_chains_leave` is true.
    """
    guards: list[Guard] = []
    before = rule
    for link in rule.chain:
        if before.setvars or before.has_capture or before.initcols:
            break
        guard = guard_of(link)
        if guard is not None:
            guards.append(guard)
        before = link
    return all_of(guards)


def all_of(guards: Sequence[Guard]) -> Guard | None:
    """One for all; None for none."""
    if len(guards) <= 1:
        return guards[0] if guards else None
    first, *others = guards
    following = all_of(others)
    if following is None:
        return first
    return lambda tx: first(tx) and following(tx)


def reads_what_chains_leave(rules: Sequence[Rule]) -> bool:
    """Does some rule begin with a look at what the rule before it matched?"""
    for rule in rules:
        argument = rule.dynamic_argument
        names = {target.collection for target in (*rule.targets, *rule.exclusions)}
        names.update(
            part[0] for part in (argument.parts if argument is not None else ()) if not isinstance(part, bytes)
        )
        if not names.isdisjoint(_LEFT_BY_CHAINS):
            return True
    return False
