"""E01 to E04 and E11 to E21: single requests, and what the app, the rules and the client see of them."""

from __future__ import annotations

import base64
import json
import socket
import zlib
from urllib.parse import quote

from tests.conformance.through_envoy.ground import Site
from tests.conformance.through_envoy.http2_client import Http2Client, ask
from tests.e2e.conftest import ATTACK, send_raw

QUERY_ATTACK = quote(ATTACK)
FORM = {"content-type": "application/x-www-form-urlencoded"}
FORM_LINE = ("content-type", "application/x-www-form-urlencoded")
LIMIT_BYTES = 64 * 1024
"""The body limit of the shared pair."""

# Method, target, body (a tuple goes in chunks), headers.
Sent = tuple[str, str, bytes | tuple[bytes, ...] | None, dict[str, str]]

CLEAN: dict[str, Sent] = {
    "get": ("GET", "/a?x=1&y=2", None, {}),
    "post with a length": ("POST", "/a", b"x=1&y=2", FORM),
    "post in chunks": ("POST", "/a", (b"x=1", b"&y=2"), FORM),
    "post of length 0": ("POST", "/a", b"", {"content-length": "0"}),
    "post of no chunk": ("POST", "/a", (), FORM),
    "put": ("PUT", "/a/b", bytes(range(256)), {"content-type": "application/octet-stream"}),
    "head": ("HEAD", "/a", None, {}),
    "options": ("OPTIONS", "/a", None, {}),
    "delete": ("DELETE", "/a?id=3", None, {}),
    "delete with a body": ("DELETE", "/a", b"id=3", FORM),
    "get with a body": ("GET", "/a", b"x=1", FORM),
}

ATTACKS: dict[str, Sent] = {
    "query": ("GET", f"/?q={QUERY_ATTACK}", None, {}),
    "header": ("GET", "/", None, {"x-search": ATTACK}),
    "cookie": ("GET", "/", None, {"cookie": f"a=1; q={ATTACK}"}),
    "body": ("POST", "/login", f"user=a&pass={QUERY_ATTACK}".encode(), FORM),
    "body in chunks": ("POST", "/login", (b"user=a&pass=%27%20O", b"R%201=1--"), FORM),
    "body of a get": ("GET", "/login", f"q={QUERY_ATTACK}".encode(), FORM),
    "json": ("POST", "/login", json.dumps({"q": ATTACK}).encode(), {"content-type": "application/json"}),
}


def e01(site: Site) -> None:
    """Clean requests of every shape arrive with the same method, path and body, and the log says allow."""
    for name, (method, path, body, headers) in CLEAN.items():
        site.app.forget()
        sent = b"".join(body) if isinstance(body, tuple) else body or b""
        answer = site.pair.send(method, path, body=iter(body) if isinstance(body, tuple) else body, headers=headers)
        assert answer.status == 200, name
        [seen] = site.app.seen()
        assert (seen["method"], seen["path"], base64.b64decode(seen["body_base64"])) == (method, path, sent), name
        line = site.line_of(answer)
        assert (line["verdict"], line["status"]) == ("allow", 200), name


def e02(site: Site) -> None:
    """An attack in query, header, cookie or body, over HTTP/1 and 2: 403 and a page, the app untouched."""
    for name, (method, path, body, headers) in ATTACKS.items():
        answer = site.pair.send(method, path, body=iter(body) if isinstance(body, tuple) else body, headers=headers)
        assert answer.status == 403, name
        incident = answer.headers["x-waf-incident"]
        assert incident.encode() in answer.body, name
        line = site.line_of(answer)
        assert line["verdict"] == "block", name
        assert line["details"].startswith("waf_block_"), name
        assert line["incident"] == incident, name
        assert line["upstream"] is None, name
    over_http2 = {
        "query": ask(site.pair.port, path=f"/?q={QUERY_ATTACK}"),
        "header": ask(site.pair.port, lines=[("x-search", ATTACK)]),
        "cookie in crumbs": ask(site.pair.port, lines=[("cookie", "a=1"), ("cookie", f"q={ATTACK}")]),
        "body": ask(site.pair.port, "POST", lines=[FORM_LINE], body=f"q={QUERY_ATTACK}".encode()),
    }
    for name, reply in over_http2.items():
        assert reply.status == "403", name
        assert site.line_by_id(reply.headers["x-request-id"])["verdict"] == "block", name
    assert site.app.seen() == []


def e03(site: Site) -> None:
    """A gRPC call with an attack: HTTP 200, grpc-status 7 with a message; the app untouched."""
    lines = [("content-type", "application/grpc"), ("te", "trailers"), ("x-search", ATTACK)]
    reply = ask(site.pair.port, "POST", "/shop.Search/Find", lines, b"\0\0\0\0\0")
    assert (reply.status, reply.headers["grpc-status"]) == ("200", "7")
    assert reply.headers["x-waf-incident"] in reply.headers["grpc-message"]
    assert site.app.seen() == []


def e04(site: Site) -> None:
    """A body of the limit passes; one byte more, or twice the limit, is 413, with a length or in chunks."""
    for size, status in ((LIMIT_BYTES, 200), (LIMIT_BYTES + 1, 413), (2 * LIMIT_BYTES, 413)):
        for is_chunked in (False, True):
            site.app.forget()
            body = b"x" * size
            answer = site.pair.send("POST", "/a", body=iter((body[:999], body[999:])) if is_chunked else body)
            assert answer.status == status, (size, is_chunked)
            assert [len(seen["body"]) for seen in site.app.seen()] == ([size] if status == 200 else [])


HANDSHAKE = (
    b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: %b\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def e11(site: Site) -> None:
    """Upgrades elsewhere, or to another protocol: 403. h2c: an ordinary request, the upgrade stripped."""
    refused = {
        "another path": HANDSHAKE % (b"/elsewhere", b"websocket"),
        "another path by dots": HANDSHAKE % (b"/ws/../elsewhere", b"websocket"),
        "longer segment": HANDSHAKE % (b"/wsx", b"websocket"),
        "another protocol": HANDSHAKE % (b"/ws/chat", b"foo"),
        "attack in the handshake": HANDSHAKE % (b"/ws/chat?q=" + QUERY_ATTACK.encode(), b"websocket"),
    }
    for name, request in refused.items():
        assert send_raw(site.pair.port, request).startswith(b"HTTP/1.1 403"), name
    assert site.app.seen() == []
    h2c = GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n"
    assert send_raw(site.pair.port, h2c).startswith(b"HTTP/1.1 200")
    [seen] = site.app.seen()
    assert not {"upgrade", "http2-settings"} & {name for name, _ in seen["headers"]}


def e12(site: Site) -> None:
    """A POST that claims to be an upgrade, with an attack as body: never reaches the app."""
    body = f"q={QUERY_ATTACK}".encode()
    for path in (b"/ws/chat", b"/a"):
        request = HANDSHAKE.replace(b"GET", b"POST") % (path, b"websocket")
        request = request[:-2] + b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n"
        answer = send_raw(site.pair.port, request % len(body) + body)
        assert answer.startswith(b"HTTP/1.1 403"), answer[:60]
    with_length = HANDSHAKE % (b"/ws/chat", b"websocket")
    send_raw(site.pair.port, with_length[:-2] + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert not [seen for seen in site.app.seen() if "1=1" in seen["body"]]


def e13(site: Site) -> None:
    """CONNECT is refused over HTTP/1 and HTTP/2."""
    answer = send_raw(site.pair.port, b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 4"), answer[:60]
    with Http2Client(site.pair.port) as client:
        reply = client.finish(client.open_raw([(":method", "CONNECT"), (":authority", "a:80")], is_last=False))
    assert reply.is_reset or reply.status.startswith("4"), reply
    assert site.app.seen() == []


def e14(site: Site) -> None:
    """Expect: 100-continue: 100 from Envoy, the header not forwarded, the verdict on the body."""
    head = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Type: %b\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"
    for body, status in ((b"x=1", b"200"), (f"q={QUERY_ATTACK}".encode(), b"403")):
        with socket.create_connection(("127.0.0.1", site.pair.port), timeout=10) as connection:
            connection.sendall(head % (FORM["content-type"].encode(), len(body)))
            stream = connection.makefile("rb")
            assert stream.readline() == b"HTTP/1.1 100 Continue\r\n"
            assert stream.readline() == b"\r\n"
            connection.sendall(body)
            assert stream.readline().startswith(b"HTTP/1.1 " + status)
    [seen] = site.app.seen()
    assert "expect" not in {name for name, _ in seen["headers"]}


# Target as sent → the path that rules and app get; None: 400.
PATHS: dict[bytes, str | None] = {
    b"/x/../a": "/a",
    b"//a": "/a",
    b"/x//a": "/x/a",
    b"/./a": "/a",
    b"/x/%2e%2e/a": "/a",
    b"/x/%2E./a": "/a",
    b"/x/..\\a": "/a",
    b"/x\\..\\a": "/a",
    b"/a;x=1/../b": "/b",
    b"/a/..;/b": "/b",
    b"/a%252e%252e/b": "/a%252e%252e/b",
    b"/%61": "/a",
    b"/a%2f..%2fb": None,
    b"/a%5c..%5cb": None,
    b"/a%00": None,
    b"/\xc3\xa4": None,
    b"/a#b": None,
}


def e15(site: Site) -> None:
    """Tricks of paths: the app gets the path that was inspected, or nobody gets anything."""
    wrong = {}
    for target, expected in PATHS.items():
        site.app.forget()
        answer = send_raw(site.pair.port, b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % target)
        seen = [one["path"] for one in site.app.seen()]
        if expected is None:
            if not answer.startswith(b"HTTP/1.1 400") or seen:
                wrong[target] = (answer[:40], seen)
            continue
        request_id = answer.partition(b"x-request-id: ")[2].partition(b"\r\n")[0].decode()
        inspected = site.line_by_id(request_id)["path"] if request_id else None
        if seen != [expected] or inspected != expected:
            wrong[target] = (answer[:40], seen, inspected)
    assert not wrong
    for target in (b"/x/%252e%252e/?q=1", b"/a;q=' OR 1=1--".replace(b" ", b"%20")):
        site.app.forget()
        answer = send_raw(site.pair.port, b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % target)
        assert answer.startswith(b"HTTP/1.1 403" if b"1=1" in target else b"HTTP/1.1 200"), target


POST = b"POST /a HTTP/1.1\r\nHost: a\r\n"
GET = b"GET /a HTTP/1.1\r\nHost: a\r\n"

# Request → the statuses with which it may be refused.
SMUGGLED: dict[str, tuple[bytes, tuple[bytes, ...]]] = {
    "length and chunks": (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", (b"400",)),
    "two lengths": (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", (b"400",)),
    "the same length twice": (POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na", (b"400",)),
    "length with a sign": (POST + b"Content-Length: +1\r\n\r\na", (b"400",)),
    "length in hex": (POST + b"Content-Length: 0x1\r\n\r\na", (b"400",)),
    "negative length": (POST + b"Content-Length: -1\r\n\r\na", (b"400",)),
    "unknown coding": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", (b"501", b"400")),
    "stacked codings": (POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", (b"501", b"400")),
    "coding behind a vertical tab": (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", (b"501", b"400")),
    "chunk lines with a bare LF": (POST + b"Transfer-Encoding: chunked\r\n\r\n1\na\n0\n\n", (b"400",)),
    "chunk size with a sign": (POST + b"Transfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n", (b"400",)),
    "zero in a value": (GET + b"X-A: a\x00b\r\n\r\n", (b"400",)),
    "space before the colon": (GET + b"X-A : 1\r\n\r\n", (b"400",)),
    "no colon": (GET + b"X-A\r\n\r\n", (b"400",)),
}

# Request → the value of x-a that app and rules get.
FOLDED: dict[str, tuple[bytes, str]] = {
    "folded line": (GET + b"X-A: one\r\n two\r\nConnection: close\r\n\r\n", "one two"),
    "bare LF in the head": (b"GET /a HTTP/1.1\nHost: a\nX-A: one\nConnection: close\n\n", "one"),
    "chunk extension": (
        POST + b"X-A: one\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n1;ext=1\r\na\r\n0\r\n\r\n",
        "one",
    ),
}


def e16(site: Site) -> None:
    """Smuggling: refused with a real answer. What is accepted is one request, and rules and app see the same of it."""
    for name, (request, statuses) in SMUGGLED.items():
        answer = send_raw(site.pair.port, request)
        assert answer.startswith(tuple(b"HTTP/1.1 " + status for status in statuses)), (name, answer[:60])
        assert answer.count(b"HTTP/1.1 ") == 1, name
    assert site.app.seen() == []
    for name, (request, value) in FOLDED.items():
        site.app.forget()
        assert send_raw(site.pair.port, request).startswith(b"HTTP/1.1 200"), name
        [seen] = site.app.seen()
        assert [" ".join(text.split()) for key, text in seen["headers"] if key == "x-a"] == [value], name
    site.app.forget()
    folded = GET + b"X-A: ' or\r\n\t1=1--\r\nConnection: close\r\n\r\n"
    assert send_raw(site.pair.port, folded).startswith(b"HTTP/1.1 403")
    bare_cr = send_raw(site.pair.port, GET + b"X-A: ' or 1=1\r--\r\nConnection: close\r\n\r\n")
    assert bare_cr.startswith((b"HTTP/1.1 403", b"HTTP/1.1 400"))
    odd_http2 = {
        "length that lies": [("content-length", "5")],
        "upper case": [("X-Upper", "1")],
        "line break": [("x-a", "1\r\nx-b: 2")],
        "transfer-encoding": [("transfer-encoding", "chunked")],
        "connection": [("connection", "close")],
    }
    for name, lines in odd_http2.items():
        with Http2Client(site.pair.port) as client:
            stream = client.open("POST", "/a", lines, is_last=False)
            client.send(stream, b"x", is_last=True)
            reply = client.finish(stream)
        assert client.is_closed or reply.is_reset or reply.status == "400", (name, reply)
    assert site.app.seen() == []


MALFORMED: dict[str, tuple[bytes, bytes]] = {
    "HTTP/1.0": (b"GET /a HTTP/1.0\r\nHost: a\r\n\r\n", b"426"),
    "HTTP/0.9": (b"GET /a\r\n\r\n", b"4"),
    "underscore in a name": (GET + b"x_waf_verdict: allow\r\n\r\n", b"400"),
    "head of 61 KiB": (GET + b"X-A: " + b"x" * 61 * 1024 + b"\r\n\r\n", b"431"),
    "101 headers": (GET + b"".join(b"x-%d: 1\r\n" % number for number in range(100)) + b"\r\n", b"431"),
}


def e17(site: Site) -> None:
    """HTTP/1.0 and 0.9, an underscore, too large a head, too many headers: a real answer for each."""
    for name, (request, status) in MALFORMED.items():
        answer = send_raw(site.pair.port, request)
        assert answer.startswith(b"HTTP/1.1 " + status), (name, answer[:60])
    assert site.app.seen() == []


def e18(site: Site) -> None:
    """Two Hosts: refused. Absolute form: its host counts. An empty or missing Host: 400."""
    for name, request in {
        "two": b"GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "two in one": b"GET /a HTTP/1.1\r\nHost: a,b\r\n\r\n",
        "empty": b"GET /a HTTP/1.1\r\nHost: \r\n\r\n",
        "none": b"GET /a HTTP/1.1\r\n\r\n",
    }.items():
        assert send_raw(site.pair.port, request).startswith(b"HTTP/1.1 400"), name
    assert site.app.seen() == []
    absolute = b"GET http://real.example/a HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n"
    answer = send_raw(site.pair.port, absolute)
    assert answer.startswith(b"HTTP/1.1 200")
    [seen] = site.app.seen()
    assert dict(seen["headers"])["host"] == "real.example"
    request_id = answer.partition(b"x-request-id: ")[2].partition(b"\r\n")[0].decode()
    assert site.line_by_id(request_id)["host"] == "real.example"


def e19(site: Site) -> None:
    """Headers that only the inside may set: not seen by the app, or replaced."""
    spoofed = {
        "x-waf-verdict": "allow",
        "x-waf-anything": "1",
        "x-envoy-internal": "true",
        "x-envoy-original-path": "/other",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-request-id": "mine",
        "x-forwarded-proto": "https",
    }
    answer = site.pair.send(path="/a", headers=spoofed)
    assert answer.status == 200
    [seen] = site.app.seen()
    headers = dict(seen["headers"])
    assert not [name for name in headers if name.startswith("x-waf-")]
    if site.is_attached:
        return  # the rest is the owner's
    # The one that Envoy sets itself, from the connection.
    assert [name for name in headers if name.startswith("x-envoy-")] == ["x-envoy-external-address"]
    assert headers["x-request-id"] == answer.headers["x-request-id"] != "mine"
    assert headers["x-forwarded-proto"] == "http"


def e20(site: Site) -> None:
    """X-Forwarded-For: with no trusted hop the client is the peer; with one, what that hop wrote."""
    forwarded = {"x-forwarded-for": "198.51.100.7, 203.0.113.9"}
    assert site.event_of(site.pair.send(headers=forwarded))["client"] == "127.0.0.1"
    trusting = site.start("--workers", "1", "--trusted-hops", "1")
    assert site.event_of(trusting.send(headers=forwarded), trusting)["client"] == "203.0.113.9"


def e21(site: Site) -> None:
    """Trailers: dropped unseen by all over HTTP/1, inspected over HTTP/2, alone or behind a body."""
    chunked = POST + b"Transfer-Encoding: chunked\r\nTrailer: x-sum\r\nConnection: close\r\n\r\n1\r\na\r\n0\r\n"
    answer = send_raw(site.pair.port, chunked + b"X-Sum: ' or 1=1--\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    [seen] = site.app.seen()
    assert seen["body"] == "a"
    assert "x-sum" not in {name for name, _ in seen["headers"]}
    for body in (None, b"x=1"):
        assert ask(site.pair.port, "POST", "/a", [FORM_LINE], body, [("x-sum", "1")]).status == "200"
        site.app.forget()
        assert ask(site.pair.port, "POST", "/a", [FORM_LINE], body, [("x-sum", ATTACK)]).status == "403"
        assert site.app.seen() == []


def e25(site: Site) -> None:
    """An attack in a compressed body: 403. A bomb: refused within its time, and the next request is answered."""
    headers = {**FORM, "content-encoding": "gzip"}
    compressor = zlib.compressobj(9, wbits=31)
    attack = compressor.compress(f"q={QUERY_ATTACK}".encode()) + compressor.flush()
    bombs = site.start("--workers", "1", "--profile", "own")
    assert bombs.send("POST", "/a", body=attack, headers=headers).status == 403
    compressor = zlib.compressobj(9, wbits=31)
    bomb = b"".join(compressor.compress(bytes(1_048_576)) for _ in range(32)) + compressor.flush()
    assert len(bomb) < LIMIT_BYTES
    assert bombs.send("POST", "/a", body=bomb, headers=headers).status in (403, 413)
    assert site.app.seen() == []
    assert bombs.send().status == 200


def e29(site: Site) -> None:
    """The health path is answered by Envoy, exactly; with a query or a suffix it is a request like any other."""
    path = "/.well-known/waf/ready"
    assert site.pair.send(path=path).status == 200
    assert site.app.seen() == []
    assert site.pair.send(path=path + "?x=1").status == 200
    assert site.pair.send(path=path + "/x").status == 200
    assert [seen["path"] for seen in site.app.seen()] == [path + "?x=1", path + "/x"]
    assert site.pair.send(path=f"{path}?x={QUERY_ATTACK}").status == 403


def e32(site: Site) -> None:
    """No route switches inspection off, and a prefix cannot be left by an escaped slash: 400."""
    for target in (b"/.well-known/waf/ready%2f..%2f..%2fa", b"/ws%2f..%2fa", b"/off%5c..%5ca"):
        answer = send_raw(site.pair.port, b"GET %b?q=%b HTTP/1.1\r\nHost: a\r\n\r\n" % (target, QUERY_ATTACK.encode()))
        assert answer.startswith(b"HTTP/1.1 400"), target
    assert site.app.seen() == []
