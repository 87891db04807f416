"""Protobuf messages without their schema: every text an argument, named by its field numbers (`protobuf.2.1`).

Nothing in the wire format tells a text from bytes or from a message within (protobuf.dev, *Encoding*). So of a value
with a length: if it reads as fields from end to end it is a message, and its values count; if it is UTF-8 without
control characters it is a text; if it is both, both count. If it is neither, it is a text too, unless it is binary
and no UTF-8: a picture, a hash, packed numbers. That no rule sees, as with the content of an uploaded file. Numbers are
no arguments: they hold no text. A field that repeats has one name, so that an exclusion or a field kind names it once.

Readers differ in what they forgive: tags and lengths may be written longer than needed, as the most lenient take them.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias

from extproc.bodies.contract import BodySteps, Limits, ParsedBody
from extproc.bodies.sniff import is_binary

STEP_FIELDS = 500
"""Fields between two interruptions."""

VARINT_BYTES = 10
"""A longer varint is refused by every reader."""

MAX_LENGTH = 2**31 - 1
"""A longer length is negative to those who read 32 bits."""

_VARINT, _FIXED64, _LENGTH, _GROUP, _GROUP_END, _FIXED32 = range(6)
_CONTROLS = bytes(byte for byte in range(0x20) if byte not in b"\t\n\r") + b"\x7f"

Fields: TypeAlias = tuple[list[tuple[bytes, bytes]], bool]
"""((path of field numbers below the message, value) of those with a length, is it sound to its end?)."""


class LimitPassed(Exception):  # noqa: N818 - not a fault: the reading ends here
    """`partly` is the word of the limit, `reason` the sentence for REQBODY_ERROR_MSG."""

    def __init__(self, reason: bytes, partly: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.partly = partly


class ProtobufWalk:
    """Reads messages into arguments; its limits hold for all messages of a body together."""

    def __init__(self, args: list[tuple[bytes, bytes]], limits: Limits) -> None:
        """Arguments are added to `args`."""
        self._args = args
        self._limits = limits
        self._fields_left = limits.protobuf_fields
        self._twice_left = limits.protobuf_twice_bytes

    def read(self, message: bytes, name: bytes) -> Generator[None, None, bool]:
        """Adds what the message holds. False: it is no message; what it held before the fault is added all the same.

        Raises LimitPassed: `arguments-limit`, `protobuf-fields-limit`, `protobuf-depth-limit`, `protobuf-twice-limit`.
        """
        found, is_sound = yield from self._fields(message)
        # Of each open message: its name, its fields, how many are done.
        stack: list[tuple[bytes, list[tuple[bytes, bytes]], int]] = [(name, found, 0)]
        while stack:
            prefix, fields, done = stack.pop()
            while done < len(fields):
                path, value = fields[done]
                done += 1
                inner: list[tuple[bytes, bytes]] = []
                is_message = False
                if len(value) > 1:
                    inner, is_message = yield from self._fields(value)
                is_utf8 = _is_utf8(value)
                is_text = is_utf8 and value.translate(None, _CONTROLS) == value
                full = prefix + path
                if is_text or (not is_message and (is_utf8 or not is_binary(value))):
                    self.add(full, value)
                if is_message and inner:
                    if is_text:
                        self._twice_left -= len(value)
                        if self._twice_left < 0:
                            raise LimitPassed(b"Too many texts that may be messages.", "protobuf-twice-limit")
                    if len(stack) + 1 < self._limits.protobuf_depth:
                        stack.append((prefix, fields, done))
                        stack.append((full, inner, 0))
                        break
                    if not is_text:
                        raise LimitPassed(
                            b"Messages deeper than %d." % self._limits.protobuf_depth, "protobuf-depth-limit"
                        )
        return is_sound

    def add(self, name: bytes, value: bytes) -> None:
        """One more argument. Raises LimitPassed."""
        if len(self._args) >= self._limits.arguments:
            raise LimitPassed(b"More than %d arguments." % self._limits.arguments, "arguments-limit")
        self._args.append((name, value))

    def _fields(self, data: bytes) -> Generator[None, None, Fields]:
        """One level of a message; groups belong to the level that they stand in, under their number."""
        found: list[tuple[bytes, bytes]] = []
        groups: list[int] = []
        prefix = b"."
        position, end = 0, len(data)
        while position < end:
            self._fields_left -= 1
            if self._fields_left % STEP_FIELDS == 0:
                yield
            if self._fields_left < 0:
                raise LimitPassed(b"More than %d fields." % self._limits.protobuf_fields, "protobuf-fields-limit")
            tag, position = _varint(data, position)
            number, kind = (tag & 0xFFFFFFFF) >> 3, tag & 7
            if position < 0 or number == 0:
                return found, False
            if kind == _LENGTH:
                length, position = _varint(data, position)
                length &= 0xFFFFFFFF
                if position < 0 or length > MAX_LENGTH or position + length > end:
                    return found, False
                found.append((prefix + b"%d" % number, data[position : position + length]))
                position += length
            elif kind == _VARINT:
                _, position = _varint(data, position)
                if position < 0:
                    return found, False
            elif kind == _FIXED64:
                position += 8
            elif kind == _FIXED32:
                position += 4
            elif kind == _GROUP and len(groups) < self._limits.protobuf_depth:
                groups.append(number)
                prefix += b"%d." % number
            elif kind == _GROUP_END and groups and groups[-1] == number:
                groups.pop()
                prefix = b"." + b"".join([b"%d." % open_number for open_number in groups])
            else:
                return found, False
        return found, position == end and not groups


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """(value, position behind it), the position -1 where there is none."""
    value = shift = 0
    for byte in data[position : position + VARINT_BYTES]:
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    return 0, -1


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def protobuf(body: bytes, content_type: bytes, limits: Limits) -> BodySteps:
    """Processor PROTOBUF: the body is one message.

    One that is no message is the argument `protobuf` if it is text, else `partly` (`protobuf-unreadable`).
    """
    parsed = ParsedBody(processor="PROTOBUF")
    walk = ProtobufWalk(parsed.args, limits)
    try:
        yield from read_message(walk, body, b"protobuf", parsed)
    except LimitPassed as passed:
        parsed.error = b"Protobuf parsing error: " + passed.reason
        parsed.partly = passed.partly
    return parsed


def read_message(walk: ProtobufWalk, message: bytes, name: bytes, parsed: ParsedBody) -> Generator[None, None, None]:
    """One message, or what stands where one should: text is an argument, anything else is told as not seen.

    Not an error: programs send their own formats by the same content type, and readers of protobuf refuse it.
    """
    if not (yield from walk.read(message, name)):
        if is_binary(message):
            parsed.partly = parsed.partly or "protobuf-unreadable"
        else:
            walk.add(name, message)
