"""One gRPC stream: reads, answers, and never ends OK with a question unanswered.

Messages are read and written by `context`, without the generators and per-message tasks that grpc.aio has to
offer besides; bytes go in and out, so that a malformed message is ours to answer.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc

from extproc.model.errors import WireError
from extproc.model.inspection import Inspector
from extproc.server.complaints import Complaints
from extproc.server.exchange import Exchange, Terms

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
METHOD = "Process"

POLICY_KEY = "x-waf-policy"
"""Of the stream's initial metadata: the policy of the route."""

_CODES = {"profile-mismatch": grpc.StatusCode.FAILED_PRECONDITION}
"""Status by reason of a WireError; the others are INVALID_ARGUMENT."""

HARD_FACTOR = 2
"""Streams over the bound are told so one by one, with an event each; from so many times the bound on, no more."""

_log = logging.getLogger(__name__)


class Streams:
    """All streams of a worker. `inspector` may be replaced; an open stream keeps the one it began with."""

    def __init__(self, inspector: Inspector, terms: Terms, max_streams: int) -> None:
        self.inspector = inspector
        self._terms = terms
        self._scheduler = terms.scheduler
        self._max = max_streams
        self._complaints = Complaints(_log.warning)
        self.open = 0

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server is given."""
        process = grpc.stream_stream_rpc_method_handler(self._process)
        return grpc.method_handlers_generic_handler(SERVICE, {METHOD: process})

    async def _process(self, _requests: object, context: Any) -> None:
        has_room = self.open < self._max
        if not has_room:
            self._complaints.tell("overloaded", f"more than {self._max} streams; one more was refused")
            if self.open >= HARD_FACTOR * self._max:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "overloaded")
        self.open += 1
        self._scheduler.arrivals += 1
        exchange = Exchange(self.inspector, self._terms, _policy(context), has_room)
        is_answered = True
        fault: str | None = "internal"
        try:
            while (data := await context.read()) is not grpc.aio.EOF:
                is_answered = False
                self._scheduler.arrivals += 1
                answer = await exchange.receive(data)
                if answer is not None:
                    await context.write(answer)
                is_answered = True
                exchange.conclude()
            # Input ended and every message was answered: the one way to end OK.
            fault = None if exchange.is_complete else "incomplete"
        except asyncio.CancelledError:
            # Envoy resets streams that it needs no longer; that is no fault once all is answered.
            fault = None if is_answered and exchange.is_complete else "cancelled"
            raise
        except WireError as error:
            fault = error.reason
            self._complaints.tell(fault, f"stream ended, incident {exchange.incident or 'none'}: {fault}")
            await context.abort(_CODES.get(fault, grpc.StatusCode.INVALID_ARGUMENT), fault)
        except Exception:
            _log.exception("stream ended by a fault, incident %s", exchange.incident or "none")
            await context.abort(grpc.StatusCode.INTERNAL, "internal")
        finally:
            self.open -= 1
            exchange.close(fault)


def _policy(context: Any) -> str:
    for key, value in context.invocation_metadata():
        if key == POLICY_KEY:
            return value if isinstance(value, str) else ""
    return ""
