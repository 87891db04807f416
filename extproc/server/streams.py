"""All streams of a worker, whatever carries them: how many are open, how each ends, and what is told about it."""

from __future__ import annotations

import logging

from extproc.model.errors import WireError
from extproc.model.inspection import Inspector
from extproc.server.complaints import Complaints
from extproc.server.exchange import Exchange, Terms
from extproc.server.status import CallError, Status

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
METHOD = "Process"

POLICY_KEY = "x-waf-policy"
"""Of the stream's initial metadata: the policy of the route."""

_CODES = {"profile-mismatch": Status.FAILED_PRECONDITION}
"""Status by reason of a WireError; the others are INVALID_ARGUMENT."""

HARD_FACTOR = 2
"""Streams over the bound are told so one by one, with an event each; from so many times the bound on, no more."""

_log = logging.getLogger(__name__)


class Streams:
    """`inspector` may be replaced; an open stream keeps the one it began with."""

    def __init__(self, inspector: Inspector, terms: Terms, max_streams: int) -> None:
        self.inspector = inspector
        self.scheduler = terms.scheduler
        self.open = 0
        self._terms = terms
        self._max = max_streams
        self._complaints = Complaints(_log.warning)

    def begin(self, policy: str) -> Exchange:
        """A new stream's exchange; `end` must follow. Raises CallError when there are far too many."""
        has_room = self.open < self._max
        if not has_room:
            self._complaints.tell("overloaded", f"more than {self._max} streams; one more was refused")
            if self.open >= HARD_FACTOR * self._max:
                raise CallError(Status.RESOURCE_EXHAUSTED, "overloaded")
        self.open += 1
        self.scheduler.arrivals += 1
        return Exchange(self.inspector, self._terms, policy, has_room)

    def judge(self, exchange: Exchange, error: Exception) -> tuple[CallError, str]:
        """What the peer is told of a fault, and the word that the event gets. Writes the log."""
        incident = exchange.incident or "none"
        if isinstance(error, WireError):
            fault = error.reason
            self._complaints.tell(fault, f"stream ended, incident {incident}: {fault}")
            return CallError(_CODES.get(fault, Status.INVALID_ARGUMENT), fault), fault
        if isinstance(error, CallError):
            fault = error.details
            self._complaints.tell(fault, f"stream ended, incident {incident}: {fault}")
            return error, fault
        _log.error("stream ended by a fault, incident %s", incident, exc_info=error)
        return CallError(Status.INTERNAL, "internal"), "internal"

    def end(self, exchange: Exchange, fault: str | None) -> None:
        """The stream is over. `fault` is a fixed word, None for a normal end."""
        self.open -= 1
        exchange.close(fault)


def fault_of_ended(exchange: Exchange) -> str | None:
    """Input ended and every message was answered: the one way to end OK."""
    return None if exchange.is_complete else "incomplete"


def fault_of_cancelled(exchange: Exchange, is_answered: bool) -> str | None:
    """Envoy resets streams that it needs no longer; that is no fault once all is answered."""
    return None if is_answered and exchange.is_complete else "cancelled"
