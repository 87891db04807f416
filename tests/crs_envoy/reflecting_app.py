"""The app behind the Core Rule Set's tests: `POST /reflect` answers as the request's JSON says, all else with 200."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from extproc.replay.http1 import parse_request
from extproc.replay.run import reflect

HEAD_LIMIT_BYTES = 262_144


class ReflectingApp:
    """Serves on a free loopback port, in a thread of its own, from `with` to its end."""

    def __init__(self) -> None:
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._is_open = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> ReflectingApp:
        self._thread.start()
        self._is_open.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        start = asyncio.start_server(self._serve, "127.0.0.1", 0, limit=HEAD_LIMIT_BYTES)
        server = self._loop.run_until_complete(start)
        self.port = server.sockets[0].getsockname()[1]
        self._is_open.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                is_head = head.startswith(b"HEAD ")
                writer.write(_answer(head, await _read_body(reader, head.lower()), is_head))
                await writer.drain()
        writer.close()


async def _read_body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """As sent: chunks stay chunks. Envoy has framed the request anew, so one of the two is there or neither."""
    if b"\r\ntransfer-encoding: chunked\r\n" in head:
        body = b""
        while True:
            line = await reader.readuntil(b"\r\n")
            piece = await reader.readexactly(int(line.partition(b";")[0], 16) + 2)
            body += line + piece
            if piece == b"\r\n":
                return body
    length = head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
    return await reader.readexactly(int(length)) if length else b""


def _answer(head: bytes, body: bytes, is_head: bool) -> bytes:
    answer = reflect(parse_request(head + body, is_framed=True))
    lines = b"".join(b"%b: %b\r\n" % line for line in answer.head.headers)
    content = b"" if is_head else answer.body
    return b"HTTP/1.1 %d Reflected\r\n" % answer.head.status + lines + b"\r\n" + content
