"""The listening end: accepts, drains, closes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Mapping

from extproc.server.doorway import Door, Doorway
from extproc.server.http2.call import Method
from extproc.server.http2.connection import Connection, Host
from extproc.server.settings import ServerSettings
from extproc.server.streams import HARD_FACTOR

SPARE_CALLS = 1_000
"""A connection takes that many calls more than the worker takes or declines, so a stream too many is told so at once.
If the client knew the worker's limit it would let the stream wait, and the request hang until its timeout."""

CLOSE_S = 1.0
"""For connections to close, after what was left of their streams has been ended."""


class Http2Server:
    """Serves `methods` (path → method) on one socket, which stays its owner's; behind `door`, if there is one."""

    def __init__(self, settings: ServerSettings, methods: Mapping[bytes, Method], door: Door | None = None) -> None:
        self._door = door
        self._host = Host(
            methods,
            message_limit_bytes=settings.message_limit_bytes,
            buffer_limit_bytes=max(settings.buffer_limit_bytes, 4 * settings.message_limit_bytes),
            max_calls=HARD_FACTOR * settings.max_streams + SPARE_CALLS,
            max_connections=settings.max_connections,
            age_s=settings.connection_age_s,
            age_grace_s=settings.connection_grace_s,
        )
        self._server: asyncio.Server | None = None

    async def start(self, listening: socket.socket) -> None:
        """Takes connections from now on."""
        loop = asyncio.get_running_loop()
        make = loop.create_unix_server if listening.family == socket.AF_UNIX else loop.create_server
        self._server = await make(self._connected, sock=listening)

    async def stop(self, grace_s: float) -> None:
        """No new connections, then no new streams; what is open after the grace ends with an error."""
        if self._server is not None:
            self._server.close()
        if self._door is not None:
            self._door.close()
        gone = asyncio.Event()
        self._host.on_empty = gone.set
        for connection in list(self._host.connections):
            connection.drain()
        await self._wait(gone, grace_s)
        for connection in list(self._host.connections):
            connection.shut()
        await self._wait(gone, CLOSE_S)

    def _connected(self) -> asyncio.Protocol:
        return self._behind() if self._door is None else Doorway(self._door, self._behind)

    def _behind(self) -> Connection:
        return Connection(self._host)

    async def _wait(self, gone: asyncio.Event, seconds: float) -> None:
        if self._host.connections:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(gone.wait(), seconds)
