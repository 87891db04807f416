"""Do the rules exist that exclusions name? A slip of a digit would leave the false alarm, and nobody would know why."""

from __future__ import annotations

import bisect
from collections.abc import Iterable

from extproc.engine.ruleset import Rule
from extproc.policy.model import Exclusion
from extproc.policy.shapes import nearest

MAX_LISTED_TAGS = 200
"""Tags among which one that is alike is looked for."""


class RuleNames:
    """Ids and tags of all rules that are loaded, of whichever set."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        ids: set[int] = set()
        tags: dict[str, None] = {}
        for rule in rules:
            ids.add(rule.id)
            tags.update(dict.fromkeys(rule.tags))
        self._ids = sorted(ids)
        self._tags = tags

    def unknown(self, exclusion: Exclusion) -> list[str]:
        """A sentence for each range without a rule and each tag that no rule has."""
        told = []
        for first, last in exclusion.rules:
            place = bisect.bisect_left(self._ids, first)
            if place == len(self._ids) or self._ids[place] > last:
                shown = str(first) if first == last else f"{first}-{last}"
                around = sorted(self._ids[max(0, place - 1) : place + 1], key=lambda known: abs(known - first))
                hint = f"the nearest is {around[0]}" if around else "no rules are loaded"
                told.append(f"no rule has the id {shown}; {hint}; mend the id or drop the exclusion")
        for tag in exclusion.tags:
            if tag not in self._tags:
                told.append(f"no rule has the tag {tag!r}; {nearest(tag, list(self._tags)[:MAX_LISTED_TAGS])}")
        return told
