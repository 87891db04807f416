"""One stream on grpc.aio: reads, answers, and never ends OK with a question unanswered.

Messages are read and written by `context`, without the generators and per-message tasks that grpc.aio has to
offer besides; bytes go in and out, so that a malformed message is ours to answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc

from extproc.server.status import CallError
from extproc.server.streams import METHOD, POLICY_KEY, SERVICE, Streams, fault_of_cancelled, fault_of_ended

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class GrpcStreams:
    """The method `Process` of a gRPC server."""

    def __init__(self, streams: Streams, admits: Callable[[Any], bool]) -> None:
        """`admits`: may the client of this call's context call?"""
        self._streams = streams
        self._admits = admits

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server is given."""
        process = grpc.stream_stream_rpc_method_handler(self._process)
        return grpc.method_handlers_generic_handler(SERVICE, {METHOD: process})

    async def _process(self, _requests: object, context: Any) -> None:
        streams = self._streams
        if not self._admits(context):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not one of the clients")
            return
        try:
            exchange = streams.begin(_policy(context))
        except CallError as error:
            await context.abort(_CODES[error.status], error.details)
            return
        is_answered = True
        fault: str | None = "internal"
        try:
            while (data := await context.read()) is not grpc.aio.EOF:
                is_answered = False
                streams.scheduler.arrivals += 1
                answer = await exchange.receive(data)
                if answer is not None:
                    await context.write(answer)
                is_answered = True
                exchange.conclude()
            fault = fault_of_ended(exchange)
        except asyncio.CancelledError:
            fault = fault_of_cancelled(exchange, is_answered)
            raise
        except Exception as error:
            told, fault = streams.judge(exchange, error)
            await context.abort(_CODES[told.status], told.details)
        finally:
            streams.end(exchange, fault)


def _policy(context: Any) -> str:
    for key, value in context.invocation_metadata():
        if key == POLICY_KEY:
            return value if isinstance(value, str) else ""
    return ""
