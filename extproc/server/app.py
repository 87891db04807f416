"""One worker: a gRPC server on its own address, health, and the drain in its order."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from grpc_reflection.v1alpha import reflection

from extproc.model.inspection import Inspector
from extproc.server import health, stream
from extproc.server.exchange import Terms
from extproc.server.health_port import HealthPort
from extproc.server.scheduler import Scheduler
from extproc.server.settings import ServerSettings

PING_INTERVAL_MS = 500
"""Keepalive pings of a client may come that often; Envoy's come every few seconds."""

PENDING_FACTOR = 2
"""Streams that gRPC core may hold for us, per stream that we take. Its own default of 1,000 cuts a burst off with a
status that tells nobody why; with room to spare the bound that counts is ours, and it is told."""


def server_options(settings: ServerSettings) -> list[tuple[str, int]]:
    """Channel arguments of gRPC core. Without the ping ones it drops Envoy's connection for its keepalives."""
    return [
        ("grpc.max_receive_message_length", settings.message_limit_bytes),
        ("grpc.so_reuseport", 0),  # two servers on one port would share connections, not streams
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", PING_INTERVAL_MS),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", PING_INTERVAL_MS),
        ("grpc.http2.max_ping_strikes", 0),
        # Above the first bound core refuses at random, above the second all.
        ("grpc.server.max_pending_requests", PENDING_FACTOR * settings.max_streams),
        ("grpc.server.max_pending_requests_hard_limit", 2 * PENDING_FACTOR * settings.max_streams),
    ]


class App:
    """A worker's server. `start`, then `drain`; health is SERVING between the two."""

    def __init__(self, settings: ServerSettings, inspector: Inspector, address: str) -> None:
        self._settings = settings
        self._address = address
        self.scheduler = Scheduler()
        self.streams = stream.Streams(inspector, Terms(settings, self.scheduler), settings.max_streams)
        self.health = health.Health((stream.SERVICE,))
        self._server = grpc.aio.server(options=server_options(settings))
        self._server.add_generic_rpc_handlers((self.streams.handler(), self.health.handler()))
        self._health_server: Any = None
        self._health_port: asyncio.Server | None = None
        if settings.reflection:
            names = (stream.SERVICE, health.SERVICE, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)

    async def start(self, health_listener: socket.socket | None = None) -> int:
        """Listens; returns the TCP port, which matters for port 0. Raises OSError if the address is taken."""
        port = _bind(self._server, self._address, self._settings.socket_mode)
        await self._server.start()
        if health_listener is not None:
            name = f"extproc-health-{os.getpid()}"
            self._health_server = grpc.aio.server()
            self._health_server.add_generic_rpc_handlers((self.health.handler(),))
            self._health_server.add_insecure_port(f"unix-abstract:{name}")
            await self._health_server.start()
            self._health_port = await HealthPort(lambda: self.health.is_serving, f"\0{name}").start(health_listener)
        self.health.set(is_serving=True)
        return port

    async def drain(self) -> None:
        """NOT_SERVING first, so that Envoy goes elsewhere; then no new streams; what is left after the grace is cut.

        A stream cut ends with an error, never OK.
        """
        self.health.set(is_serving=False)
        await asyncio.sleep(self._settings.drain_delay_s)
        self.health.close()
        await self._server.stop(self._settings.drain_grace_s)
        if self._health_port is not None:
            self._health_port.close()
        if self._health_server is not None:
            await self._health_server.stop(None)


async def run(
    settings: ServerSettings,
    inspector: Inspector,
    address: str,
    health_listener: socket.socket | None,
    stop: asyncio.Event,
    ready: Callable[[], None],
) -> None:
    """Serves until `stop` is set, then drains. Calls `ready` once SERVING. Raises OSError when it cannot listen."""
    app = App(settings, inspector, address)
    await app.start(health_listener)
    ready()
    await stop.wait()
    await app.drain()


def _bind(server: Any, address: str, socket_mode: int) -> int:
    """A unix socket gets its mode by umask, so that it is never open wider, not even for a moment."""
    is_unix = address.startswith("unix:")
    before = os.umask(0o777 & ~socket_mode) if is_unix else None
    try:
        port: int = server.add_insecure_port(address)
    except RuntimeError as fault:
        raise OSError(f"cannot listen on {address}: {fault}") from fault
    finally:
        if before is not None:
            os.umask(before)
    if is_unix and not Path(address.removeprefix("unix:")).is_socket():
        raise OSError(f"cannot listen on {address}")
    return port
