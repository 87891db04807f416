"""One worker: a server on its own address, health, and the drain in its order."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Protocol

from extproc.model.inspection import Inspector
from extproc.server.doorway import Door
from extproc.server.exchange import Terms
from extproc.server.health import Health
from extproc.server.health_port import HealthPort
from extproc.server.pages import Held
from extproc.server.scheduler import QUIET_US, Scheduler
from extproc.server.settings import ServerSettings
from extproc.server.streams import SERVICE, Streams
from extproc.server.tls import Credentials

_log = logging.getLogger(__name__)


class Transport(Protocol):
    """What carries the streams of ext_proc, and the health service beside them."""

    async def start(self, address: str) -> int:
        """Listens; returns the TCP port, which matters for port 0. Raises OSError if the address is taken."""
        ...

    async def start_health(self, name: str) -> None:
        """Offers health alone on the abstract unix socket `name`."""
        ...

    async def stop(self, grace_s: float) -> None:
        """No new streams; what is left after the grace ends with an error, never OK."""
        ...

    async def stop_health(self) -> None: ...


class Ending(Enum):
    """Why a worker ends."""

    DRAIN = auto()  # nobody will serve in its place
    LEAVE = auto()  # others do already, on the same address


class App:
    """A worker's server. `start`, then `drain` or `leave`; health is SERVING between the two."""

    def __init__(self, settings: ServerSettings, inspector: Inspector, address: str) -> None:
        self._settings = settings
        self._address = address
        self.scheduler = Scheduler(QUIET_US if settings.transport == "grpc" else 0)
        self.streams = Streams(inspector, Terms(settings, self.scheduler), settings.max_streams)
        self.health = Health((SERVICE,))
        self._door: Door | None = None
        if settings.tls is not None:
            self._door = Door(Credentials(settings.tls, _log.warning), settings.max_connections)
        self._transport = make_transport(settings, self.streams, self.health, self._door)
        self._ports: list[asyncio.Server] = []

    async def start(self, listeners: Sequence[socket.socket] = (), held: Held | None = None) -> int:
        """Listens; returns the TCP port, which matters for port 0. Raises OSError if the address is taken."""
        held = held or Held()
        held.gauges["streams"] = lambda: self.streams.open
        if self._door is not None:
            self._door.refused = held.refused
            held.gauges["certificate_expires"] = self._door.certificate_expires
        port = await self._transport.start(self._address)
        if listeners:
            name = f"extproc-health-{os.getpid()}"
            await self._transport.start_health(name)
            answers = HealthPort(lambda: self.health.is_serving, f"\0{name}", held.pages)
            self._ports = [await answers.start(listener) for listener in listeners]
        self.health.set(is_serving=True)
        return port

    async def drain(self) -> None:
        """NOT_SERVING first, so that Envoy goes elsewhere; then no new streams; what is left after the grace is cut.

        A stream cut ends with an error, never OK.
        """
        self.health.set(is_serving=False)
        await asyncio.sleep(self._settings.drain_delay_s)
        self.health.close()
        await self._transport.stop(self._settings.drain_grace_s)
        self._close_ports()
        await self._transport.stop_health()

    async def leave(self) -> None:
        """Successors serve: no new connections, and Envoy is told to open its next stream elsewhere (GOAWAY).

        Health stays SERVING to the end: Envoy asks for it at the address, not at the process.
        """
        self._close_ports()
        self.health.close()
        await self._transport.stop(self._settings.leave_grace_s)
        await self._transport.stop_health()

    def _close_ports(self) -> None:
        for port in self._ports:
            port.close()


def preload(settings: ServerSettings) -> None:
    """What a worker needs and may be loaded before the fork, so that workers have it at once: not gRPC."""
    if settings.transport == "http2":
        import extproc.server.http2.transport  # noqa: F401


def make_transport(settings: ServerSettings, streams: Streams, health: Health, door: Door | None) -> Transport:
    """That of the settings; only it is loaded."""
    if settings.transport == "grpc":
        from extproc.server.grpc_transport import GrpcTransport

        return GrpcTransport(settings, streams, health, door)
    from extproc.server.http2.transport import Http2Transport

    return Http2Transport(settings, streams, health, door)


async def run(
    settings: ServerSettings,
    inspector: Inspector,
    address: str,
    listeners: Sequence[socket.socket],
    held: Held | None,
    ending: asyncio.Future[Ending],
    ready: Callable[[], None],
) -> None:
    """Serves until `ending` is known. Calls `ready` once SERVING. Raises OSError when it cannot listen."""
    app = App(settings, inspector, address)
    await app.start(listeners, held)
    ready()
    if await ending is Ending.LEAVE:
        await app.leave()
    else:
        await app.drain()
