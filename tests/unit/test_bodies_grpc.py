"""Protobuf and gRPC bodies: which texts become arguments, under which names, and what is told of the rest."""

from __future__ import annotations

import gzip
import zlib
from base64 import b64encode
from dataclasses import replace

import pytest
import zstandard

from extproc.bodies.contract import Limits, ParsedBody
from extproc.bodies.grpc_body import TRAILERS
from extproc.bodies.registry import PROCESSORS

GRPC = b"application/grpc"


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return out + bytes((value,))


def field(number: int, value: bytes) -> bytes:
    """One with a length."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def frame(message: bytes, flags: int = 0) -> bytes:
    return bytes((flags,)) + len(message).to_bytes(4, "big") + message


def run(name: str, body: bytes, content_type: bytes = GRPC, limits: Limits | None = None) -> ParsedBody:
    steps = PROCESSORS[name](body, content_type, limits or Limits())
    while True:
        try:
            next(steps)
        except StopIteration as done:
            parsed: ParsedBody = done.value
            return parsed


NESTED = field(2, field(1, b"\x01\x02\x03\x04") + field(3, "café".encode()))
MESSAGES = [
    # (message, its arguments below the name of the processor)
    (field(1, b"hello"), [(b".1", b"hello")]),
    (field(1, b"a") + field(1, b"b"), [(b".1", b"a"), (b".1", b"b")]),
    (field(1, b""), [(b".1", b"")]),
    (b"\x08\x96\x01\x15\0\0\0\0\x19" + bytes(8) + field(4, b"x"), [(b".4", b"x")]),
    (NESTED, [(b".2.1", b"\x01\x02\x03\x04"), (b".2.3", "café".encode())]),
    (field(536870911, b"far"), [(b".536870911", b"far")]),
    # a group, and a group in it
    (b"\x0b" + field(2, b"in") + b"\x13" + field(3, b"deep") + b"\x14\x0c", [(b".1.2", b"in"), (b".1.2.3", b"deep")]),
    # reads as a text and as a message: both
    (field(1, b"\n!" + b"a" * 33), [(b".1", b"\n!" + b"a" * 33), (b".1.1", b"a" * 33)]),
    # neither: bytes, as those of a picture
    (field(1, b"\x89PNG\x0d\x0a\x1a\x0a\0\0\0\x0d\xff\xfe\x01\x02") + field(2, b"name"), [(b".2", b"name")]),
    # no UTF-8, yet text to readers that do not mind
    (field(1, b"\xe9t\xe9 ' or 1=1--"), [(b".1", b"\xe9t\xe9 ' or 1=1--")]),
    # tags and lengths written longer than needed
    (b"\x8a\x80\0\x81\0x", [(b".1", b"x")]),
    (b"\x0a\x81\x80\x80\x80\x10x", [(b".1", b"x")]),
    # no message, but a text
    (b"hello", [(b"", b"hello")]),
    (field(1, b"x" * 32) + b"\x0a\x7fcut", [(b".1", b"x" * 32), (b"", field(1, b"x" * 32) + b"\x0a\x7fcut")]),
    # UTF-8 with control characters: a text, if it is no message
    (field(1, b"' or 1=1--\x01\x02\x03"), [(b".1", b"' or 1=1--\x01\x02\x03")]),
]


@pytest.mark.parametrize(("message", "found"), MESSAGES)
def test_the_texts_of_a_message_are_arguments(message: bytes, found: list[tuple[bytes, bytes]]) -> None:
    parsed = run("PROTOBUF", message)
    assert parsed.args == [(b"protobuf" + name, value) for name, value in found]
    assert (parsed.error, parsed.partly) == (b"", None)
    parsed = run("GRPC", frame(message))
    assert parsed.args == [(b"grpc" + name, value) for name, value in found]
    assert (parsed.error, parsed.partly) == (b"", None)


@pytest.mark.parametrize(
    "message", [b"\x04", b"\x02\x01a", b"\x0b\x0a\x01a", b"\x0b\x14", b"\x06", b"\x0a", b"\x80" * 11]
)
def test_what_is_neither_message_nor_text_is_told(message: bytes) -> None:
    message = field(1, b"seen") + message + b"\0" * 9
    parsed = run("GRPC", frame(message))
    assert parsed.partly == "protobuf-unreadable"
    assert parsed.error == b""
    assert parsed.args[0] == (b"grpc.1", b"seen")


SAID = field(1, b"x' or '1'='1")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (frame(SAID), b"application/grpc; charset=utf-8"),
        (frame(gzip.compress(SAID), 1), GRPC),
        (frame(zlib.compress(SAID), 1), GRPC),
        (frame(zstandard.compress(SAID), 1), GRPC),
        (frame(b"") + frame(SAID), GRPC),
        (frame(SAID) + frame(b"", 1), b"application/grpc-web+proto"),
        (b64encode(frame(SAID)) + b64encode(frame(b"\x08\x01")), b"application/grpc-web-text"),
        (frame(SAID) + frame(b"{}", 2), b"application/connect+proto"),
    ],
)
def test_messages_are_found_in_every_dress(body: bytes, kind: bytes) -> None:
    parsed = run("GRPC", body, kind)
    assert [pair for pair in parsed.args if pair[1]] == [(b"grpc.1", b"x' or '1'='1")]
    assert (parsed.error, parsed.partly) == (b"", None)


def test_json_messages_and_trailers_are_read_as_what_they_are() -> None:
    assert run("GRPC", frame(b'{"a": ["b"]}'), b"application/grpc+json").args == [(b"json.a.array_0", b"b")]
    trailers = frame(b"grpc-status: 0\r\nx: ' or 1=1\r\n", TRAILERS)
    assert run("GRPC", trailers, b"application/grpc-web").args == [(b"grpc-status", b"0"), (b"x", b"' or 1=1")]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (frame(SAID)[:-1], GRPC),
        (b"\0\0\0", GRPC),
        (frame(SAID, 4), GRPC),
        (frame(b"\1nothing packed", 1), GRPC),
        (frame(gzip.compress(SAID)[:-9], 1), GRPC),
        (b"AAAA*", b"application/grpc-web-text"),
        (b"AAAAA", b"application/grpc-web-text"),
        (frame(b'{"a"'), b"application/grpc+json"),
    ],
)
def test_broken_framing_is_an_error_and_told(body: bytes, kind: bytes) -> None:
    parsed = run("GRPC", frame(field(1, b"before")) + body if kind == GRPC else body, kind)
    assert parsed.partly == "grpc-malformed"
    assert parsed.error.startswith(b"gRPC parsing error: ")
    assert parsed.args == ([(b"grpc.1", b"before")] if kind == GRPC else [])


def nested(depth: int) -> bytes:
    message = b"\x08\x01" + field(1, b"x")
    for _ in range(depth - 1):
        message = b"\x08\x01" + field(1, message)
    return message


SMALL = Limits(arguments=3, protobuf_depth=3, protobuf_fields=12, protobuf_twice_bytes=40, grpc_messages=2)
TWICE = b"\n!" + b"a" * 33
EDGES = [
    (frame(field(1, b"a") * 3), frame(field(1, b"a") * 4), "arguments-limit"),
    (frame(nested(3)), frame(nested(4)), "protobuf-depth-limit"),
    (frame(b"\x08\x01" * 12), frame(b"\x08\x01" * 13), "protobuf-fields-limit"),
    (frame(field(1, TWICE)), frame(field(1, TWICE) * 2), "protobuf-twice-limit"),
    (frame(b"") * 2, frame(b"") * 3, "grpc-messages-limit"),
]


@pytest.mark.parametrize(("fits", "over", "word"), EDGES)
def test_a_limit_holds_exactly(fits: bytes, over: bytes, word: str) -> None:
    assert run("GRPC", fits, limits=SMALL).partly is None
    parsed = run("GRPC", over, limits=SMALL)
    assert parsed.partly == word
    assert parsed.error


def test_messages_unpack_to_no_more_than_the_limit_together() -> None:
    limits = replace(Limits(), decompressed_bytes=1000)
    packed = frame(gzip.compress(field(1, b"a" * 497)), 1)
    assert run("GRPC", packed * 2, limits=limits).partly is None
    assert run("GRPC", packed * 3, limits=limits).partly == "decompressed-limit"


def test_hostile_messages_stay_within_their_steps() -> None:
    """A level of small fields, and levels in levels, are read with interruptions."""
    for body in (frame(b"\x08\x01" * 60_000), frame(nested(60) * 400)):
        steps = PROCESSORS["GRPC"](body, GRPC, Limits())
        count = 0
        try:
            while True:
                next(steps)
                count += 1
        except StopIteration:
            pass
        assert count > 20
