"""An app that streams: downloads of zeros, events, answers before the body was read. For tests of what is held back.

| path | answers |
|---|---|
| `/download?N` | N bytes of zeros |
| `/events` | two events, PAUSE_S apart |
| other | 200 at once, whatever follows the head unread |
"""

from __future__ import annotations

import asyncio
import contextlib
import threading

PAUSE_S = 3.0
BLOCK = bytes(262_144)


class StreamingApp:
    """Serves on a free loopback port, in a thread of its own, from `with` to its end."""

    def __init__(self) -> None:
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._is_open = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> StreamingApp:
        self._thread.start()
        self._is_open.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(_serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._is_open.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError):
        head = await reader.readuntil(b"\r\n\r\n")
        target = head.split(b" ", 2)[1]
        if target.startswith(b"/download?"):
            await _download(writer, int(target.partition(b"?")[2]))
        elif target == b"/events":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
            for number in range(2):
                writer.write(b"data: %d\n\n" % number)
                await writer.drain()
                await asyncio.sleep(PAUSE_S)
        else:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nearly\n")
            await writer.drain()
    writer.close()


async def _download(writer: asyncio.StreamWriter, size: int) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % size)
    while size > 0:
        writer.write(BLOCK[:size])
        size -= len(BLOCK)
        await writer.drain()
