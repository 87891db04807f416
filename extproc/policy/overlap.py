"""Exclusions that say what another says already: then the expiry and the reason of one of them mean nothing."""

from __future__ import annotations

from collections.abc import Sequence

from extproc.engine.ruleset import Target
from extproc.policy.model import DEFAULTS, Exclusion, Scope
from extproc.policy.shapes import Given, Report


def tell_overlaps(scopes: Sequence[Scope], report: Report) -> None:
    """A finding for each exclusion that another of its scope, or of `defaults`, covers whole."""
    none = Given((), 0)
    of_all = _Index(())
    for scope in scopes:
        own = scope.given.get("exclusions", none).value
        index = _Index(own)
        for one in own:
            for other in (*of_all.candidates(one.value), *index.candidates(one.value)):
                if other is one or not _covers(other.value, one.value):
                    continue
                if _covers(one.value, other.value) and one.line < other.line:
                    continue  # the same twice: told at the second
                report.tell(
                    one.line,
                    f"this exclusion overlaps: the one in line {other.line} lets the same through; "
                    "keep one of them, or make that one narrower",
                )
                break
        if scope.name == DEFAULTS:
            of_all = index


class _Index:
    """Exclusions by what they name, so that not each is held against each other."""

    def __init__(self, exclusions: Sequence[Given]) -> None:
        self._ranges: list[Given] = []
        self._by_id: dict[int, list[Given]] = {}
        self._by_tag: dict[str, list[Given]] = {}
        for given in exclusions:
            one: Exclusion = given.value
            if any(first < last for first, last in one.rules):
                self._ranges.append(given)
            for first, last in one.rules:
                if first == last:
                    self._by_id.setdefault(first, []).append(given)
            for tag in one.tags:
                self._by_tag.setdefault(tag, []).append(given)

    def candidates(self, one: Exclusion) -> Sequence[Given]:
        """Those that may cover it: they must cover the first thing that it names."""
        if one.rules:
            first, last = one.rules[0]
            return [*self._ranges, *(self._by_id.get(first, ()) if first == last else ())]
        return self._by_tag.get(one.tags[0], ()) if one.tags else ()


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
