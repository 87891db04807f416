"""A small ext_proc server that holds every case of the suite, so that each fault in `faulty.py` is the only one.

Written with official messages on grpc.aio. A request is an attack if the attack's text is in its path, headers,
trailers or body, as it is or percent-encoded. Paths ask for what an engine may do: `/fault` raises, `/nothing` has no
verdict, `/slow` works longer than its budget. `rules` in its folder names the rules; SIGHUP reads it anew, and a
name that begins with `!` is refused.
"""

from __future__ import annotations

import asyncio
import signal
import urllib.parse
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

ATTACK = b"1' OR 1=1--"
SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
HEALTH = "grpc.health.v1.Health"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"

BODY_LIMIT_BYTES = 1_048_576
UNPACKED_LIMIT_BYTES = 1_048_576
MESSAGE_LIMIT_BYTES = BODY_LIMIT_BYTES + 65_536
MAX_STREAMS = 16_384
FEW_STREAMS = 20
WORK_S = 5.0
BUDGET_S = 0.3
DRAIN_DELAY_S = 0.5
DRAIN_GRACE_S = 1.0

WINDOWS = {12, 13}
"""Fields for flow control that a later Envoy may send alone."""

FOLLOWING = {
    ("start", "head"): "open",
    ("start", "last head"): "done",
    ("open", "body"): "open",
    ("open", "last body"): "done",
    ("open", "trailers"): "done",
}


class RefusedError(Exception):
    """Ends the stream with `code`."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class Exchange:
    """What is known of one stream."""

    def __init__(self, rules: str) -> None:
        self.rules = rules
        self.sides = {"request": "start", "response": "start"}
        self.headers: dict[str, bytes] = {}
        self.body = b""
        self.is_blocked = False


class Sound:
    """No fault."""

    options: tuple[tuple[str, int], ...] = (
        ("grpc.max_receive_message_length", MESSAGE_LIMIT_BYTES),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.server.max_pending_requests", 2 * MAX_STREAMS),
        ("grpc.server.max_pending_requests_hard_limit", 2 * MAX_STREAMS),
    )
    body_mode = "BUFFERED"
    max_streams = MAX_STREAMS

    def __init__(self, profile: str, folder: Path) -> None:
        self.folder = folder
        self.rules = ""
        self.is_serving = False
        self.open = 0
        self._changed = asyncio.Event()
        if profile == "few-streams":
            self.max_streams = FEW_STREAMS
        if profile == "streamed":
            self.body_mode = "STREAMED"

    # The life of the process

    async def run(self, address: str) -> None:
        """Serves until SIGTERM."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        server = grpc.aio.server(options=self.options)
        server.add_generic_rpc_handlers(self.handlers())
        server.add_insecure_port(address)
        await server.start()
        while not (self.folder / "rules").exists():  # noqa: ASYNC110  # a file cannot tell
            await asyncio.sleep(0.05)
        self.reload()
        self.tell(is_serving=True)
        await stop.wait()
        await self.drain(server)

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        process = grpc.stream_stream_rpc_method_handler(self.process)
        check = grpc.unary_unary_rpc_method_handler(self.check)
        watch = grpc.unary_stream_rpc_method_handler(self.watch)
        return (
            grpc.method_handlers_generic_handler(SERVICE, {"Process": process}),
            grpc.method_handlers_generic_handler(HEALTH, {"Check": check, "Watch": watch}),
        )

    def reload(self) -> None:
        name = (self.folder / "rules").read_text()
        if not name.startswith("!"):
            self.rules = name
        (self.folder / "loaded").write_text(name)

    async def drain(self, server: Any) -> None:
        self.tell(is_serving=False)
        await asyncio.sleep(DRAIN_DELAY_S)
        await server.stop(DRAIN_GRACE_S)

    def tell(self, is_serving: bool) -> None:
        self.is_serving = is_serving
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def check(self, request: bytes, context: Any) -> bytes:
        if request not in (b"", bytes([1 << 3 | 2, len(SERVICE)]) + SERVICE.encode()):
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return SERVING if self.is_serving else NOT_SERVING

    async def watch(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        while True:
            changed = self._changed
            yield SERVING if self.is_serving else NOT_SERVING
            await changed.wait()

    # One stream

    async def process(self, _requests: object, context: Any) -> None:
        if not self.is_serving and not self.rules:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no rules yet")
        if self.open >= self.max_streams:
            await self.overloaded(context)
        self.open += 1
        try:
            await self.converse(Exchange(self.rules), context)
        except RefusedError as refused:
            await context.abort(refused.code, str(refused))
        except asyncio.CancelledError:
            self.cancelled()
            raise
        except Exception:
            await self.raised(context)
        finally:
            self.freed()

    async def overloaded(self, context: Any) -> None:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "overloaded")

    async def raised(self, context: Any) -> None:
        await context.abort(grpc.StatusCode.INTERNAL, "internal")

    def cancelled(self) -> None:
        """The other side is gone; nothing is to be done about it."""

    def freed(self) -> None:
        self.open -= 1

    async def converse(self, exchange: Exchange, context: Any) -> None:
        while (data := await context.read()) is not grpc.aio.EOF:
            request = self.parse(data)
            kind = request.WhichOneof("request")
            if kind is None:
                self.without_event(request)
                continue
            for reply in await self.receive(exchange, request, kind):
                await context.write(reply.SerializeToString())
        await self.ended(exchange, context)

    async def ended(self, exchange: Exchange, context: Any) -> None:
        """The input is over and all was answered."""

    def parse(self, data: bytes) -> pb.ProcessingRequest:
        try:
            return pb.ProcessingRequest.FromString(data)
        except DecodeError:
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "malformed") from None

    def without_event(self, request: pb.ProcessingRequest) -> None:
        numbers = {field.field_number for field in UnknownFieldSet(request)}
        if request.ListFields() or not numbers or numbers - WINDOWS:
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "empty")

    async def receive(
        self, exchange: Exchange, request: pb.ProcessingRequest, kind: str
    ) -> list[pb.ProcessingResponse]:
        self.check_mode(request)
        if exchange.is_blocked and not request.observability_mode:
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "after a block")
        self.check_order(exchange, request, kind)
        replies = await self.answer(exchange, request, kind)
        return [] if self.is_watched_only(request) else replies

    def is_watched_only(self, request: pb.ProcessingRequest) -> bool:
        watched: bool = request.observability_mode
        return watched

    def check_mode(self, request: pb.ProcessingRequest) -> None:
        if request.HasField("protocol_config"):
            mode = ProcessingMode.BodySendMode.Name(request.protocol_config.request_body_mode)
            if mode != self.body_mode:
                raise RefusedError(grpc.StatusCode.FAILED_PRECONDITION, "profile-mismatch")

    def check_order(self, exchange: Exchange, request: pb.ProcessingRequest, kind: str) -> None:
        side, _, what = kind.partition("_")
        part = getattr(request, kind)
        is_last = what != "trailers" and part.end_of_stream
        event = {"headers": "head", "body": "body"}.get(what, what)
        after = FOLLOWING.get((exchange.sides[side], f"last {event}" if is_last else event))
        if after is None or (kind == "request_headers" and exchange.sides["response"] != "start"):
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "out-of-order")
        exchange.sides[side] = after

    async def answer(self, exchange: Exchange, request: pb.ProcessingRequest, kind: str) -> list[pb.ProcessingResponse]:
        if kind.startswith("response"):
            return [self.go_on(kind)]
        if kind == "request_headers":
            self.read_head(exchange, request)
            path = exchange.headers[":path"].partition(b"?")[0]
            if path in (b"/fault", b"/nothing", b"/slow"):
                return await self.misbehave(exchange, path)
        is_last = exchange.sides["request"] == "done"
        if await self.is_attack(exchange, request, kind):
            return [self.block(exchange)]
        if kind == "request_headers" and (upgrade := self.judge_upgrade(exchange)) is not None:
            return [upgrade]
        return [self.judged(kind, exchange, is_last)]

    async def misbehave(self, exchange: Exchange, path: bytes) -> list[pb.ProcessingResponse]:
        if path == b"/fault":
            raise ZeroDivisionError("secret detail of a fault")
        if path == b"/nothing":
            return await self.no_verdict()
        try:
            await asyncio.wait_for(self.work(), BUDGET_S)
        except TimeoutError:
            return [self.block(exchange, 503)]
        return [self.judged("request_headers", exchange, True)]

    async def no_verdict(self) -> list[pb.ProcessingResponse]:
        raise RefusedError(grpc.StatusCode.INTERNAL, "no verdict")

    async def work(self) -> None:
        await asyncio.sleep(WORK_S)

    # What is looked at

    def read_head(self, exchange: Exchange, request: pb.ProcessingRequest) -> None:
        self.client(request)
        for line in request.request_headers.headers.headers:
            value = self.value_of(line)
            before = exchange.headers.get(line.key)
            exchange.headers[line.key] = value if before is None else self.joined(before, value)

    def client(self, request: pb.ProcessingRequest) -> str:
        fields = request.attributes["envoy.filters.http.ext_proc"].fields
        address: str = fields["source.address"].string_value if "source.address" in fields else ""
        return address or "unknown"

    def value_of(self, line: Any) -> bytes:
        value: bytes = line.raw_value or line.value.encode()
        return value

    def joined(self, before: bytes, value: bytes) -> bytes:
        return before + b"," + value

    async def is_attack(self, exchange: Exchange, request: pb.ProcessingRequest, kind: str) -> bool:
        if kind == "request_headers":
            return self.holds_attack(b"\n".join(exchange.headers.values()))
        if kind == "request_trailers":
            lines = request.request_trailers.trailers.headers
            return self.holds_attack(b"\n".join(self.value_of(line) for line in lines))
        exchange.body = self.body_so_far(exchange, request.request_body.body)
        if self.is_cut(request, kind):
            return True
        if not request.request_body.end_of_stream:
            return False
        body = self.unpacked(exchange)
        return body is None or self.holds_attack(body)

    def body_so_far(self, exchange: Exchange, piece: bytes) -> bytes:
        return exchange.body + piece

    def is_cut(self, request: pb.ProcessingRequest, kind: str) -> bool:
        """BUFFERED_PARTIAL is not taken, so no body is."""
        return False

    def unpacked(self, exchange: Exchange) -> bytes | None:
        """The body as the app reads it; None if that cannot be said, or is too much."""
        encoding = exchange.headers.get("content-encoding", b"identity")
        if encoding == b"identity":
            return exchange.body
        if encoding not in (b"gzip", b"deflate"):
            return None
        engine = zlib.decompressobj(zlib.MAX_WBITS | 32)
        try:
            body = engine.decompress(exchange.body, UNPACKED_LIMIT_BYTES)
        except zlib.error:
            return None
        return body if engine.eof else None

    def holds_attack(self, text: bytes) -> bool:
        return ATTACK in text or ATTACK in urllib.parse.unquote_to_bytes(text.replace(b"+", b" "))

    # What is answered

    def judge_upgrade(self, exchange: Exchange) -> pb.ProcessingResponse | None:
        head = exchange.headers
        if "upgrade" not in head and head[":method"] != b"CONNECT":
            return None
        is_handshake = head[":method"] == b"GET" and b"upgrade" in head.get("connection", b"").lower()
        if not is_handshake or not self.is_upgrade_path(head[":path"].partition(b"?")[0]):
            return self.block(exchange)
        # Envoy may send a body all the same: it is read as that of an ordinary request.
        exchange.sides["request"] = "open"
        reply = self.judged("request_headers", exchange, True)
        reply.dynamic_metadata.fields["waf"].struct_value.fields["upgrade"].bool_value = True
        self.override(reply.mode_override)
        return reply

    def is_upgrade_path(self, path: bytes) -> bool:
        return path == b"/ws"

    def override(self, mode: ProcessingMode) -> None:
        mode.request_header_mode = ProcessingMode.SEND
        mode.request_trailer_mode = ProcessingMode.SEND
        mode.response_header_mode = mode.response_trailer_mode = ProcessingMode.SKIP

    def go_on(self, kind: str) -> pb.ProcessingResponse:
        reply = pb.ProcessingResponse()
        getattr(reply, kind).SetInParent()
        return reply

    def judged(self, kind: str, exchange: Exchange, is_last: bool) -> pb.ProcessingResponse:
        reply = self.go_on(kind)
        self.describe(reply, exchange, "allow" if is_last else "pending")
        return reply

    def block(self, exchange: Exchange, status: int = 403) -> pb.ProcessingResponse:
        exchange.is_blocked = True
        reply = pb.ProcessingResponse()
        reply.immediate_response.status.code = status
        reply.immediate_response.body = b"incident i-1"
        self.set_header(reply.immediate_response.headers, "x-waf-incident", "i-1")
        waf = self.describe(reply, exchange, "block")
        waf["incident"].string_value = "i-1"
        waf["rule"].number_value = 942100
        return reply

    def describe(self, reply: pb.ProcessingResponse, exchange: Exchange, verdict: str) -> Any:
        waf = reply.dynamic_metadata.fields["waf"].struct_value.fields
        waf["verdict"].string_value = verdict
        waf["ruleset"].string_value = self.ruleset(exchange)
        return waf

    def ruleset(self, exchange: Exchange) -> str:
        return exchange.rules

    def set_header(self, mutation: pb.HeaderMutation, name: str, value: str) -> None:
        line = mutation.set_headers.add().header
        line.key, line.raw_value = name, value.encode()
