"""Frames by hand, and a peer made of them: what no client library would send. Imports nothing of extproc."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY_FLAG = 1, 1, 4, 8, 32

PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
CHECK = "/grpc.health.v1.Health/Check"
REQUEST = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", PROCESS),
    (":authority", "engine"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
)


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBL", kind, flags, stream_id) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HL", key, value) for key, value in pairs))


def block(*changes: tuple[str, str], without: tuple[str, ...] = ()) -> bytes:
    """A request head without the dynamic table; `changes` replace a line or are added."""
    replaced = dict(changes)
    lines = [(name, replaced.pop(name, value)) for name, value in REQUEST if name not in without]
    return literal(*lines, *replaced.items())


def literal(*lines: tuple[str, str]) -> bytes:
    """RFC 7541, section 6.2.2, new names."""
    return b"".join(b"\0" + sized(name.encode("latin-1")) + sized(value.encode("latin-1")) for name, value in lines)


def sized(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes([len(text)]) + text
    rest, size = len(text) - 127, b"\x7f"
    while rest >= 128:
        size += bytes([rest % 128 + 128])
        rest //= 128
    return size + bytes([rest]) + text


def opening(stream_id: int, *changes: tuple[str, str], flags: int = END_HEADERS) -> bytes:
    return frame(HEADERS, flags, stream_id, block(*changes))


def message(data: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(data).to_bytes(4, "big") + data


def ask(stream_id: int, data: bytes, flags: int = 0) -> bytes:
    return frame(DATA, flags, stream_id, message(data))


def word(number: int) -> bytes:
    return struct.pack(">L", number)


@dataclass(frozen=True, slots=True)
class Frame:
    kind: int
    flags: int
    stream_id: int
    payload: bytes


class Reader:
    """What came back, frame by frame; header blocks are decoded with the state of the connection."""

    def __init__(self) -> None:
        self._rest = b""
        self._decoder = hpack.Decoder()
        self.frames: list[Frame] = []
        self.heads: dict[int, list[dict[str, str]]] = {}

    def feed(self, data: bytes) -> None:
        self._rest += data
        while len(self._rest) >= 9:
            size = int.from_bytes(self._rest[:3], "big")
            if len(self._rest) < 9 + size:
                return
            kind, flags, stream_id = struct.unpack(">BBL", self._rest[3:9])
            told = Frame(kind, flags, stream_id, self._rest[9 : 9 + size])
            self._rest = self._rest[9 + size :]
            self.frames.append(told)
            if kind == HEADERS:
                self.heads.setdefault(stream_id, []).append(dict(self._decoder.decode(told.payload)))

    def of(self, kind: int, stream_id: int | None = None) -> list[Frame]:
        return [told for told in self.frames if told.kind == kind and stream_id in (None, told.stream_id)]

    def data(self, stream_id: int) -> bytes:
        return b"".join(told.payload for told in self.of(DATA, stream_id))

    def messages(self, stream_id: int) -> list[bytes]:
        data, found = self.data(stream_id), []
        while len(data) >= 5:
            size = int.from_bytes(data[1:5], "big")
            found.append(data[5 : 5 + size])
            data = data[5 + size :]
        return found

    def status(self, stream_id: int) -> int | None:
        """`grpc-status`, once the stream has ended with one."""
        for head in self.heads.get(stream_id, []):
            if "grpc-status" in head:
                return int(head["grpc-status"])
        return None

    @property
    def goaway(self) -> int | None:
        """Code of the first GOAWAY."""
        for told in self.of(GOAWAY):
            return int.from_bytes(told.payload[4:8], "big")
        return None

    def reset(self, stream_id: int) -> int | None:
        """Code of the first RST_STREAM."""
        for told in self.of(RST_STREAM, stream_id):
            return int.from_bytes(told.payload, "big")
        return None
