"""Header blocks: what opens a call, and what begins and ends its answer.

A client sends nearly the same block for every call, so what a block came to is remembered for as long as the
dynamic table of HPACK (RFC 7541, section 2.3.2), which may give the same bytes another meaning, did not change.
Ours are constants: they use the static table only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import quote

from hpack import Decoder, HPACKError, OversizedHeaderListError

from extproc.server.http2.frames import Code, ConnectionFault
from extproc.server.status import CallError, Status

MAX_HEADER_LIST_BYTES = 16_384
"""Names, values and 32 bytes a line (RFC 9113, section 6.5.2); a call with more is refused."""

MAX_INFLATED_BYTES = 65_536
"""A block that unpacks to more is no honest one: the connection ends. The table makes 64 MiB out of 16 KiB."""

MAX_REMEMBERED = 256
"""Blocks of a connection; then all are forgotten."""

LINE_OVERHEAD_BYTES = 32

_TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])")
_UNIT_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority"})
_NEEDED = frozenset({b":method", b":scheme", b":path"})
_OF_A_CONNECTION = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
"""RFC 9113, section 8.2.2: a message with one of these is malformed."""

_NAME = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9a-z]+")

ENCODINGS = frozenset({b"identity", b"gzip", b"deflate"})
"""`grpc-encoding` that is understood."""

ACCEPT_ENCODING = b"identity,deflate,gzip"


@dataclass(frozen=True, slots=True)
class Opening:
    """What the head of a call says. `metadata` holds the first value of each name."""

    path: bytes = b""
    metadata: Mapping[bytes, bytes] = field(default_factory=dict)
    encoding: bytes = b"identity"
    timeout_s: float | None = None
    is_malformed: bool = False
    """Not a request at all: the stream is reset with PROTOCOL_ERROR."""
    http_status: int = 0
    """Not a call of gRPC's: answered with this status of HTTP."""
    refusal: CallError | None = None
    """A call that is not taken."""

    def value(self, name: str) -> str:
        """A value of the initial metadata; empty if there is none."""
        return self.metadata.get(name.encode(), b"").decode("latin-1")


class HeaderBlocks:
    """The decoder of one connection."""

    def __init__(self) -> None:
        self._decoder = Decoder(MAX_INFLATED_BYTES)
        self._table = self._decoder.header_table
        self._known: dict[bytes, Opening] = {}

    def opening(self, block: bytes) -> Opening:
        """What `block` says. Raises ConnectionFault when it cannot be read, as all later ones then mean nothing."""
        opening = self._known.get(block)
        if opening is None:
            before = self._state()
            try:
                lines = self._decoder.decode(block, raw=True)
            except OversizedHeaderListError:
                raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "header list too large") from None
            except (HPACKError, IndexError, ValueError):
                raise ConnectionFault(Code.COMPRESSION_ERROR, "header block cannot be read") from None
            opening = read_opening([(line[0], line[1]) for line in lines])
            after = self._state()
            if after[0] is not before[0] or after[1:] != before[1:] or len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            else:
                self._known[block] = opening
        return opening

    def _state(self) -> tuple[object, int, int]:
        """Changes whenever the table does. An entry that comes in is a new object at the front; it is held here, as
        the place of one that is gone may be taken by the next."""
        entries = self._table.dynamic_entries
        return (entries[0] if entries else None, len(entries), self._table.maxsize)


def read_opening(lines: list[tuple[bytes, bytes]]) -> Opening:
    """The lines of a request head → what they ask for. Source: RFC 9113, section 8.3; gRPC over HTTP/2, *Requests*."""
    metadata: dict[bytes, bytes] = {}
    size = 0
    is_field_seen = False
    for name, value in lines:
        size += len(name) + len(value) + LINE_OVERHEAD_BYTES
        if name[:1] == b":":
            if is_field_seen or name in metadata or name not in _PSEUDO:
                return Opening(is_malformed=True)
        else:
            is_field_seen = True
            if name in _OF_A_CONNECTION or (name == b"te" and value != b"trailers"):
                return Opening(is_malformed=True)
        if _NAME.fullmatch(name) is None or b"\0" in value or b"\r" in value or b"\n" in value:
            return Opening(is_malformed=True)
        metadata.setdefault(name, value)
    if not metadata.keys() >= _NEEDED or not metadata[b":path"]:
        return Opening(is_malformed=True)
    if metadata[b":method"] != b"POST":
        return Opening(http_status=405)
    media = metadata.get(b"content-type", b"").lower()
    if media != b"application/grpc" and media[:17] not in (b"application/grpc+", b"application/grpc;"):
        return Opening(http_status=415)
    encoding = metadata.get(b"grpc-encoding", b"identity")
    refusal = None
    timeout_s = None
    if size > MAX_HEADER_LIST_BYTES:
        refusal = CallError(Status.RESOURCE_EXHAUSTED, "metadata-too-large")
    elif encoding not in ENCODINGS:
        refusal = CallError(Status.UNIMPLEMENTED, "unknown-encoding")
    elif b"grpc-timeout" in metadata:
        written = _TIMEOUT.fullmatch(metadata[b"grpc-timeout"])
        if written is None:
            refusal = CallError(Status.INVALID_ARGUMENT, "malformed-timeout")
        else:
            timeout_s = int(written[1]) * _UNIT_S[written[2]]
    return Opening(metadata[b":path"], metadata, encoding, timeout_s, refusal=refusal)


def _literal(name: bytes, value: bytes) -> bytes:
    """RFC 7541, section 6.2.2, literal without indexing, a new name; both shorter than 127 bytes."""
    if len(name) > 126 or len(value) > 126:
        raise ValueError("too long for one length byte")
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


HEAD = b"\x88" + _literal(b"content-type", b"application/grpc")
"""The head of an answer: `:status: 200` is entry 8 of the static table."""

END_OK = _literal(b"grpc-status", b"0")


@lru_cache(maxsize=64)
def end(status: Status, details: str, is_whole: bool) -> bytes:
    """Trailers of a call that failed; `is_whole`: nothing was sent before, so the head is in the same block."""
    lines = _literal(b"grpc-status", b"%d" % status) + _literal(b"grpc-message", quote(details).encode())
    if status is Status.UNIMPLEMENTED:
        lines += _literal(b"grpc-accept-encoding", ACCEPT_ENCODING)
    return (HEAD if is_whole else b"") + lines


@lru_cache(maxsize=8)
def http_refusal(status: int) -> bytes:
    """The whole answer to what is no call of gRPC's. `:status` is the name of entry 8."""
    return b"\x08\x03%d" % status
