"""grpc.health.v1, and reflection: calls that know no exchange."""

from __future__ import annotations

import logging
from collections.abc import Callable

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from extproc.server.health import SERVICE, Health, State
from extproc.server.http2.call import Answering, Call, Handler, Method
from extproc.server.http2.headers import Opening
from extproc.server.status import CallError, Status

_log = logging.getLogger(__name__)


class PlainCall:
    """A call whose messages are answered by a function of their bytes."""

    __slots__ = ("_answer",)

    def __init__(self, answer: Callable[[bytes], Answering]) -> None:
        self._answer = answer

    def receive(self, data: bytes) -> Answering:
        return self._answer(data)

    def conclude(self) -> None:
        pass

    def fail(self, error: Exception) -> CallError:
        if isinstance(error, CallError):
            return error
        _log.error("call ended by a fault", exc_info=error)
        return CallError(Status.INTERNAL, "internal")

    def end(self) -> None:
        pass

    def cancel(self, is_answered: bool) -> None:
        pass


def health_methods(health: Health) -> dict[bytes, Method]:
    """Check and Watch."""

    def check(_opening: Opening, _call: Call) -> Handler:
        async def answer(data: bytes) -> bytes:
            return _told(health.check(_service(data)))

        return PlainCall(answer)

    def watch(_opening: Opening, call: Call) -> Handler:
        async def answer(data: bytes) -> None:
            async for status in health.watch(_service(data)):
                call.send(_told(status))
            raise CallError(Status.UNAVAILABLE, "shutting down")

        return PlainCall(answer)

    return {f"/{SERVICE}/Check".encode(): check, f"/{SERVICE}/Watch".encode(): watch}


def _service(data: bytes) -> str:
    """The service that a HealthCheckRequest names. Raises CallError."""
    try:
        name: str = health_pb2.HealthCheckRequest.FromString(data).service
    except DecodeError:
        raise CallError(Status.INVALID_ARGUMENT, "malformed-message") from None
    return name


def _told(state: State) -> bytes:
    message: bytes = health_pb2.HealthCheckResponse(status=state).SerializeToString()
    return message


def reflection_methods(services: tuple[str, ...]) -> dict[bytes, Method]:
    """Server reflection by grpcio's own servicer, message by message: for debugging, so it is loaded when asked for."""
    from grpc_reflection.v1alpha import reflection, reflection_pb2

    servicer = reflection.ReflectionServicer((*services, reflection.SERVICE_NAME))

    def take(_opening: Opening, _call: Call) -> Handler:
        async def answer(data: bytes) -> bytes:
            try:
                request = reflection_pb2.ServerReflectionRequest.FromString(data)
            except DecodeError:
                raise CallError(Status.INVALID_ARGUMENT, "malformed-message") from None
            [told] = servicer.ServerReflectionInfo(iter([request]), None)
            return told.SerializeToString()  # type: ignore[no-any-return]

        return PlainCall(answer)

    return {f"/{reflection.SERVICE_NAME}/ServerReflectionInfo".encode(): take}
