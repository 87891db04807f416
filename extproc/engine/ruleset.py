"""Compiled rules: immutable, shared by all transactions, swapped whole on reload."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from extproc.actions.control import Control
from extproc.actions.macro import MacroText
from extproc.actions.setvar import ExpireVar, InitCollection, SetVar
from extproc.bodies.contract import Limits
from extproc.model.phase import Phase
from extproc.model.verdict import Mode
from extproc.operators.contract import Operator
from extproc.transformations.contract import Transformation


@dataclass(frozen=True, slots=True)
class Target:
    """What a rule looks at. `key` is in lower case; `key_test` answers for a `/pattern/` selector."""

    collection: str
    key: bytes | None = None
    key_test: Callable[[bytes], object] | None = None
    is_count: bool = False
    text: str = ""

    def covers(self, key: bytes | None) -> bool:
        """Does this target name the variable with that (lower-case) key?"""
        if self.key is not None:
            return self.key == key
        if self.key_test is not None:
            return key is not None and self.key_test(key) is not None
        return True


@dataclass(frozen=True, slots=True)
class Disruptive:
    """What the rule asks for: `deny`, `drop`, `redirect`, `allow`, `pass`; `scope` of allow: all, phase, request."""

    name: str
    status: int = 403
    location: MacroText | None = None
    scope: str = "all"


@dataclass(slots=True)
class Rule:
    """One link, ready to run; a chain's further links hang on its starter.

    `operator` None is SecAction. `dynamic` compiles an argument whose macros were expanded.
    `index` is the place in the phase's list and the rule's bit in every mask; -1 for chain links.
    `jump` is the index where skip or skipAfter goes on (-1: no jump).
    """

    id: int
    phase: Phase
    file: str
    line: int
    targets: tuple[Target, ...]
    exclusions: tuple[Target, ...]
    operator: Operator | None
    is_negated: bool = False
    dynamic: Callable[[bytes], Operator] | None = None
    dynamic_argument: MacroText | None = None
    transformations: tuple[Transformation, ...] = ()
    is_multi_match: bool = False
    has_capture: bool = False
    setvars: tuple[SetVar, ...] = ()
    expirevars: tuple[ExpireVar, ...] = ()
    initcols: tuple[InitCollection, ...] = ()
    controls: tuple[Control, ...] = ()
    disruptive: Disruptive | None = None
    skip: int = 0
    skip_after: bytes | None = None
    jump: int = -1
    msg: MacroText | None = None
    logdata: MacroText | None = None
    tags: tuple[str, ...] = ()
    severity: str = ""
    is_logged: bool = True
    chain: tuple[Rule, ...] = ()
    index: int = -1
    clauses: tuple[frozenset[bytes], ...] = ()

    @property
    def place(self) -> str:
        """`file:line`, for people."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class BodySettings:
    """Which bodies are read, and how far.

    `is_type_guessed`: a body without a type that we know is read as what it looks like. `is_cut_forgiven`: a body of
    which we were given the beginning alone is not malformed for having no end. Of a request body over its limit the
    first part is looked at (`..._partial`), nothing (`..._skipped`), or it is refused.
    """

    is_request_read: bool = True
    is_response_read: bool = False
    is_type_guessed: bool = False
    request_limit_bytes: int = 131_072
    is_request_excess_partial: bool = False
    is_cut_forgiven: bool = False
    is_request_excess_skipped: bool = False
    response_limit_bytes: int = 524_288
    is_response_excess_partial: bool = True
    response_types: frozenset[bytes] = frozenset({b"text/plain", b"text/html", b"text/xml", b"application/json"})
    argument_separator: bytes = b"&"
    limits: Limits = field(default_factory=Limits)


@dataclass(slots=True)
class Ruleset:
    """All rules by phase, in file order, and what the directives said.

    `mode` is SecRuleEngine's. `hash` names the content (hexadecimal, 16 digits).
    """

    phases: dict[Phase, tuple[Rule, ...]]
    mode: Mode
    bodies: BodySettings
    hash: str
    signature: str = ""
    notices: tuple[str, ...] = ()
    collection_timeout_seconds: int = 3600
    by_id: dict[int, Rule] = field(default_factory=dict)
