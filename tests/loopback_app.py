"""An app behind a real Envoy in a few lines: a handler on a free loopback port, in threads, from `with` to its end."""

from __future__ import annotations

import socketserver
import threading
from typing import IO, Self


class LoopbackApp:
    """Subclasses name their handler; it is made anew for every connection."""

    handler: type[socketserver.StreamRequestHandler]

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), self.handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128


def read_head(stream: IO[bytes]) -> bytes:
    """The lines of a request's head without the empty one, b"" if the client left before it was whole."""
    lines: list[bytes] = []
    while (line := stream.readline()) != b"\r\n":
        if not line:
            return b""
        lines.append(line)
    return b"".join(lines)
