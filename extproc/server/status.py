"""How a stream ends: the status codes of gRPC that this server gives, by their numbers on the wire."""

from __future__ import annotations

from enum import IntEnum

from extproc.model.errors import ExtprocError


class Status(IntEnum):
    """Source: gRPC, *Status codes and their use in gRPC*."""

    OK = 0
    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class CallError(ExtprocError):
    """Ends a call. `details` is a fixed text: it reaches Envoy's access log."""

    def __init__(self, status: Status, details: str) -> None:
        super().__init__(f"{status.name}: {details}")
        self.status = status
        self.details = details
