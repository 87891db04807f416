"""HTTP/2 frames in any order: nothing is raised, windows are kept, nothing is left behind."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from extproc.server.http2.call import Answering, Call, Handler
from extproc.server.http2.connection import Connection, Host
from extproc.server.http2.headers import Opening
from extproc.server.status import CallError, Status
from tests.fuzz.fuzz_source import Source
from tests.hostile import http2_frames as f

LIMIT_BYTES = 50_000
HELD_BYTES = 60_000
MAX_CALLS = 6
MAX_FRAMES = 200
HEADS = (
    f.block(),
    f.block(("x-policy", "a")),
    f.block(("grpc-encoding", "gzip")),
    f.block((":path", "/no")),
    f.block((":method", "GET")),
    f.block(("X", "y")),
    f.literal(("a", "b")),
    b"\x40\x01a\x01b\xbe" + f.block(),
    b"\xbe",
    b"\x3f\xe1\x1f",
    b"",
)
STREAMS = (1, 1, 1, 3, 3, 5, 7, 9, 11, 13, 15, 0, 2, 2**31 - 1)
SIZES = (0, 1, 4, 5, 100, 16_384, 65_535, 65_536, 2**31 - 1, 2**31)


class Answerer:
    """Answers with what it got, at once, in a later turn, or not; never more than once a message."""

    def __init__(self, tally: dict[str, int]) -> None:
        self.tally = tally
        self.is_over = False
        tally["open"] += 1

    def receive(self, data: bytes) -> Answering:
        assert not self.is_over
        return self._receive(data)

    async def _receive(self, data: bytes) -> bytes | None:
        assert len(data) <= LIMIT_BYTES
        mood = data[0] % 5 if data else 0
        if mood == 1:
            await asyncio.sleep(0)
        if mood == 2:
            await asyncio.get_running_loop().create_future()
        if mood == 3:
            raise CallError(Status.INVALID_ARGUMENT, "odd")
        return None if mood == 4 else data * 3

    def conclude(self) -> None:
        assert not self.is_over

    def fail(self, error: Exception) -> CallError:
        self._over()
        assert isinstance(error, CallError), error
        return error

    def end(self) -> None:
        self._over()

    def cancel(self, is_answered: bool) -> None:
        self._over()

    def _over(self) -> None:
        assert not self.is_over, "ended twice"
        self.is_over = True
        self.tally["over"] += 1


class Wire:
    """The client's end: holds what is written against the windows that it granted."""

    def __init__(self) -> None:
        self.reader = f.Reader()
        self.is_closed = False
        self.seen = 0
        self.last_id = -1
        self.window = 65_535
        self.stream_window = 0
        self.frame_limit = 16_384
        self.spent: dict[int, int] = {}
        self.granted: dict[int, int] = {}
        self.over: set[int] = set()

    def grant(self, size: int) -> bytes:
        """SETTINGS with that window for streams. The largest one ever sent counts: it may have been used already."""
        self.stream_window = max(self.stream_window, size)
        return f.settings((4, size))

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.reader.feed(data)

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading

    def set_write_buffer_limits(self, high: int) -> None:
        pass

    def check(self) -> None:
        """What came since the last look."""
        for told in self.reader.frames[self.seen :]:
            assert told.stream_id not in self.over or told.kind == f.RST_STREAM, "after its end"
            if told.kind == f.DATA:
                assert len(told.payload) <= self.frame_limit
                self.window -= len(told.payload)
                self.spent[told.stream_id] = self.spent.get(told.stream_id, 0) + len(told.payload)
                assert self.window >= 0
                assert self.spent[told.stream_id] <= self.stream_window + self.granted.get(told.stream_id, 0)
            if told.kind in (f.DATA, f.HEADERS) and told.flags & f.END_STREAM:
                self.over.add(told.stream_id)
            if told.kind == f.GOAWAY:
                assert told.payload[4:8] != f.word(2), "INTERNAL_ERROR: it raised"
        self.seen = len(self.reader.frames)


def frames(data: bytes) -> None:
    """One connection that gets what `data` makes up."""
    logging.disable(logging.CRITICAL)
    try:
        _loop().run_until_complete(_connection(Source(data)))
    finally:
        logging.disable(logging.NOTSET)


async def _connection(source: Source) -> None:
    tally = {"open": 0, "over": 0}
    wire = Wire()

    def take(opening: Opening, _call: Call) -> Handler:
        return Answerer(tally)

    host = Host({f.PROCESS.encode(): take}, LIMIT_BYTES, HELD_BYTES, MAX_CALLS, max_connections=1)
    connection = Connection(host)
    connection.connection_made(wire)  # type: ignore[arg-type]
    connection.data_received(f.PREFACE + wire.grant(source.pick((65_535, 300, 10))))
    left = b""
    for _ in range(MAX_FRAMES):
        if source.is_empty or wire.is_closed:
            break
        left += _frame(source, wire)
        act = source.byte() % 8
        cut = source.byte() if act == 0 else 0
        at = len(left) * cut // 256 if cut else len(left)
        connection.data_received(left[:at])
        left = left[at:]
        if act == 1:
            await asyncio.sleep(0)
        if act == 2 and source.byte() < 20:
            connection.pause_writing()
            await asyncio.sleep(0)
            connection.resume_writing()
        if act == 3 and source.byte() < 10:
            connection.drain()
        wire.check()
        assert len(connection._calls) <= MAX_CALLS
        assert 0 <= host.held_bytes <= HELD_BYTES + 16_384 + LIMIT_BYTES
        assert len(connection._rest) <= 16_384 + 9
    connection.connection_lost(None)
    await asyncio.sleep(0)
    assert host.held_bytes == 0
    assert tally["open"] == tally["over"]


def _frame(source: Source, wire: Wire) -> bytes:
    """Three of four are what a client may send: what is always wrong ends at once and shows nothing."""
    what = source.byte()
    return _odd_frame(source, wire) if what >= 192 else _sound_frame(source, wire, what % 8)


def _sound_frame(source: Source, wire: Wire, what: int) -> bytes:
    stream_id = max(1, wire.last_id - 2 * (source.byte() % 4))
    if what < 2:
        wire.last_id += 2
        block = source.pick(HEADS[:3])
        flags = 5 if source.byte() > 220 else 4
        if source.byte() > 30:
            return f.frame(f.HEADERS, flags, wire.last_id, block)
        at = len(block) // 2
        first = f.frame(f.HEADERS, flags & 1, wire.last_id, block[:at])
        return first + f.frame(f.CONTINUATION, 4, wire.last_id, block[at:])
    if what < 5:
        text = bytes([source.byte()]) + source.text() * source.pick((1, 1, 1, 40, 200))
        content = (f.message(text) * source.pick((1, 1, 2)))[: source.pick((16_000, 16_000, 7))]
        if source.byte() > 240:
            return f.frame(f.DATA, 8, stream_id, bytes([9]) + content + bytes(9))
        return f.frame(f.DATA, source.byte() > 200, stream_id, content)
    if what == 5:
        return (
            f.frame(f.RST_STREAM, 0, stream_id, f.word(8)) if source.byte() > 200 else f.frame(f.PING, 0, 0, bytes(8))
        )
    if what == 6:
        return _window_update(wire, stream_id if source.byte() > 60 else 0, 1 + source.byte() * source.pick((1, 50)))
    if source.byte() > 60:
        return wire.grant(source.pick((0, 10, 400, 65_535)))
    return f.settings(source.pick(((5, 16_384), (1, 0), (3, 1), (99, 1))))


def _odd_frame(source: Source, wire: Wire) -> bytes:
    what, stream_id = source.byte() % 8, source.pick(STREAMS)
    flags = source.pick((0, 1, 4, 5, 8, 0x2D, 0xFF))
    if what == 0:
        return f.frame(f.HEADERS, flags, stream_id, source.pick(HEADS))
    if what == 1:
        return f.frame(f.DATA, flags, stream_id, source.text())
    if what == 2:
        return f.frame(f.CONTINUATION, flags, stream_id, source.pick(HEADS))
    if what == 3:
        key, value = source.byte() % 8, source.pick(SIZES)
        return wire.grant(value) if key == 4 else f.settings((key, value))
    if what == 4:
        return _window_update(wire, stream_id, source.pick(SIZES))
    if what == 5:
        return f.frame(f.PING, flags & 1, stream_id, source.pick((b"draining", bytes(8), b"")))
    if what == 6:
        return f.frame(source.byte(), flags, stream_id, source.text())
    return source.text()


def _window_update(wire: Wire, stream_id: int, size: int) -> bytes:
    if not stream_id:
        wire.window += size & 0x7FFFFFFF
    else:
        wire.granted[stream_id] = wire.granted.get(stream_id, 0) + (size & 0x7FFFFFFF)
    return f.frame(f.WINDOW_UPDATE, 0, stream_id, f.word(size))


def _loop() -> asyncio.AbstractEventLoop:
    global _running
    if _running is None:
        _running = asyncio.new_event_loop()
    return _running


_running: Any = None
