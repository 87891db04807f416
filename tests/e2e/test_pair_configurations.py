"""The same traffic through every configuration that is shipped or can be rendered: none lets an attack through."""

from __future__ import annotations

import base64
import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from extproc.model.route import Beyond, Profile, Route
from extproc.proxy.routes import render_route
from tests.conformance.through_envoy.bootstrap_parts import Tree, manager
from tests.conformance.through_envoy.http2_client import ask
from tests.conformance.through_envoy.lone_envoy import ROOT, LoneEnvoy
from tests.e2e.http2_app import Http2App

pytestmark = pytest.mark.envoy

ATTACK = "' OR 1=1--"
QUERY_ATTACK = "%27%20OR%201=1--"
FORM = {"content-type": "application/x-www-form-urlencoded"}
LIMIT_BYTES = 128 * 1024

ROUTES = (
    *("--route", "/ws=stream", "--route", "/up=upload:1MiB", "--route", "/pass=upload:64KiB:pass"),
    *("--accept-risk", "partial-body"),
)

CONFIGURATIONS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "response": ("--response",),
    "upgrades": ("--upgrade-paths", "/ws"),
    "routes": ROUTES,
    "routes, response": (*ROUTES, "--response"),
    "behind a proxy": ("--trusted-hops", "1"),
    "HTTP/2 app": ("--app-protocol", "http2"),
    "HTTP/2 app, routes, response": ("--app-protocol", "http2", "--response", *ROUTES),
    "envoy/sidecar.yaml": (),
    "envoy/pair.yaml": (),
}


@dataclass
class Site:
    """Something in front of an app. `has_bare_refusals`: Envoy closes where it would say 400 (responses inspected)."""

    port: int
    app: Any
    has_bare_refusals: bool


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def site(
    request: pytest.FixtureRequest, envoy_binary: Path, app: Any, tools: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    name, flags = request.param, CONFIGURATIONS[request.param]
    folder = tmp_path_factory.mktemp("configuration")
    with contextlib.ExitStack() as stack:
        behind = stack.enter_context(Http2App()) if "http2" in flags else app
        if name.startswith("envoy/"):
            port = stack.enter_context(shipped_file(ROOT / name, folder, envoy_binary, behind.port, tools))
        else:
            pair = tools.start_up(folder, behind.port, "--workers", "1", *flags)
            stack.callback(pair.stop)
            port = pair.await_start().port
        yield Site(port, behind, "--response" in flags)


@contextlib.contextmanager
def engine(folder: Path, tools: Any) -> Iterator[str]:
    """`extproc serve` with the test rule; its address."""
    address = f"unix:{folder}/engine.sock"
    (folder / "rules.conf").write_text(tools.RULES)
    serve = [sys.executable, "-m", "extproc", "serve", "--grpc", address, "--health", "off", "--mode", "block"]
    with (folder / "serve").open("wb") as said:
        process = subprocess.Popen([*serve, "--rules", str(folder / "rules.conf")], stderr=said)
    try:
        yield address
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def shipped_file(file: Path, folder: Path, envoy: Path, app_port: int, tools: Any) -> Iterator[int]:
    """The file as it is, but for addresses, in front of `extproc serve`."""

    def as_shipped(tree: Tree) -> None:
        shipped = yaml.safe_load(file.read_text())
        shipped["admin"]["address"] = tree["admin"]["address"]
        for ours, theirs in zip(
            shipped["static_resources"]["clusters"], tree["static_resources"]["clusters"], strict=True
        ):
            ours["load_assignment"] = theirs["load_assignment"]
        shipped["static_resources"]["listeners"][0]["address"] = tree["static_resources"]["listeners"][0]["address"]
        manager(shipped)["access_log"] = manager(tree)["access_log"]
        tree.clear()
        tree.update(shipped)

    with engine(folder, tools) as address, LoneEnvoy(envoy, folder, app_port, address, as_shipped) as running:
        tools.wait_for(lambda: tools.send(running.port).status == 200, 30, "engine")
        yield running.port


UNDECLARED = {
    "stream": Route("/more", "/more", profile=Profile.STREAM),
    "the rest passes": Route("/more", "/more", profile=Profile.UPLOAD, body_limit_bytes=1024, beyond=Beyond.PASS),
}


@pytest.mark.parametrize("kind", UNDECLARED)
def test_a_route_that_the_engine_was_not_told_of_is_closed(
    envoy_binary: Path, app: Any, tools: Any, tmp_path: Path, kind: str
) -> None:
    """Envoy alone cannot lower the inspection: the engine refuses to work, and the request with it."""

    def add_route(tree: Tree) -> None:
        manager(tree)["route_config"]["virtual_hosts"][0]["routes"].insert(0, render_route(UNDECLARED[kind], False))

    with engine(tmp_path, tools) as address, LoneEnvoy(envoy_binary, tmp_path, app.port, address, add_route) as envoy:
        tools.wait_for(lambda: tools.send(envoy.port).status == 200, 30, "engine")
        app.forget()
        assert tools.send(envoy.port, "POST", "/more", b"x=1", FORM).status == 503
        assert tools.send(envoy.port, "POST", "/a", b"x=1", FORM).status == 200
        assert [seen["path"] for seen in app.seen()] == ["/a"]
        assert "profile-mismatch" in (tmp_path / "serve").read_text()


CLEAN: dict[str, tuple[str, str, Any, dict[str, str]]] = {
    "get": ("GET", "/a?x=1", None, {}),
    "head": ("HEAD", "/hello", None, {}),
    "options": ("OPTIONS", "/a", None, {}),
    "post": ("POST", "/a", b"x=1&y=2", FORM),
    "in chunks": ("POST", "/a", (b"x=1", b"&y=2"), FORM),
    "no chunk": ("POST", "/a", (), FORM),
    "expect": ("POST", "/a", b"x=1", {**FORM, "expect": "100-continue"}),
    "at the limit": ("POST", "/a", b"x" * LIMIT_BYTES, {}),
    "get with a body": ("GET", "/a", b"x=1", FORM),
}


@pytest.mark.parametrize("case", CLEAN)
def test_a_clean_request_arrives_unchanged(site: Site, tools: Any, case: str) -> None:
    method, path, body, headers = CLEAN[case]
    site.app.forget()
    sent = b"".join(body) if isinstance(body, tuple) else body or b""
    answer = tools.send(site.port, method, path, iter(body) if isinstance(body, tuple) else body, headers)
    assert answer.status == 200
    [seen] = site.app.seen()
    assert (seen["method"], seen["path"], base64.b64decode(seen["body_base64"])) == (method, path, sent)


ATTACKS: dict[str, tuple[str, str, Any, dict[str, str]]] = {
    "query": ("GET", f"/?q={QUERY_ATTACK}", None, {}),
    "cookie": ("GET", "/", None, {"cookie": f"q={ATTACK}"}),
    "form": ("POST", "/login", f"q={QUERY_ATTACK}".encode(), FORM),
    "chunks": ("POST", "/login", (b"q=%27%20O", b"R%201=1--"), FORM),
    "body of a get": ("GET", "/login", f"q={QUERY_ATTACK}".encode(), FORM),
    "behind a dotted way out of a stream": ("POST", "/ws/../a", f"q={QUERY_ATTACK}".encode(), FORM),
    "behind a parameter": ("POST", "/ws/..;/a", f"q={QUERY_ATTACK}".encode(), FORM),
    "upgrade claimed by a post": ("POST", "/up", f"q={QUERY_ATTACK}".encode(), FORM | {"upgrade": "h2c"}),
    "too large": ("POST", "/a", b"x" * (LIMIT_BYTES + 1), {}),
}


@pytest.mark.parametrize("case", ATTACKS)
def test_an_attack_does_not_arrive(site: Site, tools: Any, case: str) -> None:
    method, path, body, headers = ATTACKS[case]
    site.app.forget()
    answer = tools.send(site.port, method, path, iter(body) if isinstance(body, tuple) else body, headers)
    assert answer.status == (413 if case == "too large" else 403)
    assert site.app.seen() == []


FRAMED: dict[str, dict[str, Any]] = {
    "body": {"method": "POST", "lines": [("content-type", FORM["content-type"])], "body": f"q={ATTACK}".encode()},
    "trailer": {"method": "POST", "body": b"x=1", "trailers": [("x-search", ATTACK)]},
    "trailers alone": {"method": "POST", "trailers": [("x-search", ATTACK)]},
    "upload's trailer": {"method": "POST", "path": "/up", "body": b"x=1", "trailers": [("x-search", ATTACK)]},
}


@pytest.mark.parametrize("case", FRAMED)
def test_an_attack_by_http2_does_not_arrive(site: Site, case: str) -> None:
    site.app.forget()
    assert ask(site.port, **FRAMED[case]).status == "403"
    assert site.app.seen() == []


def test_a_denied_grpc_client_reads_a_status_of_grpc(site: Site) -> None:
    site.app.forget()
    lines = [("content-type", "application/grpc"), ("te", "trailers"), ("x-search", ATTACK)]
    reply = ask(site.port, "POST", "/test.Echo/Unary", lines, b"\0\0\0\0\0")
    assert (reply.status, reply.headers["grpc-status"]) == ("200", "7")
    assert "Incident" in reply.headers["grpc-message"]
    assert b"<" not in reply.body
    assert site.app.seen() == []


START = b"GET /hello HTTP/1.1\r\nHost: a\r\n"
REFUSED: dict[str, tuple[bytes, bytes]] = {
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", b"404"),
    "two hosts": (START + b"Host: b\r\n\r\n", b"400"),
    "underscore": (START + b"x_a: 1\r\n\r\n", b"400"),
    "escaped slash": (b"GET /ws%2f..%2fhello HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
    "HTTP/1.0": (b"GET /hello HTTP/1.0\r\nHost: a\r\n\r\n", b"426"),
    "length and chunks": (START + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
    "CONNECT": (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", b"40"),
    "upgrade": (START + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a\r\n\r\n", b"403"),
    "upgrade of another kind": (START + b"Connection: Upgrade\r\nUpgrade: foo\r\n\r\n", b"403"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused(site: Site, case: str) -> None:
    request, status = REFUSED[case]
    site.app.forget()
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as connection:
        connection.sendall(request)
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 " + status) or (site.has_bare_refusals and answer == b""), answer[:100]
    assert site.app.seen() == []


def test_spoofed_headers_do_not_arrive(site: Site, tools: Any) -> None:
    site.app.forget()
    tools.send(site.port, path="/a", headers={"x-waf-verdict": "allow", "x-waf-policy": "off", "x-envoy-internal": "1"})
    [seen] = site.app.seen()
    names = {name for name, _ in seen["headers"]}
    assert not [name for name in names if name.startswith("x-waf-")]
    assert "x-envoy-internal" not in names
