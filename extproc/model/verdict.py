"""What a transaction decides, and the record of the decision."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from extproc.model.answer import Templates
from extproc.model.phase import Phase
from extproc.model.trace import TraceParent


class Mode(StrEnum):
    """What happens to a request that the rules would deny. Order: weakest first."""

    OFF = "off"
    MONITOR = "monitor"
    SAFE_BLOCK = "safe-block"
    """As block for sources that a policy calls suspicious, as monitor for the others."""
    BLOCK = "block"

    @staticmethod
    def weakest(*modes: Mode) -> Mode:
        """The effective mode: the weaker of flag, policy and SecRuleEngine."""
        order = [Mode.OFF, Mode.MONITOR, Mode.SAFE_BLOCK, Mode.BLOCK]
        return min(modes, key=order.index)


class Outcome(StrEnum):
    """`PENDING`: nothing against it so far, more of the message is due."""

    PENDING = "pending"
    ALLOW = "allow"
    BLOCK = "block"


class Coverage(StrEnum):
    """How much of the request the rules saw."""

    INSPECTED = "inspected"
    PARTLY = "partly"
    UNINSPECTED = "uninspected"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one message of the conversation.

    `rule_id` is the rule that decided (0: none did). `status` is the HTTP status of a block.
    `location` is set by `redirect`. `rule_ids` are the logged matches so far. `shadow` is what shadow rules would say
    so far, "" without any; it changes no answer. `templates`: what a blocked client reads, None: the built-in pages.
    """

    outcome: Outcome
    phase: Phase
    incident: str
    status: int = 403
    rule_id: int = 0
    rule_ids: tuple[int, ...] = ()
    score: int = 0
    coverage: Coverage = Coverage.INSPECTED
    coverage_reason: str | None = None
    ruleset: str = ""
    location: bytes = b""
    shadow: str = ""
    templates: Templates | None = None


@dataclass(frozen=True, slots=True)
class Shadow:
    """What shadow rules would have decided; `would` is pending when they did not see the whole request."""

    would: Outcome
    rule_id: int
    rule_ids: tuple[int, ...]
    score: int
    ruleset: str


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that matched, macros expanded.

    `variable` is `ARGS:q`; `via` the decoding steps, `reason` and `score` (1 to 9; 0: the rule is none of them) what a
    detector proved; `value` the text that the operator saw and
    `span` the matched part of it (start, end), both for `explain`, never for an event. `is_msg_fixed`: `msg` is as the
    rule has it, nothing of the exchange is in it.
    """

    rule_id: int
    phase: Phase
    variable: str
    msg: bytes = b""
    logdata: bytes = b""
    tags: tuple[str, ...] = ()
    severity: str = ""
    via: tuple[str, ...] = ()
    value: bytes = b""
    span: tuple[int, int] = (0, 0)
    secret: bool = False
    reason: str = ""
    score: int = 0
    is_msg_fixed: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """One transaction, decided: what an event says (INTERFACE: `extproc.decision/1`). Not masked yet.

    `policies`: those that held, as merged. `source`: the list of a policy that the client is in. `expired_exclusions`:
    places (file:line) of those whose time is over and without which the rules would have said more; `would` and
    `matches` count what they hide. `trace`: what the request is part of, if its `traceparent` says so.
    """

    time: float
    incident: str
    request_id: str
    verdict: Outcome
    mode: Mode
    would: Outcome
    coverage: Coverage
    coverage_reason: str | None
    method: bytes
    host: bytes
    path: bytes
    client: str
    route: str
    phase: Phase
    score: int
    status: int
    rule_id: int
    matches: tuple[Match, ...]
    duration_us: int
    app_executed: bool = False
    ruleset: str = ""
    policies: tuple[str, ...] = ()
    source: str | None = None
    expired_exclusions: tuple[str, ...] = ()
    shadow: Shadow | None = None
    body_bytes: int = 0
    trace: TraceParent | None = None
