"""A client of HTTP/2 with prior knowledge, on one socket: many streams at a time, frames as the caller wants them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions

Lines = Sequence[tuple[str, str]]


@dataclass
class Reply:
    """What came back on one stream so far; trailers are among the headers. `is_over` also when it was reset."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_over: bool = False
    is_reset: bool = False

    @property
    def status(self) -> str:
        return self.headers.get(":status", "")


class Http2Client:
    """`with Http2Client(port) as client`. What is queued goes out with `flush` or `pump`."""

    def __init__(self, port: int, timeout_s: float = 20.0) -> None:
        configuration = h2.config.H2Configuration(
            header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self._http = h2.connection.H2Connection(configuration)
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self._http.initiate_connection()
        self._http.increment_flow_control_window(2**30)
        self.replies: dict[int, Reply] = {}
        self.is_closed = False

    def __enter__(self) -> Http2Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def open(self, method: str = "GET", path: str = "/a", lines: Lines = (), is_last: bool = True) -> int:
        """Queues a head, returns the stream's id."""
        stream = self._http.get_next_available_stream_id()
        head = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "a"), *lines]
        self._http.send_headers(stream, head, end_stream=is_last)
        self.replies[stream] = Reply()
        return stream

    def open_raw(self, head: Lines, is_last: bool = True) -> int:
        """As `open`, with pseudo headers of the caller's own."""
        stream = self._http.get_next_available_stream_id()
        self._http.send_headers(stream, list(head), end_stream=is_last)
        self.replies[stream] = Reply()
        return stream

    def setting(self, code: int) -> int:
        """What the server has announced (RFC 9113, section 6.5.2); 0 if nothing yet."""
        return int(self._http.remote_settings.get(code, 0))

    def send(self, stream: int, body: bytes, is_last: bool = False) -> None:
        self._http.send_data(stream, body, end_stream=is_last)

    def send_trailers(self, stream: int, lines: Lines) -> None:
        self._http.send_headers(stream, list(lines), end_stream=True)

    def flush(self) -> None:
        self._socket.sendall(self._http.data_to_send())

    def pump(self, until: Callable[[], bool]) -> None:
        """Sends and receives until the condition holds or the connection ends; TimeoutError if it is silent."""
        self.flush()
        while not until() and not self.is_closed:
            try:
                data = self._socket.recv(1_048_576)
            except ConnectionResetError:
                data = b""
            if not data:
                self.is_closed = True
                break
            for event in self._http.receive_data(data):
                self._note(event)
            self.flush()

    def finish(self, stream: int) -> Reply:
        """Reads until the stream is over."""
        reply = self.replies[stream]
        self.pump(lambda: reply.is_over)
        return reply

    def _note(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self.is_closed = True
        reply = self.replies.get(getattr(event, "stream_id", None) or 0)
        if reply is None:
            return
        if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            reply.headers.update(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            reply.body += event.data
            if event.flow_controlled_length:
                self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            reply.is_over = True
        elif isinstance(event, h2.events.StreamReset):
            reply.is_over = reply.is_reset = True


def ask(
    port: int,
    method: str = "GET",
    path: str = "/a",
    lines: Lines = (),
    body: bytes | None = None,
    trailers: Lines | None = None,
) -> Reply:
    """One request on a connection of its own."""
    with Http2Client(port) as client:
        stream = client.open(method, path, lines, is_last=body is None and trailers is None)
        if body is not None:
            client.send(stream, body, is_last=trailers is None)
        if trailers is not None:
            client.send_trailers(stream, trailers)
        return client.finish(stream)
