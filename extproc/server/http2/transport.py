"""The worker's transport on our own HTTP/2."""

from __future__ import annotations

import socket

from extproc.server.doorway import Door
from extproc.server.health import SERVICE as HEALTH
from extproc.server.health import Health
from extproc.server.http2.plain_methods import health_methods, reflection_methods
from extproc.server.http2.process import process_method
from extproc.server.http2.server import Http2Server
from extproc.server.listener import Listener
from extproc.server.settings import ServerSettings
from extproc.server.streams import SERVICE, Streams


class Http2Transport:
    """See `server.app.Transport`."""

    def __init__(self, settings: ServerSettings, streams: Streams, health: Health, door: Door | None) -> None:
        self._settings = settings
        self._health_methods = health_methods(health)
        methods = process_method(streams) | self._health_methods
        if settings.reflection:
            methods |= reflection_methods((SERVICE, HEALTH))
        self._server = Http2Server(settings, methods, door)
        self._health_server = Http2Server(settings, self._health_methods)
        self._listeners: list[Listener | socket.socket] = []

    async def start(self, address: str) -> int:
        listener = Listener(address, self._settings.socket_mode)
        self._listeners.append(listener)
        await self._server.start(listener.socket)
        return listener.port

    async def start_health(self, name: str) -> None:
        listening = socket.socket(socket.AF_UNIX)
        self._listeners.append(listening)
        listening.bind(f"\0{name}")
        listening.listen()
        await self._health_server.start(listening)

    async def stop(self, grace_s: float) -> None:
        await self._server.stop(grace_s)

    async def stop_health(self) -> None:
        await self._health_server.stop(0.0)
        for listener in self._listeners:
            listener.close()
