"""Frames that break RFC 9113, or gRPC on top of it, and the answer that is due: cases of our own, as data.

Each is sent after preface and SETTINGS. `ends` is the code of GOAWAY; `resets` that of RST_STREAM on stream 1;
`status` the grpc-status of stream 1. A case without any of them must leave the connection as it was.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.hostile.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PRIORITY_FLAG,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ask,
    block,
    frame,
    literal,
    message,
    opening,
    settings,
    sized,
    word,
)

PROTOCOL, FLOW, CLOSED, SIZE, REFUSED, COMPRESSION, CALM = 1, 3, 5, 6, 7, 9, 11
OPEN = opening(1)
LARGEST = 2**31 - 1
FULL = END_HEADERS | END_STREAM


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    sent: bytes
    ends: int | None = None
    resets: int | None = None
    status: int | None = None


CASES = [
    # Frames (sections 4 and 5).
    Case("frame over the size limit", frame(DATA, 0, 1, bytes(16_385)), ends=SIZE),
    Case("frame of an unknown kind", frame(0xEE, 0xFF, 7, b"anything")),
    Case("unknown kind amid a header block", frame(HEADERS, 0, 1, block()) + frame(0xEE, 0, 1), ends=PROTOCOL),
    Case("stream with an even number", opening(2), ends=PROTOCOL),
    Case("HEADERS on stream 0", opening(0), ends=PROTOCOL),
    Case("stream number that goes back", opening(3) + opening(1), ends=CLOSED),
    Case("reserved bit of a stream number", frame(HEADERS, FULL, 0x80000001, block()), status=0),
    # DATA (6.1).
    Case("DATA on stream 0", frame(DATA, 0, 0, b"x"), ends=PROTOCOL),
    Case("DATA on an idle stream", frame(DATA, 0, 5, b"x"), ends=PROTOCOL),
    Case("DATA behind END_STREAM", frame(HEADERS, FULL, 1, block()) + frame(DATA, 0, 1, b"x"), resets=CLOSED, status=0),
    Case("padding as long as its frame", OPEN + frame(DATA, PADDED, 1, b"\x01"), ends=PROTOCOL),
    Case("padding without a length", OPEN + frame(DATA, PADDED, 1, b""), ends=PROTOCOL),
    Case("padding alone", OPEN + frame(DATA, PADDED | END_STREAM, 1, b"\x03\0\0\0"), status=0),
    # HEADERS, CONTINUATION (6.2, 6.10).
    Case("padding longer than HEADERS", frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff" + block()), ends=PROTOCOL),
    Case("padded HEADERS", frame(HEADERS, FULL | PADDED, 1, b"\x02" + block() + b"\0\0"), status=0),
    Case("HEADERS with a priority", frame(HEADERS, FULL | PRIORITY_FLAG, 1, bytes(5) + block()), status=0),
    Case("HEADERS too short for its priority", frame(HEADERS, FULL | PRIORITY_FLAG, 1, b"\0\0"), ends=SIZE),
    Case("CONTINUATION alone", frame(CONTINUATION, END_HEADERS, 1, b""), ends=PROTOCOL),
    Case("CONTINUATION of another", frame(HEADERS, 0, 1, b"") + frame(CONTINUATION, 4, 3, b""), ends=PROTOCOL),
    Case("DATA amid a header block", frame(HEADERS, 0, 1, block()) + frame(DATA, 0, 1, b""), ends=PROTOCOL),
    Case(
        "header block in three frames",
        frame(HEADERS, END_STREAM, 1, block()[:20])
        + frame(CONTINUATION, 0, 1, block()[20:40])
        + frame(CONTINUATION, END_HEADERS, 1, block()[40:]),
        status=0,
    ),
    Case("CONTINUATION flood", frame(HEADERS, 0, 1, block()) + frame(CONTINUATION, 0, 1, b"") * 9, ends=CALM),
    Case(
        "header block over its limit",
        frame(HEADERS, 0, 1, bytes(16_000)) + frame(CONTINUATION, END_HEADERS, 1, bytes(1_000)),
        ends=CALM,
    ),
    Case("header block that is cut", frame(HEADERS, END_HEADERS, 1, block()[:-3]), ends=COMPRESSION),
    Case("index beyond the table", frame(HEADERS, END_HEADERS, 1, b"\xff\x80\x01"), ends=COMPRESSION),
    Case("index zero", frame(HEADERS, END_HEADERS, 1, b"\x80"), ends=COMPRESSION),
    Case("table larger than allowed", frame(HEADERS, END_HEADERS, 1, b"\x3f\xe1\xff\x03" + block()), ends=COMPRESSION),
    Case("endless integer", frame(HEADERS, END_HEADERS, 1, b"\x7f" + b"\xff" * 100), ends=COMPRESSION),
    Case("Huffman code that is none", frame(HEADERS, END_HEADERS, 1, b"\0\x84\xff\xff\xff\xff\x01a"), ends=COMPRESSION),
    Case(
        "bomb of references",
        frame(HEADERS, END_HEADERS, 1, b"\x40\x01a" + sized(b"v" * 4000) + b"\xbe" * 200),
        ends=CALM,
    ),
    Case("trailers that end nothing", OPEN + frame(HEADERS, END_HEADERS, 1, literal(("a", "b"))), resets=PROTOCOL),
    Case("trailers", OPEN + frame(HEADERS, FULL, 1, literal(("a", "b"))), status=0),
    Case("HEADERS behind END_STREAM", opening(1, flags=FULL) + opening(1), ends=CLOSED, status=0),
    # Requests (8).
    *(
        Case(f"request {name}", frame(HEADERS, FULL, 1, head), resets=PROTOCOL)
        for name, head in {
            "without a method": block(without=(":method",)),
            "without a path": block(without=(":path",)),
            "without a scheme": block(without=(":scheme",)),
            "with an empty path": block((":path", "")),
            "with an unknown pseudo-header": block((":odd", "x")),
            "with :status": literal((":status", "200")) + block(),
            "with a pseudo-header twice": literal((":path", "/x")) + block(),
            "with a pseudo-header at the end": block(without=(":path",)) + literal((":path", "/x")),
            "with upper case": block(("X-Upper", "x")),
            "with an empty name": block(("", "x")),
            "with a blank in a name": block(("a b", "x")),
            "with a line feed in a value": block(("a", "b\nc: d")),
            "with NUL in a value": block(("a", "b\0c")),
            "with connection": block(("connection", "close")),
            "with transfer-encoding": block(("transfer-encoding", "chunked")),
            "with another te": block(("te", "gzip")),
        }.items()
    ),
    # PRIORITY, RST_STREAM (6.3, 6.4).
    Case("PRIORITY", frame(PRIORITY, 0, 9, bytes(5))),
    Case("PRIORITY on stream 0", frame(PRIORITY, 0, 0, bytes(5)), ends=PROTOCOL),
    Case("PRIORITY of a wrong size", OPEN + frame(PRIORITY, 0, 1, bytes(4)), resets=SIZE),
    Case("PRIORITY of a wrong size, idle", frame(PRIORITY, 0, 1, bytes(4)), ends=SIZE),
    Case("RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, word(8)), ends=PROTOCOL),
    Case("RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, word(8)), ends=PROTOCOL),
    Case("RST_STREAM of a wrong size", OPEN + frame(RST_STREAM, 0, 1, b"\0"), ends=SIZE),
    Case("RST_STREAM twice", OPEN + frame(RST_STREAM, 0, 1, word(8)) * 2),
    Case("DATA behind RST_STREAM", OPEN + frame(RST_STREAM, 0, 1, word(8)) + frame(DATA, 0, 1, b"x"), resets=CLOSED),
    # SETTINGS (6.5).
    Case("SETTINGS on a stream", frame(SETTINGS, 0, 1, b""), ends=PROTOCOL),
    Case("SETTINGS of a wrong size", frame(SETTINGS, 0, 0, bytes(5)), ends=SIZE),
    Case("SETTINGS acknowledged with a payload", frame(SETTINGS, ACK, 0, bytes(6)), ends=SIZE),
    Case("ENABLE_PUSH 2", settings((2, 2)), ends=PROTOCOL),
    Case("INITIAL_WINDOW_SIZE too large", settings((4, LARGEST + 1)), ends=FLOW),
    Case("MAX_FRAME_SIZE too small", settings((5, 16_383)), ends=PROTOCOL),
    Case("MAX_FRAME_SIZE too large", settings((5, 2**24)), ends=PROTOCOL),
    Case("unknown setting", settings((0xFFFF, 1), (0, 1))),
    Case(
        "window of a stream beyond its limit",
        OPEN + frame(WINDOW_UPDATE, 0, 1, word(LARGEST - 65_535)) + settings((4, 65_536)),
        ends=FLOW,
    ),
    Case("SETTINGS flood", settings() * 3_000, ends=CALM),
    # PUSH_PROMISE, PING, GOAWAY (6.6 to 6.8).
    Case("PUSH_PROMISE", frame(PUSH_PROMISE, END_HEADERS, 1, word(2)), ends=PROTOCOL),
    Case("PING on a stream", frame(PING, 0, 1, bytes(8)), ends=PROTOCOL),
    Case("PING of a wrong size", frame(PING, 0, 0, bytes(7)), ends=SIZE),
    Case("PING flood", frame(PING, 0, 0, bytes(8)) * 3_000, ends=CALM),
    Case("PING acknowledged unasked", frame(PING, ACK, 0, bytes(8))),
    Case("GOAWAY on a stream", frame(GOAWAY, 0, 1, bytes(8)), ends=PROTOCOL),
    Case("GOAWAY too short", frame(GOAWAY, 0, 0, bytes(7)), ends=SIZE),
    Case("GOAWAY of the client", frame(GOAWAY, 0, 0, bytes(8))),
    Case("empty DATA flood", OPEN + frame(DATA, 0, 1) * 3_000, ends=CALM),
    Case("unknown kind flood", frame(0xEE, 0, 1) * 3_000, ends=CALM),
    # WINDOW_UPDATE (6.9).
    Case("WINDOW_UPDATE of nothing", frame(WINDOW_UPDATE, 0, 0, word(0)), ends=PROTOCOL),
    Case("WINDOW_UPDATE of nothing, stream", OPEN + frame(WINDOW_UPDATE, 0, 1, word(0)), resets=PROTOCOL),
    Case("WINDOW_UPDATE on an idle stream", frame(WINDOW_UPDATE, 0, 1, word(1)), ends=PROTOCOL),
    Case("WINDOW_UPDATE of a wrong size", frame(WINDOW_UPDATE, 0, 0, bytes(3)), ends=SIZE),
    Case("window too large", frame(WINDOW_UPDATE, 0, 0, word(LARGEST)), ends=FLOW),
    Case("window too large, stream", OPEN + frame(WINDOW_UPDATE, 0, 1, word(LARGEST)), resets=FLOW),
    Case(
        "WINDOW_UPDATE of a stream that is over", opening(1, flags=FULL) + frame(WINDOW_UPDATE, 0, 1, word(1)), status=0
    ),
    # gRPC.
    Case("unknown method", opening(1, (":path", "/a.b/C"), flags=FULL), status=12),
    Case("unknown compression", opening(1, ("grpc-encoding", "br"), flags=FULL), status=12),
    Case("malformed timeout", opening(1, ("grpc-timeout", "1h"), flags=FULL), status=3),
    Case("metadata over its limit", frame(HEADERS, FULL, 1, block(*((f"x-{n}", "v") for n in range(450)))), status=8),
    Case("compressed without an encoding", OPEN + frame(DATA, END_STREAM, 1, message(b"x", 1)), status=13),
    Case("unknown flag of a message", OPEN + frame(DATA, END_STREAM, 1, message(b"x", 2)), status=13),
    Case("message that is cut", OPEN + frame(DATA, END_STREAM, 1, message(b"xyz")[:-1]), status=13),
    Case("message over the limit", OPEN + frame(DATA, 0, 1, b"\0\xff\xff\xff\xff"), status=8),
    Case("no gzip", opening(1, ("grpc-encoding", "gzip")) + frame(DATA, END_STREAM, 1, message(b"xyz", 1)), status=13),
    Case("a call without messages", opening(1, flags=FULL), status=0),
    Case("no message of ext_proc", OPEN + ask(1, b"\xff"), status=3),
]
