"""grpc.health.v1 on grpc.aio."""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from extproc.server.health import SERVICE, Health
from extproc.server.status import CallError


class GrpcHealth:
    """The methods of the health service of a gRPC server."""

    def __init__(self, health: Health) -> None:
        self._health = health

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

    async def _check(self, request: Any, context: Any) -> Any:
        try:
            return health_pb2.HealthCheckResponse(status=self._health.check(request.service))
        except CallError:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")

    async def _watch(self, request: Any, context: Any) -> None:
        async for state in self._health.watch(request.service):
            await context.write(health_pb2.HealthCheckResponse(status=state))
        await context.abort(grpc.StatusCode.UNAVAILABLE, "shutting down")
