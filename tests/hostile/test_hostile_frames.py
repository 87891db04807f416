"""Frames that break the protocol, at a real server over a real socket: what is due comes back, and others go on."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.test_grpc_workers import children
from tests.hostile import http2_frames as f
from tests.hostile.http2_cases import CASES, Case

TOY = Path(__file__).parents[1] / "e2e" / "servers" / "toy_server.py"
WAIT_S = 20.0
FLOOD_BYTES = 64 * 1024 * 1024
GROWTH_BYTES = 24 * 1024 * 1024


class Client:
    """One connection. `settle` returns once the server has read all that was sent, or has closed."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(WAIT_S)
        self.socket.connect(str(path))
        self.reader = f.Reader()
        self.is_closed = False
        self.marks = 0

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except OSError:
            self.is_closed = True  # it need not listen any longer

    def settle(self) -> f.Reader:
        self.marks += 1
        mark = self.marks.to_bytes(8, "big")
        self.send(f.frame(f.PING, 0, 0, mark))
        while not any(told.payload == mark for told in self.reader.of(f.PING)):
            try:
                data = self.socket.recv(65_536)
            except ConnectionResetError:
                data = b""
            if not data:
                self.is_closed = True
                break
            self.reader.feed(data)
        return self.reader


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """(socket, process id of the worker)."""
    path = tmp_path_factory.mktemp("hostile") / "grpc.sock"
    process = subprocess.Popen(
        [sys.executable, str(TOY), "--grpc", f"unix:{path}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + WAIT_S
        while not path.is_socket() and time.monotonic() < end:
            time.sleep(0.02)
        [generation] = children(process.pid)
        [worker] = children(generation)
        yield path, worker
    finally:
        process.terminate()
        process.wait(WAIT_S)


@contextmanager
def connected(path: Path, *settings: tuple[int, int]) -> Iterator[Client]:
    client = Client(path)
    try:
        client.send(f.PREFACE + f.settings(*settings))
        yield client
    finally:
        client.socket.close()


@pytest.fixture(scope="module")
def bystander(server: tuple[Path, int]) -> Iterator[Client]:
    """A connection that lives through all cases."""
    with connected(server[0]) as client:
        yield client
        assert client.settle().goaway is None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_hostile_client_harms_itself_alone(server: tuple[Path, int], bystander: Client, case: Case) -> None:
    with connected(server[0]) as client:
        client.send(case.sent)
        told = client.settle()
        if case.ends is not None:
            assert client.is_closed
            assert told.goaway in (case.ends, None), "a reset of the socket may overtake GOAWAY, another code may not"
        else:
            assert (told.goaway, told.reset(1) or None, told.status(1)) == (None, case.resets, case.status)
    bystander.send(
        f.frame(f.HEADERS, f.END_HEADERS | f.END_STREAM, 1 + 2 * CASES.index(case), f.block((":path", "/x")))
    )
    assert bystander.settle().status(1 + 2 * CASES.index(case)) == 12


@pytest.mark.parametrize(
    "sent",
    [b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"\x00" * 100],
    ids=["http", "tls", "zeros"],
)
def test_what_is_not_http2(server: tuple[Path, int], sent: bytes) -> None:
    client = Client(server[0])
    client.send(sent)
    client.settle()
    assert client.is_closed
    client.socket.close()


def test_a_client_that_reads_nothing_costs_little_memory(server: tuple[Path, int]) -> None:
    """It asks for answers forever and takes none: the server stops to read from it long before memory runs out."""
    path, pid = server
    before = resident_bytes(pid)
    with connected(path, (4, 2**31 - 1)) as client:
        client.send(f.frame(f.WINDOW_UPDATE, 0, 0, f.word(2**31 - 1 - 65_535)))
        client.socket.settimeout(2.0)
        sent, number = 0, 1
        try:
            while sent < FLOOD_BYTES:
                # Each refused call is answered with trailers, which no window holds back.
                data = b"".join(
                    f.frame(f.HEADERS, f.END_HEADERS | f.END_STREAM, n, f.block((":path", "/x")))
                    for n in range(number, number + 200, 2)
                )
                client.socket.sendall(data)
                sent, number = sent + len(data), number + 200
        except TimeoutError:
            pass
        assert sent < FLOOD_BYTES, "it was read without end"
        assert resident_bytes(pid) - before < GROWTH_BYTES
    with connected(path) as client:
        assert client.settle().goaway is None


def test_bodies_that_never_end_have_a_limit_together(server: tuple[Path, int]) -> None:
    """A hundred streams with a megabyte each and no end: beyond the limit RESOURCE_EXHAUSTED, and memory comes back."""
    path, pid = server
    before = resident_bytes(pid)
    half = f.message(bytes(1_000_000))[:-1]
    with connected(path) as client:
        for number in range(1, 201, 2):
            client.send(f.opening(number))
            for at in range(0, len(half), 16_384):
                client.send(f.frame(f.DATA, 0, number, half[at : at + 16_384]))
            client.settle()
        told = client.settle()
        refused = [number for number in range(1, 201, 2) if told.status(number) == 8]
        assert 20 < len(refused) < 80
        assert told.goaway is None
        assert resident_bytes(pid) - before < 160 * 1024 * 1024
    with connected(path) as client:
        client.send(f.opening(1))
        for at in range(0, len(half), 16_384):
            client.send(f.frame(f.DATA, 0, 1, half[at : at + 16_384]))
        assert client.settle().status(1) is None, "there is room again"


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
