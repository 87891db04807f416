"""grpc.health.v1: Check and Watch, SERVING only while the worker takes streams.

Of its own, not grpcio-health-checking's servicer, whose Watch streams never end: they would hold every drain up
until its grace is over. The messages are those of that package.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from enum import IntEnum

from extproc.server.status import CallError, Status

SERVICE = "grpc.health.v1.Health"


class State(IntEnum):
    """`ServingStatus` of grpc.health.v1."""

    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3


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

    def check(self, service: str) -> State:
        """Raises CallError(NOT_FOUND) for a service that is not offered here."""
        if service not in self._services:
            raise CallError(Status.NOT_FOUND, "unknown service")
        return self._state(service)

    async def watch(self, service: str) -> AsyncIterator[State]:
        """The state, and each one that follows, until `close`."""
        told = None
        while not self._is_closed:
            changed = self._changed
            state = self._state(service)
            if state is not told:
                yield state
                told = state
            await changed.wait()

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _state(self, service: str) -> State:
        if service not in self._services:
            return State.SERVICE_UNKNOWN
        return State.SERVING if self.is_serving else State.NOT_SERVING
