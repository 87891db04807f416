"""ctl: changes to the engine for this transaction alone (reference manual, *ctl*)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class CoversKey(Protocol):
    """The target of a removal: a collection, and which of its keys."""

    @property
    def collection(self) -> str: ...

    def covers(self, key: bytes | None) -> bool: ...


@dataclass(frozen=True, slots=True)
class Control:
    """`ctl:name=argument;target`. `name` in lower case; `ids`: inclusive ranges of a removal by id."""

    name: str
    argument: bytes
    ids: tuple[tuple[int, int], ...] = ()
    target: CoversKey | None = None
