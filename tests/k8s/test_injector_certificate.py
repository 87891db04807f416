"""The Job that makes the injector's certificate, against a double of the API server's three calls."""

from __future__ import annotations

import base64
import datetime
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonpatch
import pytest

from extproc.attachment.certificate import RENEW_DAYS, VALID_DAYS, ApiError, ClusterApi, Issued, ensure, is_good, issue

HOST = "extproc-injector.extproc-system.svc"
NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


class Cluster:
    """One Secret, one webhook configuration; `calls` are what was asked."""

    def __init__(self) -> None:
        self.secret: dict[str, Any] | None = None
        self.webhook: dict[str, Any] = {"webhooks": [{"name": "x", "clientConfig": {"service": {}}}]}
        self.calls: list[str] = []
        self.refuses = False
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def take(self) -> None:
                length = int(self.headers.get("content-length", 0))
                body = json.loads(self.rfile.read(length)) if length else None
                cluster.calls.append(self.command)
                if cluster.refuses or self.headers["authorization"] != "Bearer secret-token":
                    return self.answer(403, {})
                if "/secrets" in self.path:
                    if self.command == "GET":
                        return self.answer(*((200, cluster.secret) if cluster.secret else (404, {})))
                    cluster.secret = body
                    return self.answer(200, body)
                cluster.webhook = jsonpatch.apply_patch(cluster.webhook, body)
                return self.answer(200, cluster.webhook)

            def do_GET(self) -> None:
                self.take()

            def do_POST(self) -> None:
                self.take()

            def do_PUT(self) -> None:
                self.take()

            def do_PATCH(self) -> None:
                self.take()

            def answer(self, status: int, tree: Any) -> None:
                text = json.dumps(tree).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                """The calls are kept."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def bundle(self) -> bytes:
        return base64.b64decode(self.webhook["webhooks"][0]["clientConfig"]["caBundle"])

    def kept(self, name: str) -> bytes:
        assert self.secret is not None
        return base64.b64decode(self.secret["data"][name])


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.server.shutdown()
    cluster.server.server_close()


@pytest.fixture
def api(cluster: Cluster, tmp_path: Path) -> ClusterApi:
    (tmp_path / "token").write_text("secret-token\n")
    return ClusterApi(f"http://127.0.0.1:{cluster.server.server_address[1]}", tmp_path)


def run(api: ClusterApi, now: datetime.datetime = NOW) -> str:
    return ensure(api, "extproc-system", "tls", "hook", HOST, now)


def test_first_time_and_again(api: ClusterApi, cluster: Cluster) -> None:
    assert run(api) == "a new certificate"
    assert cluster.calls == ["GET", "POST", "PATCH"]
    assert cluster.bundle == cluster.kept("ca.crt")
    first = cluster.secret
    assert run(api) == "the certificate is good"
    assert (cluster.secret, cluster.calls[3:]) == (first, ["GET", "PATCH"])


def test_renewal_trusts_both(api: ClusterApi, cluster: Cluster) -> None:
    run(api)
    former = cluster.kept("ca.crt")
    assert run(api, NOW + (VALID_DAYS - RENEW_DAYS - 1) * DAY) == "the certificate is good"
    assert run(api, NOW + (VALID_DAYS - RENEW_DAYS + 1) * DAY) == "a new certificate"
    assert cluster.bundle == former + cluster.kept("ca.crt")
    assert cluster.kept("ca.crt") != former


@pytest.mark.parametrize("data", [{}, {"tls.crt": "?"}, {"ca.crt": "eA==", "tls.crt": "eA==", "tls.key": "eA=="}])
def test_a_broken_secret_is_replaced(api: ClusterApi, cluster: Cluster, data: dict[str, str]) -> None:
    cluster.secret = {"data": data}
    assert run(api) == "a new certificate"
    assert cluster.calls == ["GET", "PUT", "PATCH"]
    assert cluster.bundle.endswith(cluster.kept("ca.crt"))


def test_refused_and_unreachable(api: ClusterApi, cluster: Cluster, tmp_path: Path) -> None:
    cluster.refuses = True
    with pytest.raises(ApiError, match="403"):
        run(api)
    (tmp_path / "token").write_text("x")
    with pytest.raises(ApiError, match="refused"):
        run(ClusterApi("http://127.0.0.1:9", tmp_path))


def test_tls_takes_it(tmp_path: Path) -> None:
    """A real handshake: the name is in it, its CA verifies it, and another name is refused."""
    made = issue(HOST, datetime.datetime.now(datetime.UTC))
    (tmp_path / "tls.crt").write_bytes(made.certificate)
    (tmp_path / "tls.key").write_bytes(made.key)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    client = ssl.create_default_context(cadata=made.authority.decode())
    client.verify_flags |= ssl.VERIFY_X509_STRICT

    def shake(name: str) -> None:
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        ours = client.wrap_bio(to_client, to_server, server_hostname=name)
        theirs = server.wrap_bio(to_server, to_client, server_side=True)
        for _ in range(4):
            for side in (ours, theirs):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
        assert ours.version() == "TLSv1.3"

    shake(HOST)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake("other.extproc-system.svc")


def test_a_certificate_of_another_key_or_host_is_not_good() -> None:
    one, other = issue(HOST, NOW), issue(HOST, NOW)
    assert is_good(one, HOST, NOW)
    assert not is_good(one, "other.svc", NOW)
    assert not is_good(Issued(one.authority, one.certificate, other.key), HOST, NOW)
    assert not is_good(Issued(other.authority, one.certificate, one.key), HOST, NOW)
