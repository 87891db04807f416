"""The app behind every stack: reads a request whole, answers 200. Not counted, so it only has to be fast.

Usage: app.py PORT
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nok\n"

_END = b"\r\n\r\n"


class Connection(asyncio.Protocol):
    """Requests one after another; bodies by length or in chunks."""

    def __init__(self) -> None:
        self._held = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # uvloop's is no asyncio.Transport

    def data_received(self, data: bytes) -> None:
        self._held += data
        while (size := _size(self._held)) and len(self._held) >= size:
            self._held = self._held[size:]
            self._transport.write(ANSWER)


def _size(held: bytes) -> int:
    """Bytes of the first request; 0 while that is not known."""
    end = held.find(_END)
    if end < 0:
        return 0
    head = held[:end].lower()
    place = head.find(b"\r\ncontent-length:")
    if place >= 0:
        return end + 4 + int(head[place + 17 :].split(b"\r\n", 1)[0])
    if b"\r\ntransfer-encoding:" in head:
        last = held.find(b"0\r\n\r\n", end)
        return last + 5 if last >= 0 else 0
    return end + 4


async def serve(port: int) -> None:
    """Until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
