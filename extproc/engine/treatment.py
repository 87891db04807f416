"""How one exchange is treated: what the settings say of all of them, and what a policy says of this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from extproc.actions.control import CoversKey
from extproc.engine.plan import Plan
from extproc.engine.ruleset import BodySettings
from extproc.model.answer import Templates
from extproc.model.message import RequestHead
from extproc.model.verdict import Mode


class Source(StrEnum):
    """In which list of a policy the client's address is; of several, the first named here counts."""

    ALLOWED = "allowed"
    DENIED = "denied"
    SUSPICIOUS = "suspicious"


@dataclass(frozen=True, slots=True)
class Removal:
    """Rules (a mask of their bits) that shall not look at a target; target None: that shall not run."""

    mask: int
    target: CoversKey | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for every exchange that fits the same policies.

    `mode` may be safe-block. `bodies` None: as the route or the rules say. `pins`: TX variables that no rule can
    change, by lower-case key. `budget_us` None: that of the transport. `status`: of what rules or the deny list
    refuse, None: as they say. `fields`: the score that a detector's finding needs there, by collection and
    lower-case key, in which `array_*` is every index of a JSON array.
    """

    plan: Plan
    mode: Mode
    bodies: BodySettings | None = None
    inspect_response: bool = False
    pins: Mapping[bytes, bytes] = field(default_factory=dict)
    fields: Mapping[tuple[str, bytes], int] = field(default_factory=dict)
    budget_us: int | None = None
    is_late_allowed: bool = False
    status: int | None = None
    templates: Templates | None = None
    policies: tuple[str, ...] = ()
    shadow: Plan | None = None


@dataclass(slots=True)
class Treatment:
    """Of one exchange. `head` has the client's true address; `mode` is what the rules run in: off, monitor or block.

    `lapsed`: places of expired exclusions that hold here, `lapsed_removals` what they remove beside `removals`.
    """

    terms: Terms
    head: RequestHead
    mode: Mode
    removals: tuple[Removal, ...] = ()
    lapsed: tuple[str, ...] = ()
    lapsed_removals: tuple[Removal, ...] = ()
    shadow_removals: tuple[Removal, ...] = ()
    source: Source | None = None


Treat: TypeAlias = Callable[[RequestHead, float], Treatment]
"""(head, seconds since 1970) → its treatment. Never raises."""
