"""Targets: protobuf in and out, and the conversation of a stream against a second, naive account of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import grpc

from extproc._pb.envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from extproc.model.deadline import Deadline
from extproc.model.errors import WireError
from extproc.model.inspection import Steps
from extproc.model.message import Headers, RequestHead, ResponseHead
from extproc.model.phase import Phase
from extproc.model.route import Beyond, Profile, Route
from extproc.model.verdict import Coverage, Outcome, Verdict
from extproc.server.exchange import Terms
from extproc.server.scheduler import Scheduler
from extproc.server.settings import ServerSettings
from extproc.server.stream import GrpcStreams
from extproc.server.streams import Streams
from extproc.wire import decode, encode
from extproc.wire.kind import Kind
from extproc.wire.page import choose_format
from tests.fuzz.fuzz_source import Source

DETAILS = frozenset(
    {
        "malformed-message",
        "empty-message",
        "duplicate-pseudo-header",
        "out-of-order",
        "message-after-block",
        "profile-mismatch",
        "internal",
    }
)
"""All that a peer is told when its stream ends with an error."""

READERS = {
    Kind.REQUEST_HEADERS: lambda message: decode.request_head(message, "policy"),
    Kind.REQUEST_BODY: lambda message: decode.body(message.request_body),
    Kind.REQUEST_TRAILERS: lambda message: decode.trailers(message.request_trailers),
    Kind.RESPONSE_HEADERS: decode.response_head,
    Kind.RESPONSE_BODY: lambda message: decode.body(message.response_body),
    Kind.RESPONSE_TRAILERS: lambda message: decode.trailers(message.response_trailers),
}


def assert_fixed(reason: str) -> None:
    assert reason in DETAILS, "nothing of a fault is told to the peer"


def wire_decode(data: bytes) -> None:
    """Any bytes are a message, or a WireError; what is read of one is bytes."""
    try:
        message = decode.parse(data)
        kind = decode.kind_of(message)
        decode.body_modes(message)
        if kind is None:
            return
        found = READERS[kind](message)
    except WireError as error:
        assert_fixed(error.reason)
        return
    if isinstance(found, RequestHead):
        assert all(type(part) is bytes for part in (found.method, found.path, found.authority, found.scheme))
        assert len(found.request_id) <= decode.MAX_REQUEST_ID_CHARS
        assert 0 <= found.client.port <= 65_535
    headers = found.headers if isinstance(found, (RequestHead, ResponseHead)) else ()
    assert all(type(part) is bytes for line in headers for part in line)


def wire_encode(data: bytes) -> None:
    """Whatever a rule and a client say: an answer that Envoy takes, and nothing of the client's in it."""
    source = Source(data)
    status = source.byte() * 4 + source.byte() % 4
    location, accept, content_type = source.text(), source.text(), source.rest()
    verdict = Verdict(Outcome.BLOCK, source.pick(list(Phase)), "INCIDENT", status=status, location=location)
    answer = pb.ProcessingResponse.FromString(encode.block(verdict, accept, content_type))
    reply = answer.immediate_response
    assert reply.status.code in encode.STATUSES
    assert len(reply.body) <= encode.MAX_PAGE_BYTES
    for line in reply.headers.set_headers:
        assert line.header.raw_value
        assert not line.header.value
        assert all(0x20 <= byte < 0x7F for byte in line.header.raw_value)
    choose_format(accept)


# The conversation. Each step is two bytes: which message, and what is in it.

REQUEST, RESPONSE = (
    ("request_headers", "request_body", "request_trailers"),
    (
        "response_headers",
        "response_body",
        "response_trailers",
    ),
)
WORDS = (b"/", b"evil", b"late", b"fault", b"/ws", b"x")
UPGRADE_PATH = "/ws"


class Toy:
    """An inspection that blocks `evil`, raises at `fault`, gives up at `late`, and counts how it is used."""

    incident = "i"

    def __init__(self, log: list[str], may_block: bool) -> None:
        self.log = log
        self.may_block = may_block
        self.is_closed = False
        log.append("open")

    def _judge(self, text: bytes, is_last: bool) -> Steps:
        assert not self.is_closed, "used after close"
        yield from ()
        if b"fault" in text:
            raise RuntimeError("made up")
        if b"late" in text:
            return self.refuse(503, "time-budget")
        if b"evil" in text and self.may_block:
            return Verdict(Outcome.BLOCK, Phase.REQUEST_HEADERS, "i")
        return Verdict(Outcome.ALLOW if is_last else Outcome.PENDING, Phase.REQUEST_HEADERS, "i")

    def request_headers(self, head: RequestHead, deadline: Deadline) -> Steps:
        return self._judge(head.path, head.is_last)

    def request_body(self, body: bytes, is_last: bool, deadline: Deadline) -> Steps:
        return self._judge(body, is_last)

    def request_trailers(self, trailers: Headers, deadline: Deadline) -> Steps:
        return self._judge(b"".join(value for _, value in trailers), True)

    def reads_response(self, head: ResponseHead) -> bool:
        return True

    def response_headers(self, head: ResponseHead, deadline: Deadline) -> Steps:
        return self._judge(b"".join(value for _, value in head.headers), head.is_last)

    def response_body(self, body: bytes, is_last: bool, deadline: Deadline) -> Steps:
        return self._judge(body, is_last)

    def response_trailers(self, trailers: Headers, deadline: Deadline) -> Steps:
        return self._judge(b"", True)

    def refuse(self, status: int, reason: str) -> Verdict:
        outcome = Outcome.BLOCK if self.may_block else Outcome.ALLOW
        return Verdict(outcome, Phase.REQUEST_HEADERS, "i", status=status)

    def decline(self, head: RequestHead, status: int, reason: str) -> Verdict:
        return self.refuse(status, reason)

    def skip(self, reason: str) -> Verdict:
        return Verdict(Outcome.ALLOW, Phase.REQUEST_HEADERS, "i", coverage=Coverage.PARTLY)

    def close(self, fault: str | None) -> None:
        assert not self.is_closed, "closed twice"
        self.is_closed = True
        self.log.append("close")


class ToyInspector:
    ruleset_hash = "toy"

    def __init__(self, may_block: bool) -> None:
        self.log: list[str] = []
        self.may_block = may_block

    def open(self) -> Toy:
        return Toy(self.log, self.may_block)


class Ended(Exception):  # noqa: N818  # how a call is ended, not an error of ours
    """By `abort`, with that status."""


class Call:
    """One gRPC call by hand: `messages` come in, answers are kept; the client half-closes, or goes."""

    def __init__(self, messages: list[bytes], is_cancelled_at_end: bool) -> None:
        self.messages = messages
        self.is_cancelled_at_end = is_cancelled_at_end
        self.read_count = 0
        self.answers: list[tuple[int, bytes]] = []

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("x-waf-policy", "p"),)

    async def read(self) -> Any:
        if self.read_count < len(self.messages):
            self.read_count += 1
            return self.messages[self.read_count - 1]
        if self.is_cancelled_at_end:
            raise asyncio.CancelledError
        return grpc.aio.EOF

    async def write(self, answer: bytes) -> None:
        self.answers.append((self.read_count - 1, answer))

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        assert code is not grpc.StatusCode.OK
        assert_fixed(details)
        raise Ended(code.name)


class Account:
    """The naive account of a stream: what must be answered, and how. `route` is a name of ROUTES or another."""

    def __init__(self, may_block: bool, sees_responses: bool, route: str) -> None:
        self.route = route
        self.request = self.response = "start"
        self.is_blocked = False
        self.may_block = may_block
        self.sees_responses = sees_responses

    def expect(self, kind: str, word: bytes, is_last: bool, is_upgrade: bool, is_watched: bool) -> str:
        """`continue`, `release` (and the rest passes), `block`, `nothing` (no answer) or `error` (the stream ends)."""
        told = self._judge(kind, word, is_last, is_upgrade, is_watched)
        return "nothing" if is_watched and told != "error" else told

    def _judge(self, kind: str, word: bytes, is_last: bool, is_upgrade: bool, is_watched: bool) -> str:
        if self.is_blocked:
            return "continue" if is_watched else "error"
        side = "request" if kind in REQUEST else "response"
        before = getattr(self, side)
        if kind.endswith("headers"):
            if before != "start" or (side == "request" and self.response != "start"):
                return "error"
        elif before not in ("open", "upgraded"):
            return "error"
        is_over = is_last or kind.endswith("trailers")
        setattr(self, side, "over" if is_over else "open")
        if side == "response":
            is_seen = self.sees_responses and self.route != "stream" and self.request != "start"
            is_closed = before == "upgraded" and self.request in ("over", "upgraded")
            if not is_seen or is_closed or kind.endswith("trailers"):
                return "continue"
            told = self._verdict(word)
            if kind.endswith("body") and self.route == "long" and not is_over and told == "continue":
                self.response = "upgraded"
            return told
        if self.route == "stream" and kind == "request_headers" and not is_last and not is_upgrade:
            return self._released(word)
        if self.route == "long" and kind == "request_body" and not is_last:
            return self._released(word)
        if kind == "request_headers" and is_upgrade:
            told = self._verdict(word)
            is_granted = (word == b"/ws" or self.route == "stream") and not is_last
            if told == "continue" and not is_granted and self.may_block:
                self.is_blocked = True
                told = "block"
            if told == "continue":
                self.request = "upgraded"
            return told
        return self._verdict(word)

    def _released(self, word: bytes) -> str:
        told = self._verdict(word)
        if told != "continue":
            return told
        self.request = "upgraded"
        return "release"

    def _verdict(self, word: bytes) -> str:
        if word == b"fault":
            return "error"
        if self.may_block and word in (b"evil", b"late"):
            self.is_blocked = True
            return "block"
        return "continue"


def make_message(route: str, kind: str, word: bytes, is_last: bool, is_upgrade: bool, is_watched: bool) -> bytes:
    message = pb.ProcessingRequest(observability_mode=is_watched)
    message.attributes[decode.ATTRIBUTES].fields["xds.route_name"].string_value = route
    part = getattr(message, kind)
    part.SetInParent()
    if kind == "request_headers":
        for key, value in ((":path", word), (":method", b"GET")):
            part.headers.headers.add(key=key, raw_value=value)
        if is_upgrade:
            for key, value in (("connection", b"upgrade"), ("upgrade", b"websocket")):
                part.headers.headers.add(key=key, raw_value=value)
        part.end_of_stream = is_last
    elif kind == "response_headers":
        part.headers.headers.add(key=":status", raw_value=b"200")
        part.headers.headers.add(key="a", raw_value=word)
        part.end_of_stream = is_last
    elif kind.endswith("body"):
        part.body = word
        part.end_of_stream = is_last
    else:
        part.trailers.headers.add(key="a", raw_value=word)
    return message.SerializeToString()  # type: ignore[no-any-return]


MAX_MESSAGES = 12
ROUTES = (
    Route("stream", "/s", profile=Profile.STREAM),
    Route("long", "/l", profile=Profile.UPLOAD, body_limit_bytes=10, beyond=Beyond.PASS),
)
SETTINGS = {
    sees: Terms(
        ServerSettings(
            addresses=("a",),
            upgrade_paths=(UPGRADE_PATH,),
            routes=ROUTES,
            inspect_response=sees,
            budget_us=10**9,
        ),
        Scheduler(),
    )
    for sees in (False, True)
}


def conversation(data: bytes) -> None:
    """Every message gets one answer of its own kind, or the stream ends with an error; nothing is left open."""
    source = Source(data)
    flags = source.byte()
    may_block, sees_responses, is_cancelled = bool(flags & 1), bool(flags & 2), bool(flags & 4)
    route = ("app", "stream", "long", "")[flags >> 3 & 3]
    account = Account(may_block, sees_responses, route)
    messages, expected = [], []
    while not source.is_empty and len(messages) < MAX_MESSAGES:
        kind, what = source.pick((*REQUEST, *RESPONSE, "junk")), source.byte()
        if kind == "junk":
            messages.append(b"\xff" * (what % 3))  # malformed, or empty
            expected.append((kind, "error"))
            continue
        word = WORDS[what % len(WORDS)]
        told = (kind, word, bool(what & 0x80), bool(what & 0x40), bool(what & 0x20))
        messages.append(make_message(route, *told))
        expected.append((kind, account.expect(*told)))
    end = next((number for number, (_, what) in enumerate(expected) if what == "error"), len(expected))
    inspector = ToyInspector(may_block)
    call = Call(messages, is_cancelled)
    streams = Streams(inspector, SETTINGS[sees_responses], max_streams=1)
    outcome = run(GrpcStreams(streams, lambda context: True)._process(None, call))
    assert streams.open == 0
    assert inspector.log.count("open") == inspector.log.count("close")
    assert [number for number, _ in call.answers] == [
        number for number, (_, what) in enumerate(expected[:end]) if what != "nothing"
    ], "one answer each, in order"
    for number, answer in call.answers:
        reply = pb.ProcessingResponse.FromString(answer)
        kind, what = expected[number]
        assert reply.WhichOneof("response") == ("immediate_response" if what == "block" else kind)
        if what == "release":
            waf = reply.dynamic_metadata.fields["waf"].struct_value.fields
            assert (waf["verdict"].string_value, waf["coverage"].string_value) == ("allow", "partly")
    if end < len(expected):
        assert outcome in ("INVALID_ARGUMENT", "INTERNAL"), "never a clean end with a message unanswered"
    else:
        assert outcome == ("cancelled" if is_cancelled else "ok")


def run(steps: Coroutine[Any, Any, None]) -> str:
    """Drives it without an event loop: nothing in it waits."""
    logging.disable(logging.CRITICAL)
    try:
        steps.send(None)
    except StopIteration:
        return "ok"
    except Ended as end:
        return str(end)
    except asyncio.CancelledError:
        return "cancelled"
    finally:
        logging.disable(logging.NOTSET)
    raise AssertionError("it waits for something")
