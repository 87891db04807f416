"""Guards: a look at the one thing a simple direct rule depends on, before it is evaluated in full.

`&REQUEST_HEADERS:Transfer-Encoding "@gt 0"` needs a count, `TX:x "@eq 1"` one value. A guard that says no spares the
walk through targets, transformations and matches; one that says yes decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from extproc.engine.matching import rule_test
from extproc.engine.ruleset import Rule

if TYPE_CHECKING:
    from extproc.engine.transaction import Transaction

Guard: TypeAlias = Callable[["Transaction"], bool]

TABULATED_COUNTS = 3
"""Counts whose outcome is worked out beforehand; larger ones are evaluated."""


def guard_of(rule: Rule) -> Guard | None:
    """A guard for a direct rule, or None if it has none."""
    if rule.operator is None or rule.dynamic is not None or len(rule.targets) != 1:
        return None
    if rule.exclusions or rule.transformations or rule.is_multi_match:
        return None
    target, test = rule.targets[0], rule_test(rule)
    key = target.key
    if target.collection == "TX" and key is not None:
        if not target.is_count:
            return lambda tx: key in tx.tx and test(tx.tx[key]) is not None
        if_absent, if_present = test(b"0") is not None, test(b"1") is not None
        return lambda tx: if_present if key in tx.tx else if_absent
    if target.is_count and target.collection == "REQUEST_HEADERS" and key is not None:
        outcomes = [test(b"%d" % count) is not None for count in range(TABULATED_COUNTS)]

        def count_header(tx: Transaction) -> bool:
            count = tx.header_counts().get(key, 0)
            return count >= TABULATED_COUNTS or outcomes[count]

        return count_header
    return None
