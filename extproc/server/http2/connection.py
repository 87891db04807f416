"""One connection: bytes in, frames to their calls, all answers of one read in one write.

Nothing a peer sends raises out of here: what breaks the protocol ends the stream or the connection with the code
that RFC 9113 names. What waits for a peer that does not read is bounded: it is not read from either.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

from extproc.server.http2 import frames
from extproc.server.http2.allowance import Allowance
from extproc.server.http2.call import PREFIX_BYTES, Call, Method
from extproc.server.http2.frames import Code, ConnectionFault, Flag, Kind, Setting, StreamFault
from extproc.server.http2.headers import END_OK, HEAD, MAX_HEADER_LIST_BYTES, HeaderBlocks, end, http_refusal
from extproc.server.status import CallError, Status

CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024
"""What all streams together may have under way; what is kept is counted by `hold`."""

CREDIT_BYTES = 65_536
"""So much is consumed before a window is opened again."""

MAX_BLOCK_BYTES = 16_384
"""A header block with all its CONTINUATION frames."""

MAX_CONTINUATIONS = 8
"""Frames of one header block, beyond the first."""

SLICE_US = 1_000
"""Messages of one read are answered for that long; then what is answered goes out, and others have their turn."""

HANDSHAKE_S = 10.0
"""From the connection to the client's SETTINGS."""

STALL_S = 30.0
"""A peer that leaves our answers unread for that long is gone."""

WRITE_BUFFER_BYTES = 262_144
"""Unread answers beyond which nothing more is read."""

GOAWAY_PING_S = 3.0
"""For the answer to the PING that tells that GOAWAY was read (RFC 9113, section 6.8)."""

RESET_BURST, RESETS_PER_S = 10_000, 1_000
"""Streams ended before they were answered. Clients that vanish look alike, so it is far above what they do."""

CONTROL_BURST, CONTROLS_PER_S = 2_000, 200
"""PING, SETTINGS, PRIORITY, frames of unknown kinds and empty DATA."""

MAX_ENDED_EARLY = 1_000
"""Streams that we ended first and to which the client, not knowing it yet, may still send."""

AGE_SPREAD = 0.1
"""Connections that began together end apart: each lives this share longer or shorter."""

DRAIN_PING = b"draining"

_MAX_STREAM_ID = 2**31 - 1

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Host:
    """What all connections of a worker share. `held_bytes` are messages that are incomplete, wait or are at work."""

    methods: Mapping[bytes, Method]
    message_limit_bytes: int
    buffer_limit_bytes: int
    max_calls: int
    """Of one connection."""
    max_connections: int
    age_s: float = 0.0
    """After which a connection is drained, give or take AGE_SPREAD; 0: never."""
    age_grace_s: float = 300.0
    """For the streams of a connection that has grown old."""
    draw: Callable[[], float] = random.random
    """0 to 1."""
    held_bytes: int = 0
    connections: dict[Connection, None] = field(default_factory=dict)
    on_empty: Callable[[], None] | None = None

    @property
    def stream_window_bytes(self) -> int:
        """The largest message, and what may be consumed and not given back yet."""
        return self.message_limit_bytes + PREFIX_BYTES + 2 * CREDIT_BYTES

    def hold(self, size: int) -> bool:
        """`size` bytes more are kept; False: more than there may be."""
        self.held_bytes += size
        return self.held_bytes <= self.buffer_limit_bytes

    def release(self, size: int) -> None:
        """They are kept no longer."""
        self.held_bytes -= size


class Connection(asyncio.Protocol):
    """The server's end. RFC 9113 by section number."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._rest = b""
        self._is_over = False
        self._has_preface = False
        self._has_settings = False
        self._is_paused = False
        self._timer: asyncio.TimerHandle | None = None
        self._age: asyncio.TimerHandle | None = None
        self._calls: dict[int, Call] = {}
        self._last_id = 0
        self._last_taken_id = _MAX_STREAM_ID
        self._is_draining = False
        self._ended_early: dict[int, None] = {}
        self._headers = HeaderBlocks()
        self._block: tuple[int, int, bytes, int] | None = None  # id, flags, what came, frames
        self._room = CONNECTION_WINDOW_BYTES
        self._low_room = host.stream_window_bytes - CREDIT_BYTES
        self._window = frames.DEFAULT_WINDOW_BYTES
        self._stream_window = frames.DEFAULT_WINDOW_BYTES
        self._frame_limit = frames.MAX_FRAME_BYTES
        self._blocked: dict[Call, None] = {}
        self._deferred: deque[Call] = deque()
        self._is_going_on = False
        self._concluding: list[Call] = []
        self._slice_end_ns = 0
        self._resets = Allowance(RESET_BURST, RESETS_PER_S)
        self._controls = Allowance(CONTROL_BURST, CONTROLS_PER_S)

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's derive from nothing
        if len(self.host.connections) >= self.host.max_connections:
            self._is_over = True
            transport.abort()
            return
        self.host.connections[self] = None
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE_S, self._give_up)
        if self.host.age_s:
            age_s = self.host.age_s * (1 + AGE_SPREAD * (2 * self.host.draw() - 1))
            self._age = asyncio.get_running_loop().call_later(age_s, self._grow_old)
        room = self.host.stream_window_bytes
        self._out.append(
            frames.settings(
                {
                    Setting.MAX_CONCURRENT_STREAMS: self.host.max_calls,
                    Setting.INITIAL_WINDOW_SIZE: room,
                    Setting.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST_BYTES,
                }
            )
        )
        self._out.append(frames.window_update(0, CONNECTION_WINDOW_BYTES - frames.DEFAULT_WINDOW_BYTES))
        self.flush()

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return
        self._slice_end_ns = time.monotonic_ns() + SLICE_US * 1000
        try:
            self._take(self._rest + data if self._rest else data)
        except ConnectionFault as fault:
            self._break(fault)
        except Exception:
            _log.exception("connection ended by a fault")
            self._break(ConnectionFault(Code.INTERNAL_ERROR, "internal"))
        self.flush()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._age is not None:
            self._age.cancel()
        self._cancel_all()
        self._conclude()
        host = self.host
        if host.connections.pop(self, self) is None and not host.connections and host.on_empty is not None:
            host.on_empty()

    def pause_writing(self) -> None:
        self._is_paused = True
        if self._transport is not None and not self._is_over:
            self._transport.pause_reading()
            self._set_timer(STALL_S)

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._transport is not None and not self._is_over:
            self._transport.resume_reading()
            self._clear_timer()
            self._go_on_soon()

    # What the worker calls.

    def drain(self) -> None:
        """Asks the client to open no more streams here; those on their way are still taken (section 6.8)."""
        if self._is_over or self._is_draining:
            return
        self._is_draining = True
        self._out.append(frames.goaway(_MAX_STREAM_ID, Code.NO_ERROR))
        self._out.append(frames.frame(Kind.PING, 0, 0, DRAIN_PING))
        asyncio.get_running_loop().call_later(GOAWAY_PING_S, self._drained)
        self.flush()

    def shut(self, why: str = "shutting down") -> None:
        """Ends what is left, never OK, and closes."""
        if self._is_over:
            return
        for call in list(self._calls.values()):
            call.fail(CallError(Status.UNAVAILABLE, why))
        self._break(ConnectionFault(Code.NO_ERROR, why))
        self.flush()

    # What calls call.

    def is_late(self) -> bool:
        """Has this turn lasted long enough, or do others wait already?"""
        return bool(self._deferred) or self._is_paused or time.monotonic_ns() >= self._slice_end_ns

    def defer(self, call: Call) -> None:
        """`call` goes on in a later turn."""
        if not call.is_deferred:
            call.is_deferred = True
            self._deferred.append(call)
            self._go_on_soon()

    def conclude_later(self, call: Call) -> None:
        """When the answer is sent. Only then is its event made."""
        self._concluding.append(call)
        if len(self._concluding) == 1:
            asyncio.get_running_loop().call_soon(self._conclude)

    def credit(self, call: Call, kept: int) -> int:
        """Opens the client's window up to what is not `kept`, if it is worth a frame; how far it was opened."""
        size = self.host.stream_window_bytes - kept - call.room
        if size < CREDIT_BYTES or call.is_half_closed:
            return 0
        self._out.append(frames.window_update(call.id, size))
        return size

    def send_message(self, call: Call, data: bytes) -> None:
        """A message with its prefix, now or as the client's windows open."""
        out = self._out
        if not call.has_head:
            call.has_head = True
            out.append(frames.frame(Kind.HEADERS, Flag.END_HEADERS, call.id, HEAD))
        size = len(data)
        if size <= self._window and size <= call.window and size <= self._frame_limit and not call.pending:
            self._window -= size
            call.window -= size
            out.append(frames.frame(Kind.DATA, 0, call.id, data))
            return
        call.pending += data
        self._send_pending(call)
        if call.pending:
            self._blocked[call] = None

    def end_call(self, call: Call, error: CallError | None) -> None:
        """Trailers, and the stream is forgotten. None: status OK."""
        if self._calls.pop(call.id, None) is None:
            return
        self._blocked.pop(call, None)
        if error is None:
            block = END_OK if call.has_head else HEAD + END_OK
        else:
            block = end(error.status, error.details, not call.has_head)
        self._end_stream(call, block)

    def flush(self) -> None:
        """Everything that is to be sent, in one write."""
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def _grow_old(self) -> None:
        """Drained like at the end of the server, so the client opens another connection, maybe to another server."""
        self.drain()
        self._age = asyncio.get_running_loop().call_later(self.host.age_grace_s, self.shut, "connection-age")

    # Frames.

    def _take(self, data: bytes) -> None:
        at, size = 0, len(data)
        if not self._has_preface:
            if data[: len(frames.PREFACE)] != frames.PREFACE[:size]:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "not HTTP/2")
            if size < len(frames.PREFACE):
                self._rest = data
                return
            self._has_preface = True
            at = len(frames.PREFACE)
        while size - at >= frames.HEADER_BYTES:
            high, low, kind, flags, stream_id = frames.unpack_header(data, at)
            length = high << 16 | low
            if length > frames.MAX_FRAME_BYTES:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "frame too large")
            start = at + frames.HEADER_BYTES
            at = start + length
            if at > size:
                at = start - frames.HEADER_BYTES
                break
            stream_id &= 0x7FFFFFFF
            if kind != Kind.DATA or self._block is not None or not self._has_settings:
                self._check_order(kind, flags, stream_id)
            handle = _HANDLERS.get(kind)
            try:
                if handle is None:
                    self._count_control()
                else:
                    handle(self, flags, stream_id, data[start:at])
            except StreamFault as fault:
                self._end_faulty(fault)
            if self._is_over:
                return
        self._rest = data[at:]

    def _check_order(self, kind: int, flags: int, stream_id: int) -> None:
        if not self._has_settings:  # section 3.4
            if kind != Kind.SETTINGS or flags & Flag.ACK:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "SETTINGS must come first")
            self._has_settings = True
            if not self._is_paused:
                self._clear_timer()
        is_going_on = self._block is not None and kind == Kind.CONTINUATION and stream_id == self._block[0]
        if (self._block is not None or kind == Kind.CONTINUATION) and not is_going_on:  # section 6.10
            raise ConnectionFault(Code.PROTOCOL_ERROR, "CONTINUATION out of place")

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Section 6.1. Padding counts as data does."""
        size = len(payload)
        self._room -= size
        if self._room < 0:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "more than the window")
        if self._room <= CONNECTION_WINDOW_BYTES - CREDIT_BYTES * 4:
            self._out.append(frames.window_update(0, CONNECTION_WINDOW_BYTES - self._room))
            self._room = CONNECTION_WINDOW_BYTES
        content = frames.unpadded(payload, bool(flags & Flag.PADDED))
        call = self._calls.get(stream_id)
        if call is None:
            self._check_late(stream_id)
            return
        if call.is_half_closed:
            raise StreamFault(Code.STREAM_CLOSED, stream_id)
        call.room -= size
        if call.room < 0:
            raise StreamFault(Code.FLOW_CONTROL_ERROR, stream_id)
        is_last = bool(flags & Flag.END_STREAM)
        if not content and not is_last:
            self._count_control()
        call.feed(content, is_last)
        if call.room < self._low_room:
            call.restore()

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Section 6.2."""
        if not stream_id & 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "HEADERS on a stream that is no client's")
        block = frames.unpadded(payload, bool(flags & Flag.PADDED))
        if flags & Flag.PRIORITY:
            if len(block) < 5:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "HEADERS too short")
            block = block[5:]
        if flags & Flag.END_HEADERS:
            self._on_block(flags, stream_id, block)
        else:
            self._block = (stream_id, flags, block, 0)

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Section 6.10; that one is due was checked."""
        assert self._block is not None  # noqa: S101  # by `_check_order`
        _, first_flags, block, count = self._block
        block += payload
        if count >= MAX_CONTINUATIONS or len(block) > MAX_BLOCK_BYTES:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "header block too large")
        if flags & Flag.END_HEADERS:
            self._block = None
            self._on_block(first_flags, stream_id, block)
        else:
            self._block = (stream_id, first_flags, block, count + 1)

    def _on_block(self, flags: int, stream_id: int, block: bytes) -> None:
        """A whole header block: opens a stream, or is the client's trailers."""
        opening = self._headers.opening(block)  # always, as the next one may build on it
        call = self._calls.get(stream_id)
        if call is not None:
            if call.is_half_closed:
                raise StreamFault(Code.STREAM_CLOSED, stream_id)
            if not flags & Flag.END_STREAM:
                raise StreamFault(Code.PROTOCOL_ERROR, stream_id)
            call.half_close()
            return
        if stream_id <= self._last_id:
            if stream_id in self._ended_early:
                return
            raise ConnectionFault(Code.STREAM_CLOSED, "HEADERS on a stream that is over")
        if stream_id > self._last_taken_id:
            return  # behind the last GOAWAY: the client tries it elsewhere
        self._last_id = stream_id
        if len(self._calls) >= self.host.max_calls:
            raise StreamFault(Code.REFUSED_STREAM, stream_id)
        if opening.is_malformed:
            raise StreamFault(Code.PROTOCOL_ERROR, stream_id)
        host = self.host
        call = Call(self, stream_id, self._stream_window, host.stream_window_bytes, host.message_limit_bytes)
        call.is_half_closed = bool(flags & Flag.END_STREAM)
        if opening.http_status:
            self._end_stream(call, http_refusal(opening.http_status))
            return
        self._calls[stream_id] = call
        call.open(host.methods.get(opening.path), opening)
        if call.is_half_closed and not call.is_over:
            call.half_close()

    def _on_priority(self, _flags: int, stream_id: int, payload: bytes) -> None:
        """Section 6.3: deprecated, checked, of no effect."""
        self._count_control()
        if not stream_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "PRIORITY on stream 0")
        if len(payload) != 5:
            if self._is_idle(stream_id):
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "PRIORITY of a wrong size")
            raise StreamFault(Code.FRAME_SIZE_ERROR, stream_id)

    def _on_rst_stream(self, _flags: int, stream_id: int, payload: bytes) -> None:
        """Section 6.4."""
        if len(payload) != 4:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "RST_STREAM of a wrong size")
        if not stream_id or self._is_idle(stream_id):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "RST_STREAM on an idle stream")
        call = self._calls.pop(stream_id, None)
        if call is None:
            return
        self._blocked.pop(call, None)
        if not call.is_answered or not call.has_head:
            self._count_reset()
        call.cancel()
        self._close_when_drained()

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Section 6.5."""
        if stream_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & Flag.ACK:
            if payload:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "SETTINGS acknowledged with a payload")
            return
        if len(payload) % 6:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "SETTINGS of a wrong size")
        self._count_control()
        values = dict(frames.unpack_setting(payload))  # the last one counts, and only it costs
        if values.get(Setting.ENABLE_PUSH, 0) > 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
        limit = values.get(Setting.MAX_FRAME_SIZE, self._frame_limit)
        if not frames.MAX_FRAME_BYTES <= limit <= frames.LARGEST_FRAME_BYTES:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "MAX_FRAME_SIZE out of range")
        self._frame_limit = limit
        window = values.get(Setting.INITIAL_WINDOW_SIZE, self._stream_window)
        if window > frames.LARGEST_WINDOW_BYTES:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE out of range")
        self._out.append(frames.frame(Kind.SETTINGS, Flag.ACK, 0))
        change = window - self._stream_window
        if change:
            self._stream_window = window
            for call in self._calls.values():  # section 6.9.2: they may fall below zero
                call.window += change
                if call.window > frames.LARGEST_WINDOW_BYTES:
                    raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "window too large")
            self._send_blocked()

    def _on_push_promise(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        raise ConnectionFault(Code.PROTOCOL_ERROR, "PUSH_PROMISE from a client")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Section 6.7."""
        if stream_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "PING of a wrong size")
        if not flags & Flag.ACK:
            self._count_control()
            self._out.append(frames.frame(Kind.PING, Flag.ACK, 0, payload))
        elif self._is_draining and payload == DRAIN_PING:
            self._drained()

    def _on_goaway(self, _flags: int, stream_id: int, payload: bytes) -> None:
        """Section 6.8: the client opens no more streams; it closes when it has all answers."""
        if stream_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "GOAWAY too short")

    def _on_window_update(self, _flags: int, stream_id: int, payload: bytes) -> None:
        """Section 6.9."""
        if len(payload) != 4:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "WINDOW_UPDATE of a wrong size")
        size = frames.unpack_word(payload)[0] & 0x7FFFFFFF
        if not stream_id:
            if not size:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "WINDOW_UPDATE of nothing")
            self._window += size
            if self._window > frames.LARGEST_WINDOW_BYTES:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "window too large")
            self._send_blocked()
            return
        if self._is_idle(stream_id):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream")
        call = self._calls.get(stream_id)
        if call is None:
            return
        if not size:
            raise StreamFault(Code.PROTOCOL_ERROR, stream_id)
        call.window += size
        if call.window > frames.LARGEST_WINDOW_BYTES:
            raise StreamFault(Code.FLOW_CONTROL_ERROR, stream_id)
        if call.pending:
            self._send_pending(call)
            self._after_pending(call)

    # What follows from them.

    def _is_idle(self, stream_id: int) -> bool:
        """Never opened; those that came behind the last GOAWAY were, and are passed over."""
        return self._last_id < stream_id <= self._last_taken_id

    def _count_control(self) -> None:
        if not self._controls.take():
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "too many control frames")

    def _count_reset(self) -> None:
        if not self._resets.take():
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "too many streams reset")

    def _check_late(self, stream_id: int) -> None:
        """A frame of a stream that is not, or no longer, here."""
        if not stream_id or self._is_idle(stream_id):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "DATA on an idle stream")
        if stream_id not in self._ended_early and stream_id <= self._last_taken_id:
            raise StreamFault(Code.STREAM_CLOSED, stream_id)

    def _end_faulty(self, fault: StreamFault) -> None:
        self._count_reset()  # a peer may make us reset streams as well as do it itself
        self._out.append(frames.reset(fault.stream_id, fault.code))
        call = self._calls.pop(fault.stream_id, None)
        self._note_ended_early(fault.stream_id)
        if call is not None:
            self._blocked.pop(call, None)
            call.cancel()
            self._close_when_drained()

    def _end_stream(self, call: Call, block: bytes) -> None:
        self._out.append(frames.frame(Kind.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, call.id, block))
        if not call.is_half_closed:  # section 8.1: what the client still sends is not wanted
            self._out.append(frames.reset(call.id, Code.NO_ERROR))
            self._note_ended_early(call.id)
        self._close_when_drained()

    def _note_ended_early(self, stream_id: int) -> None:
        self._ended_early[stream_id] = None
        if len(self._ended_early) > MAX_ENDED_EARLY:
            del self._ended_early[next(iter(self._ended_early))]

    def _send_pending(self, call: Call) -> None:
        """As much of an answer as the windows take."""
        data = call.pending
        while data:
            size = min(len(data), self._window, call.window, self._frame_limit)
            if size <= 0:
                break
            self._out.append(frames.frame(Kind.DATA, 0, call.id, data[:size]))
            self._window -= size
            call.window -= size
            data = data[size:]
        call.pending = data

    def _send_blocked(self) -> None:
        for call in list(self._blocked):
            if self._window <= 0:
                return
            self._send_pending(call)
            self._after_pending(call)

    def _after_pending(self, call: Call) -> None:
        if not call.pending:
            self._blocked.pop(call, None)
            call.sent()

    def _go_on_soon(self) -> None:
        if self._deferred and not self._is_going_on:
            self._is_going_on = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """A turn for the messages that were put off."""
        self._is_going_on = False
        if self._is_paused:
            return
        self._slice_end_ns = time.monotonic_ns() + SLICE_US * 1000
        waiting, self._deferred = self._deferred, deque()
        while waiting and time.monotonic_ns() < self._slice_end_ns and not self._is_over:
            waiting.popleft().go_on()
        waiting.extend(self._deferred)
        self._deferred = waiting
        self._go_on_soon()
        self.flush()

    def _conclude(self) -> None:
        calls, self._concluding = self._concluding, []
        for call in calls:
            call.conclude()

    def _drained(self) -> None:
        """The client knows: what it opened until now is the last."""
        if self._last_taken_id == _MAX_STREAM_ID and not self._is_over:
            self._last_taken_id = self._last_id
            self._out.append(frames.goaway(self._last_id, Code.NO_ERROR))
            self._close_when_drained()
            self.flush()

    def _close_when_drained(self) -> None:
        if self._last_taken_id != _MAX_STREAM_ID and not self._calls and not self._is_over:
            self._close()

    def _break(self, fault: ConnectionFault) -> None:
        """Section 5.4.1."""
        if fault.code is not Code.NO_ERROR:
            _log.info("connection ended: %s", fault)
        self._cancel_all()
        self._out.append(frames.goaway(self._last_id, fault.code, fault.reason))
        self._close()

    def _close(self) -> None:
        self._is_over = True
        self._rest = b""
        self.flush()
        if self._transport is not None:
            self._transport.close()  # after what is written
            self._set_timer(STALL_S)

    def _cancel_all(self) -> None:
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.cancel()
        self._blocked.clear()
        self._deferred.clear()

    def _give_up(self) -> None:
        """No handshake, or nobody reads."""
        self._is_over = True
        if self._transport is not None:
            self._transport.abort()

    def _set_timer(self, seconds: float) -> None:
        self._clear_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._give_up)

    def _clear_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


_HANDLERS: dict[int, Callable[[Connection, int, int, bytes], None]] = {
    Kind.DATA: Connection._on_data,
    Kind.HEADERS: Connection._on_headers,
    Kind.PRIORITY: Connection._on_priority,
    Kind.RST_STREAM: Connection._on_rst_stream,
    Kind.SETTINGS: Connection._on_settings,
    Kind.PUSH_PROMISE: Connection._on_push_promise,
    Kind.PING: Connection._on_ping,
    Kind.GOAWAY: Connection._on_goaway,
    Kind.WINDOW_UPDATE: Connection._on_window_update,
    Kind.CONTINUATION: Connection._on_continuation,
}
