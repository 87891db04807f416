"""The health port: `/healthz` and `/readyz` over plain HTTP, grpc.health.v1 and a worker's pages beside them.

A probe of gRPC starts with the HTTP/2 preface and is handed on, byte by byte, to a gRPC server that offers health
alone: the port may be reached by all the cluster, the one that judges requests may not.
All workers accept from one listening socket, so the port answers while any of them lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping

from extproc.server.pages import MakePage, Page

PREFACE = b"PRI "
"""First bytes of an HTTP/2 connection (RFC 9113, section 3.4)."""

MAX_HEAD_BYTES = 8192
"""Of an HTTP probe; kubelet sends about 120."""

MAX_CONNECTIONS = 64
"""At a time; the next one is closed unanswered."""

HEAD_TIMEOUT_S = 5.0
"""From the connection to the end of the request head."""

ANSWER_TIMEOUT_S = 5.0
"""For the answer to be made and taken; who reads slower is cut off."""

COPY_BYTES = 16_384


class HealthPort:
    """`is_ready` answers `/readyz`; `/healthz` is answered 200 as long as the worker's loop turns.

    `grpc_socket` is the abstract unix socket of the health-only gRPC server, with its leading NUL.
    """

    def __init__(
        self, is_ready: Callable[[], bool], grpc_socket: str, pages: Mapping[str, MakePage] | None = None
    ) -> None:
        self._is_ready = is_ready
        self._grpc_socket = grpc_socket
        self._pages = pages or {}
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
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            writer.write(await self._answer(head))
            await writer.drain()

    async def _answer(self, head: bytes) -> bytes:
        first, _, rest = head.partition(b"\r\n")
        line = first.split(b" ")
        method, path = line[0], line[1].partition(b"?")[0] if len(line) > 1 else b""
        page = Page("text/plain", b"ok\n")
        status = b"200 OK"
        make_page = self._pages.get(path.decode("latin-1"))
        if method not in (b"GET", b"HEAD"):
            status, page = b"405 Method Not Allowed", Page("text/plain", b"only GET and HEAD\n")
        elif path == b"/readyz":
            if self._is_ready():
                page = Page("text/plain", b"ready\n")
            else:
                status, page = b"503 Service Unavailable", Page("text/plain", b"not ready\n")
        elif make_page is not None:
            page = await asyncio.to_thread(make_page, _accept(rest))
        elif path != b"/healthz":
            known = ", ".join(("/healthz", "/readyz", *self._pages))
            status, page = b"404 Not Found", Page("text/plain", f"only {known} are here\n".encode())
        head = b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        head %= (status, page.content_type.encode(), len(page.body))
        return head + (b"" if method == b"HEAD" else page.body)

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


def _accept(headers: bytes) -> str:
    for line in headers.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"accept":
            return value.decode("latin-1")
    return ""


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(COPY_BYTES):
            writer.write(data)
            await writer.drain()
