"""The cases about the server as a process: start, rules, drain, endurance. Most need `--control`."""

from __future__ import annotations

import struct
import time
from contextlib import contextmanager
from typing import Any

import grpc
import open_streams
import peer as p
import pytest
from peer import Peer

HEALTH = "/grpc.health.v1.Health"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"
"""grpc.health.v1.HealthCheckResponse."""

IN_FLIGHT = 50
DRAIN_LIMIT_S = 60.0
PINGS = 20

GROWTH_BYTES = 8 * 1024 * 1024
"""What a server may hold more after the last nine tenths of the streams than after the first: allocators, no leak."""

GROWTH_DESCRIPTORS = 5


def g33(peer: Peer) -> None:
    """Watch while the server drains: NOT_SERVING is pushed, and a stream that begins then is still answered."""
    with peer.control.started("plain") as server, peer.beside(server) as other, watching(other) as watch:
        assert next(watch) == SERVING
        server.drain()
        assert next(watch) == NOT_SERVING
        assert other.is_alive(), "refused before anybody could know"


def g34(peer: Peer) -> None:
    """No rules yet: unreachable or NOT_SERVING, and no stream is answered. Broken rules later: the old ones stay."""
    with peer.control.started("loading") as server:
        assert health(server.target) in (None, NOT_SERVING)
        with grpc.insecure_channel(server.target, p.OWN_CONNECTION) as channel:
            call = channel.stream_stream(p.PROCESS)(iter([p.request_headers().SerializeToString()]), timeout=2)
            with pytest.raises(grpc.RpcError):
                next(call)
        server.load()
        end = time.monotonic() + DRAIN_LIMIT_S
        while health(server.target) != SERVING and time.monotonic() < end:
            time.sleep(0.1)
        with peer.beside(server) as other:
            assert_judges(other)
    with peer.control.started("reloadable") as server, peer.beside(server) as other:
        before = ruleset(other)
        server.reload("broken")
        assert health(server.target) == SERVING
        assert ruleset(other) == before
        assert_judges(other)


def g36(peer: Peer) -> None:
    """Twenty PINGs on an idle connection: each is acknowledged, no GOAWAY."""
    connection = p.connect(peer.options.target)
    with connection, connection.makefile("rb") as reader:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, b""))
        for number in range(PINGS):
            sent = struct.pack(">Q", number)
            connection.sendall(frame(6, sent))
            while True:
                kind, flags, payload = read_frame(reader)
                assert kind != 7, "GOAWAY"
                if (kind, flags & 1, payload) == (6, 1, sent):
                    break
            time.sleep(peer.options.ping_interval)


def g37(peer: Peer) -> None:
    """SIGTERM with fifty streams in flight: NOT_SERVING, 49 are finished, the stuck one ends in an error, exit 0."""
    with peer.control.started("plain") as server, peer.beside(server) as other, watching(other) as watch:
        assert next(watch) == SERVING
        streams = [other.open(timeout_s=DRAIN_LIMIT_S) for _ in range(IN_FLIGHT)]
        for stream in streams:
            stream.send(p.form_post())
        assert {p.kind(stream.receive()) for stream in streams} == {"request_headers"}
        server.drain()
        assert next(watch) == NOT_SERVING
        stuck, *rest = streams
        for stream in rest:
            stream.send(p.request_body(b"a=b"))
        assert {p.verdict(stream.receive()) for stream in rest} == {"allow"}
        assert {stream.code() for stream in rest} == {grpc.StatusCode.OK}
        assert stuck.rest() == []
        assert stuck.code() is not grpc.StatusCode.OK
        assert server.exit_code() == 0


def g38(peer: Peer) -> None:
    """Ten thousand streams open at a time: each is answered while the others wait, and no other is hurt. Over the
    bound: RESOURCE_EXHAUSTED or an immediate 503, never OK."""
    number = int(peer.needs("open_streams"))
    crowd = open_streams.hold(peer.options.target, number)
    assert (crowd.pending, crowd.allowed, crowd.refused) == (number, number, {}), crowd
    assert peer.is_alive()
    with peer.having("max_streams") as small:
        bound = int(small.needs("max_streams"))
        held = [small.open() for _ in range(bound)]
        for stream in held:
            stream.send(p.form_post())
        assert {p.verdict(stream.receive()) for stream in held} == {"pending"}
        result = small.talk(p.request_headers())
        if result.replies:
            assert p.is_block(result.replies[0], 503)
        else:
            assert result.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        for stream in held:
            stream.send(p.request_body(b"a=b"))
        assert {p.verdict(stream.receive()) for stream in held} == {"allow"}
        assert {stream.code() for stream in held} == {grpc.StatusCode.OK}
        assert small.is_alive(), "room again"


def g39(peer: Peer) -> None:
    """A hundred thousand streams, one behind the other: memory and descriptors stay as they are."""
    number = int(peer.needs("streams_in_a_row"))
    with peer.control.started("plain") as server:
        assert open_streams.one_by_one(server.target, number // 10) == {"allow": number // 10}
        bytes_before, descriptors_before = server.usage()
        assert open_streams.one_by_one(server.target, number - number // 10) == {"allow": number - number // 10}
        bytes_after, descriptors_after = server.usage()
    assert bytes_after - bytes_before < GROWTH_BYTES, (bytes_before, bytes_after)
    assert descriptors_after - descriptors_before <= GROWTH_DESCRIPTORS, (descriptors_before, descriptors_after)


def g40(peer: Peer) -> None:
    """Other rules while streams are open: an open stream ends under the rules it began with, a new one has the new."""
    with peer.control.started("reloadable") as server, peer.beside(server) as other:
        stream = other.open(timeout_s=DRAIN_LIMIT_S)
        stream.send(p.form_post())
        before = ruleset_of(stream.receive())
        assert before
        server.reload("other")
        stream.send(p.request_body(b"a=b"))
        last = stream.receive()
        assert (p.verdict(last), ruleset_of(last)) == ("allow", before)
        assert stream.code() is grpc.StatusCode.OK
        with other.beside(server) as anew:
            assert ruleset(anew) not in ("", before)
            assert_judges(anew)


def assert_judges(peer: Peer) -> None:
    """The attack is blocked, and what is none passes."""
    assert peer.is_alive()
    result = peer.talk(p.form_post(), p.request_body(b"id=" + peer.attack.encode().replace(b" ", b"+")))
    assert p.is_block(result.replies[-1])


def ruleset(peer: Peer) -> str:
    """What the metadata of a new stream call the rules."""
    return ruleset_of(peer.talk(p.request_headers()).replies[0])


def ruleset_of(reply: Any) -> str:
    name: str = reply.dynamic_metadata.fields["waf"].struct_value.fields["ruleset"].string_value
    return name


def health(target: str) -> bytes | None:
    """The answer to Check on a connection of its own; None if the server cannot be reached or has no answer."""
    with grpc.insecure_channel(target, p.OWN_CONNECTION) as channel:
        try:
            answer: bytes = channel.unary_unary(f"{HEALTH}/Check")(b"", timeout=2)
        except grpc.RpcError:
            return None
        return answer


@contextmanager
def watching(peer: Peer) -> Any:
    """Answers of Health/Watch for all of the server."""
    with grpc.insecure_channel(peer.options.target, p.OWN_CONNECTION) as channel:
        call = channel.unary_stream(f"{HEALTH}/Watch")(b"", timeout=DRAIN_LIMIT_S)
        yield call
        call.cancel()


def frame(kind: int, payload: bytes) -> bytes:
    """A frame of the connection itself (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, 0]) + bytes(4) + payload


def read_frame(reader: Any) -> tuple[int, int, bytes]:
    head = reader.read(9)
    assert len(head) == 9, "the connection was closed"
    return head[3], head[4], reader.read(int.from_bytes(head[:3], "big"))
