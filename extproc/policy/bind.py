"""A policy and the rules that run → how each exchange is treated. What the engine asks once per request."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from extproc.engine.plan import Plan
from extproc.engine.ruleset import BodySettings
from extproc.engine.treatment import Removal, Source, Terms, Treatment
from extproc.model.answer import Templates
from extproc.model.errors import PolicyErrors
from extproc.model.message import Address, RequestHead
from extproc.model.verdict import Mode
from extproc.policy.client import client_of
from extproc.policy.fields import least_score
from extproc.policy.merge import Effective, Merger
from extproc.policy.model import AddressTest, Exclusion, Policy
from extproc.policy.openapi import ApiDocument, Operation
from extproc.policy.shapes import Report

PARANOIA_KEYS = (b"blocking_paranoia_level", b"detection_paranoia_level")
INBOUND_KEYS = (b"inbound_anomaly_score_threshold", b"inbound_threshold")
OUTBOUND_KEYS = (b"outbound_anomaly_score_threshold",)
"""TX variables: of the Core Rule Set (its crs-setup.conf), and of the own rules."""

DETECTION_KEYS = (b"detection_threshold",)
"""TX variable of the own detectors (docs/DETECTION.md)."""

PINNED = {
    "paranoia": PARANOIA_KEYS,
    "thresholds.inbound": INBOUND_KEYS,
    "thresholds.outbound": OUTBOUND_KEYS,
    "thresholds.detection": DETECTION_KEYS,
    "graphql.introspection": (b"graphql_introspection",),
    "graphql.batch": (b"graphql_batch",),
}
"""Key of a policy → the TX variables that it sets and that no rule can change."""

MAX_UNKNOWN = 16
"""Names of policies that are not there, told once each; more are not told."""

_log = logging.getLogger(__name__)

FIELDS = "fields."
"""Begins the dotted keys of fields."""

MAX_REMEMBERED_TERMS = 4096
"""Terms kept by the policies that they are made of; more start anew."""


@dataclass(frozen=True, slots=True)
class Base:
    """What holds where no policy speaks, and what none can pass.

    `plans` by profile, "" for the one of the settings; `shadow` runs beside each of them. `bodies_by_route`: of routes
    with limits of their own.
    """

    plans: Mapping[str, Plan]
    mode: Mode
    inspect_response: bool
    body_limit_bytes: int
    time_budget_ms: int
    bodies_by_route: Mapping[str, BodySettings] = field(default_factory=dict)
    shadow: Plan | None = None


@dataclass(frozen=True, slots=True)
class _BoundExclusion:
    exclusion: Exclusion
    ends: float
    removals: tuple[Removal, ...]
    shadow_removals: tuple[Removal, ...]


@dataclass(frozen=True, slots=True)
class _Bound:
    """What some policies say together, in the engine's words."""

    terms: Terms
    exclusions: tuple[_BoundExclusion, ...]
    lists: tuple[tuple[Source, tuple[AddressTest, ...]], ...]
    trusted: tuple[AddressTest, ...]
    api: ApiDocument | None
    by_operation: dict[str, Terms] = field(default_factory=dict)

    def terms_of(self, operation: Operation) -> Terms:
        """With the operation's fields; what the policies say of a field themselves wins."""
        terms = self.by_operation.get(operation.text)
        if terms is None:
            fields = {**field_scores(operation.fields), **self.terms.fields}
            terms = self.by_operation[operation.text] = replace(self.terms, fields=fields)
        return terms


class Binder:
    """`treat` is what the engine calls. Holds only caches that grow up to a bound."""

    def __init__(self, policy: Policy, base: Base) -> None:
        """Raises PolicyErrors for what cannot be with these settings (a body limit above Envoy's, ...)."""
        self.policy = policy
        self._base = base
        self._merger = Merger(policy)
        self._bound: dict[tuple[str, tuple[str, ...]], _Bound] = {}
        self._unknown: set[str] = set()
        self._check()

    def treat(self, head: RequestHead, now: float) -> Treatment:
        """How this exchange is treated. `now`: seconds since 1970."""
        if head.policy and not self._merger.knows(head.policy):
            self._tell_unknown(head.policy)
        effective, host, path = self._merger.fit(head.policy, head.route, head.authority, head.path)
        route = head.route if head.route in self._base.bodies_by_route else ""
        bound = self._bound.get((route, effective.names))
        if bound is None:
            bound = self._bind(effective, route)
        terms = bound.terms
        if bound.api is not None and path is not None:
            operation = bound.api.find(head.method, path)
            if operation is not None:
                terms = bound.terms_of(operation)
        if bound.trusted:
            client = client_of(head.client.host, head.headers, bound.trusted)
            if client != head.client.host:
                head = replace(head, client=Address(client))
        source = _source(head.client.host, bound.lists) if bound.lists else None
        treatment = Treatment(terms, head, _enforced(terms.mode, source), source=source)
        if bound.exclusions:
            _exclude(treatment, bound.exclusions, host, path, now)
        return treatment

    def modes(self) -> list[tuple[str, Mode, Mode]]:
        """(scope, the mode that it asks for, the mode that holds) of each scope that asks for one."""
        found = []
        for scope in self.policy.scopes:
            if "mode" in scope.given:
                asked = Mode(scope.given["mode"].value)
                profile = scope.given["profile"].value if "profile" in scope.given else ""
                rules = self._base.plans[profile].ruleset.mode
                found.append((scope.name, asked, Mode.weakest(asked, self._base.mode, rules)))
        return found

    def without_effect(self) -> list[str]:
        """A sentence for each key that sets a variable which no rule of its plan reads."""
        told = []
        for scope in self.policy.scopes:
            plan = self._base.plans[scope.given["profile"].value if "profile" in scope.given else ""]
            read = _variables_read(plan)
            names_of = {
                **PINNED,
                **{key: DETECTION_KEYS for key in scope.given if key.startswith(FIELDS) or key == "openapi"},
            }
            for key, names in names_of.items():
                if key in scope.given and read.isdisjoint(names):
                    place = self.policy.place(scope.given[key].line)
                    told.append(f"{place}: {key} changes nothing here: the rules that run do not know it")
        return told

    def _tell_unknown(self, name: str) -> None:
        """Once per name: a route of an Envoy that is not ours may ask for what this file never had."""
        if name not in self._unknown and len(self._unknown) < MAX_UNKNOWN:
            self._unknown.add(name)
            _log.warning("%s: Envoy asks for the policy %r, which there is not; defaults hold", self.policy.file, name)

    def _bind(self, effective: Effective, route: str) -> _Bound:
        if len(self._bound) >= MAX_REMEMBERED_TERMS:
            self._bound.clear()
        terms = _terms(effective, self._base, route)
        exclusions = tuple(_bind_exclusion(one, terms.plan, terms.shadow) for one in effective.exclusions)
        names = ((Source.ALLOWED, "ip.allow"), (Source.DENIED, "ip.deny"), (Source.SUSPICIOUS, "ip.suspicious"))
        lists = tuple((source, tests) for source, key in names if (tests := _tests(effective, key)))
        bound = _Bound(terms, exclusions, lists, _tests(effective, "trusted_proxies"), effective.value("openapi"))
        self._bound[(route, effective.names)] = bound
        return bound

    def _check(self) -> None:
        report = Report(self.policy.file)
        base = self._base
        for scope in self.policy.scopes:
            given = scope.given
            limit, time, response = given.get("body.limit"), given.get("time.limit"), given.get("response")
            profile = given.get("profile")
            if limit is not None and limit.value > base.body_limit_bytes:
                report.tell(
                    limit.line,
                    f"body.limit {limit.value} is above what Envoy lets through ({base.body_limit_bytes}): "
                    "raise --body-limit, or lower this one",
                )
            if time is not None and time.value > base.time_budget_ms:
                report.tell(
                    time.line,
                    f"time.limit {time.value} ms is above --time-budget ({base.time_budget_ms} ms), which Envoy waits "
                    "for: raise that, or lower this one",
                )
            if response is not None and response.value and not base.inspect_response:
                report.tell(response.line, "response: Envoy sends no responses without --response; add it")
            if profile is not None and profile.value not in base.plans:
                report.tell(profile.line, f"profile {profile.value} is not loaded; it needs --crs DIR")
        for effective in self._merger.selections():
            if effective.value("mode") == Mode.SAFE_BLOCK and not _tests(effective, "ip.suspicious"):
                scope, given_mode = effective.said["mode"][-1]
                report.tell(
                    given_mode.line,
                    f"safe-block blocks suspicious sources only; {scope.name} knows none: list them in ip.suspicious",
                )
        if report.findings:
            raise PolicyErrors(self.policy.file, report.findings)


def _terms(effective: Effective, base: Base, route: str) -> Terms:
    plan = base.plans[effective.value("profile", "")]
    asked = effective.value("mode")
    mode = Mode.weakest(base.mode, plan.ruleset.mode, *((Mode(asked),) if asked is not None else ()))
    time_ms = effective.value("time.limit")
    templates = Templates(
        effective.value("block.html"), effective.value("block.problem"), effective.value("block.plain")
    )
    return Terms(
        plan=plan,
        mode=mode,
        bodies=_bodies(effective, base.bodies_by_route.get(route, plan.ruleset.bodies)),
        inspect_response=base.inspect_response and effective.value("response", True),
        pins=_pins(effective),
        fields=_fields(effective),
        budget_us=time_ms * 1000 if time_ms is not None else None,
        is_late_allowed=effective.value("time.beyond") == "allow",
        status=effective.value("block.status"),
        templates=templates if templates != Templates() else None,
        policies=effective.names,
        shadow=base.shadow,
    )


def _bodies(effective: Effective, bodies: BodySettings) -> BodySettings | None:
    limit, beyond = effective.value("body.limit"), effective.value("body.beyond")
    if limit is None and beyond is None:
        return None
    if limit is not None:
        bodies = replace(bodies, request_limit_bytes=min(limit, bodies.request_limit_bytes))
    if beyond is None:
        return bodies
    return replace(
        bodies,
        is_request_excess_partial=beyond == "inspect-prefix",
        is_request_excess_skipped=beyond == "skip",
        is_cut_forgiven=beyond != "reject",
    )


def _pins(effective: Effective) -> dict[bytes, bytes]:
    pins: dict[bytes, bytes] = {}
    for key, names in PINNED.items():
        value = effective.value(key)
        if value is not None:
            pins.update(dict.fromkeys(names, b"%d" % value))
    return pins


def _variables_read(plan: Plan) -> set[bytes]:
    """TX variables that a rule looks at or refers to; the detectors look at their threshold by themselves."""
    read: set[bytes] = set()
    for rule in plan.rules:
        for link in (rule, *rule.chain):
            read.update(target.key for target in link.targets if target.collection == "TX" and target.key is not None)
            for text in (link.dynamic_argument, *(setvar.value for setvar in link.setvars)):
                parts = text.parts if text is not None else ()
                read.update(part[1] for part in parts if not isinstance(part, bytes) and part[1] is not None)
            if link.operator is not None and link.operator.detector is not None:
                read.update(DETECTION_KEYS)
    return read


def _fields(effective: Effective) -> dict[tuple[str, bytes], int]:
    said = {key.removeprefix(FIELDS): effective.value(key) for key in effective.said if key.startswith(FIELDS)}
    return field_scores(said)


def field_scores(kinds: Mapping[str, str]) -> dict[tuple[str, bytes], int]:
    """`ARGS:name` → kind, as the engine wants it."""
    scores = {}
    for variable, kind in kinds.items():
        collection, _, name = variable.partition(":")
        scores[collection, name.lower().encode()] = least_score(kind)
    return scores


def _bind_exclusion(exclusion: Exclusion, plan: Plan, shadow: Plan | None) -> _BoundExclusion:
    ends = exclusion.ends
    return _BoundExclusion(
        exclusion,
        float("inf") if ends is None else ends,
        _removals(exclusion, plan),
        _removals(exclusion, shadow) if shadow is not None else (),
    )


def _removals(exclusion: Exclusion, plan: Plan) -> tuple[Removal, ...]:
    mask = plan.mask_of_ids(exclusion.rules) if exclusion.rules else 0
    for tag in exclusion.tags:
        mask |= plan.mask_of_tag(tag)
    if not mask:
        return ()
    if not exclusion.variables:
        return (Removal(mask),)
    return tuple(Removal(mask, target) for target in exclusion.variables)


def _exclude(
    treatment: Treatment, exclusions: Sequence[_BoundExclusion], host: str, path: bytes | None, now: float
) -> None:
    head = treatment.head
    live: list[Removal] = []
    over: list[Removal] = []
    lapsed: list[str] = []
    shadow: list[Removal] = []
    for bound in exclusions:
        one = bound.exclusion
        if one.methods and head.method not in one.methods:
            continue
        if not one.where.covers(head.route, host, path):
            continue
        shadow += bound.shadow_removals
        if now < bound.ends:
            live += bound.removals
        else:
            over += bound.removals
            lapsed.append(one.place)
    treatment.removals = tuple(live)
    treatment.lapsed_removals = tuple(over)
    treatment.lapsed = tuple(lapsed)
    treatment.shadow_removals = tuple(shadow)


def _tests(effective: Effective, key: str) -> tuple[AddressTest, ...]:
    return tuple(found.test for found in effective.values(key) if found.count)


def _source(client: str, lists: Sequence[tuple[Source, tuple[AddressTest, ...]]]) -> Source | None:
    written = client.encode("latin-1", "replace")
    for source, tests in lists:
        for test in tests:
            if test(written) is not None:
                return source
    return None


def _enforced(mode: Mode, source: Source | None) -> Mode:
    """What the rules run in: off, monitor or block."""
    if mode is Mode.OFF:
        return mode
    if source is Source.ALLOWED:
        return Mode.MONITOR
    if mode is Mode.SAFE_BLOCK:
        return Mode.MONITOR if source is None else Mode.BLOCK
    return mode
