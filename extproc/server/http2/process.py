"""The method of ext_proc as calls of HTTP/2."""

from __future__ import annotations

from extproc.server.http2.call import Answering, Call, Handler, Method
from extproc.server.http2.headers import Opening
from extproc.server.status import CallError
from extproc.server.streams import METHOD, POLICY_KEY, SERVICE, Streams, fault_of_cancelled, fault_of_ended

PROCESS = f"/{SERVICE}/{METHOD}".encode()


def process_method(streams: Streams) -> dict[bytes, Method]:
    """Path → what takes its calls."""

    def take(opening: Opening, _call: Call) -> Handler:
        return ProcessCall(streams, opening.value(POLICY_KEY))

    return {PROCESS: take}


class ProcessCall:
    """One ext_proc stream: an exchange, and how it ends."""

    __slots__ = ("_exchange", "_streams")

    def __init__(self, streams: Streams, policy: str) -> None:
        self._streams = streams
        self._exchange = streams.begin(policy)

    def receive(self, data: bytes) -> Answering:
        self._streams.scheduler.arrivals += 1
        return self._exchange.receive(data)

    def conclude(self) -> None:
        self._exchange.conclude()

    def fail(self, error: Exception) -> CallError:
        told, fault = self._streams.judge(self._exchange, error)
        self._streams.end(self._exchange, fault)
        return told

    def end(self) -> None:
        self._streams.end(self._exchange, fault_of_ended(self._exchange))

    def cancel(self, is_answered: bool) -> None:
        self._streams.end(self._exchange, fault_of_cancelled(self._exchange, is_answered))
