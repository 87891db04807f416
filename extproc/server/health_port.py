"""The health port: `/healthz` and `/readyz` over plain HTTP, and grpc.health.v1 beside them.

A probe of gRPC starts with the HTTP/2 preface and is handed on, byte by byte, to a gRPC server that offers health
alone: the port may be reached by all the cluster, the one that judges requests may not.
All workers accept from one listening socket, so the port answers while any of them lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

PREFACE = b"PRI "
"""First bytes of an HTTP/2 connection (RFC 9113, section 3.4)."""

MAX_HEAD_BYTES = 8192
"""Of an HTTP probe; kubelet sends about 120."""

MAX_CONNECTIONS = 64
"""At a time; the next one is closed unanswered."""

HEAD_TIMEOUT_S = 5.0
"""From the connection to the end of the request head."""

COPY_BYTES = 16_384


class HealthPort:
    """`is_ready` answers `/readyz`; `/healthz` is answered 200 as long as the worker's loop turns.

    `grpc_socket` is the abstract unix socket of the health-only gRPC server, with its leading NUL.
    """

    def __init__(self, is_ready: Callable[[], bool], grpc_socket: str) -> None:
        self._is_ready = is_ready
        self._grpc_socket = grpc_socket
        self._open = 0

    async def start(self, listener: socket.socket) -> asyncio.Server:
        """Accepts from `listener`, which other processes may share."""
        return await asyncio.start_server(self._connected, sock=listener, limit=MAX_HEAD_BYTES)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= MAX_CONNECTIONS:
                await self._serve(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the prober went away, or was none
        finally:
            self._open -= 1
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HEAD_TIMEOUT_S):
            start = await reader.readexactly(len(PREFACE))
            head = b"" if start == PREFACE else start + await reader.readuntil(b"\r\n\r\n")
        if start == PREFACE:
            await self._hand_on(start, reader, writer)
            return
        writer.write(self._answer(head.partition(b"\r\n")[0].split(b" ")))
        await writer.drain()

    def _answer(self, line: list[bytes]) -> bytes:
        method, path = line[0], line[1].partition(b"?")[0] if len(line) > 1 else b""
        if path == b"/healthz":
            status, body = b"200 OK", b"ok\n"
        elif path == b"/readyz":
            is_ready = self._is_ready()
            status, body = (b"200 OK", b"ready\n") if is_ready else (b"503 Service Unavailable", b"not ready\n")
        else:
            status, body = b"404 Not Found", b"only /healthz and /readyz are here\n"
        if method not in (b"GET", b"HEAD"):
            status, body = b"405 Method Not Allowed", b"only GET and HEAD\n"
        head = b"HTTP/1.1 %b\r\ncontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        return head % (status, len(body)) + (b"" if method == b"HEAD" else body)

    async def _hand_on(self, start: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner = socket.socket(socket.AF_UNIX)
        inner.setblocking(False)
        try:
            inner.connect(self._grpc_socket)  # at once, or not at all; uvloop itself takes no abstract address
        except OSError:
            inner.close()
            raise
        inner_reader, inner_writer = await asyncio.open_unix_connection(sock=inner)
        inner_writer.write(start)
        try:
            tasks = [
                asyncio.create_task(_copy(reader, inner_writer)),
                asyncio.create_task(_copy(inner_reader, writer)),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            inner_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(COPY_BYTES):
            writer.write(data)
            await writer.drain()
