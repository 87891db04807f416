"""A tiny app to put behind the pair: `python -m extproc.cli.demo_app --listen 127.0.0.1:3000`.

It answers with what it got, so that one sees what passed. On `--control ADDR`, which nothing else may reach,
it tells all that it saw: `GET /seen` is a JSON list, `DELETE /seen` empties it. For demos and tests, not for
production; standard library only.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import signal
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

HEAD_LIMIT_BYTES = 131_072
BODY_LIMIT_BYTES = 64 * 1024 * 1024
SEEN_LIMIT = 10_000
"""Requests remembered; older ones are forgotten."""

SLOW_LIMIT_MS = 60_000
TICKS = 5
TICK_S = 0.2
"""The event stream of /events."""

WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, section 1.3."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as received; names of headers in lower case."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    def describe(self) -> dict[str, object]:
        """For JSON; the body once as text, once exactly."""
        return {
            "method": self.method,
            "path": self.path,
            "headers": self.headers,
            "body": self.body.decode("latin-1"),
            "body_base64": base64.b64encode(self.body).decode(),
        }


class DemoApp:
    """The app and what it remembers."""

    def __init__(self) -> None:
        self.seen: deque[Request] = deque(maxlen=SEEN_LIMIT)

    async def serve_app(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the public side."""
        await _each_request(reader, writer, self._answer)

    async def serve_control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the control side."""
        await _each_request(reader, writer, self._answer_control)

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        self.seen.append(request)
        path, _, query = request.path.partition("?")
        if request.header("upgrade").lower() == "websocket":
            await _echo_websocket(request, reader, writer)
            return False
        if path == "/events":
            await _tell_events(writer)
            return False
        if path == "/reset":
            return False
        if path.startswith("/status/") and path.removeprefix("/status/").isdecimal():
            _respond(writer, request, int(path.removeprefix("/status/")), "text/plain", b"as you wish\n")
            return True
        if path == "/slow":
            wish = query.removeprefix("ms=")
            await asyncio.sleep(min(int(wish) if wish.isdecimal() else 1000, SLOW_LIMIT_MS) / 1000)
        if path == "/hello":
            _respond(writer, request, 200, "text/plain", b"hello\n")
        elif path == "/login":
            _respond(writer, request, 200, "text/plain", b"welcome\n")
        else:
            _respond(writer, request, 200, "application/json", json.dumps(request.describe(), indent=2).encode())
        return True

    async def _answer_control(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if request.path == "/seen":
            body = json.dumps([item.describe() for item in self.seen]).encode()
            if request.method == "DELETE":
                self.seen.clear()
            _respond(writer, request, 200, "application/json", body)
        else:
            _respond(writer, request, 404, "text/plain", b"only /seen is here\n")
        return True


Answer = Callable[[Request, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]
"""Writes the response; false closes the connection."""


async def _each_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
    # The client may leave at any point, or send what is no HTTP; neither concerns anybody else.
    with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        while (request := await _read_request(reader)) is not None:
            goes_on = await answer(request, reader, writer)
            await writer.drain()
            if not goes_on or request.header("connection").lower() == "close":
                break
    writer.close()


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    """None at the end of the connection. Raises ValueError for what is not HTTP/1.1."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    lines = head.decode("latin-1").split("\r\n")
    method, path, _ = lines[0].split(" ")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:] if line)]
    request = Request(method, path, headers, b"")
    return Request(method, path, headers, await _read_body(reader, request))


async def _read_body(reader: asyncio.StreamReader, request: Request) -> bytes:
    if request.header("transfer-encoding").lower() != "chunked":
        return await reader.readexactly(min(int(request.header("content-length") or 0), BODY_LIMIT_BYTES))
    body = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        if len(body) + size > BODY_LIMIT_BYTES:
            raise ValueError("body too large")
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return bytes(body)


def _respond(writer: asyncio.StreamWriter, request: Request, status: int, content_type: str, body: bytes) -> None:
    head = f"HTTP/1.1 {status} Demo\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode("latin-1") + (b"" if request.method == "HEAD" else body))


async def _tell_events(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
    for tick in range(TICKS):
        writer.write(f"data: tick {tick}\n\n".encode())
        await writer.drain()
        await asyncio.sleep(TICK_S)


async def _echo_websocket(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """RFC 6455: the handshake, then each data frame sent back until a close frame."""
    accept = hashlib.sha1(request.header("sec-websocket-key").encode("latin-1") + WEBSOCKET_GUID)  # noqa: S324
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        b"sec-websocket-accept: " + base64.b64encode(accept.digest()) + b"\r\n\r\n"
    )
    while True:
        start = await reader.readexactly(2)
        size = start[1] & 0x7F
        if size >= 126:
            size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
        mask = await reader.readexactly(4)
        payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(await reader.readexactly(size)))
        length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
        writer.write(start[:1] + length + payload)
        await writer.drain()
        if start[0] & 0x0F == 8:
            return


async def run(listen: str, control: str) -> None:
    """Serves until SIGTERM or SIGINT."""
    app = DemoApp()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    servers = []
    for address, serve in ((listen, app.serve_app), (control, app.serve_control)):
        if address:
            host, _, port = address.rpartition(":")
            servers.append(await asyncio.start_server(serve, host.strip("[]"), int(port), limit=HEAD_LIMIT_BYTES))
    print(f"demo app on {listen}", flush=True)
    await stop.wait()
    for server in servers:
        server.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m extproc.cli.demo_app", description="an app to put behind the pair")
    parser.add_argument("--listen", default="127.0.0.1:3000", metavar="ADDR")
    parser.add_argument("--control", default="", metavar="ADDR", help="tells what was seen; not for the public")
    arguments = parser.parse_args()
    asyncio.run(run(arguments.listen, arguments.control))


if __name__ == "__main__":
    main()
