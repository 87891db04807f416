"""grpc.health.v1: Check and Watch, SERVING only while the worker takes streams.

Of its own, not grpcio-health-checking's servicer, whose Watch streams never end: they would hold every drain up
until its grace is over. The messages are those of that package.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

SERVICE = "grpc.health.v1.Health"


class Health:
    """The state of the services that this process offers; all of them together. Starts as NOT_SERVING."""

    def __init__(self, services: tuple[str, ...]) -> None:
        self._services = frozenset({"", *services})
        self._is_closed = False
        self._changed = asyncio.Event()
        self.is_serving = False

    def set(self, is_serving: bool) -> None:
        """Tells every watcher."""
        self.is_serving = is_serving
        self._notify()

    def close(self) -> None:
        """Ends the watchers' streams, with an error as the protocol asks for."""
        self._is_closed = True
        self._notify()

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server is given."""
        codec = {
            "request_deserializer": health_pb2.HealthCheckRequest.FromString,
            "response_serializer": health_pb2.HealthCheckResponse.SerializeToString,
        }
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Check": grpc.unary_unary_rpc_method_handler(self._check, **codec),
                "Watch": grpc.unary_stream_rpc_method_handler(self._watch, **codec),
            },
        )

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _status(self, service: str) -> Any:
        states = health_pb2.HealthCheckResponse
        if service not in self._services:
            return states.SERVICE_UNKNOWN
        return states.SERVING if self.is_serving else states.NOT_SERVING

    async def _check(self, request: Any, context: Any) -> Any:
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return health_pb2.HealthCheckResponse(status=self._status(request.service))

    async def _watch(self, request: Any, context: Any) -> None:
        told = None
        while not self._is_closed:
            changed = self._changed
            status = self._status(request.service)
            if status != told:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                told = status
            await changed.wait()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "shutting down")
