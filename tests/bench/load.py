"""HTTP/1.1 load on loopback, bounded in count: a closed loop, and arrivals at a fixed rate.

Latency at a fixed rate counts from the moment a request was due, so a stack that falls behind cannot hide it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

ANSWER_LIMIT_S = 60.0
MAX_CONNECTIONS = 128
"""At a fixed rate; more requests than that in flight wait for a connection, and the wait counts."""


@dataclass(slots=True)
class Told:
    """What came of a load. `milliseconds`: of each request, in order of completion."""

    milliseconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.is_open = False
        self._held = b""
        self._answer: asyncio.Future[int] | None = None
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # uvloop's is no asyncio.Transport
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("closed before the answer"))

    def data_received(self, data: bytes) -> None:
        self._held += data
        end = self._held.find(b"\r\n\r\n")
        if end < 0 or self._answer is None or self._answer.done():
            return
        head = self._held[:end].lower()
        place = head.find(b"\r\ncontent-length:")
        if place >= 0:
            is_whole = len(self._held) - end - 4 >= int(head[place + 17 :].split(b"\r\n", 1)[0])
        else:
            is_whole = b"\r\ntransfer-encoding:" not in head or self._held.endswith(b"0\r\n\r\n")
        if is_whole:
            if b"\r\nconnection: close" in head:
                self.is_open = False
            self._answer.set_result(int(head.split(b" ", 2)[1][:3]))

    async def send(self, request: bytes) -> int:
        """The status of the answer. Raises OSError."""
        self._held = b""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await asyncio.wait_for(self._answer, ANSWER_LIMIT_S)

    def close(self) -> None:
        """Done with it."""
        if self._transport is not None:
            self._transport.close()


async def connect(port: int) -> Connection:
    """To 127.0.0.1."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    return connection


async def send_one(port: int, request: bytes) -> int:
    """The status of one request on a connection of its own."""
    connection = await connect(port)
    try:
        return await connection.send(request)
    finally:
        connection.close()


async def closed_loop(port: int, requests: Sequence[bytes], connections: int) -> Told:
    """All requests, each connection sending its next one when its last was answered."""
    left, told = iter(requests), Told()

    async def go_on() -> None:
        connection = await connect(port)
        for request in left:
            if not connection.is_open:
                connection.close()
                connection = await connect(port)
            begun = time.perf_counter()
            told.statuses[await _status(connection, request)] += 1
            told.milliseconds.append((time.perf_counter() - begun) * 1000)
        connection.close()

    begun = time.perf_counter()
    await asyncio.gather(*(go_on() for _ in range(connections)))
    told.seconds = time.perf_counter() - begun
    return told


async def at_rate(port: int, requests: Sequence[bytes], per_second: float, seed: object) -> Told:
    """All requests, arriving at random moments, `per_second` of them on average."""
    told, gaps = Told(), random.Random(repr(seed))
    idle: list[Connection] = []
    room = asyncio.Semaphore(MAX_CONNECTIONS)

    async def ask(request: bytes, due: float) -> None:
        async with room:
            connection = idle.pop() if idle else await connect(port)
            if not connection.is_open:
                connection = await connect(port)
            told.statuses[await _status(connection, request)] += 1
            told.milliseconds.append((time.perf_counter() - due) * 1000)
            idle.append(connection)

    begun = due = time.perf_counter()
    running = []
    for request in requests:
        due += gaps.expovariate(per_second)
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        running.append(asyncio.create_task(ask(request, due)))
    await asyncio.gather(*running)
    told.seconds = time.perf_counter() - begun
    for connection in idle:
        connection.close()
    return told


async def _status(connection: Connection, request: bytes) -> int:
    """0 for a connection that broke or an answer that never came."""
    try:
        return await connection.send(request)
    except (OSError, TimeoutError):
        connection.is_open = False
        return 0
