"""An app that streams: downloads of zeros, events, answers before the body was read. For tests of what is held back.

| path | answers |
|---|---|
| `/download?N` | N bytes of zeros |
| `/events` | two events, PAUSE_S apart |
| other | 200 at once, whatever follows the head unread |
"""

from __future__ import annotations

import contextlib
import socketserver
import time

from tests.loopback_app import LoopbackApp, read_head

PAUSE_S = 3.0
BLOCK = bytes(262_144)


class _Answer(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        """One request; the client may leave at any point."""
        with contextlib.suppress(OSError):
            head = read_head(self.rfile)
            if head:
                self._respond(head.split(b" ")[1])

    def _respond(self, target: bytes) -> None:
        if target.startswith(b"/download?"):
            size = int(target.partition(b"?")[2])
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % size)
            while size > 0:
                self.wfile.write(BLOCK[:size])
                size -= len(BLOCK)
        elif target == b"/events":
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
            for number in range(2):
                self.wfile.write(b"data: %d\n\n" % number)
                time.sleep(PAUSE_S)
        else:
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nearly\n")


class StreamingApp(LoopbackApp):
    """See the table above."""

    handler = _Answer
