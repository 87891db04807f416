"""An app that speaks HTTP/2 with prior knowledge and remembers, like the demo app; for what only such an app gets."""

from __future__ import annotations

import base64
import socketserver
import threading
from typing import Any

import h2.config
import h2.connection
import h2.events


class Http2App:
    """Serves on a free loopback port from `with` to its end. Every request is answered 200 once it is whole."""

    def __enter__(self) -> Http2App:
        self._seen: list[dict[str, Any]] = []
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.app = self
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def seen(self) -> list[dict[str, Any]]:
        """As the demo app tells it; trailers are among the headers."""
        return list(self._seen)

    def forget(self) -> None:
        self._seen.clear()

    def note(self, lines: list[tuple[str, str]], body: bytes) -> None:
        pseudo = dict(lines)
        headers = [[name, value] for name, value in lines if not name.startswith(":")]
        self._seen.append(
            {
                "method": pseudo[":method"],
                "path": pseudo[":path"],
                "headers": headers,
                "body_base64": base64.b64encode(body).decode(),
            }
        )


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    app: Http2App


class _Connection(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="latin-1")
        http = h2.connection.H2Connection(config)
        http.initiate_connection()
        self.request.sendall(http.data_to_send())
        heads: dict[int, list[tuple[str, str]]] = {}
        bodies: dict[int, bytes] = {}
        while data := self._receive():
            for event in http.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    heads[event.stream_id], bodies[event.stream_id] = list(event.headers), b""
                elif isinstance(event, h2.events.TrailersReceived):
                    heads[event.stream_id] += event.headers
                elif isinstance(event, h2.events.DataReceived):
                    bodies[event.stream_id] += event.data
                    http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    stream = event.stream_id
                    self.server.app.note(heads[stream], bodies[stream])
                    http.send_headers(stream, [(":status", "200"), ("content-length", "6")])
                    http.send_data(stream, b"" if (":method", "HEAD") in heads[stream] else b"hello\n", end_stream=True)
            self.request.sendall(http.data_to_send())

    def _receive(self) -> bytes:
        try:
            return bytes(self.request.recv(1_048_576))
        except ConnectionResetError:
            return b""
