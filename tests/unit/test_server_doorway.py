"""One client at the door, without a network: both ends of TLS in memory."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from extproc.model.errors import ConfigError
from extproc.server.doorway import Door, Doorway
from extproc.server.settings import TlsSettings
from extproc.server.tls import FILE_LIMIT_BYTES, LOOK_EVERY_S, Credentials, load_identity
from tests.k8s.certificates import make_authority, write_certificate


class Socket:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.ended = ""
        self.is_reading = True

    def get_extra_info(self, name: str) -> Any:
        return ("192.0.2.7", 4711) if name == "peername" else None

    def write(self, data: bytes) -> None:
        assert not self.ended
        self.written += data

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def set_write_buffer_limits(self, high: int) -> None:
        pass


class Behind(asyncio.Protocol):
    """Answers what it gets with the same in capitals."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.reads: list[bytes] = []
        self.is_lost = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.reads.append(data)
        self.transport.write(data.upper())

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True


class Ground:
    """A folder of certificates, a door, and what was said at it."""

    def __init__(self, folder: Path, names: frozenset[str] = frozenset(), **limits: Any) -> None:
        self.folder = folder
        self.authority = make_authority("our CA")
        write_certificate(folder / "server", self.authority, "engine.test")
        write_certificate(folder / "client", self.authority, "proxy.test", is_client=True)
        (folder / "ca.crt").write_bytes(self.authority.pem)
        self.said: list[str] = []
        self.now = 0.0
        self.credentials = Credentials(
            TlsSettings(folder / "server/tls.crt", folder / "server/tls.key", folder / "ca.crt", names),
            self.said.append,
            lambda: self.now,
        )
        self.door = Door(self.credentials, **{"max_handshakes": 10} | limits)

    def client(self, name: str = "client") -> Client:
        return Client(self, name)


class Client:
    """At one doorway. `session` is resumed."""

    def __init__(self, ground: Ground, name: str, context: ssl.SSLContext | None = None, session: Any = None) -> None:
        context = context or context_of(ground, name)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname="engine.test", session=session)
        self.behind = Behind()
        self.socket = Socket()
        self.doorway = Doorway(ground.door, lambda: self.behind)
        self.doorway.connection_made(self.socket)  # type: ignore[arg-type]

    def shake_hands(self, turn: Callable[[bytes], bytes] = bytes) -> None:
        """To its end, or until nothing more comes of it. `turn` is done to what is sent."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                if not self.exchange(turn=turn):
                    return
            else:
                self.exchange(turn=turn)
                return

    def exchange(self, cut: int = 0, turn: Callable[[bytes], bytes] = bytes) -> bool:
        """What waits goes to the server, in pieces of `cut` bytes, and its answer comes; was there any?"""
        sent = turn(self._out.read())
        for at in range(0, len(sent), cut or max(1, len(sent))):
            self.doorway.data_received(sent[at : at + (cut or len(sent))])
        answer, self.socket.written = self.socket.written, b""
        self._in.write(answer)
        return bool(answer)


def context_of(ground: Ground, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ground.authority.pem.decode())
    context.load_cert_chain(ground.folder / name / "tls.crt", ground.folder / name / "tls.key")
    return context


@pytest.mark.parametrize("cut", [0, 1, 7])
async def test_what_is_sent_comes_through_both_ways(tmp_path: Path, cut: int) -> None:
    client = Ground(tmp_path).client()
    client.shake_hands()
    client.tls.write(b"hello ")
    client.tls.write(b"x" * 40_000)
    client.exchange(cut)
    assert b"".join(client.behind.reads) == b"hello " + b"x" * 40_000
    if not cut:
        assert len(client.behind.reads) == 1  # what came at once is one read
    answer = b""
    while len(answer) < 40_006:
        answer += client.tls.read(65_536)
    assert answer == b"HELLO " + b"X" * 40_000


async def test_an_end_is_told_and_passed_on(tmp_path: Path) -> None:
    client = Ground(tmp_path).client()
    client.shake_hands()
    client.behind.transport.close()
    client.exchange()
    assert client.tls.read(10) == b""  # close_notify
    assert client.socket.ended == "closed"
    client.behind.transport.write(b"too late")
    client.doorway.connection_lost(None)
    assert client.behind.is_lost


async def test_a_client_that_closes_is_let_go(tmp_path: Path) -> None:
    client = Ground(tmp_path).client()
    client.shake_hands()
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.unwrap()
    client.exchange()
    assert client.socket.ended == "closed"


async def test_broken_records_end_the_connection(tmp_path: Path) -> None:
    ground = Ground(tmp_path)
    client = ground.client()
    client.shake_hands()
    client.doorway.data_received(b"\x17\x03\x03\x00\x05hello")
    assert client.socket.ended == "aborted"
    assert client.behind.reads == []


async def test_one_handshake_more_than_may_be(tmp_path: Path) -> None:
    ground = Ground(tmp_path, max_handshakes=2)
    clients = [ground.client() for _ in range(3)]
    assert [client.socket.ended for client in clients] == ["", "", "closed"]
    assert ground.door.refused == {"too-many": 1}
    clients[0].shake_hands()
    assert ground.client().socket.ended == ""


async def test_no_handshake_in_time(tmp_path: Path) -> None:
    """Who began one is told of; who only connects is not."""
    ground = Ground(tmp_path, handshake_s=0.02)
    silent, slow, quick = ground.client(), ground.client(), ground.client()
    slow.doorway.data_received(b"\x16")
    quick.shake_hands()
    await asyncio.sleep(0.1)
    assert (silent.socket.ended, slow.socket.ended, quick.socket.ended) == ("aborted", "closed", "")
    assert ground.door.refused == {"too-slow": 1}
    assert not ground.door.handshakes


async def test_a_closed_door_ends_handshakes(tmp_path: Path) -> None:
    ground = Ground(tmp_path)
    waiting, inside = ground.client(), ground.client()
    inside.shake_hands()
    ground.door.close()
    assert (waiting.socket.ended, inside.socket.ended) == ("aborted", "")


async def test_only_the_names_that_may(tmp_path: Path) -> None:
    client = Ground(tmp_path, frozenset({"proxy.test", "spiffe://x"})).client()
    client.shake_hands()
    assert client.behind.transport is not None
    ground = Ground(tmp_path, frozenset({"other.test"}))
    stranger = ground.client()
    stranger.shake_hands()
    assert stranger.behind.transport is None
    assert ground.said == ["client refused: 192.0.2.7: its certificate is for proxy.test"]


async def test_a_name_is_told_to_its_limit(tmp_path: Path) -> None:
    ground = Ground(tmp_path, frozenset({"other.test"}))
    write_certificate(tmp_path / "long", ground.authority, "proxy.test", f"spiffe://{'x' * 300}", is_client=True)
    ground.client("long").shake_hands()
    [line] = ground.said
    assert len(line) < 250


async def test_files_are_looked_at_once_a_second(tmp_path: Path) -> None:
    ground = Ground(tmp_path)
    first = ground.credentials.identity
    write_certificate(tmp_path / "server", ground.authority, "engine.test")
    ground.now += LOOK_EVERY_S - 0.01
    assert not ground.credentials.renewed()
    ground.now += 0.02
    assert ground.credentials.renewed()
    assert ground.credentials.identity is not first
    (tmp_path / "server/tls.key").unlink()
    ground.now += 2 * LOOK_EVERY_S
    assert not ground.credentials.renewed()
    assert "a new certificate is in use for new connections" in ground.said[0]
    assert "the certificate in use stays: tls_key: " in ground.said[1]


@pytest.mark.parametrize(("over", "is_taken"), [(0, True), (1, False)])
async def test_a_file_of_the_limit_is_taken(tmp_path: Path, over: int, is_taken: bool) -> None:
    ca = tmp_path / "ca.crt"
    Ground(tmp_path)
    ca.write_bytes(ca.read_bytes() + b"\n" * (FILE_LIMIT_BYTES + over - ca.stat().st_size))
    settings = TlsSettings(tmp_path / "server/tls.crt", tmp_path / "server/tls.key", ca)
    if is_taken:
        assert load_identity(settings).client_ca == ca.read_bytes()
    else:
        with pytest.raises(ConfigError, match="larger than"):
            load_identity(settings)


@pytest.mark.parametrize(("days", "is_in"), [(1, True), (3, False)])
async def test_a_resumed_session_is_no_older_than_its_certificate(tmp_path: Path, days: int, is_in: bool) -> None:
    """TLS 1.2 resumes by a number, without the certificate's being shown again; it is good for two days here."""
    later = 0.0
    ground = Ground(tmp_path, clock=lambda: time.time() + later)
    context = context_of(ground, "client")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    first = Client(ground, "client", context)
    first.shake_hands()
    later = days * 86_400
    second = Client(ground, "client", context, first.tls.session)
    second.shake_hands()
    assert second.tls.session_reused
    assert (second.behind.transport is not None) is is_in
    assert ground.door.refused == ({} if is_in else {"expired": 1})


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_nothing_that_a_client_sends_is_a_fault_of_ours(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """Bytes turned over anywhere, before, within and after the handshake: it goes on, waits, or ends."""
    ground = Ground(tmp_path, max_handshakes=1_000)
    context = context_of(ground, "client")
    context.minimum_version = context.maximum_version = version
    random = Random(7)
    for _ in range(150):
        client = Client(ground, "client", context)
        with contextlib.suppress(ssl.SSLError):
            client.shake_hands(lambda sent: turned_over(sent, random))
            client.tls.write(b"hello")
            client.exchange(turn=lambda sent: turned_over(sent, random))
        if client.behind.transport is not None:
            client.behind.transport.write(b"an answer")
            client.behind.transport.close()
        client.doorway.connection_lost(None)
        assert client.behind.reads in ([], [b"hello"])
    assert not ground.door.handshakes


def turned_over(sent: bytes, random: Random) -> bytes:
    if not sent or random.random() < 0.5:
        return sent
    at = random.randrange(len(sent))
    return sent[:at] + bytes([sent[at] ^ random.randrange(1, 256)]) + sent[at + 1 :]
