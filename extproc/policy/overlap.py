"""Exclusions that say what another says already: then the expiry and the reason of one of them mean nothing."""

from __future__ import annotations

from collections.abc import Sequence

from extproc.engine.ruleset import Target
from extproc.policy.model import DEFAULTS, Exclusion, Scope
from extproc.policy.shapes import Given, Report


def tell_overlaps(scopes: Sequence[Scope], report: Report) -> None:
    """A finding for each exclusion that another of its scope, or of `defaults`, covers whole."""
    none = Given((), 0)
    of_all: Sequence[Given] = ()
    for scope in scopes:
        own = scope.given.get("exclusions", none).value
        for place, one in enumerate(own):
            others = [*of_all, *own[:place], *own[place + 1 :]]
            for other in others:
                if _covers(other.value, one.value):
                    if _covers(one.value, other.value) and one.line < other.line:
                        continue  # the same twice: told at the second
                    report.tell(
                        one.line,
                        f"this exclusion overlaps: the one in line {other.line} lets the same through; "
                        "keep one of them, or make that one narrower",
                    )
                    break
        if scope.name == DEFAULTS:
            of_all = own


def _covers(wide: Exclusion, narrow: Exclusion) -> bool:
    if not wide.where.covers_place(narrow.where):
        return False
    if wide.methods and not (narrow.methods and set(narrow.methods) <= set(wide.methods)):
        return False
    if wide.variables and not (
        narrow.variables
        and all(any(_covers_target(mine, theirs) for mine in wide.variables) for theirs in narrow.variables)
    ):
        return False
    if not set(narrow.tags) <= set(wide.tags) or not (narrow.tags or narrow.rules):
        return False
    return all(any(low <= first and last <= high for low, high in wide.rules) for first, last in narrow.rules)


def _covers_target(wide: Target, narrow: Target) -> bool:
    if wide.collection != narrow.collection:
        return False
    if wide.key is None and wide.key_test is None:
        return True
    if narrow.key is not None:
        return wide.covers(narrow.key)
    return wide.key_test is not None and wide.text == narrow.text
