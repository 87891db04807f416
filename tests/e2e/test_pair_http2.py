"""HTTP/2 through the pair: the same answers, trailers inspected, gRPC callers told in their own way."""

from __future__ import annotations

import socket
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest

pytestmark = pytest.mark.envoy

ATTACK = "' OR 1=1--"
FORM = ("content-type", "application/x-www-form-urlencoded")


def send(
    port: int,
    headers: list[tuple[str, str]],
    body: bytes | None = None,
    trailers: list[tuple[str, str]] | None = None,
    method: str = "POST",
    path: str = "/a",
) -> dict[str, str]:
    """One request with prior knowledge; the response's headers, and its trailers beside them."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    found: dict[str, str] = {}
    with socket.create_connection(("127.0.0.1", port), timeout=10) as stream:
        connection.initiate_connection()
        head = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "a"), *headers]
        connection.send_headers(1, head, end_stream=body is None and trailers is None)
        if body is not None:
            connection.send_data(1, body, end_stream=trailers is None)
        if trailers is not None:
            connection.send_headers(1, trailers, end_stream=True)
        stream.sendall(connection.data_to_send())
        while data := stream.recv(65_536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                    found.update(event.headers)
                elif isinstance(event, h2.events.DataReceived):
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset | h2.events.ConnectionTerminated):
                    return found
            stream.sendall(connection.data_to_send())
    return found


CLEAN: dict[str, dict[str, Any]] = {
    "get": {"method": "GET"},
    "post": {"body": b"x=1"},
    "trailers": {"body": b"x=1", "trailers": [("x-sum", "1")]},
    "trailers alone": {"trailers": [("x-sum", "1")]},
}


@pytest.mark.parametrize("case", CLEAN)
def test_a_clean_request_arrives(pair: Any, app: Any, case: str) -> None:
    given = {"headers": [FORM], **CLEAN[case]}
    assert send(pair.port, **given)[":status"] == "200"
    [seen] = app.seen()
    assert seen["body"] == given.get("body", b"").decode()


ATTACKS: dict[str, dict[str, Any]] = {
    "query": {"method": "GET", "path": "/?q=%27%20OR%201=1--"},
    "header": {"method": "GET", "headers": [("x-search", ATTACK)]},
    "crumbled cookie": {"method": "GET", "headers": [("cookie", "a=1"), ("cookie", f"q={ATTACK}")]},
    "body": {"body": b"q=%27%20OR%201=1--"},
    "trailer": {"body": b"x=1", "trailers": [("x-sum", ATTACK)]},
    "trailer alone": {"trailers": [("x-sum", ATTACK)]},
}


@pytest.mark.parametrize("case", ATTACKS)
def test_an_attack_does_not(pair: Any, app: Any, case: str) -> None:
    answer = send(pair.port, **{"headers": [FORM], **ATTACKS[case]})
    assert answer[":status"] == "403"
    assert answer["x-waf-incident"]
    assert app.seen() == []


def test_a_grpc_caller_is_told_permission_denied(pair: Any, app: Any) -> None:
    headers = [("content-type", "application/grpc"), ("te", "trailers"), ("x-search", ATTACK)]
    answer = send(pair.port, headers, b"\0\0\0\0\0")
    assert (answer[":status"], answer["grpc-status"]) == ("200", "7")
    assert app.seen() == []
