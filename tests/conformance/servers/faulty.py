"""Servers with one fault each, which the suite must find.

    python faulty.py HOST:PORT|unix:PATH FAULT [--profile PROFILE] [--folder FOLDER]

FAULT is a key of SERVERS; `sound` has none. Each is `sound.Sound` but for what its docstring says, and each is a
fault that lets requests pass, breaks them, or makes the server a burden behind a real Envoy. `hang`, `slow` and
`extend` are late, which no case but the timeouts of a real Envoy can tell.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from sound import Exchange, RefusedError, Sound

LATE_S = 0.5
"""How late `slow` and `extend` are; `hang` never answers."""

EXTENSION_S = 5
"""What `extend` asks for."""

LEAK_BYTES = 64 * 1024

Replies = list[pb.ProcessingResponse]


class OkClose(Sound):
    """Ends the stream with OK instead of answering a body: Envoy lets the request pass."""

    async def converse(self, exchange: Exchange, context: Any) -> None:
        while (data := await context.read()) is not grpc.aio.EOF:
            request = self.parse(data)
            kind = request.WhichOneof("request")
            if kind == "request_body":
                return
            for reply in await self.receive(exchange, request, kind or ""):
                await context.write(reply.SerializeToString())


class EarlyOk(Sound):
    """Ends the stream with OK as soon as it has answered, before Envoy is done with it."""

    async def converse(self, exchange: Exchange, context: Any) -> None:
        data = await context.read()
        if data is not grpc.aio.EOF:
            request = self.parse(data)
            for reply in await self.receive(exchange, request, request.WhichOneof("request") or ""):
                await context.write(reply.SerializeToString())


class Double(Sound):
    """Replies twice to headers."""

    async def answer(self, exchange: Exchange, request: pb.ProcessingRequest, kind: str) -> Replies:
        replies = await super().answer(exchange, request, kind)
        return replies * 2 if kind == "request_headers" else replies


class WrongKind(Sound):
    """Answers a head as if it were a response's."""

    def go_on(self, kind: str) -> pb.ProcessingResponse:
        return super().go_on("response_headers" if kind == "request_headers" else kind)


class Empty(Sound):
    """Answers with a message that holds no answer."""

    async def answer(self, exchange: Exchange, request: pb.ProcessingRequest, kind: str) -> Replies:
        return [pb.ProcessingResponse()]


class Value(Sound):
    """Sets headers by `value`: they arrive empty."""

    def set_header(self, mutation: pb.HeaderMutation, name: str, value: str) -> None:
        line = mutation.set_headers.add().header
        line.key, line.value = name, value


class NoStatus(Sound):
    """Blocks without a status: Envoy sends 200."""

    def block(self, exchange: Exchange, status: int = 403) -> pb.ProcessingResponse:
        return super().block(exchange, 0)


class LongPage(Sound):
    """Sends a page of 100 KiB with every block."""

    def block(self, exchange: Exchange, status: int = 403) -> pb.ProcessingResponse:
        reply = super().block(exchange, status)
        reply.immediate_response.body += b"x" * 102_400
        return reply


class NoOp(Sound):
    """Tells Envoy to go on, whatever comes: what a first try on grpc.aio looks like."""

    options = ()

    async def converse(self, exchange: Exchange, context: Any) -> None:
        while (data := await context.read()) is not grpc.aio.EOF:
            request = pb.ProcessingRequest.FromString(data)
            await context.write(self.go_on(request.WhichOneof("request") or "request_headers").SerializeToString())


class NeverBlocks(Sound):
    """Calls everything allowed."""

    def holds_attack(self, text: bytes) -> bool:
        return False


class HeadersOnly(Sound):
    """Does not look at bodies."""

    def body_so_far(self, exchange: Exchange, piece: bytes) -> bytes:
        return b""


class HastyAllow(Sound):
    """Calls a request allowed when its head is, though a body is to come."""

    def judged(self, kind: str, exchange: Exchange, is_last: bool) -> pb.ProcessingResponse:
        return super().judged(kind, exchange, True)


class Unasked(Sound):
    """Answers a body that never came when the stream ends."""

    async def ended(self, exchange: Exchange, context: Any) -> None:
        if exchange.sides["request"] == "open":
            await context.write(self.judged("request_body", exchange, True).SerializeToString())


class Talkative(Sound):
    """Tells the caller what its engine raised."""

    async def raised(self, context: Any) -> None:
        await context.abort(grpc.StatusCode.INTERNAL, "ZeroDivisionError: secret detail of a fault, in line 7 of rule")


class Swallowed(Sound):
    """Ends the stream with OK when its engine raises."""

    async def raised(self, context: Any) -> None:
        return


class Silent(Sound):
    """Ends with OK and no answer when there is no verdict."""

    async def no_verdict(self) -> Replies:
        return []


class Deaf(Sound):
    """Passes over messages that hold nothing it knows, whatever they are."""

    def without_event(self, request: pb.ProcessingRequest) -> None:
        return


class Strict(Sound):
    """Refuses messages that hold window updates alone, as a later Envoy may send them."""

    def without_event(self, request: pb.ProcessingRequest) -> None:
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "empty")


class Nervous(Sound):
    """Ends a stream without messages in an error."""

    async def ended(self, exchange: Exchange, context: Any) -> None:
        if exchange.sides["request"] == exchange.sides["response"] == "start":
            raise RefusedError(grpc.StatusCode.INTERNAL, "nothing came")


class Leaky(Sound):
    """Never frees the slot of a stream that was cancelled while it worked, and has one."""

    max_streams = 1

    def cancelled(self) -> None:
        self.open += 1


class Blocking(Sound):
    """Works without a pause: nobody else is answered meanwhile."""

    async def work(self) -> None:
        time.sleep(10 * LATE_S)  # noqa: ASYNC251  # that is the fault


class AnyOrder(Sound):
    """Takes messages in any order."""

    def check_order(self, exchange: Exchange, request: pb.ProcessingRequest, kind: str) -> None:
        side = kind.partition("_")[0]
        part = getattr(request, kind)
        exchange.sides[side] = "done" if getattr(part, "end_of_stream", True) else "open"
        exchange.headers.setdefault(":method", b"GET")


class NoTrailers(Sound):
    """Takes trailers only behind a body."""

    def check_order(self, exchange: Exchange, request: pb.ProcessingRequest, kind: str) -> None:
        if kind == "request_trailers" and not exchange.body:
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "out-of-order")
        super().check_order(exchange, request, kind)


class NoResponses(Sound):
    """Refuses messages about responses."""

    def check_order(self, exchange: Exchange, request: pb.ProcessingRequest, kind: str) -> None:
        if kind.startswith("response"):
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "unexpected")
        super().check_order(exchange, request, kind)


class ByCount(Sound):
    """Takes the second message for the body, whatever it is."""

    async def answer(self, exchange: Exchange, request: pb.ProcessingRequest, kind: str) -> Replies:
        is_second = bool(exchange.headers) and exchange.sides["response"] != "start"
        replies = await super().answer(exchange, request, kind)
        return [self.judged("request_body", exchange, True)] if is_second else replies


class Eager(Sound):
    """Answers in observability mode."""

    def is_watched_only(self, request: pb.ProcessingRequest) -> bool:
        return False


class AnyMode(Sound):
    """Takes whatever body mode Envoy declares."""

    def check_mode(self, request: pb.ProcessingRequest) -> None:
        return


class ByPiece(Sound):
    """Looks at each piece of a streamed body alone."""

    def body_so_far(self, exchange: Exchange, piece: bytes) -> bytes:
        return piece


class TextOnly(Sound):
    """Reads headers from `value` alone."""

    def value_of(self, line: Any) -> bytes:
        value: bytes = line.value.encode()
        return value or (b"GET" if line.key == ":method" else b"/")


class Utf8Only(Sound):
    """Reads header values as UTF-8 text."""

    def value_of(self, line: Any) -> bytes:
        return super().value_of(line).decode().encode()


class LastLine(Sound):
    """Keeps the last of several headers of one name."""

    def joined(self, before: bytes, value: bytes) -> bytes:
        return value


class Trusting(Sound):
    """Expects every client address to be IPV4:PORT."""

    def client(self, request: pb.ProcessingRequest) -> str:
        attributes = request.attributes.get("envoy.filters.http.ext_proc")
        if attributes is None or "source.address" not in attributes.fields:
            return "unknown"
        address, port = attributes.fields["source.address"].string_value.split(":")
        if not 0 < int(port) < 65_536:
            raise ValueError(port)
        return address


class PartialOverride(Sound):
    """Leaves the other modes of an override to their defaults."""

    def override(self, mode: ProcessingMode) -> None:
        mode.SetInParent()


class UpgradesAnywhere(Sound):
    """Lets any path be upgraded."""

    def is_upgrade_path(self, path: bytes) -> bool:
        return True


class NoLateBody(Sound):
    """Refuses a body for which it had asked not to be sent."""

    def judge_upgrade(self, exchange: Exchange) -> pb.ProcessingResponse | None:
        reply = super().judge_upgrade(exchange)
        if reply is not None:
            exchange.sides["request"] = "done"
        return reply


class NoBudget(Sound):
    """Works for as long as it takes."""

    async def misbehave(self, exchange: Exchange, path: bytes) -> Replies:
        if path == b"/slow":
            await self.work()
            return [self.judged("request_headers", exchange, True)]
        return await super().misbehave(exchange, path)


class AnySize(Sound):
    """Receives messages of any size."""

    options = (*Sound.options[1:], ("grpc.max_receive_message_length", -1))


class Packed(Sound):
    """Looks at packed bodies as they came."""

    def unpacked(self, exchange: Exchange) -> bytes | None:
        return exchange.body


class AnyService(Sound):
    """Says SERVING for every name."""

    async def check(self, request: bytes, context: Any) -> bytes:
        return await super().check(b"", context)


class AbruptDrain(Sound):
    """Stops at SIGTERM, and tells nobody first."""

    async def drain(self, server: Any) -> None:
        await server.stop(0)


class TooEarly(Sound):
    """Is SERVING, and lets pass, before it has rules."""

    async def check(self, request: bytes, context: Any) -> bytes:
        self.is_serving = True
        return await super().check(request, context)

    async def process(self, requests: object, context: Any) -> None:
        self.is_serving = True
        await super().process(requests, context)


class BrokenRules(Sound):
    """Takes rules that it cannot read, and has none then."""

    def reload(self) -> None:
        super().reload()
        self.rules = (self.folder / "rules").read_text()

    def holds_attack(self, text: bytes) -> bool:
        return not self.rules.startswith("!") and super().holds_attack(text)


class Reflecting(Sound):
    """Lists its services to whoever asks."""

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        async def tell(_request: bytes, context: Any) -> bytes:
            return b"envoy.service.ext_proc.v3.ExternalProcessor"

        info = grpc.unary_unary_rpc_method_handler(tell)
        service = "grpc.reflection.v1alpha.ServerReflection"
        return (*super().handlers(), grpc.method_handlers_generic_handler(service, {"ServerReflectionInfo": info}))


class PingShy(Sound):
    """Has the ping policy of gRPC core: GOAWAY for a client that keeps its connection alive."""

    options = tuple((name, value) for name, value in Sound.options if "ping" not in name and "keepalive" not in name)


class CutsOff(Sound):
    """Ends what is in flight with OK when it drains."""

    async def converse(self, exchange: Exchange, context: Any) -> None:
        conversation = asyncio.create_task(super().converse(exchange, context))
        while not conversation.done():
            await asyncio.wait([conversation], timeout=0.1)
            if not self.is_serving and exchange.sides["request"] == "open":
                conversation.cancel()
                return
        await conversation


class SmallDoor(Sound):
    """Takes no more new streams at a time than gRPC core does by itself, and few at all."""

    max_streams = 100


class OpenDoor(Sound):
    """Ends a stream over its bound with OK."""

    async def process(self, requests: object, context: Any) -> None:
        if self.open < self.max_streams:
            await super().process(requests, context)


class Hoarding(Sound):
    """Keeps something of every stream."""

    def __init__(self, profile: str, folder: Path) -> None:
        super().__init__(profile, folder)
        self._kept: list[bytearray] = []

    def freed(self) -> None:
        super().freed()
        self._kept.append(bytearray(b"x" * LEAK_BYTES))


class MidStream(Sound):
    """Goes over to new rules in the middle of a stream."""

    def ruleset(self, exchange: Exchange) -> str:
        return self.rules


class Impatient(Sound):
    """Forgets what it has to answer when the other side has half-closed."""

    async def converse(self, exchange: Exchange, context: Any) -> None:
        data = await context.read()
        while data is not grpc.aio.EOF:
            request = self.parse(data)
            replies = await self.receive(exchange, request, request.WhichOneof("request") or "")
            try:
                data = await asyncio.wait_for(context.read(), LATE_S)
            except TimeoutError:
                data = None
            if data is grpc.aio.EOF:
                return
            for reply in replies:
                await context.write(reply.SerializeToString())
            if data is None:
                data = await context.read()


class Lenient(Sound):
    """Takes bytes that are no message for an empty one, and passes over it."""

    def parse(self, data: bytes) -> pb.ProcessingRequest:
        try:
            return super().parse(data)
        except RefusedError:
            return pb.ProcessingRequest(observability_mode=True, request_headers=pb.HttpHeaders(end_of_stream=True))

    def read_head(self, exchange: Exchange, request: pb.ProcessingRequest) -> None:
        exchange.headers.update({":path": b"/", ":method": b"GET"})
        super().read_head(exchange, request)


class KnownOnly(Sound):
    """Refuses messages with fields that it does not know."""

    def parse(self, data: bytes) -> pb.ProcessingRequest:
        request = super().parse(data)
        known = pb.ProcessingRequest()
        known.CopyFrom(request)
        known.DiscardUnknownFields()
        if known.ByteSize() != request.ByteSize() and request.WhichOneof("request"):
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "unknown field")
        return request


class Hang(Sound):
    """Never answers."""

    async def answer(self, exchange: Exchange, request: pb.ProcessingRequest, kind: str) -> Replies:
        return []


class Slow(Sound):
    """Answers late."""

    async def answer(self, exchange: Exchange, request: pb.ProcessingRequest, kind: str) -> Replies:
        await asyncio.sleep(LATE_S)
        return await super().answer(exchange, request, kind)


class Extend(Sound):
    """Asks for more time first; Envoy grants it up to `max_message_timeout`."""

    async def converse(self, exchange: Exchange, context: Any) -> None:
        while (data := await context.read()) is not grpc.aio.EOF:
            request = self.parse(data)
            wait = pb.ProcessingResponse()
            wait.override_message_timeout.seconds = EXTENSION_S
            await context.write(wait.SerializeToString())
            await asyncio.sleep(LATE_S)
            for reply in await self.receive(exchange, request, request.WhichOneof("request") or ""):
                await context.write(reply.SerializeToString())


FAULTS: dict[str, type[Sound]] = {
    "ok-close": OkClose,
    "early-ok": EarlyOk,
    "double": Double,
    "wrong-kind": WrongKind,
    "empty": Empty,
    "value": Value,
    "no-status": NoStatus,
    "long-page": LongPage,
    "no-op": NoOp,
    "never-blocks": NeverBlocks,
    "headers-only": HeadersOnly,
    "hasty-allow": HastyAllow,
    "unasked": Unasked,
    "talkative": Talkative,
    "swallowed": Swallowed,
    "silent": Silent,
    "deaf": Deaf,
    "strict": Strict,
    "nervous": Nervous,
    "leaky": Leaky,
    "blocking": Blocking,
    "any-order": AnyOrder,
    "no-trailers": NoTrailers,
    "no-responses": NoResponses,
    "by-count": ByCount,
    "eager": Eager,
    "any-mode": AnyMode,
    "by-piece": ByPiece,
    "text-only": TextOnly,
    "utf8-only": Utf8Only,
    "last-line": LastLine,
    "trusting": Trusting,
    "partial-override": PartialOverride,
    "upgrades-anywhere": UpgradesAnywhere,
    "no-late-body": NoLateBody,
    "no-budget": NoBudget,
    "any-size": AnySize,
    "packed": Packed,
    "any-service": AnyService,
    "abrupt-drain": AbruptDrain,
    "too-early": TooEarly,
    "broken-rules": BrokenRules,
    "reflecting": Reflecting,
    "ping-shy": PingShy,
    "cuts-off": CutsOff,
    "small-door": SmallDoor,
    "open-door": OpenDoor,
    "hoarding": Hoarding,
    "mid-stream": MidStream,
    "impatient": Impatient,
    "lenient": Lenient,
    "known-only": KnownOnly,
}
"""What the suite finds, in the order of the table in the docs."""

SERVERS: dict[str, type[Sound]] = {"sound": Sound, **FAULTS, "hang": Hang, "slow": Slow, "extend": Extend}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("fault", choices=SERVERS)
    parser.add_argument("--profile", default="plain")
    parser.add_argument("--folder", type=Path, help="where `rules` is, or will be (default: one of its own)")
    given = parser.parse_args()

    async def run(folder: Path) -> None:
        await SERVERS[given.fault](given.profile, folder).run(given.address)

    if given.folder is not None:
        asyncio.run(run(given.folder))
        return
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "rules").write_text("rules-1")
        asyncio.run(run(Path(folder)))


if __name__ == "__main__":
    main()
