"""The app behind the Core Rule Set's tests: `POST /reflect` answers as the request's JSON says, all else with 200."""

from __future__ import annotations

import contextlib
import socketserver

from extproc.replay.http1 import parse_request
from extproc.replay.run import reflect
from tests.loopback_app import LoopbackApp, read_head


class _Reflect(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        """Requests of one connection, until Envoy closes it."""
        with contextlib.suppress(OSError, ValueError):
            while head := read_head(self.rfile):
                request = parse_request(head + b"\r\n" + self._read_body(head.lower()), is_framed=True)
                answer = reflect(request)
                lines = b"".join(b"%b: %b\r\n" % line for line in answer.head.headers)
                content = b"" if request.head.method == b"HEAD" else answer.body
                self.wfile.write(b"HTTP/1.1 %d Reflected\r\n" % answer.head.status + lines + b"\r\n" + content)

    def _read_body(self, head: bytes) -> bytes:
        """As sent: chunks stay chunks. Envoy has framed the request anew, so one of the two is there or neither."""
        if b"\r\ntransfer-encoding: chunked\r\n" in head:
            body = b""
            while True:
                line = self.rfile.readline()
                piece = self.rfile.read(int(line.partition(b";")[0], 16) + 2)
                body += line + piece
                if piece == b"\r\n":
                    return body
        length = head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
        return self.rfile.read(int(length)) if length else b""


class ReflectingApp(LoopbackApp):
    """The app that the Core Rule Set's tests expect."""

    handler = _Reflect
