"""Servers with one fault each, which the suite must find; `sound` has none of these.

    python faulty.py HOST:PORT sound|ok-close|double|value|wrong-kind|empty|hang|slow|extend

Written with official messages and as little as the conversation needs: a request is an attack if the attack's
text is in its path or body. Each fault is one that lets requests pass, or breaks them, behind a real Envoy; `slow`
and `extend` are late, the latter after asking for more time.
"""

from __future__ import annotations

import sys
import time
import urllib.parse
from collections.abc import Iterator
from concurrent import futures

import grpc
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

ATTACK = b"1' OR 1=1--"

LATE_S = 0.5
"""How late `slow` and `extend` are; `hang` never answers."""

EXTENSION_S = 5
"""What `extend` asks for."""

SERVING = b"\x08\x01"
"""grpc.health.v1.HealthCheckResponse: status SERVING. Without it Envoy sends no traffic."""


class Server:
    """No fault."""

    def process(self, requests: Iterator[pb.ProcessingRequest], context: grpc.ServicerContext):
        for request in requests:
            kind = request.WhichOneof("request")
            if kind is None:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "empty")
            if request.observability_mode:
                continue
            yield from self.answer(request, kind)

    def answer(self, request: pb.ProcessingRequest, kind: str) -> Iterator[pb.ProcessingResponse]:
        reply = pb.ProcessingResponse()
        waf = reply.dynamic_metadata.fields["waf"].struct_value.fields
        if is_attack(request, kind):
            reply.immediate_response.status.code = 403
            reply.immediate_response.body = b"incident i-1"
            self.set_header(reply.immediate_response.headers, "x-waf-incident", "i-1")
            waf["verdict"].string_value = "block"
            waf["incident"].string_value = "i-1"
            waf["rule"].number_value = 942100
        else:
            getattr(reply, kind).SetInParent()
            is_last = kind != "request_headers" or request.request_headers.end_of_stream
            waf["verdict"].string_value = "allow" if is_last else "pending"
        yield reply

    def set_header(self, mutation: pb.HeaderMutation, name: str, value: str) -> None:
        line = mutation.set_headers.add().header
        line.key, line.raw_value = name, value.encode()


class OkClose(Server):
    """Ends the stream with OK instead of answering a body: Envoy lets the request pass."""

    def process(self, requests: Iterator[pb.ProcessingRequest], context: grpc.ServicerContext):
        for request in requests:
            kind = request.WhichOneof("request")
            if kind == "request_body":
                return
            yield from self.answer(request, kind)


class Double(Server):
    """Two replies to headers: the app runs, then its answer becomes a 500."""

    def answer(self, request: pb.ProcessingRequest, kind: str) -> Iterator[pb.ProcessingResponse]:
        yield from super().answer(request, kind)
        if kind == "request_headers":
            yield from super().answer(request, kind)


class Value(Server):
    """Headers by `value`: they arrive empty."""

    def set_header(self, mutation: pb.HeaderMutation, name: str, value: str) -> None:
        line = mutation.set_headers.add().header
        line.key, line.value = name, value


class WrongKind(Server):
    """Answers headers as if they were a response's."""

    def answer(self, request: pb.ProcessingRequest, kind: str) -> Iterator[pb.ProcessingResponse]:
        reply = pb.ProcessingResponse()
        reply.response_headers.SetInParent()
        yield reply


class Empty(Server):
    """Answers with a message that holds no answer."""

    def answer(self, request: pb.ProcessingRequest, kind: str) -> Iterator[pb.ProcessingResponse]:
        yield pb.ProcessingResponse()


class Hang(Server):
    """Never answers."""

    def process(self, requests: Iterator[pb.ProcessingRequest], context: grpc.ServicerContext):
        for _request in requests:
            continue
        yield from ()


class Slow(Server):
    """Answers late."""

    def answer(self, request: pb.ProcessingRequest, kind: str) -> Iterator[pb.ProcessingResponse]:
        time.sleep(LATE_S)
        yield from super().answer(request, kind)


class Extend(Slow):
    """Asks for more time first; Envoy grants it up to `max_message_timeout`."""

    def answer(self, request: pb.ProcessingRequest, kind: str) -> Iterator[pb.ProcessingResponse]:
        wait = pb.ProcessingResponse()
        wait.override_message_timeout.seconds = EXTENSION_S
        yield wait
        yield from super().answer(request, kind)


def is_attack(request: pb.ProcessingRequest, kind: str) -> bool:
    if kind == "request_headers":
        lines = request.request_headers.headers.headers
        text = b"".join(line.raw_value or line.value.encode() for line in lines)
    else:
        text = request.request_body.body
    return ATTACK in text or ATTACK in urllib.parse.unquote_to_bytes(text)


SERVERS = {
    "sound": Server,
    "ok-close": OkClose,
    "double": Double,
    "value": Value,
    "wrong-kind": WrongKind,
    "empty": Empty,
    "hang": Hang,
    "slow": Slow,
    "extend": Extend,
}


def main(address: str, name: str) -> None:
    server = grpc.server(futures.ThreadPoolExecutor(8))
    process = grpc.stream_stream_rpc_method_handler(
        SERVERS[name]().process, pb.ProcessingRequest.FromString, pb.ProcessingResponse.SerializeToString
    )
    service = "envoy.service.ext_proc.v3.ExternalProcessor"
    check = grpc.unary_unary_rpc_method_handler(lambda _request, _context: SERVING)
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(service, {"Process": process}),
            grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check}),
        )
    )
    server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
