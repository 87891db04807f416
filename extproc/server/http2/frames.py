"""Frames of HTTP/2 as numbers and bytes. Source: RFC 9113, sections 4, 6 and 7."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""Section 3.4: what a client sends first."""

HEADER_BYTES = 9
_HEADER = struct.Struct(">BHBBL")
_WORD = struct.Struct(">L")
_SETTING = struct.Struct(">HL")

MAX_FRAME_BYTES = 16_384
"""Payload of a frame that we take: the smallest limit that the RFC allows (SETTINGS_MAX_FRAME_SIZE)."""

LARGEST_FRAME_BYTES = 2**24 - 1
LARGEST_WINDOW_BYTES = 2**31 - 1
DEFAULT_WINDOW_BYTES = 65_535

unpack_header = _HEADER.unpack_from
"""(length high, length low, kind, flags, stream id with its reserved bit)."""

unpack_setting = _SETTING.iter_unpack
unpack_word = _WORD.unpack_from


class Kind(IntEnum):
    """Section 6; the kinds that the RFC does not know are passed over."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Flag:
    """Plain numbers: every frame is held against them. ACK and END_STREAM share a bit, on different kinds."""

    ACK: Final = 0x1
    END_STREAM: Final = 0x1
    END_HEADERS: Final = 0x4
    PADDED: Final = 0x8
    PRIORITY: Final = 0x20


class Setting(IntEnum):
    """Section 6.5.2."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class Code(IntEnum):
    """Section 7."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class ConnectionFault(Exception):  # noqa: N818  # the RFC calls it a connection error; it never leaves this package
    """The connection ends with GOAWAY. `reason` is a fixed text."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(f"{code.name}: {reason}")
        self.code = code
        self.reason = reason


class StreamFault(Exception):  # noqa: N818  # as above
    """One stream ends with RST_STREAM; the others go on."""

    def __init__(self, code: Code, stream_id: int) -> None:
        super().__init__(code.name)
        self.code = code
        self.stream_id = stream_id


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One whole frame; `payload` must fit the peer's limit."""
    size = len(payload)
    return _HEADER.pack(size >> 16, size & 0xFFFF, kind, flags, stream_id) + payload


def settings(values: dict[Setting, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(Kind.SETTINGS, 0, 0, b"".join(_SETTING.pack(key, value) for key, value in values.items()))


def window_update(stream_id: int, size: int) -> bytes:
    """Gives the peer `size` bytes more; stream 0 is the connection."""
    return frame(Kind.WINDOW_UPDATE, 0, stream_id, _WORD.pack(size))


def reset(stream_id: int, code: Code) -> bytes:
    """A RST_STREAM frame."""
    return frame(Kind.RST_STREAM, 0, stream_id, _WORD.pack(code))


def goaway(last_stream_id: int, code: Code, reason: str = "") -> bytes:
    """No stream beyond `last_stream_id` will be answered."""
    return frame(Kind.GOAWAY, 0, 0, _WORD.pack(last_stream_id) + _WORD.pack(code) + reason.encode())


def unpadded(payload: bytes, is_padded: bool) -> bytes:
    """The content of a DATA or HEADERS frame (section 6.1). Raises ConnectionFault when the padding is a lie."""
    if not is_padded:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(Code.PROTOCOL_ERROR, "padding longer than its frame")
    return payload[1 : len(payload) - payload[0]]
