"""Which policies a request fits, and what they say together: field by field, the later one wins.

The order is: `defaults`; the policies whose `match` fits, those that say more of the request later (a route before a
host, an exact host before a wildcard, a longer path before a shorter one), then as in the file; last the policy that
Envoy names in `x-waf-policy`. Exclusions, address lists and proxies of all of them add up.
docs/decisions/0050-merge-order.md says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

from extproc.policy.definition import MODES
from extproc.policy.model import DEFAULTS, Exclusion, Policy, Scope
from extproc.policy.scopes import read_host, read_path
from extproc.policy.shapes import Given

ADDED_UP = ("exclusions", "ip.allow", "ip.deny", "ip.suspicious", "trusted_proxies")
"""Keys whose values of all policies count; of the others the last one does."""

MAX_SELECTIONS = 4096
"""Remembered combinations of policies; more start anew. There are hardly ever more than a few."""

Selection: TypeAlias = tuple[int, ...]
"""Indexes of scopes, in the order in which they are merged."""


@dataclass(frozen=True)
class Effective:
    """What some scopes say together. `said`: dotted key → (scope, value), several for keys that add up."""

    names: tuple[str, ...]
    said: Mapping[str, tuple[tuple[Scope, Given], ...]]

    def value(self, key: str, default: Any = None) -> Any:
        """Of a key that does not add up."""
        found = self.said.get(key)
        return found[-1][1].value if found else default

    def values(self, key: str) -> tuple[Any, ...]:
        """Of a key that adds up."""
        return tuple(given.value for _, given in self.said.get(key, ()))

    @cached_property
    def exclusions(self) -> tuple[Exclusion, ...]:
        """Of all scopes."""
        return tuple(one.value for some in self.values("exclusions") for one in some)

    @property
    def strictness(self) -> tuple[int, int, int, int]:
        """Larger is stricter, so that of two readings of a path the stricter one can be taken."""
        mode = self.value("mode", MODES[-1])
        return (
            MODES.index(mode),
            self.value("paranoia", 0),
            -self.value("thresholds.inbound", 0),
            -len(self.exclusions),
        )


class Fit(NamedTuple):
    """What holds for a request, and its host and path as they were read; path None: it can be read in several ways."""

    effective: Effective
    host: str
    path: bytes | None


class Merger:
    """One policy, ready to be asked for each request. Holds only caches that grow up to a bound."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._by_name = {scope.name: index for index, scope in enumerate(policy.scopes) if scope.name != DEFAULTS}
        self._defaults: Selection = (0,) if policy.scopes and policy.scopes[0].name == DEFAULTS else ()
        self._matching = tuple((index, scope) for index, scope in enumerate(policy.scopes) if scope.matches)
        self._merged: dict[Selection, Effective] = {}

    def knows(self, asked: str) -> bool:
        """Is there a policy of that name?"""
        return asked in self._by_name

    def fit(self, asked: str, route: str, authority: bytes, path: bytes) -> Fit:
        """What holds for a request. `asked`: the value of x-waf-policy.

        Of a path that apps may read in several ways the strictest reading counts.
        """
        readings = read_path(path)
        host = read_host(authority)
        if len(readings) == 1:
            return Fit(self.merged(self._select(asked, route, host, readings[0])), host, readings[0])
        found = {self._select(asked, route, host, reading) for reading in readings}
        strictest = max((self.merged(selection) for selection in sorted(found)), key=lambda one: one.strictness)
        return Fit(strictest, host, None)

    def _select(self, asked: str, route: str, host: str, path: bytes) -> Selection:
        named = self._by_name.get(asked)
        fitting = [
            (max(weights), index)
            for index, scope in self._matching
            if index != named
            and (weights := [where.weight(host, path) for where in scope.matches if where.covers(route, host, path)])
        ]
        matched = [index for _, index in sorted(fitting)]
        return (*self._defaults, *matched, *(() if named is None else (named,)))

    def merged(self, selection: Selection) -> Effective:
        """What these scopes say together."""
        known = self._merged.get(selection)
        if known is None:
            if len(self._merged) >= MAX_SELECTIONS:
                self._merged.clear()
            known = self._merged[selection] = merge([self.policy.scopes[index] for index in selection])
        return known

    def selections(self) -> list[Effective]:
        """The defaults alone, and with each policy: enough to see at load what cannot be."""
        alone = [self._defaults, *((*self._defaults, index) for index in self._by_name.values())]
        return [self.merged(selection) for selection in alone]


def merge(scopes: Sequence[Scope]) -> Effective:
    """Scopes in their order → what holds."""
    said: dict[str, tuple[tuple[Scope, Given], ...]] = {}
    for scope in scopes:
        for key, given in scope.given.items():
            said[key] = (*said.get(key, ()), (scope, given)) if key in ADDED_UP else ((scope, given),)
    return Effective(tuple(scope.name for scope in scopes), said)
