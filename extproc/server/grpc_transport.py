"""The worker's transport on grpc.aio: the compatible one, and the other's oracle in tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import grpc
from grpc_reflection.v1alpha import reflection

from extproc.server.doorway import MAX_TOLD, WRONG_NAME, Door
from extproc.server.grpc_health import GrpcHealth
from extproc.server.health import SERVICE as HEALTH
from extproc.server.health import Health
from extproc.server.settings import ServerSettings
from extproc.server.stream import GrpcStreams
from extproc.server.streams import SERVICE, Streams
from extproc.server.tls import Credentials

PING_INTERVAL_MS = 500
"""Keepalive pings of a client may come that often; Envoy's come every few seconds."""


NAMES_PROPERTY = "x509_subject_alternative_name"
"""Of a call's authentication context: DNS, URI and other names of the client's certificate."""

PENDING_FACTOR = 2
"""Streams that gRPC core may hold for us, per stream that we take. Its own default of 1,000 cuts a burst off with a
status that tells nobody why; with room to spare the bound that counts is ours, and it is told."""


def server_options(settings: ServerSettings) -> list[tuple[str, int]]:
    """Channel arguments of gRPC core. Without the ping ones it drops Envoy's connection for its keepalives."""
    age = [
        # gRPC core spreads it by a tenth as well.
        ("grpc.max_connection_age_ms", int(settings.connection_age_s * 1000)),
        ("grpc.max_connection_age_grace_ms", int(settings.connection_grace_s * 1000)),
    ]
    return [
        *(age if settings.connection_age_s else ()),
        ("grpc.max_receive_message_length", settings.message_limit_bytes),
        # A generation and its successor share the port for a moment; the supervisor refuses a port of others.
        ("grpc.so_reuseport", 1),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", PING_INTERVAL_MS),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", PING_INTERVAL_MS),
        ("grpc.http2.max_ping_strikes", 0),
        # Above the first bound core refuses at random, above the second all.
        ("grpc.server.max_pending_requests", PENDING_FACTOR * settings.max_streams),
        ("grpc.server.max_pending_requests_hard_limit", 2 * PENDING_FACTOR * settings.max_streams),
    ]


class GrpcTransport:
    """See `server.app.Transport`."""

    def __init__(self, settings: ServerSettings, streams: Streams, health: Health, door: Door | None) -> None:
        self._settings = settings
        self._door = door
        self._health = GrpcHealth(health)
        self._server = grpc.aio.server(options=server_options(settings))
        self._server.add_generic_rpc_handlers((GrpcStreams(streams, self._admits).handler(), self._health.handler()))
        self._health_server: Any = None
        if settings.reflection:
            reflection.enable_server_reflection((SERVICE, HEALTH, reflection.SERVICE_NAME), self._server)

    async def start(self, address: str) -> int:
        credentials = _credentials(self._door.credentials) if self._door is not None else None
        port = _bind(self._server, address, self._settings.socket_mode, credentials)
        await self._server.start()
        return port

    async def start_health(self, name: str) -> None:
        self._health_server = grpc.aio.server()
        self._health_server.add_generic_rpc_handlers((self._health.handler(),))
        self._health_server.add_insecure_port(f"unix-abstract:{name}")
        await self._health_server.start()

    def _admits(self, context: Any) -> bool:
        """gRPC core refuses who has no good certificate, without a word; whose name is wrong is refused here."""
        door = self._door
        if door is None:
            return True
        names = [name.decode("latin-1") for name in context.auth_context().get(NAMES_PROPERTY, ())]
        if door.credentials.admits(names):
            return True
        door.refuse(WRONG_NAME, f"{context.peer()}: its certificate is for {', '.join(names) or 'no name'}"[:MAX_TOLD])
        return False

    async def stop(self, grace_s: float) -> None:
        await self._server.stop(grace_s)

    async def stop_health(self) -> None:
        if self._health_server is not None:
            await self._health_server.stop(None)


def _credentials(found: Credentials) -> grpc.ServerCredentials:
    """Renewed with the files: gRPC core asks before each handshake, None is: nothing new."""

    def files() -> grpc.ServerCertificateConfiguration:
        now = found.identity
        return grpc.ssl_server_certificate_configuration([(now.key, now.certificate)], now.client_ca)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        return files() if found.renewed() else None

    return grpc.dynamic_ssl_server_credentials(files(), fetch, require_client_authentication=True)


def _bind(server: Any, address: str, socket_mode: int, credentials: grpc.ServerCredentials | None) -> int:
    """A unix socket gets its mode by umask, so that it is never open wider, not even for a moment."""
    is_unix = address.startswith("unix:")
    before = os.umask(0o777 & ~socket_mode) if is_unix else None
    try:
        port: int = (
            server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
        )
    except RuntimeError as fault:
        raise OSError(f"cannot listen on {address}: {fault}") from fault
    finally:
        if before is not None:
            os.umask(before)
    if is_unix and not Path(address.removeprefix("unix:")).is_socket():
        raise OSError(f"cannot listen on {address}")
    return port
