"""One call: messages out of DATA frames, one answer each, a status at the end.

A message is answered where it arrives, without a task, if its answer is there after the first step. Otherwise the
coroutine goes on when what it waits for is there, and the messages behind it wait.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from extproc.server.http2.headers import Opening
from extproc.server.status import CallError, Status

if TYPE_CHECKING:
    from extproc.server.http2.connection import Connection

PREFIX_BYTES = 5
"""Of a message: a flag, and its length (gRPC over HTTP/2, *Length-Prefixed-Message*)."""

_WINDOW_BITS = {b"gzip": 31, b"deflate": 15}
"""zlib's way to say which format it is."""

Answering: TypeAlias = Coroutine[Any, Any, bytes | None]


class Handler(Protocol):
    """What a method does with one call. Nothing here raises but `receive`, and that what `fail` turns into a status."""

    def receive(self, data: bytes) -> Answering:
        """The answer to one message; None if it gets none."""
        ...

    def conclude(self) -> None:
        """The answer is on its way."""
        ...

    def fail(self, error: Exception) -> CallError:
        """How the call ends after `error`; it is over."""
        ...

    def end(self) -> None:
        """All was answered, the client has half-closed: the call ends OK."""
        ...

    def cancel(self, is_answered: bool) -> None:
        """The client, its deadline or the connection ended the call."""
        ...


Method: TypeAlias = Callable[[Opening, "Call"], Handler]
"""Takes a call. Raises CallError to refuse it."""


class Call:
    """One stream of a connection. `room` is what the client may still send, `window` what it still takes."""

    __slots__ = (
        "_connection",
        "_encoding",
        "_handler",
        "_held",
        "_in_work",
        "_inbox",
        "_is_to_conclude",
        "_limit",
        "_partial",
        "_running",
        "_timer",
        "has_head",
        "id",
        "is_answered",
        "is_deferred",
        "is_half_closed",
        "is_over",
        "pending",
        "room",
        "window",
    )

    def __init__(self, connection: Connection, stream_id: int, window: int, room: int, limit: int) -> None:
        """`limit`: bytes of the largest message."""
        self.id = stream_id
        self.window = window
        self.room = room
        self.has_head = False
        self.is_half_closed = False
        self.is_answered = True
        self.is_deferred = False
        self.is_over = False
        self.pending = b""
        """What of an answer the client's window does not take yet."""
        self._connection = connection
        self._limit = limit
        self._encoding = b"identity"
        self._handler: Handler
        self._partial = bytearray()
        self._inbox: deque[bytes] | None = None
        self._running: Answering | None = None
        self._is_to_conclude = False
        self._held = 0
        self._in_work = 0
        self._timer: asyncio.TimerHandle | None = None

    def open(self, method: Method | None, opening: Opening) -> None:
        """Begins, or ends at once with the status that says why not."""
        try:
            if opening.refusal is not None:
                raise opening.refusal
            if method is None:
                raise CallError(Status.UNIMPLEMENTED, "unknown method")
            self._encoding = opening.encoding
            self._handler = method(opening, self)
        except CallError as error:
            self._finish(error)
            return
        if opening.timeout_s is not None:
            self._timer = asyncio.get_running_loop().call_later(opening.timeout_s, self._expire)

    def feed(self, payload: bytes, is_last: bool) -> None:
        """The content of a DATA frame."""
        if payload:
            size = len(payload) - PREFIX_BYTES
            is_whole = size >= 0 and not payload[0] and int.from_bytes(payload[1:5]) == size <= self._limit
            if is_whole and not self._partial:  # nearly always: one frame is one message
                self._take(payload[PREFIX_BYTES:])
            else:
                self._collect(payload)
        if is_last and not self.is_over:
            self.half_close()

    def half_close(self) -> None:
        """The client sends nothing more."""
        self.is_half_closed = True
        if self._partial:
            self._fail(CallError(Status.INTERNAL, "truncated-message"))
        elif self._is_idle:
            self._end()

    def go_on(self) -> None:
        """Messages that waited, for as long as nothing holds them back."""
        self.is_deferred = False
        while self._inbox and self._running is None and not self.pending and not self.is_over:
            if self._connection.is_late():
                self._connection.defer(self)
                return
            message = self._inbox.popleft()
            self._release(len(message))
            self._begin(message)
            self.restore()
        if self.is_half_closed and not self.is_over and self._is_idle:
            self._end()

    def restore(self) -> None:
        """Gives the client back what is consumed. A whole message always fits, as `room` began that much larger."""
        if not self._inbox and not self.is_over:
            self.room += self._connection.credit(self, len(self._partial))

    def sent(self) -> None:
        """The client's window took the rest of the answer."""
        self._answered()
        self.go_on()

    def send(self, data: bytes) -> None:
        """An answer, or one of several."""
        self._connection.send_message(self, len(data).to_bytes(PREFIX_BYTES) + data)

    def conclude(self) -> None:
        """Called when the answer is on its way, and before the next message or the end at the latest."""
        if self._is_to_conclude:
            self._is_to_conclude = False
            self._handler.conclude()

    def cancel(self) -> None:
        """The client has reset the stream, or is gone."""
        if not self.is_over:
            self.conclude()
            self._stop()
            self._handler.cancel(self.is_answered)

    def fail(self, error: CallError) -> None:
        """Ends the call from outside (shutting down): never OK."""
        if not self.is_over:
            self._fail_with(error)

    @property
    def _is_idle(self) -> bool:
        return self._running is None and not self._inbox and not self.pending

    def _collect(self, payload: bytes) -> None:
        """Messages that share a frame, or take several."""
        partial = self._partial
        partial += payload
        self._hold(len(payload))
        while len(partial) >= PREFIX_BYTES and not self.is_over:
            flag, size = partial[0], int.from_bytes(partial[1:5])
            if size > self._limit:
                self._fail(CallError(Status.RESOURCE_EXHAUSTED, "message-too-large"))
                return
            if flag > 1 or (flag and self._encoding == b"identity"):
                self._fail(CallError(Status.INTERNAL, "compressed without an encoding"))
                return
            end = PREFIX_BYTES + size
            if len(partial) < end:
                return
            message = bytes(memoryview(partial)[PREFIX_BYTES:end])
            del partial[:end]
            self._release(end)
            if flag:
                try:
                    message = _unpack(message, self._encoding, self._limit)
                except CallError as error:
                    self._fail(error)
                    return
            self._take(message)

    def _take(self, message: bytes) -> None:
        """A whole message: now, or when those before it are answered."""
        is_free = self._running is None and not self._inbox and not self.pending
        if is_free and not self._connection.is_late():
            self._begin(message)
            return
        if self._inbox is None:
            self._inbox = deque()
        self._inbox.append(message)
        self._hold(len(message))
        if is_free and not self.is_over:
            self._connection.defer(self)

    def _begin(self, message: bytes) -> None:
        self.conclude()
        self.is_answered = False
        self._run(self._handler.receive(message))
        if self._running is not None:
            self._in_work = len(message)
            self._hold(self._in_work)

    def _run(self, answering: Answering) -> None:
        """One step further. What it waits for is a future of the event loop, or its next turn."""
        try:
            awaited = answering.send(None)
        except StopIteration as end:
            self._running = None
            self._answer(end.value)
        except Exception as error:
            self._running = None
            self._fail(error)
        else:
            self._running = answering
            if awaited is None:
                asyncio.get_running_loop().call_soon(self._resume)
            else:
                awaited.add_done_callback(self._resume)

    def _resume(self, _: object = None) -> None:
        answering = self._running
        if answering is None:
            return  # the call was cancelled meanwhile
        self._run(answering)
        if self._running is None and not self.is_over:
            self._release(self._in_work)
            self._in_work = 0
            self.go_on()
        self._connection.flush()

    def _answer(self, data: bytes | None) -> None:
        if data is not None:
            self.send(data)
        if not self.pending:
            self._answered()

    def _answered(self) -> None:
        self.is_answered = True
        self._is_to_conclude = True
        self._connection.conclude_later(self)

    def _end(self) -> None:
        self.conclude()
        self._stop()
        self._handler.end()
        self._connection.end_call(self, None)

    def _fail(self, error: Exception) -> None:
        self.conclude()
        self._stop()
        self._connection.end_call(self, self._handler.fail(error))

    def _fail_with(self, error: CallError) -> None:
        """As a cancellation for the handler, with a status for the client."""
        self.cancel()
        self._connection.end_call(self, error)

    def _finish(self, error: CallError) -> None:
        """No handler has seen the call."""
        self._stop()
        self._connection.end_call(self, error)

    def _expire(self) -> None:
        self._fail_with(CallError(Status.DEADLINE_EXCEEDED, "deadline exceeded"))
        self._connection.flush()

    def _stop(self) -> None:
        """Nothing of it works, waits or is held any longer."""
        self.is_over = True
        if self._timer is not None:
            self._timer.cancel()
        running, self._running = self._running, None
        if running is not None:
            running.close()
        self.pending = b""
        self._inbox = None
        self._partial = bytearray()
        self._release(self._held)

    def _hold(self, size: int) -> None:
        self._held += size
        if not self._connection.host.hold(size):
            self._fail(CallError(Status.RESOURCE_EXHAUSTED, "memory"))

    def _release(self, size: int) -> None:
        self._held -= size
        self._connection.host.release(size)


def _unpack(message: bytes, encoding: bytes, limit: int) -> bytes:
    """A compressed message, unpacked to at most `limit` bytes. Raises CallError."""
    unpacker = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        plain = unpacker.decompress(message, limit)
    except zlib.error:
        raise CallError(Status.INTERNAL, "broken-compression") from None
    if unpacker.unconsumed_tail or (not unpacker.eof and len(plain) >= limit):
        raise CallError(Status.RESOURCE_EXHAUSTED, "message-too-large")
    if not unpacker.eof:
        raise CallError(Status.INTERNAL, "broken-compression")
    return plain
