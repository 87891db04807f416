"""gRPC bodies: messages with a length before them (gRPC over HTTP/2, *Length-Prefixed-Message*; gRPC-Web; Connect).

The argument of a message's text is named by field numbers, whichever message of the body it stands in (`grpc.2.1`). A
message whose first byte says that it is compressed is unpacked by what it looks like: its label, `grpc-encoding`, is a
header. The messages of `+json` are read as JSON bodies are.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Generator
from dataclasses import replace

from extproc.bodies.contract import BodySteps, Limits, ParsedBody
from extproc.bodies.decompress import decompress_steps
from extproc.bodies.json_body import json_body
from extproc.bodies.protobuf import LimitPassed, ProtobufWalk, read_message

PREFIX_BYTES = 5
"""A byte of flags, and the length in four (network order)."""

STEP_MESSAGES = 200
"""Messages between two interruptions."""

COMPRESSED, END_OF_STREAM, TRAILERS = 0x01, 0x02, 0x80
"""Flags: the first of gRPC, the second of Connect (its message is JSON), the third of gRPC-Web (header lines)."""

_MAGIC = ((b"\x1f\x8b", b"gzip"), (b"\x28\xb5\x2f\xfd", b"zstd"))


class _Malformed(Exception):  # noqa: N818 - an outcome on its way to `ParsedBody.error`
    """The text is the sentence for REQBODY_ERROR_MSG; what cannot be read on is `partly`."""

    def __init__(self, reason: bytes) -> None:
        super().__init__(reason)
        self.reason = reason


def grpc_body(body: bytes, content_type: bytes, limits: Limits) -> BodySteps:
    """Processor GRPC. Broken framing and broken compression set `error`, and `partly` to `grpc-malformed`.

    Limits passed set both as well: `arguments-limit`, `protobuf-fields-limit`, `protobuf-depth-limit`,
    `grpc-messages-limit`, `decompressed-limit` and `decompression-ratio` (all messages together).
    """
    parsed = ParsedBody(processor="GRPC")
    kind = content_type.split(b";", 1)[0].strip().lower()
    try:
        if b"-web-text" in kind:
            body = _unquoted(body)
        yield from _read(body, kind.endswith(b"+json"), parsed, limits)
    except LimitPassed as passed:
        parsed.error = b"gRPC parsing error: " + passed.reason
        parsed.partly = passed.partly
    except _Malformed as malformed:
        parsed.error = b"gRPC parsing error: " + malformed.reason
        parsed.partly = "grpc-malformed"
    return parsed


def _read(body: bytes, is_json: bool, parsed: ParsedBody, limits: Limits) -> Generator[None, None, None]:
    walk = ProtobufWalk(parsed.args, limits)
    position = messages = unpacked_bytes = 0
    while position < len(body):
        messages += 1
        if messages > limits.grpc_messages:
            raise LimitPassed(b"More than %d messages." % limits.grpc_messages, "grpc-messages-limit")
        if messages % STEP_MESSAGES == 0:
            yield
        flags = body[position]
        begin = position + PREFIX_BYTES
        position = begin + int.from_bytes(body[position + 1 : begin], "big")
        if begin > len(body) or position > len(body):
            raise _Malformed(b"A message is shorter than its length.")
        message = body[begin:position]
        if flags & ~(COMPRESSED | END_OF_STREAM | TRAILERS):
            raise _Malformed(b"Unknown flags.")
        if flags & COMPRESSED and message:
            left = limits.decompressed_bytes - unpacked_bytes
            message = yield from _unpack(message, replace(limits, decompressed_bytes=left))
            unpacked_bytes += len(message)
        if flags & TRAILERS:
            for line in message.splitlines():
                name, _, value = line.partition(b":")
                walk.add(name, value.strip())
        elif is_json or flags & END_OF_STREAM:
            left_arguments = limits.arguments - len(parsed.args)
            inner = yield from json_body(message, b"", replace(limits, arguments=left_arguments))
            parsed.args += inner.args
            if inner.partly:
                raise LimitPassed(inner.error, inner.partly)
            if inner.error:
                raise _Malformed(inner.error)
        else:
            yield from read_message(walk, message, b"grpc", parsed)


def _unpack(message: bytes, limits: Limits) -> Generator[None, None, bytes]:
    encoding = next((name for magic, name in _MAGIC if message.startswith(magic)), b"deflate")
    unpacked = yield from decompress_steps(message, encoding, limits)
    if unpacked.partly:
        raise LimitPassed(b"A message unpacks to too much.", unpacked.partly)
    if unpacked.error:
        raise _Malformed(b"A message cannot be unpacked (%s)." % unpacked.error.encode())
    return unpacked.body


def _unquoted(body: bytes) -> bytes:
    """gRPC-Web as text: Base64, padded wherever the sender flushed (gRPC-Web, *Protocol differences*)."""
    pieces = []
    position = 0
    while position < len(body):
        padding = body.find(b"=", position)
        end = len(body) if padding < 0 else padding
        while body[end : end + 1] == b"=":
            end += 1
        try:
            pieces.append(b64decode(body[position:end], validate=True))
        except Base64Error:
            raise _Malformed(b"No Base64.") from None
        position = end
    return b"".join(pieces)
