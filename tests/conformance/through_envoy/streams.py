"""E10, E22 to E24, E26: what lasts, what trickles, what leaves early, and what must not be held back."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import h2.settings

from tests.conformance.through_envoy.bootstrap_parts import Tree, manager
from tests.conformance.through_envoy.ground import Site, admin_socket
from tests.conformance.through_envoy.http2_client import Http2Client
from tests.conformance.through_envoy.lone_envoy import LoneEnvoy, read_stat
from tests.conformance.through_envoy.single_requests import FORM_LINE, GET, HANDSHAKE, POST, QUERY_ATTACK
from tests.conformance.through_envoy.streaming_app import PAUSE_S, StreamingApp
from tests.e2e.conftest import PairProcess, free_port, wait_for

DOWNLOAD_BYTES = 2**30
FLAT_BYTES = 64 * 2**20
"""How much a process may grow during a download sixteen times as large."""

SLOW_END_S = 45.0
"""A slow sender is cut off after request_headers_timeout (10 s) or request_timeout (30 s) of the bootstrap."""

FREED_WITHIN_S = 10.0
"""Streams of clients that left."""

HELD_BACK_S = PAUSE_S / 2
"""Later than Envoy alone by more than this, a first event was held back; the next is due after PAUSE_S."""


def frame(text: bytes) -> bytes:
    """A masked text frame (RFC 6455, section 5.2); short text only."""
    mask = os.urandom(4)
    return bytes([0x81, 0x80 | len(text)]) + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(text))


def e10(site: Site) -> None:
    """WebSocket on an allowed path echoes: HTTP/1.1, HTTP/2 by extended CONNECT (RFC 8441). Monitor refuses none."""
    with socket.create_connection(("127.0.0.1", site.pair.port), timeout=10) as connection:
        connection.sendall(HANDSHAKE % (b"/ws/chat", b"websocket"))
        stream = connection.makefile("rb")
        head = b"".join(iter(stream.readline, b"\r\n"))
        assert head.startswith(b"HTTP/1.1 101")
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head  # RFC 6455, section 1.3
        connection.sendall(frame(b"hello"))
        assert stream.read(7) == b"\x81\x05hello"
        # What comes later, after a pause longer than the time for a verdict, passes too.
        time.sleep(2)
        connection.sendall(frame(b"again"))
        assert stream.read(7) == b"\x81\x05again"
    if not site.is_attached:  # there it is the owner's to allow
        over_http2(site)
    assert {seen["path"] for seen in site.app.seen()} == {"/ws/chat"}
    watching = site.start("--workers", "1", mode="monitor")
    with socket.create_connection(("127.0.0.1", watching.port), timeout=10) as connection:
        connection.sendall(HANDSHAKE % (b"/elsewhere", b"websocket"))
        assert connection.recv(4096).startswith(b"HTTP/1.1 101")
        connection.sendall(frame(b"hello"))
        assert connection.recv(64) == b"\x81\x05hello"


def over_http2(site: Site) -> None:
    with Http2Client(site.pair.port) as client:
        client.pump(lambda: bool(client.setting(h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL)))
        reply = client.replies[connect_websocket(client, "/ws/chat")]
        client.pump(lambda: bool(reply.status))
        assert reply.status == "200"
        client.send(max(client.replies), frame(b"hello"))
        client.pump(lambda: len(reply.body) >= 7)
        assert reply.body == b"\x81\x05hello"
        elsewhere = client.finish(connect_websocket(client, "/elsewhere"))
        assert elsewhere.status == "403"


def connect_websocket(client: Http2Client, path: str) -> int:
    return client.open_raw(
        [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "a"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        is_last=False,
    )


def e22(site: Site) -> None:
    """Slow headers, a slow body, an HTTP/2 request that never ends: cut off in time, the app untouched."""
    ended: dict[str, bytes] = {}

    def trickle(name: str, start: bytes, drop: bytes) -> None:
        ended[name] = drip(site.pair.port, start, drop)

    def never() -> None:
        with Http2Client(site.pair.port, timeout_s=SLOW_END_S) as client:
            stream = client.open("POST", "/a", [FORM_LINE], is_last=False)
            client.send(stream, b"x=1")
            reply = client.finish(stream)
            ended["endless"] = f"HTTP/1.1 {reply.status}".encode() if reply.is_over else b"no end"

    jobs = [
        threading.Thread(target=trickle, args=("headers", GET, b"x-a: 1\r\n")),
        threading.Thread(target=trickle, args=("body", POST + b"Content-Length: 10000\r\n\r\n", b"x")),
        threading.Thread(target=never),
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert {name: answer[:12] in (b"", b"HTTP/1.1 408", b"HTTP/1.1 504") for name, answer in ended.items()} == {
        "headers": True,
        "body": True,
        "endless": True,
    }, ended
    assert site.app.seen() == []


def drip(port: int, start: bytes, drop: bytes) -> bytes:
    """`start`, then a drop per second until the other side answers or closes; what it said."""
    deadline = time.monotonic() + SLOW_END_S
    with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
        connection.sendall(start)
        while time.monotonic() < deadline:
            try:
                connection.sendall(drop)
                return connection.recv(4096)
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                return b""
    return b"no end"


# What a client has sent when it leaves.
LEAVES = {
    "in the head": GET + b"X-A: 1",
    "before the body": POST + b"Content-Length: 10\r\n\r\n",
    "in the body": POST + b"Content-Length: 10\r\n\r\nx=1",
    "in the answer": GET.replace(b"/a", b"/slow?ms=1000") + b"\r\n",
}
LEAVERS = 20
"""Clients per phase."""


def e23(site: Site) -> None:
    """Clients that leave in any phase: every stream is freed, and the next request is answered."""
    admin = admin_socket(site.pair)
    for name, sent in LEAVES.items():
        connections = [socket.create_connection(("127.0.0.1", site.pair.port), timeout=10) for _ in range(LEAVERS)]
        for connection in connections:
            connection.sendall(sent)
        time.sleep(0.3)
        for connection in connections:
            connection.close()
        wait_for(lambda: active(admin) == 0, FREED_WITHIN_S, f"freed streams, {name}")
        assert site.pair.send().status == 200, name


def active(admin: Path) -> int:
    """Streams to the engine and requests of clients in flight."""
    return sum(
        read_stat(admin, name) for name in ("cluster.extproc.upstream_rq_active", "http.ingress.downstream_rq_active")
    )


def e24(site: Site) -> None:
    """Pipelined and keep-alive requests: a stream for each, and each its own verdict."""
    admin = admin_socket(site.pair)
    before = read_stat(admin, "http.ingress.ext_proc.waf.streams_started")
    clean, attack = GET + b"\r\n", GET.replace(b"/a", b"/?q=" + QUERY_ATTACK.encode()) + b"\r\n"
    with socket.create_connection(("127.0.0.1", site.pair.port), timeout=10) as connection:
        stream = connection.makefile("rb")
        connection.sendall(clean + attack + clean + attack)
        statuses = [read_answer(stream) for _ in range(4)]
        connection.sendall(attack)
        statuses.append(read_answer(stream))
        connection.sendall(clean)
        statuses.append(read_answer(stream))
    assert statuses == [200, 403, 200, 403, 403, 200]
    assert len(site.app.seen()) == 3
    wait_for(lambda: read_stat(admin, "http.ingress.ext_proc.waf.streams_started") == before + 6, 5, "six streams")


def read_answer(stream: object) -> int:
    """One answer with a length; its status."""
    read, readline = stream.read, stream.readline  # type: ignore[attr-defined]
    head = b"".join(iter(readline, b"\r\n"))
    length = re.search(rb"(?i)content-length: (\d+)", head)
    assert length is not None, head
    read(int(length[1]))
    return int(head.split(b" ")[1])


def e26(site: Site) -> None:
    """Early answers, events, 1 GiB: not held back; no stream to the engine is kept, memory is flat."""
    with StreamingApp() as app:
        pair = site.start("--workers", "1", app_port=app.port)
        early = pair.send("POST", "/early", body=b"x" * 60_000)
        assert (early.status, early.body) == (200, b"early\n")
        direct = time_to_first_event(app.port)
        with LoneEnvoy(site.envoy, site.fresh_folder(), app.port, f"127.0.0.1:{free_port()}", uninspected) as envoy:
            alone = time_to_first_event(envoy.port)
        inspected = time_to_first_event(pair.port)
        assert inspected < max(alone, direct) + HELD_BACK_S, (direct, alone, inspected)
        family = [pair.envoy(), *pair.workers()]
        before = {pid: peak_bytes(pid) for pid in family}
        kept = download(pair, lambda: read_stat(admin_socket(pair), "cluster.extproc.upstream_rq_active"))
        assert kept == 0, "the engine is still asked about a download"
        grown = {pid: peak_bytes(pid) - before[pid] for pid in family}
        assert max(grown.values()) < FLAT_BYTES, grown


def uninspected(tree: Tree) -> None:
    """Envoy alone."""
    filters = manager(tree)["http_filters"]
    manager(tree)["http_filters"] = [item for item in filters if item["name"] == "envoy.filters.http.router"]


def time_to_first_event(port: int) -> float:
    """Seconds."""
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b""
        while b"data: 0" not in answer:
            piece = connection.recv(4096)
            assert piece, answer
            answer += piece
    return time.monotonic() - started


def download(pair: PairProcess, look: Callable[[], int]) -> int:
    """Reads the whole of it; what `look` says in the middle."""
    found = -1
    buffer = memoryview(bytearray(2**20))
    with socket.create_connection(("127.0.0.1", pair.port), timeout=30) as connection:
        connection.sendall(b"GET /download?%d HTTP/1.1\r\nHost: a\r\n\r\n" % DOWNLOAD_BYTES)
        left = DOWNLOAD_BYTES + 1
        while left > 0 and (size := connection.recv_into(buffer)):
            if left > DOWNLOAD_BYTES:  # the head, and what came with it
                head = bytes(buffer[:size]).partition(b"\r\n\r\n")
                assert head[0].startswith(b"HTTP/1.1 200"), head[0]
                left, size = DOWNLOAD_BYTES, len(head[2])
            left -= size
            if found < 0 and left < DOWNLOAD_BYTES // 2:
                found = look()
    assert left == 0
    return found


def peak_bytes(pid: int) -> int:
    """The largest resident size so far (proc(5), VmHWM)."""
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert peak is not None
    return int(peak[1]) * 1024
