"""The engine behind the seam: one `EngineInspection` per exchange, one `EngineInspector` per rule set."""

from __future__ import annotations

import os
import time
from base64 import b32encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from extproc.engine.collection import PersistentStore
from extproc.engine.plan import Plan
from extproc.engine.transaction import Transaction
from extproc.model.deadline import Deadline
from extproc.model.inspection import Steps
from extproc.model.message import Headers, RequestHead, ResponseHead
from extproc.model.phase import Phase
from extproc.model.verdict import Coverage, Decision, Mode, Outcome, Verdict

CLOSING_BUDGET_US = 50_000
"""Time that the logging phase may take once an exchange is over, microseconds."""


MakeTransaction: TypeAlias = Callable[[Plan, RequestHead, Mode, PersistentStore, str, float], Transaction]
"""(plan, head, mode, store, incident, time of start) → the transaction."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the rules are applied. `mode` is the user's; the rule set's own may weaken it."""

    mode: Mode = Mode.BLOCK
    inspect_response: bool = False


class EngineInspector:
    """Immutable but for caches; an open inspection keeps its plan."""

    def __init__(
        self,
        plan: Plan,
        settings: EngineSettings,
        on_decision: Callable[[Decision], None],
        clock: Callable[[], float] = time.time,
        make_transaction: MakeTransaction = Transaction,
    ) -> None:
        """`make_transaction`: of a subclass that looks on (`explain`); the live engine uses the class itself."""
        self.plan = plan
        self.make_transaction = make_transaction
        self.settings = settings
        self.on_decision = on_decision
        self.clock = clock
        self.mode = Mode.weakest(settings.mode, plan.ruleset.mode)
        self.store = PersistentStore(clock, plan.ruleset.collection_timeout_seconds)

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
        "_coverage",
        "_decided",
        "_has_logged",
        "_inspector",
        "_is_request_over",
        "_reason",
        "_started_ns",
        "_tx",
        "incident",
    )

    def __init__(self, inspector: EngineInspector) -> None:
        self._inspector = inspector
        self._started_ns = time.perf_counter_ns()
        self._tx: Transaction | None = None
        self._is_request_over = False
        self._decided: Verdict | None = None
        self._has_logged = False
        self._coverage = Coverage.INSPECTED
        self._reason: str | None = None
        self._app_executed = False
        self.incident = b32encode(os.urandom(10)).decode("ascii")

    @property
    def transaction(self) -> Transaction | None:
        """The engine's side of the exchange; None before its headers came."""
        return self._tx

    def request_headers(self, head: RequestHead, deadline: Deadline) -> Steps:
        inspector = self._inspector
        tx = self._tx = inspector.make_transaction(
            inspector.plan, head, inspector.mode, inspector.store, self.incident, inspector.clock()
        )
        if tx.mode is Mode.OFF:
            self._set_coverage(Coverage.UNINSPECTED, "mode-off")
        yield from tx.run(Phase.REQUEST_HEADERS, deadline)
        if head.is_last and tx.interruption is None:
            yield from tx.request_body(b"", deadline)
            yield from tx.run(Phase.REQUEST_BODY, deadline)
        return self._answer(is_last=head.is_last)

    def request_body(self, body: bytes, is_last: bool, deadline: Deadline) -> Steps:
        tx = self._transaction()
        yield from tx.request_body(body, deadline)
        if is_last:
            yield from tx.run(Phase.REQUEST_BODY, deadline)
        else:
            tx.phase = Phase.REQUEST_BODY
        return self._answer(is_last)

    def request_trailers(self, trailers: Headers, deadline: Deadline) -> Steps:
        tx = self._transaction()
        if trailers:
            tx.request_trailers(trailers)
            yield from tx.run(Phase.REQUEST_HEADERS, deadline)
        yield from tx.run(Phase.REQUEST_BODY, deadline)
        return self._answer(is_last=True)

    def response_headers(self, head: ResponseHead, deadline: Deadline) -> Steps:
        tx = self._tx
        if tx is None or not self._inspector.settings.inspect_response:
            return self._pass_response(Phase.RESPONSE_HEADERS)
        self._app_executed = True
        tx.response_head(head)
        yield from tx.run(Phase.RESPONSE_HEADERS, deadline)
        if head.is_last and tx.interruption is None:
            yield from tx.run(Phase.RESPONSE_BODY, deadline)
        return self._answer(is_last=head.is_last)

    def response_body(self, body: bytes, is_last: bool, deadline: Deadline) -> Steps:
        tx = self._tx
        if tx is None or not self._inspector.settings.inspect_response:
            return self._pass_response(Phase.RESPONSE_BODY)
        tx.response_body += self._visible_response(tx, body)
        if is_last:
            yield from tx.run(Phase.RESPONSE_BODY, deadline)
        return self._answer(is_last)

    def response_trailers(self, trailers: Headers, deadline: Deadline) -> Steps:
        tx = self._tx
        if tx is None or not self._inspector.settings.inspect_response:
            return self._pass_response(Phase.RESPONSE_BODY)
        tx.response_headers = [*tx.response_headers, *trailers]
        yield from tx.run(Phase.RESPONSE_BODY, deadline)
        return self._answer(is_last=True)

    def refuse(self, status: int, reason: str) -> Verdict:
        tx = self._tx
        self._set_coverage(Coverage.PARTLY if tx is not None else Coverage.UNINSPECTED, reason)
        verdict = self._verdict(Outcome.BLOCK, tx.phase if tx else Phase.REQUEST_HEADERS, status)
        self._decided = verdict
        self._log()
        return verdict

    def skip(self, reason: str) -> Verdict:
        tx = self._transaction()
        self._set_coverage(Coverage.PARTLY, reason)
        verdict = self._verdict(Outcome.ALLOW, tx.phase)
        self._decided = verdict
        return verdict

    def close(self, fault: str | None) -> None:
        tx = self._tx
        if tx is None or self._has_logged:
            return
        if fault is not None and self._decided is None:
            self._set_coverage(Coverage.UNINSPECTED if tx.phase is Phase.REQUEST_HEADERS else Coverage.PARTLY, fault)
        elif not self._is_request_over and self._decided is None:
            self._set_coverage(Coverage.PARTLY, "incomplete")
        self._log()

    def _transaction(self) -> Transaction:
        if self._tx is None:
            raise RuntimeError("a body or trailers came before the headers")
        return self._tx

    def _visible_response(self, tx: Transaction, body: bytes) -> bytes:
        settings = tx.bodies
        content_type = next((value for key, value in tx.response_headers if key == b"content-type"), b"")
        if not tx.is_response_read:
            return b""
        if settings.response_types and content_type.partition(b";")[0].strip().lower() not in settings.response_types:
            return b""
        room = settings.response_limit_bytes - len(tx.response_body)
        if len(body) > room:
            tx.flags["OUTBOUND_DATA_ERROR"] = 1
            tx.note_partly("response-body-limit")
            return body[: max(room, 0)]
        return body

    def _pass_response(self, phase: Phase) -> Verdict:
        return self._decided or self._verdict(Outcome.ALLOW, phase)

    def _set_coverage(self, coverage: Coverage, reason: str) -> None:
        if self._coverage is Coverage.INSPECTED:
            self._coverage, self._reason = coverage, reason

    def _answer(self, is_last: bool) -> Verdict:
        tx = self._transaction()
        interruption = tx.interruption
        if tx.partly is not None:
            self._set_coverage(Coverage.PARTLY, tx.partly)
        if interruption is not None:
            verdict = self._verdict(
                Outcome.BLOCK, interruption.phase, interruption.status, interruption.rule_id, interruption.location
            )
            self._decided = verdict
            self._log()
            return verdict
        if not is_last:
            return self._verdict(Outcome.PENDING, tx.phase)
        is_response = tx.phase >= Phase.RESPONSE_HEADERS
        self._is_request_over = True
        self._decided = verdict = self._verdict(Outcome.ALLOW, tx.phase)
        if is_response or not self._inspector.settings.inspect_response:
            self._log()
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
            ruleset=self._inspector.ruleset_hash,
            location=location,
        )

    def _log(self) -> None:
        if self._has_logged or self._tx is None:
            return
        self._has_logged = True
        tx = self._tx
        decided = self._decided
        deadline = Deadline(time.monotonic_ns, CLOSING_BUDGET_US)
        for _ in tx.run(Phase.LOGGING, deadline):
            if deadline.is_expired():
                break
        head = tx.head
        would = (
            Outcome.BLOCK if tx.would is not None or (decided and decided.outcome is Outcome.BLOCK) else Outcome.ALLOW
        )
        cause = tx.interruption or tx.would
        outcome = decided.outcome if decided is not None else Outcome.BLOCK
        self._inspector.on_decision(
            Decision(
                time=tx.started,
                incident=self.incident,
                request_id=head.request_id,
                verdict=outcome,
                mode=tx.mode,
                would=would,
                coverage=self._coverage,
                coverage_reason=self._reason,
                method=head.method,
                host=head.authority,
                path=head.path,
                client=head.client.host,
                route=head.route,
                phase=cause.phase if cause else (decided.phase if decided else tx.phase),
                score=tx.score,
                status=decided.status if decided is not None and outcome is Outcome.BLOCK else 0,
                rule_id=cause.rule_id if cause else 0,
                matches=tuple(tx.matches),
                duration_us=(time.perf_counter_ns() - self._started_ns) // 1000,
                app_executed=self._app_executed,
                ruleset=self._inspector.ruleset_hash,
            )
        )
