"""Envoy's end of the conversation, with official messages: what the cases are written in."""

from __future__ import annotations

import argparse
import contextlib
import queue
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
import pytest
from control import Control, Started
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
CALL_TIMEOUT_S = 20.0
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
"""Without this, channels to one server share a connection."""

READY_LIMIT_S = 10.0
PAGE_LIMIT_BYTES = 8192
FORBIDDEN_FIELDS = range(11, 17)
ATTRIBUTES = "envoy.filters.http.ext_proc"

Pair = tuple[str, bytes | str]


def request_headers(path: str = "/", *more: Pair, method: str = "GET", is_last: bool = True) -> pb.ProcessingRequest:
    """As Envoy sends them: pseudo headers first, all as raw_value."""
    message = pb.ProcessingRequest()
    part = message.request_headers
    first = [(":authority", "app.example"), (":path", path), (":method", method), (":scheme", "http")]
    add(part.headers, *first, ("user-agent", "Mozilla/5.0"), ("accept", "text/html"), *more)
    part.end_of_stream = is_last
    return message


def request_body(data: bytes, is_last: bool = True) -> pb.ProcessingRequest:
    return pb.ProcessingRequest(request_body=pb.HttpBody(body=data, end_of_stream=is_last))


def request_trailers(*pairs: Pair) -> pb.ProcessingRequest:
    message = pb.ProcessingRequest(request_trailers=pb.HttpTrailers())
    add(message.request_trailers.trailers, *pairs)
    return message


def response_headers(status: str = "200", is_last: bool = False) -> pb.ProcessingRequest:
    message = pb.ProcessingRequest()
    add(message.response_headers.headers, (":status", status), ("content-type", "text/plain"))
    message.response_headers.end_of_stream = is_last
    return message


def response_body(data: bytes, is_last: bool = True) -> pb.ProcessingRequest:
    return pb.ProcessingRequest(response_body=pb.HttpBody(body=data, end_of_stream=is_last))


def add(headers, *pairs: Pair) -> None:
    for key, value in pairs:
        headers.headers.add(key=key, raw_value=value.encode() if isinstance(value, str) else value)


def form_post(path: str = "/") -> pb.ProcessingRequest:
    """Headers of a POST whose body is to follow."""
    return request_headers(path, ("content-type", "application/x-www-form-urlencoded"), method="POST", is_last=False)


def declared(message: pb.ProcessingRequest, mode: str) -> pb.ProcessingRequest:
    """`message` with the body mode that Envoy declares on the first message of a stream."""
    message.protocol_config.request_body_mode = ProcessingMode.BodySendMode.Value(mode)
    return message


def verdict(reply: pb.ProcessingResponse) -> str:
    """`waf.verdict` of the dynamic metadata; empty if there is none."""
    return reply.dynamic_metadata.fields["waf"].struct_value.fields["verdict"].string_value


def kind(reply: pb.ProcessingResponse) -> str:
    return reply.WhichOneof("response") or ""


def is_block(reply: pb.ProcessingResponse, status: int = 403) -> bool:
    """An immediate response with that status, and said to be a block."""
    return (
        kind(reply) == "immediate_response"
        and reply.immediate_response.status.code == status
        and verdict(reply) == "block"
    )


def check_legal(reply: pb.ProcessingResponse, is_override_due: bool = False) -> None:
    """G24, held against every reply of every case."""
    assert kind(reply), "a reply without a kind is spurious to Envoy"
    numbers = {field.number for field, _ in reply.ListFields()}
    unknown = UnknownFieldSet(reply)
    numbers |= {unknown[index].field_number for index in range(len(unknown))}
    assert not numbers & set(FORBIDDEN_FIELDS), f"fields {sorted(numbers)} are not for ext_proc servers"
    assert is_override_due or not reply.HasField("mode_override"), "mode_override where none is due"
    for mutation in _mutations(reply):
        for option in mutation.set_headers:
            assert not option.header.value, f"{option.header.key}: `value` arrives empty, use raw_value"
            assert not option.append_action, f"{option.header.key}: append_action is not honoured"
    if kind(reply) == "immediate_response":
        assert reply.immediate_response.status.code >= 200, "Envoy sends it as 200"
        assert len(reply.immediate_response.body) <= PAGE_LIMIT_BYTES


def _mutations(reply: pb.ProcessingResponse) -> Iterator[pb.HeaderMutation]:
    part = getattr(reply, kind(reply))
    if kind(reply) == "immediate_response":
        yield part.headers
    elif kind(reply).endswith("_trailers"):
        yield part.header_mutation
    else:
        yield part.response.header_mutation


def unknown_fields(message: Message) -> list[int]:
    """Numbers of fields, at any depth, that the official messages do not have."""
    found = [field.field_number for field in UnknownFieldSet(message)]
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        is_map = field.message_type.GetOptions().map_entry
        parts = value.values() if is_map else value if isinstance(value, Sequence) else [value]
        for part in parts:
            if isinstance(part, Message):
                found += unknown_fields(part)
    return found


class Stream:
    """One stream, driven step by step."""

    def __init__(self, open_call: Callable[[Iterator[bytes]], grpc.Call]) -> None:
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._call = open_call(iter(self._outbox.get, None))

    def send(self, *messages: pb.ProcessingRequest | bytes) -> None:
        for message in messages:
            self._outbox.put(message if isinstance(message, bytes) else message.SerializeToString())

    def half_close(self) -> None:
        self._outbox.put(None)

    def cancel(self) -> None:
        self._call.cancel()
        self.half_close()

    def receive(self, is_override_due: bool = False) -> pb.ProcessingResponse:
        """The next reply, checked. Fails the case when the stream ends instead."""
        try:
            reply = pb.ProcessingResponse.FromString(next(self._call))
        except (StopIteration, grpc.RpcError) as end:
            pytest.fail(
                f"the stream ended ({self._call.code()}, {self._call.details()}) instead of a reply: {end!r:.60}"
            )
        check_legal(reply, is_override_due)
        return reply

    def rest(self) -> list[pb.ProcessingResponse]:
        """All replies until the stream ends."""
        replies = []
        with contextlib.suppress(grpc.RpcError):
            for data in self._call:
                replies.append(pb.ProcessingResponse.FromString(data))
        for reply in replies:
            check_legal(reply)
        return replies

    @property
    def is_open(self) -> bool:
        return self._call.is_active()

    def code(self) -> grpc.StatusCode:
        """Waits for the end."""
        self.half_close()
        return self._call.code()

    def details(self) -> str:
        return self._call.details() or ""


@dataclass(frozen=True, slots=True)
class Result:
    """A whole stream: what was sent is not kept."""

    replies: list[pb.ProcessingResponse]
    code: grpc.StatusCode
    details: str

    @property
    def is_ok(self) -> bool:
        return self.code is grpc.StatusCode.OK

    @property
    def kinds(self) -> list[str]:
        return [kind(reply) for reply in self.replies]


PROFILES = {
    "fault_path": "faults",
    "nothing_path": "faults",
    "slow_path": "faults",
    "max_streams": "few-streams",
}
"""Which server the control is asked for when an option was not given."""


class Peer:
    """A connection to a server under test, and what the suite was told about it."""

    def __init__(self, options: argparse.Namespace, control: Control | None = None) -> None:
        self.options = options
        self.attack: str = options.attack
        self._control = control
        self._channel = grpc.insecure_channel(options.target, OWN_CONNECTION)
        grpc.channel_ready_future(self._channel).result(timeout=READY_LIMIT_S)

    def close(self) -> None:
        self._channel.close()

    @property
    def control(self) -> Control:
        """Whoever can start and stop servers, or the case is not applicable."""
        if self._control is None:
            pytest.skip("not applicable: needs --control")
        return self._control

    def needs(self, name: str) -> str:
        """The value of an option, or the case is not applicable."""
        value = getattr(self.options, name)
        if not value:
            pytest.skip(f"not applicable: needs --{name.replace('_', '-')}")
        return value

    @contextmanager
    def having(self, name: str) -> Iterator[Peer]:
        """This server if the option was given for it, else one for which the control gives it."""
        if getattr(self.options, name) or self._control is None:
            self.needs(name)
            yield self
            return
        server = self._control.shared(PROFILES[name])
        with self.beside(server) as other:
            other.needs(name)
            yield other

    @contextmanager
    def beside(self, server: Started) -> Iterator[Peer]:
        """A connection to a server that the control started."""
        options = argparse.Namespace(**{**vars(self.options), **server.options, "target": server.target})
        other = Peer(options, self._control)
        try:
            yield other
        finally:
            other.close()

    def open(self, compression: grpc.Compression | None = None, timeout_s: float | None = None) -> Stream:
        call = self._channel.stream_stream(PROCESS)
        limit_s = CALL_TIMEOUT_S if timeout_s is None else timeout_s
        return Stream(lambda messages: call(messages, timeout=limit_s, compression=compression))

    def talk(self, *messages: pb.ProcessingRequest | bytes, compression: grpc.Compression | None = None) -> Result:
        """Sends all at once, half-closes and reads to the end."""
        stream = self.open(compression)
        stream.send(*messages)
        stream.half_close()
        replies = stream.rest()
        return Result(replies, stream.code(), stream.details())

    def call(self, method: str, message: bytes = b"") -> tuple[grpc.StatusCode, bytes]:
        """A unary call with raw bytes."""
        try:
            return grpc.StatusCode.OK, self._channel.unary_unary(method)(message, timeout=CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            return error.code(), b""

    def is_alive(self) -> bool:
        """Does it still answer an ordinary request?"""
        result = self.talk(request_headers())
        return result.is_ok and result.kinds == ["request_headers"]


def connect(target: str) -> socket.socket:
    """A bare connection to the server."""
    if target.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(READY_LIMIT_S)
        connection.connect(target.removeprefix("unix:"))
        return connection
    host, _, port = target.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=READY_LIMIT_S)


def settle() -> None:
    """Time for something that must not happen."""
    time.sleep(0.2)
