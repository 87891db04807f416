"""Envoy's admin over its private unix socket: is it live, drain it, what is it still doing."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

TIMEOUT_S = 1.0
"""Per question; Envoy answers from its main thread within milliseconds."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("envoy", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(str(self._path))


class Admin:
    """Questions to one Envoy. None of them raises; an Envoy that is away is not live and does nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def is_live(self) -> bool:
        """Are its listeners open? (`/ready`)"""
        return self._ask("GET", "/ready")[0] == 200

    def drain(self) -> None:
        """No new connections; those that are open are told to close after their current answer."""
        self._ask("POST", "/healthcheck/fail")
        self._ask("POST", "/drain_listeners")

    def active_requests(self) -> int:
        """Requests of clients in flight, WebSockets included."""
        status, body = self._ask("GET", "/stats?filter=%5Ehttp.ingress.downstream_rq_active%24")
        number = body.rpartition(b":")[2].strip()
        return int(number) if status == 200 and number.isdigit() else 0

    def _ask(self, method: str, path: str) -> tuple[int, bytes]:
        connection = _Connection(self._path)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()
