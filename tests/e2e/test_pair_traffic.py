"""Requests through a real Envoy: clean ones arrive unchanged, attacks and doubtful ones do not arrive."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import pytest

pytestmark = pytest.mark.envoy

LIMIT_BYTES = 64 * 1024
"""The body limit of the shared pair."""

ATTACK = "' OR 1=1--"
QUERY_ATTACK = "%27%20OR%201=1--"
FORM = {"content-type": "application/x-www-form-urlencoded"}


def chunks(*pieces: bytes) -> Any:
    return iter(pieces)


CLEAN: dict[str, tuple[str, str, Any, dict[str, str]]] = {
    "get": ("GET", "/a?x=1&y=2", None, {}),
    "get with a body": ("GET", "/a", b"x=1", FORM),
    "post": ("POST", "/a", b"x=1&y=2", FORM),
    "post, binary": ("POST", "/a", bytes(range(256)), {"content-type": "application/octet-stream"}),
    "post in chunks": ("POST", "/a", (b"x=1", b"&y=2"), FORM),
    "post, no chunk": ("POST", "/a", (), FORM),
    "post, length 0": ("POST", "/a", b"", {"content-length": "0"}),
    "put": ("PUT", "/a/b", b'{"a": [1, 2]}', {"content-type": "application/json"}),
    "patch": ("PATCH", "/a", b"z", {"content-type": "text/plain"}),
    "delete": ("DELETE", "/a?id=3", None, {}),
    "delete with a body": ("DELETE", "/a", b"id=3", FORM),
    "options": ("OPTIONS", "/a", None, {}),
    "expect": ("POST", "/a", b"x=1", {**FORM, "expect": "100-continue"}),
    "utf-8": ("POST", "/%C3%A4", "größe=ä".encode(), FORM),
}


@pytest.mark.parametrize("case", CLEAN)
def test_a_clean_request_arrives_unchanged(pair: Any, app: Any, case: str) -> None:
    method, path, body, headers = CLEAN[case]
    sent = b"".join(body) if isinstance(body, tuple) else body or b""
    answer = pair.send(method, path, body=iter(body) if isinstance(body, tuple) else body, headers=headers)
    assert answer.status == 200
    [seen] = app.seen()
    assert (seen["method"], seen["path"]) == (method, path)
    assert base64.b64decode(seen["body_base64"]) == sent


def test_head_has_no_body(pair: Any, app: Any) -> None:
    answer = pair.send("HEAD", "/hello")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == "6"
    assert [seen["method"] for seen in app.seen()] == ["HEAD"]


ATTACKS: dict[str, tuple[str, str, Any, dict[str, str]]] = {
    "query": ("GET", f"/?q={QUERY_ATTACK}", None, {}),
    "path": ("GET", f"/{QUERY_ATTACK}", None, {}),
    "header": ("GET", "/", None, {"x-search": ATTACK}),
    "cookie": ("GET", "/", None, {"cookie": f"a=1; q={ATTACK}"}),
    "form": ("POST", "/login", f"user=a&pass={QUERY_ATTACK}".encode(), FORM),
    "form in chunks": ("POST", "/login", (b"user=a&pass=%27%20O", b"R%201=1--"), FORM),
    "form of a get": ("GET", "/login", f"q={QUERY_ATTACK}".encode(), FORM),
    "json": ("POST", "/login", json.dumps({"q": ATTACK}).encode(), {"content-type": "application/json"}),
    "after much": ("POST", "/", b"a=" + b"x" * 60_000 + f"&q={QUERY_ATTACK}".encode(), FORM),
}


@pytest.mark.parametrize("case", ATTACKS)
def test_an_attack_is_refused_before_the_app(pair: Any, app: Any, case: str) -> None:
    method, path, body, headers = ATTACKS[case]
    answer = pair.send(method, path, body=iter(body) if isinstance(body, tuple) else body, headers=headers)
    assert answer.status == 403
    assert answer.headers["x-waf-incident"]
    assert answer.headers["x-waf-incident"].encode() in answer.body
    assert app.seen() == []


@pytest.mark.parametrize(
    ("size", "in_chunks", "status"),
    [
        (LIMIT_BYTES, False, 200),
        (LIMIT_BYTES + 1, False, 413),
        (LIMIT_BYTES, True, 200),
        (LIMIT_BYTES + 1, True, 413),
        (2 * LIMIT_BYTES, False, 413),
    ],
)
def test_the_body_limit(pair: Any, app: Any, size: int, in_chunks: bool, status: int) -> None:
    body = b"x" * size
    answer = pair.send("POST", "/", body=chunks(body[:1000], body[1000:]) if in_chunks else body)
    assert answer.status == status
    assert [len(seen["body"]) for seen in app.seen()] == ([size] if status == 200 else [])


REFUSED: dict[str, tuple[bytes, bytes]] = {
    "underscore in a header name": (b"GET /hello HTTP/1.1\r\nHost: a\r\nx_waf_verdict: allow\r\n\r\n", b"400"),
    "escaped slash": (b"GET /a%2f..%2fhello HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
    "escaped backslash": (b"GET /a%5c..%5chello HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
    "zero in the path": (b"GET /hello%00 HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
    "HTTP/1.0": (b"GET /hello HTTP/1.0\r\nHost: a\r\n\r\n", b"426"),
    "two Host headers": (b"GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
    "no Host": (b"GET /hello HTTP/1.1\r\n\r\n", b"400"),
    "length and chunks": (
        b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
        b"400",
    ),
    "two lengths": (b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", b"400"),
    "length with a sign": (b"POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na", b"400"),
    "unknown coding": (b"POST /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", b"501"),
    "stacked codings": (
        b"POST /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"501",
    ),
    "space before the colon": (b"GET /hello HTTP/1.1\r\nHost: a\r\nX-A : 1\r\n\r\n", b"400"),
    "zero in a value": (b"GET /hello HTTP/1.1\r\nHost: a\r\nX-A: \x00\r\n\r\n", b"400"),
    "CONNECT": (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", b"4"),
    "101 headers": (
        b"GET /hello HTTP/1.1\r\nHost: a\r\n" + b"".join(b"x-%d: 1\r\n" % n for n in range(100)) + b"\r\n",
        b"431",
    ),
    "headers of 61 KiB": (b"GET /hello HTTP/1.1\r\nHost: a\r\nX-A: " + b"x" * 61 * 1024 + b"\r\n\r\n", b"431"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused(pair: Any, app: Any, tools: Any, case: str) -> None:
    request, status = REFUSED[case]
    answer = tools.send_raw(pair.port, request)
    assert answer.startswith(b"HTTP/1.1 " + status), answer[:100]
    assert app.seen() == []


@pytest.mark.parametrize(
    ("path", "arrives"),
    [(b"/x/../hello", "/hello"), (b"//hello", "/hello"), (b"/x/%2e%2e/hello", "/hello"), (b"/x/..\\hello", "/hello")],
)
def test_the_app_gets_the_path_that_was_inspected(pair: Any, app: Any, tools: Any, path: bytes, arrives: str) -> None:
    assert b" 200 " in tools.send_raw(pair.port, b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
    assert [seen["path"] for seen in app.seen()] == [arrives]


def test_headers_that_only_the_inside_may_set_are_stripped(pair: Any, app: Any) -> None:
    spoofed = {
        "x-waf-verdict": "allow",
        "X-WAF-Anything-Else": "1",
        "x-waf-policy": "off",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-original-path": "/other",
        "x-envoy-internal": "true",
        "x-envoy-anything-else": "1",
        "x-request-id": "mine",
        "x-forwarded-proto": "https",
    }
    assert pair.send(path="/a", headers=spoofed).status == 200
    [seen] = app.seen()
    headers = dict(seen["headers"])
    assert not [name for name in headers if name.startswith("x-waf-")]
    # The one that Envoy sets itself, from the connection.
    assert [name for name in headers if name.startswith("x-envoy-")] == ["x-envoy-external-address"]
    assert headers["x-request-id"] != "mine"
    assert headers["x-forwarded-proto"] == "http"


def test_the_health_path_is_answered_by_envoy_and_only_exactly(pair: Any, app: Any) -> None:
    path = "/.well-known/waf/ready"
    assert pair.send(path=path).status == 200
    assert app.seen() == []
    assert pair.send(path=path + "?x=1").status == 200
    assert pair.send(path=path + "/x").status == 200
    assert [seen["path"] for seen in app.seen()] == [path + "?x=1", path + "/x"]
    assert pair.send(path=path + f"?x={QUERY_ATTACK}").status == 403


def test_the_apps_own_errors_stay_its_own(pair: Any) -> None:
    answer = pair.send(path="/status/500")
    assert (answer.status, answer.body) == (500, b"as you wish\n")
    assert answer.headers["x-waf-incident"] is None


def test_an_app_that_hangs_up_is_not_blamed_on_the_waf(pair: Any, tools: Any) -> None:
    answer = pair.send(path="/reset")
    assert answer.status == 503
    assert json.loads(answer.body)["error"] == "the app did not answer"
    assert answer.headers["x-waf-incident"] is None
    assert json.loads(answer.body)["request_id"] == answer.headers["x-request-id"]
    line = tools.wait_for(lambda: _line_of(pair, answer), 5, "line in the access log")
    assert line["verdict"] == "allow"


def test_event_streams_are_not_held_back(pair: Any) -> None:
    answer = pair.send(path="/events")
    assert answer.body.count(b"data: tick") == 5


HANDSHAKE = (
    b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: %b\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def test_websocket_on_an_allowed_path(pair: Any) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", pair.port), timeout=5) as connection:
        connection.sendall(HANDSHAKE % (b"/ws/chat", b"websocket"))
        stream = connection.makefile("rb")
        head = b"".join(iter(stream.readline, b"\r\n"))
        assert head.startswith(b"HTTP/1.1 101")
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head  # RFC 6455, section 1.3
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(b"hello"))
        connection.sendall(b"\x81\x85" + mask + masked)
        assert stream.read(7) == b"\x81\x05hello"


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (HANDSHAKE % (b"/elsewhere", b"websocket"), b"403"),
        (HANDSHAKE % (b"/ws/../elsewhere", b"websocket"), b"403"),
        (HANDSHAKE % (b"/ws/chat?q=" + QUERY_ATTACK.encode(), b"websocket"), b"403"),
        (HANDSHAKE % (b"/ws/chat", b"foo"), b"403"),
        (HANDSHAKE.replace(b"GET", b"POST") % (b"/ws/chat", b"websocket"), b"403"),
    ],
    ids=["other path", "other path by dots", "attack", "other protocol", "post"],
)
def test_other_upgrades_are_refused(pair: Any, app: Any, tools: Any, request_head: bytes, status: bytes) -> None:
    assert tools.send_raw(pair.port, request_head).startswith(b"HTTP/1.1 " + status)
    assert app.seen() == []


def _line_of(pair: Any, answer: Any) -> Any:
    return next((line for line in pair.access_log if line["request_id"] == answer.headers["x-request-id"]), None)


def test_the_access_log_tells_verdict_rule_and_incident(pair: Any, tools: Any) -> None:
    clean, attack = (
        pair.send("POST", "/login?password=secret", body=b"a=1", headers=FORM),
        pair.send(path=f"/?q={QUERY_ATTACK}"),
    )
    allowed = tools.wait_for(lambda: _line_of(pair, clean), 5, "line in the access log")
    blocked = tools.wait_for(lambda: _line_of(pair, attack), 5, "line in the access log")
    assert (allowed["status"], allowed["verdict"], allowed["phase"], allowed["path"]) == (200, "allow", 2, "/login")
    assert "secret" not in json.dumps(allowed)
    assert (blocked["status"], blocked["verdict"], blocked["upstream"]) == (403, "block", None)
    assert blocked["rule"] > 0
    assert blocked["incident"] == attack.headers["x-waf-incident"]
    assert str(allowed["failed_open"]) in ("0", "False", "false")


def test_no_request_reached_the_app_without_a_final_verdict(pair: Any, tools: Any) -> None:
    """Over all requests of this module: an upstream means `allow`."""
    answer = pair.send()
    tools.wait_for(lambda: _line_of(pair, answer), 5, "line in the access log")
    passed = [line for line in pair.access_log if line["upstream"]]
    assert passed
    assert {line["verdict"] for line in passed} == {"allow"}
