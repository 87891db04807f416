"""The engine behind the seam: one `EngineInspection` per exchange, one `EngineInspector` per rule set."""

from __future__ import annotations

import functools
import logging
import operator
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from extproc.bodies.decompress import decompress
from extproc.engine.collection import PersistentStore
from extproc.engine.plan import Plan
from extproc.engine.ruleset import BodySettings
from extproc.engine.second_opinion import Ask, SecondOpinion
from extproc.engine.transaction import Interruption, Transaction, Work
from extproc.engine.treatment import Removal, Source, Terms, Treat, Treatment
from extproc.model.deadline import Deadline
from extproc.model.inspection import LATE, Steps
from extproc.model.message import Headers, RequestHead, ResponseHead
from extproc.model.phase import Phase
from extproc.model.trace import trace_parent
from extproc.model.verdict import Coverage, Decision, Mode, Outcome, Verdict

DENIED_STATUS = 403
"""HTTP status of what rules and deny lists refuse, unless the rule or a policy names another one."""

CLOSING_BUDGET_US = 50_000
"""Time that the logging phase may take once an exchange is over, microseconds."""

STREAM_TYPES = (b"text/event-stream", b"application/grpc", b"multipart/x-mixed-replace")
"""Bodies of these have no end to wait for, so they flow whatever was configured."""

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)

_log = logging.getLogger(__name__)

MakeTransaction: TypeAlias = Callable[[Plan, RequestHead, Mode, PersistentStore, str, float], Transaction]
"""(plan, head, mode, store, incident, time of start) → the transaction."""


def new_incident() -> str:
    """80 random bits in Base32 (RFC 4648), 16 characters; the library takes three times as long."""
    number = int.from_bytes(os.urandom(10), "big")
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(70, -1, -10)])


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the rules are applied. `mode` is the user's; the rule set's own may weaken it."""

    mode: Mode = Mode.BLOCK
    inspect_response: bool = False
    closing_budget_us: int = CLOSING_BUDGET_US
    bodies_by_route: Mapping[str, BodySettings] = field(default_factory=dict)
    """Of the routes whose bodies have limits of their own."""


class EngineInspector:
    """Immutable but for caches; an open inspection keeps its plan."""

    def __init__(
        self,
        plan: Plan,
        settings: EngineSettings,
        on_decision: Callable[[Decision], None],
        clock: Callable[[], float] = time.time,
        make_transaction: MakeTransaction = Transaction,
        treat: Treat | None = None,
        shadow: Plan | None = None,
    ) -> None:
        """`make_transaction`: of a subclass that looks on (`explain`); the live engine uses the class itself.

        `treat`: a policy, None for none. `shadow`: rules that run beside the others and decide nothing.
        """
        self.plan = plan
        self.make_transaction = make_transaction
        self.settings = settings
        self.on_decision = on_decision
        self.clock = clock
        self.mode = Mode.weakest(settings.mode, plan.ruleset.mode)
        self.store = PersistentStore(clock, plan.ruleset.collection_timeout_seconds)
        # What is remembered between requests is apart, so that a second opinion counts nothing twice.
        self.second_store = PersistentStore(clock, plan.ruleset.collection_timeout_seconds)
        self.terms = Terms(plan, self.mode, inspect_response=settings.inspect_response, shadow=shadow)
        self.treat = treat
        if treat is None and shadow is not None:
            self.treat = lambda head, now: Treatment(self.terms, head, self.mode)

    @property
    def ruleset_hash(self) -> str:
        """Names the rules' content."""
        return self.plan.ruleset.hash

    def open(self) -> EngineInspection:
        """A new exchange."""
        return EngineInspection(self)


class EngineInspection:
    """See `model.inspection.Inspection`."""

    __slots__ = (
        "_app_executed",
        "_body",
        "_coverage",
        "_decided",
        "_ended_ns",
        "_has_answered",
        "_inspector",
        "_is_body_over",
        "_is_closed",
        "_is_consulting",
        "_is_last",
        "_is_let_through",
        "_is_request_over",
        "_is_working",
        "_lapsed",
        "_opinions",
        "_piece_bytes",
        "_pieces",
        "_reason",
        "_shadow",
        "_started_ns",
        "_terms",
        "_treatment",
        "_tx",
        "incident",
    )

    def __init__(self, inspector: EngineInspector) -> None:
        self._inspector = inspector
        self._started_ns = time.perf_counter_ns()
        self._tx: Transaction | None = None
        self._has_answered = False
        self._is_body_over = False
        self._is_closed = False
        self._is_consulting = False
        self._is_last = False
        self._is_let_through = False
        self._is_request_over = False
        self._is_working = False
        self._pieces: list[bytes] = []
        self._piece_bytes = 0
        self._ended_ns = 0
        self._decided: Verdict | None = None
        self._coverage = Coverage.INSPECTED
        self._reason: str | None = None
        self._app_executed = False
        self._terms = inspector.terms
        self._treatment: Treatment | None = None
        self._body = b""
        self._lapsed: SecondOpinion | None = None
        self._shadow: SecondOpinion | None = None
        self._opinions: tuple[SecondOpinion, ...] = ()
        self.incident = new_incident()

    @property
    def transaction(self) -> Transaction | None:
        """The engine's side of the exchange; None before its headers came."""
        return self._tx

    def request_headers(self, head: RequestHead, deadline: Deadline) -> Steps:
        tx = self._receive(head)
        self._shorten(deadline)
        yield from tx.run(Phase.REQUEST_HEADERS, deadline)
        if head.is_last and tx.interruption is None:
            yield from tx.request_body(b"", deadline)
            yield from tx.run(Phase.REQUEST_BODY, deadline)
        if self._opinions:
            yield from self._consult(tx, deadline, lambda other, until: other.request_headers(tx, head.is_last, until))
        return self._answer()

    def request_body(self, body: bytes, is_last: bool, deadline: Deadline) -> Steps:
        tx = self._transaction()
        self._begin(is_last)
        if not self._is_let_through:
            self._shorten(deadline)
            self._pieces.append(body)
            self._piece_bytes += len(body)
            if is_last or self._piece_bytes > tx.bodies.request_limit_bytes:
                yield from self._read_body(tx, deadline)
            if is_last:
                yield from tx.run(Phase.REQUEST_BODY, deadline)
                if self._opinions:
                    yield from self._consult(
                        tx, deadline, lambda other, until: other.request_body(tx, self._body, until)
                    )
            else:
                tx.phase = Phase.REQUEST_BODY
        return self._answer()

    def request_trailers(self, trailers: Headers, deadline: Deadline) -> Steps:
        tx = self._transaction()
        self._begin(is_last=True)
        if not self._is_let_through:
            self._shorten(deadline)
            yield from self._read_body(tx, deadline)
            if trailers:
                tx.request_trailers(trailers)
                yield from tx.run(Phase.REQUEST_HEADERS, deadline)
            yield from tx.run(Phase.REQUEST_BODY, deadline)
            if self._opinions:
                yield from self._consult(
                    tx, deadline, lambda other, until: other.request_body(tx, self._body, until, trailers)
                )
        return self._answer()

    def reads_response(self, head: ResponseHead) -> bool:
        tx = self._tx
        if tx is None or tx.mode is Mode.OFF or self._is_let_through or not self._terms.inspect_response:
            return False
        return tx.is_response_read and _is_read(tx.bodies, head.headers)

    def response_headers(self, head: ResponseHead, deadline: Deadline) -> Steps:
        tx = self._tx
        if tx is None or not self._terms.inspect_response:
            return self._pass_response(Phase.RESPONSE_HEADERS)
        self._app_executed = True
        self._begin(head.is_last)
        if self._is_let_through:
            return self._answer()
        self._shorten(deadline)
        tx.response_head(head)
        yield from tx.run(Phase.RESPONSE_HEADERS, deadline)
        if head.is_last and tx.interruption is None:
            yield from tx.run(Phase.RESPONSE_BODY, deadline)
        if self._opinions:
            yield from self._consult(tx, deadline, lambda other, until: other.response_headers(head, until))
        return self._answer()

    def response_body(self, body: bytes, is_last: bool, deadline: Deadline) -> Steps:
        tx = self._tx
        if tx is None or not self._terms.inspect_response:
            return self._pass_response(Phase.RESPONSE_BODY)
        self._begin(is_last)
        if not self._is_let_through:
            self._shorten(deadline)
            tx.response_body += self._visible_response(tx, body)
            if is_last:
                yield from self._end_response(tx, deadline)
        return self._answer()

    def response_trailers(self, trailers: Headers, deadline: Deadline) -> Steps:
        tx = self._tx
        if tx is None or not self._terms.inspect_response:
            return self._pass_response(Phase.RESPONSE_BODY)
        self._begin(is_last=True)
        if not self._is_let_through:
            self._shorten(deadline)
            tx.response_headers = [*tx.response_headers, *trailers]
            yield from self._end_response(tx, deadline)
        return self._answer()

    def decline(self, head: RequestHead, status: int, reason: str) -> Verdict:
        self._receive(head)
        self._set_coverage(Coverage.UNINSPECTED, reason)
        return self.refuse(status, reason)

    def refuse(self, status: int, reason: str) -> Verdict:
        tx = self._tx
        if reason == LATE and tx is not None:
            if self._is_consulting:  # what was late decides nothing; the verdict stands
                for opinion in self._opinions:
                    opinion.is_given_up = True
                return self._answer()
            if self._terms.is_late_allowed:
                self._set_coverage(Coverage.PARTLY, reason)
                self._is_let_through = True
                return self._answer()
        self._set_coverage(Coverage.PARTLY if tx is not None else Coverage.UNINSPECTED, reason)
        phase = tx.phase if tx is not None else Phase.REQUEST_HEADERS
        if tx is None or tx.mode is Mode.BLOCK:
            self._end()
            self._decided = verdict = self._verdict(Outcome.BLOCK, phase, status)
            return verdict
        # Monitor never blocks: told as what would have been, and nothing more of the exchange is looked at.
        if tx.would is None:
            tx.would = Interruption(0, phase, status)
        self._is_let_through = True
        return self._answer()

    def skip(self, reason: str) -> Verdict:
        tx = self._transaction()
        self._set_coverage(Coverage.PARTLY, reason)
        self._decided = verdict = self._verdict(Outcome.ALLOW, tx.phase)
        return verdict

    def close(self, fault: str | None) -> None:
        tx = self._tx
        if tx is None or self._is_closed:
            return
        self._is_closed = True
        if self._is_working:  # a message came that was never answered, so nothing of it went on
            self._decided = None
        if self._decided is None and (fault is not None or not self._is_request_over):
            coverage = Coverage.PARTLY if self._has_answered else Coverage.UNINSPECTED
            self._set_coverage(coverage, fault or "incomplete")
        phase = tx.phase
        self._run_logging_phase(tx)
        try:
            self._inspector.on_decision(self._decision(tx, phase))
        except Exception:
            _log.exception("incident %s: no event could be made of it", self.incident)

    def _receive(self, head: RequestHead) -> Transaction:
        inspector = self._inspector
        now = inspector.clock()
        if inspector.treat is None:
            plan, mode = inspector.plan, inspector.mode
            tx = self._tx = inspector.make_transaction(plan, head, mode, inspector.store, self.incident, now)
            tx.bodies = inspector.settings.bodies_by_route.get(head.route, tx.bodies)
        else:
            tx = self._tx = self._govern(inspector.treat(head, now), now)
        self._begin(head.is_last)
        if tx.mode is Mode.OFF:
            self._set_coverage(Coverage.UNINSPECTED, "mode-off")
        return tx

    def _govern(self, treatment: Treatment, now: float) -> Transaction:
        """A transaction under a policy, and the second opinions that it asks for."""
        inspector = self._inspector
        self._treatment = treatment
        terms = self._terms = treatment.terms
        head, plan = treatment.head, terms.plan
        tx = inspector.make_transaction(plan, head, treatment.mode, inspector.store, self.incident, now)
        bodies = terms.bodies or inspector.settings.bodies_by_route.get(head.route, plan.ruleset.bodies)
        tx.govern(bodies, terms, treatment.removals + treatment.lapsed_removals)
        if treatment.source is Source.DENIED:
            tx.deny(DENIED_STATUS)
        if tx.mode is Mode.OFF or tx.interruption is not None:
            return tx
        if treatment.lapsed_removals:
            self._lapsed = self._second(plan, treatment, treatment.removals, tx, treatment.lapsed_removals)
        if terms.shadow is not None:
            self._shadow = self._second(terms.shadow, treatment, treatment.shadow_removals, tx)
        self._opinions = tuple(opinion for opinion in (self._lapsed, self._shadow) if opinion is not None)
        return tx

    def _second(
        self,
        plan: Plan,
        treatment: Treatment,
        removals: tuple[Removal, ...],
        first: Transaction,
        waits_for: tuple[Removal, ...] = (),
    ) -> SecondOpinion:
        store = self._inspector.second_store
        tx = Transaction(plan, treatment.head, Mode.MONITOR, store, self.incident, first.started)
        tx.govern(first.bodies, treatment.terms, removals)
        return SecondOpinion(tx, functools.reduce(operator.or_, (removal.mask for removal in waits_for), 0))

    def _consult(self, first: Transaction, deadline: Deadline, ask: Ask) -> Work:
        """Second opinions, in what is left of the time. Whatever becomes of them, the verdict stands."""
        self._is_consulting = True
        for opinion in self._opinions:
            if opinion.is_given_up:
                continue
            try:
                for _ in opinion.answer(first, ask, deadline):
                    if deadline.is_expired():
                        opinion.is_given_up = True
                        break
                    yield
            except Exception:
                opinion.is_given_up = True
                _log.exception("incident %s: a second opinion ended by a fault", self.incident)
        self._is_consulting = False

    def _shorten(self, deadline: Deadline) -> None:
        if self._terms.budget_us is not None:
            deadline.shorten(self._terms.budget_us)

    def _read_body(self, tx: Transaction, deadline: Deadline) -> Work:
        """All that came of it, once: what comes after the limit was passed is not looked at."""
        if self._pieces and not self._is_body_over:
            self._is_body_over = self._piece_bytes > tx.bodies.request_limit_bytes
            body = b"".join(self._pieces)
            if self._opinions:
                self._body = body
                for opinion in self._opinions:
                    opinion.compare(tx)
            yield from tx.request_body(body, deadline)
        self._pieces.clear()

    def _end_response(self, tx: Transaction, deadline: Deadline) -> Work:
        self._unpack_response(tx)
        yield from tx.run(Phase.RESPONSE_BODY, deadline)
        if self._opinions:
            yield from self._consult(tx, deadline, lambda other, until: other.response_body(tx, until))

    def _begin(self, is_last: bool) -> None:
        self._is_last = is_last
        self._is_working = True

    def _end(self) -> None:
        self._is_working = False
        self._has_answered = True
        self._ended_ns = time.perf_counter_ns()

    def _transaction(self) -> Transaction:
        if self._tx is None:
            raise RuntimeError("a body or trailers came before the headers")
        return self._tx

    def _visible_response(self, tx: Transaction, body: bytes) -> bytes:
        settings = tx.bodies
        if not tx.is_response_read or not _is_read(settings, tx.response_headers):
            return b""
        room = settings.response_limit_bytes - len(tx.response_body)
        if len(body) > room:
            tx.flags["OUTBOUND_DATA_ERROR"] = 1
            tx.note_partly("response-body-limit")
            return body[: max(room, 0)]
        return body

    @staticmethod
    def _unpack_response(tx: Transaction) -> None:
        """What the app compressed is seen as the client will read it; what cannot be unpacked, as it is."""
        encoding = b",".join(value for key, value in tx.response_headers if key == b"content-encoding")
        if encoding and tx.response_body:
            decoded = decompress(tx.response_body, encoding, tx.bodies.limits)
            tx.response_body = decoded.body
            reason = decoded.partly or decoded.error
            if reason:
                tx.note_partly(reason)

    def _pass_response(self, phase: Phase) -> Verdict:
        return self._decided or self._verdict(Outcome.ALLOW, phase)

    def _set_coverage(self, coverage: Coverage, reason: str) -> None:
        if self._coverage is Coverage.INSPECTED:
            self._coverage, self._reason = coverage, reason

    def _answer(self) -> Verdict:
        tx = self._transaction()
        self._end()
        interruption = tx.interruption
        if tx.partly is not None:
            self._set_coverage(Coverage.PARTLY, tx.partly)
        if interruption is not None:
            status = interruption.status
            if self._terms.status is not None and status == DENIED_STATUS:
                status = self._terms.status
            self._decided = verdict = self._verdict(
                Outcome.BLOCK, interruption.phase, status, interruption.rule_id, interruption.location
            )
            return verdict
        if not self._is_last:
            return self._verdict(Outcome.PENDING, tx.phase)
        self._is_request_over = True
        self._decided = verdict = self._verdict(Outcome.ALLOW, tx.phase)
        return verdict

    def _verdict(
        self, outcome: Outcome, phase: Phase, status: int = 200, rule_id: int = 0, location: bytes = b""
    ) -> Verdict:
        tx = self._tx
        return Verdict(
            outcome=outcome,
            phase=phase,
            incident=self.incident,
            status=status,
            rule_id=rule_id,
            rule_ids=tuple(dict.fromkeys(match.rule_id for match in tx.matches)) if tx and tx.matches else (),
            score=tx.score if tx else 0,
            coverage=self._coverage,
            coverage_reason=self._reason,
            ruleset=self._terms.plan.ruleset.hash,
            location=location,
            shadow=self._shadow.would if self._shadow is not None else "",
            templates=self._terms.templates,
        )

    def _run_logging_phase(self, tx: Transaction) -> None:
        """Phase 5, after the answer; it changes no verdict, and its faults cost no event."""
        deadline = Deadline(time.monotonic_ns, self._inspector.settings.closing_budget_us)
        try:
            for _ in tx.run(Phase.LOGGING, deadline):
                if deadline.is_expired():
                    break
        except Exception:
            _log.exception("incident %s: the logging phase ended by a fault", self.incident)

    def _decision(self, tx: Transaction, phase: Phase) -> Decision:
        decided = self._decided
        lapsed = self._lapsed.tx if self._lapsed is not None else None
        matches = tx.matches
        if lapsed is not None:
            known = {(match.rule_id, match.variable) for match in matches}
            hidden = [match for match in lapsed.matches if (match.rule_id, match.variable) not in known]
            matches = matches + hidden
            if not hidden and (lapsed.would is None or tx.would is not None):
                lapsed = None  # the expired exclusions changed nothing here
        # What was not decided was not let through.
        outcome = decided.outcome if decided is not None else Outcome.BLOCK
        cause = tx.interruption or tx.would or (lapsed.would if lapsed is not None else None)
        is_denied = cause is not None or (decided is not None and outcome is Outcome.BLOCK)
        head, treatment, terms = tx.head, self._treatment, self._terms
        mode = tx.mode
        if treatment is not None and mode is treatment.mode and terms.mode is Mode.SAFE_BLOCK:
            mode = terms.mode
        return Decision(
            time=tx.started,
            incident=self.incident,
            request_id=head.request_id,
            verdict=outcome,
            mode=mode,
            would=Outcome.BLOCK if is_denied else Outcome.ALLOW,
            coverage=self._coverage,
            coverage_reason=self._reason,
            method=head.method,
            host=head.authority,
            path=head.path,
            client=head.client.host,
            route=head.route,
            phase=cause.phase if cause else (decided.phase if decided else phase),
            score=max(tx.score, lapsed.score) if lapsed is not None else tx.score,
            status=decided.status if decided is not None and outcome is Outcome.BLOCK else 0,
            rule_id=cause.rule_id if cause else 0,
            matches=tuple(matches),
            duration_us=((self._ended_ns or time.perf_counter_ns()) - self._started_ns) // 1000,
            app_executed=self._app_executed,
            body_bytes=self._piece_bytes,
            ruleset=terms.plan.ruleset.hash,
            policies=terms.policies,
            source=treatment.source if treatment is not None else None,
            expired_exclusions=treatment.lapsed if treatment is not None and lapsed is not None else (),
            shadow=self._shadow.shadow() if self._shadow is not None else None,
            trace=trace_parent(head.headers),
        )


def _is_read(settings: BodySettings, headers: Iterable[tuple[bytes | None, bytes]]) -> bool:
    """Is a response with these headers of a type that is looked at?"""
    content_type = next((value for key, value in headers if key == b"content-type"), b"")
    media = content_type.partition(b";")[0].strip().lower()
    if media.startswith(STREAM_TYPES):
        return False
    return not settings.response_types or media in settings.response_types
