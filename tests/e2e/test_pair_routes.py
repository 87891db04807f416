"""Routes with a profile of their own through a real Envoy: what passes, what is seen of it, what the event says."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from h2.settings import SettingCodes

from tests.conformance.through_envoy.http2_client import Http2Client
from tests.conformance.through_envoy.streaming_app import StreamingApp
from tests.conformance.through_envoy.streams import connect_websocket, frame

pytestmark = pytest.mark.envoy

KIB = 1024
FORM = {"content-type": "application/x-www-form-urlencoded"}
ATTACK = b"q=' or 1=1--"
QUERY_ATTACK = "%27%20or%201=1--"

FLAGS = (
    *("--body-limit", "64KiB", "--workers", "1"),
    *("--route", "/stream=stream", "--route", "/up=upload:256KiB", "--route", "/long=upload:128KiB:pass"),
    *("--route", "files.example.com/=upload:256KiB", "--route", "=/once=stream"),
    *("--accept-risk", "partial-body"),
)


@pytest.fixture(scope="module")
def routed(envoy_binary: Any, app: Any, tools: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    pair = tools.start_up(tmp_path_factory.mktemp("routes"), app.port, *FLAGS)
    try:
        yield pair.await_start()
    finally:
        pair.stop()


def filled(size: int, end: bytes = b"") -> bytes:
    return b"a=" + b"x" * (size - 2 - len(end)) + end


SEEN = (200, "inspected", None)
DENIED = (403, "inspected", None)
STREAMED = (200, "partly", "stream")
CUT = (200, "partly", "request-body-limit")
CUT_DENIED = (403, "partly", "request-body-limit")
AT_END = b"&" + ATTACK
HOST = {"host": "files.example.com"}
HOST_AND_PORT = {"host": "FILES.example.com:81"}

# path, headers, body → (status, coverage, its reason); an allowed body arrives whole
BODIES: dict[str, tuple[str, dict[str, str], bytes, tuple[int, str, str | None]]] = {
    "stream: the body passes unseen": ("/stream/a", {}, filled(300_000, AT_END), STREAMED),
    "stream: exactly": ("/once", {}, ATTACK, STREAMED),
    "stream: exactly, and not below": ("/once/a", {}, ATTACK, DENIED),
    "stream: whole segments": ("/streams", {}, ATTACK, DENIED),
    "stream: not by a parameter": ("/stream;/a", {}, ATTACK, DENIED),
    "stream: not by double dots": ("/stream/..;/login", {}, ATTACK, DENIED),
    "stream: not by an escape of an escape": ("/stream/%252e%252e/a", {}, ATTACK, DENIED),
    "stream: the head is seen": (f"/stream?q={QUERY_ATTACK}", {}, b"x", DENIED),
    "stream: without a body all is seen": ("/stream", {}, b"", SEEN),
    "upload: beyond the general limit": ("/up", {}, filled(200_000), SEEN),
    "upload: an attack at its end": ("/up", {}, filled(200_000, AT_END), DENIED),
    "upload: at the limit": ("/up", {}, filled(256 * KIB), SEEN),
    "upload: of a host": ("/a", HOST, filled(200_000), SEEN),
    "upload: of a host and its port": ("/a", HOST_AND_PORT, filled(200_000), SEEN),
    "long: within the limit": ("/long", {}, filled(100_000), SEEN),
    "long: an attack within the limit": ("/long", {}, filled(100_000, AT_END), DENIED),
    "long: the rest passes": ("/long", {}, filled(1_000_000, AT_END), CUT),
    "long: an attack before the rest": ("/long", {}, ATTACK + b"&" + filled(999_000), CUT_DENIED),
    "other": ("/a", {}, filled(60_000, AT_END), DENIED),
}


@pytest.mark.parametrize("case", BODIES)
def test_what_passes_and_what_is_said_of_it(routed: Any, app: Any, tools: Any, case: str) -> None:
    path, headers, body, (status, *coverage) = BODIES[case]
    app.forget()
    answer = routed.send("POST", path, body=body, headers=FORM | headers)
    assert answer.status == status
    assert [len(base64.b64decode(seen["body_base64"])) for seen in app.seen()] == [len(body)] * (status == 200)
    event = event_of(routed, tools, answer)
    assert [event["coverage"], event["coverage_reason"]] == coverage
    assert event["verdict"] == ("allow" if status == 200 else "block")


def event_of(pair: Any, tools: Any, answer: Any) -> Any:
    request_id = answer.headers["x-request-id"]
    return tools.wait_for(lambda: next((e for e in pair.events if e["request_id"] == request_id), None), 5, "event")


REFUSED = {"upload": ("/up", 256 * KIB + 1), "general": ("/a", 64 * KIB + 1), "another host": ("/files", 100_000)}


@pytest.mark.parametrize("case", REFUSED)
def test_what_lies_beyond_a_limit_is_refused(routed: Any, app: Any, case: str) -> None:
    path, size = REFUSED[case]
    app.forget()
    assert routed.send("POST", path, body=filled(size), headers=FORM).status == 413
    assert app.seen() == []


def test_a_long_multipart_is_not_malformed_for_being_cut(routed: Any, app: Any) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
    body = part % (b"title", b"", b"a film") + part % (b"file", b'; filename="f"', b"x" * 500_000) + b"--b--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert routed.send("POST", "/long", body=body, headers=headers).status == 200
    evil = part % (b"title", b"", ATTACK) + body
    assert routed.send("POST", "/long", body=evil, headers=headers).status == 403


def test_routes_have_their_names_in_the_event(routed: Any, tools: Any) -> None:
    names = {"/stream/x": "/stream", "/up": "/up", "/once": "=/once", "/elsewhere": "app"}
    found = {path: event_of(routed, tools, routed.send(path=path))["route"] for path in names}
    assert found == names


HANDSHAKE = (
    b"%b %b HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def test_a_websocket_of_a_stream_outlives_the_engine(routed: Any, tools: Any) -> None:
    with socket.create_connection(("127.0.0.1", routed.port), timeout=10) as connection:
        connection.sendall(HANDSHAKE % (b"GET", b"/stream/chat"))
        stream = connection.makefile("rb")
        assert b"".join(iter(stream.readline, b"\r\n")).startswith(b"HTTP/1.1 101")
        [worker] = routed.workers()
        os.kill(worker, 9)
        tools.wait_for(lambda: routed.workers() not in ([], [worker]), 10, "new worker")
        connection.sendall(b"\x81\x85\0\0\0\0hello")
        assert stream.read(7) == b"\x81\x05hello"
    tools.wait_for(lambda: routed.send().status == 200, 10, "recovery")


def test_a_websocket_over_http2(routed: Any) -> None:
    """RFC 8441: an extended CONNECT where a stream is declared; elsewhere it is refused."""
    with Http2Client(routed.port) as client:
        client.pump(lambda: bool(client.setting(SettingCodes.ENABLE_CONNECT_PROTOCOL)))
        stream = connect_websocket(client, "/stream/chat")
        reply = client.replies[stream]
        client.pump(lambda: bool(reply.status))
        assert reply.status == "200"
        client.send(stream, frame(b"hello"))
        client.pump(lambda: len(reply.body) >= 7)
        assert reply.body == b"\x81\x05hello"
        for path in ("/elsewhere", "/streams", "/up/chat", "/stream;/chat", f"/stream?q={QUERY_ATTACK}"):
            assert client.finish(connect_websocket(client, path)).status == "403", path


@pytest.mark.parametrize(
    "head",
    [HANDSHAKE % (b"GET", b"/up/chat"), HANDSHAKE % (b"POST", b"/stream"), HANDSHAKE % (b"GET", b"/stream;/chat")],
    ids=["another profile", "post", "ambiguous path"],
)
def test_other_upgrades_are_refused(routed: Any, app: Any, tools: Any, head: bytes) -> None:
    app.forget()
    assert tools.send_raw(routed.port, head).startswith(b"HTTP/1.1 403")
    assert app.seen() == []


def test_a_stream_is_answered_while_it_goes_on(start_pair: Any) -> None:
    """The app answers at once; on a standard route it would not even have been asked."""
    with StreamingApp() as streaming:
        pair = start_pair(streaming.port, *FLAGS).await_start()
        start = b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
        with socket.create_connection(("127.0.0.1", pair.port), timeout=10) as connection:
            connection.sendall(start % b"/stream")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        with socket.create_connection(("127.0.0.1", pair.port), timeout=1) as connection:
            connection.sendall(start % b"/elsewhere")
            with pytest.raises(TimeoutError):
                connection.recv(4096)


def test_a_request_that_trickles_is_ended_in_time(start_pair: Any, tools: Any) -> None:
    """408 for the client, and an event that says that the request was not whole."""
    with StreamingApp() as streaming:
        pair = start_pair(streaming.port, *FLAGS, "--request-timeout", "1s").await_start()
        start = b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
        with socket.create_connection(("127.0.0.1", pair.port), timeout=10) as connection:
            connection.sendall(start % b"/elsewhere")
            assert connection.recv(4096).startswith(b"HTTP/1.1 408")
        [event] = tools.wait_for(lambda: [e for e in pair.events if e["path"] == "/elsewhere"], 5, "event")
        assert (event["verdict"], event["coverage"]) == ("block", "partly")
