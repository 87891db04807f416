"""ext_proc servers on grpc.aio that look at nothing: what the transport alone costs.

`natural`: an async generator over generated messages, as the examples have it and most users write it.
`cheapest`: constant answers, the last of them returned instead of written (the method is declared stream → unary,
which looks the same on the wire), uvloop.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import grpc
import uvloop
from grpc_health.v1 import health_pb2

from extproc._pb.envoy.service.ext_proc.v3 import external_processor_pb2 as pb

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"

KINDS = (
    "request_headers",
    "request_body",
    "request_trailers",
    "response_headers",
    "response_body",
    "response_trailers",
)

MAX_MESSAGE_BYTES = 4 * 1024 * 1024


def answer_to(kind: str) -> Any:
    """Go on, nothing changed."""
    if kind.endswith("_headers"):
        return pb.ProcessingResponse(**{kind: pb.HeadersResponse()})
    if kind.endswith("_body"):
        return pb.ProcessingResponse(**{kind: pb.BodyResponse()})
    return pb.ProcessingResponse(**{kind: pb.TrailersResponse()})


async def process_naturally(requests: AsyncIterator[Any], _context: Any) -> AsyncIterator[Any]:
    """One answer per message."""
    async for request in requests:
        yield answer_to(request.WhichOneof("request"))


_CONSTANT = {kind: answer_to(kind).SerializeToString() for kind in KINDS}


async def process_cheaply(_requests: object, context: Any) -> bytes:
    """The same without response objects, and the last answer returned: it leaves in one batch with the status.

    Right only where responses are skipped: then the end of the request is the end of the stream.
    """
    while True:
        request = pb.ProcessingRequest.FromString(await context.read())
        kind = request.WhichOneof("request")
        if kind == "request_trailers" or getattr(request, kind).end_of_stream:
            return _CONSTANT[kind]
        await context.write(_CONSTANT[kind])


async def check_health(_request: bytes, _context: Any) -> bytes:
    """Always serving, for Envoy's health checks."""
    answer: bytes = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING).SerializeToString()
    return answer


async def serve(handler: Any, address: str) -> None:
    """Until the process is ended."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.so_reuseport", 0)])
    health = grpc.unary_unary_rpc_method_handler(check_health)
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(SERVICE, {"Process": handler}),
            grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": health}),
        )
    )
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


Run = Callable[[Coroutine[Any, Any, None]], None]

VARIANTS: dict[str, tuple[Callable[[], Any], Run]] = {
    "natural": (
        lambda: grpc.stream_stream_rpc_method_handler(
            process_naturally,
            request_deserializer=pb.ProcessingRequest.FromString,
            response_serializer=pb.ProcessingResponse.SerializeToString,
        ),
        asyncio.run,
    ),
    "cheapest": (lambda: grpc.stream_unary_rpc_method_handler(process_cheaply), uvloop.run),
}


if __name__ == "__main__":
    make_handler, run = VARIANTS[sys.argv[1]]
    run(serve(make_handler(), sys.argv[2]))
