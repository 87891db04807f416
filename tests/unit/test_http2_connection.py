"""Our HTTP/2 without a network: bytes in, frames out."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import Any

import hpack
import pytest

from extproc.server.http2 import connection as c
from extproc.server.http2.call import Answering, Call, Handler
from extproc.server.http2.connection import Connection, Host
from extproc.server.http2.headers import Opening
from extproc.server.status import CallError, Status
from tests.hostile import http2_frames as f
from tests.hostile.http2_cases import CASES, FULL, Case

LIMIT = 100_000
WINDOW = LIMIT + 5 + 2 * c.CREDIT_BYTES


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine must not make turns of what is one here."""
    monkeypatch.setattr(c, "SLICE_US", 10_000_000)


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_closed = self.is_aborted = False
        self.is_reading = True

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def set_write_buffer_limits(self, high: int) -> None:
        pass


class Echo:
    """Answers a message with itself; `wait` when `Echo.gate` opens, `none` with nothing, `fail` by raising."""

    def __init__(self, log: list[str], gate: asyncio.Event, opening: Opening) -> None:
        self.log = log
        self.gate = gate
        log.append(f"open {opening.value('x-waf-policy')}".strip())

    def receive(self, data: bytes) -> Answering:
        return self._receive(data)

    async def _receive(self, data: bytes) -> bytes | None:
        if data.startswith(b"wait"):
            await self.gate.wait()
        if data.startswith(b"turn"):
            await asyncio.sleep(0)
        if data == b"fail":
            raise RuntimeError("secret")
        if data == b"\xff":
            raise CallError(Status.INVALID_ARGUMENT, "malformed-message")
        self.log.append(f"receive {data[:10].decode()}")
        return None if data.startswith(b"none") else data

    def conclude(self) -> None:
        self.log.append("conclude")

    def fail(self, error: Exception) -> CallError:
        self.log.append("fail")
        return error if isinstance(error, CallError) else CallError(Status.INTERNAL, "internal")

    def end(self) -> None:
        self.log.append("end")

    def cancel(self, is_answered: bool) -> None:
        self.log.append(f"cancel {is_answered}")


class Peer:
    """A client of one connection."""

    def __init__(self, *pairs: tuple[int, int], is_greeting: bool = True, **limits: int) -> None:
        self.log: list[str] = []
        self.gate = asyncio.Event()
        self.reader = f.Reader()
        self.wire = Wire()
        limits = {
            "message_limit_bytes": LIMIT,
            "buffer_limit_bytes": 10 * LIMIT,
            "max_calls": 100,
            "max_connections": 2,
        } | limits
        self.host = Host({f.PROCESS.encode(): self.take}, **limits)
        self.connection = Connection(self.host)
        self.connection.connection_made(self.wire)  # type: ignore[arg-type]
        if is_greeting:
            self.send(f.PREFACE + f.settings(*pairs))

    def take(self, opening: Opening, _call: Call) -> Handler:
        if opening.value("x-refuse"):
            raise CallError(Status.RESOURCE_EXHAUSTED, "overloaded")
        return Echo(self.log, self.gate, opening)

    def send(self, *parts: bytes) -> f.Reader:
        self.connection.data_received(b"".join(parts))
        return self.read()

    def read(self) -> f.Reader:
        for data in self.wire.written:
            self.reader.feed(data)
        self.wire.written.clear()
        return self.reader

    async def settle(self) -> f.Reader:
        for _ in range(10):
            await asyncio.sleep(0)
        return self.read()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_what_breaks_the_protocol_ends_as_the_rfc_says(case: Case) -> None:
    peer = Peer()
    told = peer.send(case.sent)
    assert (told.goaway, told.reset(1) or None, told.status(1)) == (case.ends, case.resets, case.status)
    assert peer.wire.is_closed is (case.ends is not None)
    if case.ends is None:
        told = peer.send(f.opening(99), f.ask(99, b"still here", f.END_STREAM))
        assert told.messages(99) == [b"still here"]
        assert told.status(99) == 0
    await peer.settle()
    assert peer.host.held_bytes == 0
    assert peer.log.count("open") == sum(
        peer.log.count(end) for end in ("end", "fail", "cancel True", "cancel False")
    ) + (len(peer.connection._calls))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_where_the_reads_are_cut_changes_nothing(case: Case) -> None:
    if len(case.sent) > 20_000:
        pytest.skip("too long to be sent byte by byte")
    whole, cut = Peer(), Peer(is_greeting=False)
    whole.send(case.sent)
    for byte in f.PREFACE + f.settings() + case.sent:
        cut.send(bytes([byte]))
    ours, theirs = await whole.settle(), await cut.settle()
    assert [frame for frame in theirs.frames if frame.kind != f.WINDOW_UPDATE] == [
        frame for frame in ours.frames if frame.kind != f.WINDOW_UPDATE
    ]


@pytest.mark.parametrize(
    ("sent", "is_ended"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", True),
        (f.PREFACE[:10], False),
        (f.PREFACE + f.frame(f.PING, 0, 0, bytes(8)), True),
        (f.PREFACE + f.frame(f.SETTINGS, f.ACK, 0), True),
        (f.PREFACE + f.frame(f.DATA, 0, 1, b"x"), True),
        (f.PREFACE + f.settings(), False),
    ],
)
async def test_the_handshake(sent: bytes, is_ended: bool) -> None:
    peer = Peer(is_greeting=False)
    assert (peer.send(sent).goaway == 1) is is_ended


async def test_a_call_from_its_head_to_its_status() -> None:
    """OK only once the client has half-closed; the event is made when the answer is on its way."""
    peer = Peer()
    told = peer.send(f.opening(1, ("x-waf-policy", "shop")), f.ask(1, b"hello"))
    assert told.heads[1] == [{":status": "200", "content-type": "application/grpc"}]
    assert told.messages(1) == [b"hello"]
    assert told.status(1) is None
    assert peer.log == ["open shop", "receive hello"]
    await peer.settle()
    assert peer.log[2:] == ["conclude"]
    told = peer.send(f.frame(f.DATA, f.END_STREAM, 1))
    assert told.status(1) == 0
    assert told.of(f.RST_STREAM) == []
    assert peer.log[3:] == ["end"]


async def test_all_answers_of_one_read_are_one_write() -> None:
    peer = Peer()
    peer.wire.written.clear()
    peer.connection.data_received(b"".join(f.opening(n) + f.ask(n, b"x") for n in range(1, 41, 2)))
    assert len(peer.wire.written) == 1
    assert sum(len(peer.read().messages(n)) for n in range(1, 41, 2)) == 20


@pytest.mark.parametrize("sizes", [(1,), (5,), (7, 3), (100_000,), (16_384,), (3, 1, 4, 1, 5)])
async def test_messages_and_frames_need_not_agree(sizes: tuple[int, ...]) -> None:
    """Several messages in a frame, a message across frames."""
    sent = [b"a" * 40, b"", b"b", b"none", b"c" * 700]
    data, at, number = b"".join(map(f.message, sent)), 0, 0
    peer = Peer()
    peer.send(f.opening(1))
    while at < len(data):
        size = sizes[number % len(sizes)]
        peer.send(f.frame(f.DATA, 0, 1, data[at : at + size]))
        at, number = at + size, number + 1
    told = await peer.settle()
    assert told.messages(1) == [b"a" * 40, b"", b"b", b"c" * 700]
    assert peer.host.held_bytes == 0
    assert peer.send(f.frame(f.DATA, f.END_STREAM, 1)).status(1) == 0


async def test_padding_and_trailers_carry_messages_as_well() -> None:
    peer = Peer()
    padded = f.frame(f.DATA, f.PADDED, 1, b"\x04" + f.message(b"padded") + bytes(4))
    told = peer.send(f.opening(1), padded, f.frame(f.HEADERS, FULL, 1, f.literal(("x", "y"))))
    assert (told.messages(1), told.status(1)) == ([b"padded"], 0)


@pytest.mark.parametrize("name", ["gzip", "deflate", "identity"])
async def test_compressed_messages(name: str) -> None:
    pack = {"gzip": gzip.compress, "deflate": zlib.compress}.get(name)
    peer = Peer()
    data = f.message(pack(b"plain" * 100), 1) if pack else f.message(b"plain" * 100)
    told = peer.send(f.opening(1, ("grpc-encoding", name)), f.frame(f.DATA, 0, 1, data + f.message(b"not packed")))
    assert told.messages(1) == [b"plain" * 100, b"not packed"]


@pytest.mark.parametrize(("size", "status"), [(LIMIT, None), (LIMIT + 1, 8)])
async def test_a_packed_message_has_the_same_limit(size: int, status: int | None) -> None:
    peer = Peer((4, 2**31 - 1))
    peer.send(f.frame(f.WINDOW_UPDATE, 0, 0, f.word(2**20)), f.opening(1, ("grpc-encoding", "gzip")))
    told = peer.send(f.frame(f.DATA, 0, 1, f.message(gzip.compress(bytes(size)), 1)))
    assert told.status(1) == status
    assert [len(message) for message in told.messages(1)] == ([size] if status is None else [])


@pytest.mark.parametrize(("size", "status"), [(LIMIT, None), (LIMIT + 1, 8)])
async def test_the_largest_message(size: int, status: int | None) -> None:
    peer = Peer()
    peer.send(f.opening(1))
    data = f.message(b"none" + b"x" * (size - 4))
    for at in range(0, len(data), 16_384):
        peer.send(f.frame(f.DATA, 0, 1, data[at : at + 16_384]))
    assert peer.read().status(1) == status
    assert peer.host.held_bytes == 0


async def test_a_client_may_send_forever() -> None:
    """Both windows open again as messages are consumed; a client that keeps to them is never ended."""
    peer = Peer()
    told = peer.send(f.opening(1))
    stream_room, room = WINDOW, c.CONNECTION_WINDOW_BYTES
    data = f.message(b"none" + bytes(4_000)) * 4
    for _ in range(1_200):
        assert len(data) <= min(stream_room, room)
        stream_room -= len(data)
        room -= len(data)
        told.frames.clear()
        told = peer.send(f.frame(f.DATA, 0, 1, data))
        for _ in range(50):
            if not peer.connection._deferred:
                break
            await asyncio.sleep(0)
        told = peer.read()
        stream_room += sum(int.from_bytes(u.payload, "big") for u in told.of(f.WINDOW_UPDATE, 1))
        room += sum(int.from_bytes(u.payload, "big") for u in told.of(f.WINDOW_UPDATE, 0))
    assert told.goaway is None


@pytest.mark.parametrize(("over", "code"), [(0, None), (1, 3)])
async def test_a_stream_that_takes_more_than_its_window(over: int, code: int | None) -> None:
    peer = Peer(buffer_limit_bytes=10**9)
    peer.send(f.opening(1), f.ask(1, b"wait"))
    left = WINDOW - 9 + over
    while left:
        size = min(left, 16_384)
        peer.send(f.frame(f.DATA, 0, 1, f.message(bytes(size - 5)) if size > 5 else bytes(size)))
        left -= size
    assert peer.read().reset(1) == code


async def test_a_connection_that_takes_more_than_its_window() -> None:
    """Only what comes faster than it is read can; here nothing is given back."""
    peer = Peer()
    peer.connection._room = 10
    assert peer.send(f.opening(1), f.frame(f.DATA, 0, 1, bytes(11))).goaway == 3


async def test_answers_wait_for_the_window_of_the_stream() -> None:
    peer = Peer((4, 10))
    told = peer.send(f.opening(1), f.ask(1, b"x" * 20), f.ask(1, b"y"))
    assert told.data(1) == f.message(b"x" * 20)[:10]
    assert peer.log == ["open", "receive xxxxxxxxxx"], "the next message waits for the answer's end"
    told = peer.send(f.frame(f.WINDOW_UPDATE, 0, 1, f.word(14)))
    assert len(told.data(1)) == 24
    told = peer.send(f.settings((4, 11)), f.frame(f.WINDOW_UPDATE, 0, 1, f.word(6)))
    await peer.settle()
    assert peer.read().messages(1) == [b"x" * 20, b"y"]
    assert peer.send(f.frame(f.DATA, f.END_STREAM, 1)).status(1) == 0


async def test_answers_wait_for_the_window_of_the_connection() -> None:
    peer = Peer((4, 2**20))
    peer.send(f.opening(1), f.opening(3))
    for number in (1, 3):
        for at in range(0, 40_005, 16_384):
            peer.send(f.frame(f.DATA, 0, number, f.message(b"z" * 40_000)[at : at + 16_384]))
    told = peer.read()
    assert len(told.data(1)) == 40_005
    assert len(told.data(3)) == 65_535 - 40_005
    assert all(len(frame.payload) <= 16_384 for frame in told.of(f.DATA))
    peer.send(f.frame(f.DATA, f.END_STREAM, 3))
    assert peer.read().status(3) is None, "the status comes behind the answer"
    told = peer.send(f.frame(f.WINDOW_UPDATE, 0, 0, f.word(100_000)))
    assert told.messages(3) == [b"z" * 40_000]
    assert told.status(3) == 0


async def test_a_window_below_zero() -> None:
    """RFC 9113, section 6.9.2: smaller than what was sent already."""
    peer = Peer()
    peer.send(f.opening(1), f.ask(1, b"x" * 1000), f.settings((4, 500)))
    assert peer.send(f.ask(1, b"y" * 10)).messages(1) == [b"x" * 1000]
    peer.send(f.frame(f.WINDOW_UPDATE, 0, 1, f.word(505)))
    assert peer.read().messages(1) == [b"x" * 1000]
    peer.send(f.frame(f.WINDOW_UPDATE, 0, 1, f.word(15)))
    assert peer.read().messages(1) == [b"x" * 1000, b"y" * 10]


async def test_what_takes_time_is_answered_in_order_and_holds_nobody_up() -> None:
    peer = Peer()
    told = peer.send(
        f.opening(1), f.ask(1, b"wait"), f.ask(1, b"behind", f.END_STREAM), f.opening(3), f.ask(3, b"turn")
    )
    told = await peer.settle()
    assert (told.messages(1), told.messages(3)) == ([], [b"turn"])
    assert peer.host.held_bytes > 0
    peer.gate.set()
    told = await peer.settle()
    assert told.messages(1) == [b"wait", b"behind"]
    assert told.status(1) == 0
    assert peer.host.held_bytes == 0


@pytest.mark.parametrize("how", ["reset", "lost", "shut", "deadline"])
async def test_work_that_nobody_waits_for_ends_at_once(how: str) -> None:
    peer = Peer()
    more = [("grpc-timeout", "1m")] if how == "deadline" else []
    peer.send(f.opening(1, *more), f.ask(1, b"wait"))
    if how == "reset":
        peer.send(f.frame(f.RST_STREAM, 0, 1, f.word(8)))
    elif how == "lost":
        peer.connection.connection_lost(None)
    elif how == "shut":
        peer.connection.shut()
        assert peer.read().status(1) == 14
    else:
        await asyncio.sleep(0.05)
        assert peer.read().status(1) == 4
    assert peer.log == ["open", "cancel False"]
    peer.gate.set()
    told = await peer.settle()
    assert told.messages(1) == []
    assert peer.host.held_bytes == 0


async def test_a_fault_says_nothing_of_itself() -> None:
    peer = Peer()
    told = peer.send(f.opening(1), f.ask(1, b"fail"))
    assert (told.status(1), told.heads[1][-1]["grpc-message"]) == (13, "internal")
    assert told.reset(1) == 0
    assert peer.log == ["open", "fail"]
    assert peer.send(f.ask(1, b"late"), f.frame(f.WINDOW_UPDATE, 0, 1, f.word(1))).goaway is None


async def test_a_refused_call_is_a_status_and_nothing_else() -> None:
    peer = Peer()
    told = peer.send(f.opening(1, ("x-refuse", "1"), flags=FULL))
    assert len(told.heads[1]) == 1
    assert (told.status(1), told.heads[1][0][":status"]) == (8, "200")
    assert peer.log == []


@pytest.mark.parametrize(
    ("change", "status"), [((":method", "GET"), "405"), (("content-type", "text/plain"), "415")], ids=["GET", "text"]
)
async def test_what_is_no_call_of_grpc(change: tuple[str, str], status: str) -> None:
    peer = Peer()
    assert peer.send(f.opening(1, change, flags=FULL)).heads[1] == [{":status": status}]


async def test_a_stream_too_many_may_be_tried_again() -> None:
    peer = Peer(max_calls=2)
    told = peer.send(f.opening(1), f.opening(3), f.opening(5))
    assert (told.reset(1), told.reset(3), told.reset(5)) == (None, None, 7)
    assert peer.send(f.ask(3, b"x", f.END_STREAM), f.opening(7), f.ask(7, b"y")).messages(7) == [b"y"]


async def test_a_connection_too_many_is_closed() -> None:
    peer = Peer(max_connections=1)
    second = Connection(peer.host)
    wire = Wire()
    second.connection_made(wire)  # type: ignore[arg-type]
    assert wire.is_aborted
    second.connection_lost(None)
    assert list(peer.host.connections) == [peer.connection]


async def test_memory_of_all_streams_has_a_limit() -> None:
    peer = Peer(buffer_limit_bytes=30_000)
    peer.send(f.opening(1), f.opening(3))
    half = f.message(bytes(20_000))[:14_000]
    told = peer.send(f.frame(f.DATA, 0, 1, half), f.frame(f.DATA, 0, 3, half), f.frame(f.DATA, 0, 3, bytes(3_000)))
    assert (told.status(1), told.status(3)) == (None, 8)
    assert peer.host.held_bytes == 14_000


async def test_streams_reset_faster_than_they_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c, "RESET_BURST", 50)
    monkeypatch.setattr(c, "RESETS_PER_S", 0)
    for asks, expected in ((True, None), (False, 11)):
        peer = Peer()
        for number in range(1, 103, 2):
            told = peer.send(
                f.opening(number), f.ask(number, b"x") if asks else b"", f.frame(f.RST_STREAM, 0, number, f.word(8))
            )
        assert told.goaway == expected, "what was answered may be reset at will"


async def test_a_peer_that_reads_nothing_is_not_read_from() -> None:
    peer = Peer()
    peer.connection.pause_writing()
    assert not peer.wire.is_reading
    told = peer.send(f.opening(1), f.ask(1, b"x"))  # was on its way
    assert told.messages(1) == []
    peer.connection.resume_writing()
    assert peer.wire.is_reading
    assert (await peer.settle()).messages(1) == [b"x"]


async def test_a_peer_that_never_reads_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c, "STALL_S", 0.01)
    stuck, slow = Peer(), Peer()
    stuck.connection.pause_writing()
    slow.connection.pause_writing()
    slow.connection.resume_writing()
    await asyncio.sleep(0.05)
    assert (stuck.wire.is_aborted, slow.wire.is_aborted) == (True, False)


async def test_what_still_comes_for_streams_that_we_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passed over for as many as are kept in mind, then reset once more; never held against the connection."""
    monkeypatch.setattr(c, "MAX_ENDED_EARLY", 3)
    peer = Peer()
    for number in range(1, 9, 2):
        peer.send(f.opening(number), f.ask(number, b"fail"))
    late = peer.send(*(f.frame(f.DATA, 0, number, b"late") for number in (7, 5, 3, 1)))
    assert {number: [told.payload for told in late.of(f.RST_STREAM, number)] for number in (1, 3)} == {
        1: [f.word(0), f.word(5)],
        3: [f.word(0)],
    }
    assert late.goaway is None


async def test_drain_lets_every_stream_end() -> None:
    """GOAWAY with the largest number, a PING; when that is answered, GOAWAY with the last stream's number."""
    peer = Peer()
    peer.send(f.opening(1), f.ask(1, b"wait"))
    peer.connection.drain()
    told = peer.read()
    assert [frame.payload[:4] for frame in told.of(f.GOAWAY)] == [f.word(2**31 - 1)]
    ping = told.of(f.PING)[-1].payload
    assert peer.send(f.opening(3), f.ask(3, b"on its way", f.END_STREAM)).messages(3) == [b"on its way"]
    told = peer.send(f.frame(f.PING, f.ACK, 0, ping))
    assert [frame.payload[:4] for frame in told.of(f.GOAWAY)] == [f.word(2**31 - 1), f.word(3)]
    told = peer.send(
        f.opening(5),
        f.ask(5, b"too late"),
        f.frame(f.WINDOW_UPDATE, 0, 5, f.word(9)),
        f.frame(f.RST_STREAM, 0, 5, f.word(8)),
    )
    assert 5 not in told.heads
    assert len(told.of(f.GOAWAY)) == 2
    peer.gate.set()
    await peer.settle()
    assert not peer.wire.is_closed
    assert peer.send(f.frame(f.DATA, f.END_STREAM, 1)).status(1) == 0
    assert peer.wire.is_closed


async def test_the_answer_to_the_ping_may_fail_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c, "GOAWAY_PING_S", 0.01)
    peer = Peer()
    peer.connection.drain()
    await asyncio.sleep(0.05)
    assert len(peer.read().of(f.GOAWAY)) == 2
    assert peer.wire.is_closed


async def test_no_handshake_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c, "HANDSHAKE_S", 0.01)
    silent, greeting = Peer(is_greeting=False), Peer()
    await asyncio.sleep(0.05)
    assert (silent.wire.is_aborted, greeting.wire.is_aborted) == (True, False)


async def test_long_reads_are_answered_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no time at all for one read each message takes a turn of its own, in order, and none is lost."""
    monkeypatch.setattr(c, "SLICE_US", 0)
    peer = Peer()
    numbers = range(1, 21, 2)
    told = peer.send(*(f.opening(n) + f.ask(n, b"1") + f.ask(n, b"2", f.END_STREAM) for n in numbers))
    assert [told.messages(n) for n in numbers] == [[]] * 10
    monkeypatch.setattr(c, "SLICE_US", 1_000)
    told = await peer.settle()
    assert [told.messages(n) for n in numbers] == [[b"1", b"2"]] * 10
    assert {told.status(n) for n in numbers} == {0}
    assert peer.host.held_bytes == 0


async def test_a_block_means_what_the_table_says_now() -> None:
    """Blocks are remembered, but the same bytes mean something else once the dynamic table has changed."""
    peer, encoder = Peer(), hpack.Encoder()
    numbers = iter(range(1, 10_001, 2))
    expected = []
    for policy in ["a", "a", "a", "b", "a", *map(str, range(300)), "b", "b"]:
        lines = [*f.REQUEST, ("x-waf-policy", policy)]
        peer.send(f.frame(f.HEADERS, FULL, next(numbers), encoder.encode(lines)))
        expected.append(f"open {policy}")
    assert [line for line in peer.log if line.startswith("open")] == expected


async def test_a_table_of_one_entry_that_is_replaced_twice() -> None:
    """The newcomer may lie where the one that it replaced lay."""
    peer = Peer()
    fixed = f.block()
    peer.send(f.frame(f.HEADERS, FULL, 1, b"\x3f\x21" + fixed))  # a table of 64 bytes holds one line of ours

    def entry(value: bytes) -> bytes:
        return b"\x40\x0cx-waf-policy" + bytes([len(value)]) + value

    for number in range(3, 403, 4):
        peer.send(f.frame(f.HEADERS, FULL, number, fixed + entry(b"%d" % number) + entry(b"-%d" % number)))
        peer.send(f.frame(f.HEADERS, FULL, number + 2, fixed + b"\xbe"))
    opened = [line for line in peer.log if line.startswith("open")][1:]
    assert opened[1::2] == [f"open -{number}" for number in range(3, 403, 4)]


def test_the_static_blocks_say_what_they_should() -> None:
    from extproc.server.http2 import headers as h

    def read(block: bytes) -> list[Any]:
        return [tuple(line) for line in hpack.Decoder().decode(block)]

    assert read(h.HEAD + h.END_OK) == [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "0")]
    assert read(h.end(Status.INTERNAL, "a b", False)) == [("grpc-status", "13"), ("grpc-message", "a%20b")]
    assert read(h.end(Status.UNIMPLEMENTED, "x", True))[-1] == ("grpc-accept-encoding", "identity,deflate,gzip")
    assert read(h.http_refusal(415)) == [(":status", "415")]


@pytest.mark.parametrize(("drawn", "age_s"), [(0.0, 0.9), (0.5, 1.0), (1.0, 1.1)])
async def test_an_age_is_spread_by_a_tenth(drawn: float, age_s: float) -> None:
    peer = Peer(age_s=1.0, draw=lambda: drawn)
    timer = peer.connection._age
    assert timer is not None
    assert timer.when() - asyncio.get_running_loop().time() == pytest.approx(age_s, abs=0.05)
    assert Peer().connection._age is None


async def test_an_old_connection_lets_its_streams_end() -> None:
    """GOAWAY at the age; what is open goes on, what the client opens before it knows is taken."""
    peer = Peer(age_s=0.02, age_grace_s=60)
    peer.send(f.opening(1), f.ask(1, b"wait"))
    await asyncio.sleep(0.05)
    assert peer.read().goaway == 0
    peer.send(f.opening(3), f.ask(3, b"new", f.END_STREAM))
    peer.send(f.frame(f.PING, f.ACK, 0, c.DRAIN_PING))
    assert not peer.wire.is_closed
    peer.gate.set()
    told = await peer.settle()
    assert told.messages(1) == [b"wait"]
    told = peer.send(f.frame(f.DATA, f.END_STREAM, 1))
    assert (told.status(1), told.status(3)) == (0, 0)
    assert peer.wire.is_closed


async def test_patience_with_an_old_connection_ends() -> None:
    peer = Peer(age_s=0.01, age_grace_s=0.02)
    peer.send(f.opening(1), f.ask(1, b"wait"))
    await asyncio.sleep(0.1)
    assert peer.read().status(1) == Status.UNAVAILABLE
    assert peer.wire.is_closed
