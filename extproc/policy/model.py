"""A policy as loaded: scopes with what each of them says, nothing merged yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

from extproc.engine.ruleset import Target
from extproc.policy.scopes import HostPattern, PathPattern
from extproc.policy.shapes import Given

DEFAULTS = "defaults"
"""Name of the scope that holds for every request."""

AddressTest: TypeAlias = Callable[[bytes], object]
"""A written address → None if it is not in the list."""


@dataclass(frozen=True, slots=True)
class AddressList:
    """Addresses and CIDR blocks, ready to ask."""

    test: AddressTest = field(compare=False)
    count: int = 0


@dataclass(frozen=True, slots=True)
class Where:
    """A place: each key that is not empty must fit, by one of its items."""

    routes: tuple[str, ...] = ()
    hosts: tuple[HostPattern, ...] = ()
    paths: tuple[PathPattern, ...] = ()

    def covers(self, route: str, host: str, path: bytes | None) -> bool:
        """`host` and `path` as `scopes` reads them; path None fits no pattern."""
        if self.routes and route not in self.routes:
            return False
        if self.hosts and not any(pattern.covers(host) for pattern in self.hosts):
            return False
        return not self.paths or (path is not None and any(pattern.covers(path) for pattern in self.paths))

    def weight(self, host: str, path: bytes) -> tuple[int, int, int]:
        """How much this says of a request that it covers: route, then host, then length of the path."""
        hosts = [pattern.weight for pattern in self.hosts if pattern.covers(host)]
        paths = [pattern.weight for pattern in self.paths if pattern.covers(path)]
        return (1 if self.routes else 0, max(hosts, default=0), max(paths, default=0))

    def covers_place(self, other: Where) -> bool:
        """Is every request of `other` surely one of this?"""
        if self.routes and not (other.routes and set(other.routes) <= set(self.routes)):
            return False
        if self.hosts and not (
            other.hosts and all(any(mine.covers_pattern(theirs) for mine in self.hosts) for theirs in other.hosts)
        ):
            return False
        return not self.paths or bool(
            other.paths and all(any(mine.covers_pattern(theirs) for mine in self.paths) for theirs in other.paths)
        )


@dataclass(frozen=True, slots=True)
class Exclusion:
    """What some rules shall leave alone. `rules`: inclusive ranges; no `variables`: the rules do not run there."""

    place: str
    owner: str
    reason: str
    rules: tuple[tuple[int, int], ...] = ()
    tags: tuple[str, ...] = ()
    variables: tuple[Target, ...] = ()
    where: Where = Where()
    methods: tuple[bytes, ...] = ()
    expires: date | None = None

    @property
    def ends(self) -> float | None:
        """Seconds since 1970 from which on it is expired; None: never."""
        if self.expires is None:
            return None
        if self.expires == date.max:
            return float("inf")
        day = self.expires + timedelta(days=1)
        return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How many requests in which time; `burst` at once; per client or for all."""

    requests: int
    per_ms: int
    burst: int
    by_client: bool


@dataclass(frozen=True, slots=True)
class Scope:
    """`defaults`, or one policy: where it holds and what it says, by dotted key (`thresholds.inbound`)."""

    name: str
    line: int
    matches: tuple[Where, ...]
    given: Mapping[str, Given]


@dataclass(frozen=True, slots=True)
class Policy:
    """One file. `defaults` first, then policies in file order."""

    file: str
    scopes: tuple[Scope, ...]
    shadow_rules: tuple[Path, ...] = ()
    secret_names: frozenset[str] = frozenset()
    secret_looks: tuple[Any, ...] = ()

    def place(self, line: int) -> str:
        """`file:line`, for people."""
        return f"{self.file}:{line}"

    @property
    def exclusions(self) -> tuple[Exclusion, ...]:
        """Of all scopes, in file order."""
        none = Given((), 0)
        return tuple(one.value for scope in self.scopes for one in scope.given.get("exclusions", none).value)
