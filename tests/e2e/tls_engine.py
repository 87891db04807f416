"""`extproc serve` with TLS on a port of loopback, with certificates of good and bad clients beside it."""

from __future__ import annotations

import http.client
import subprocess
import sys
from pathlib import Path

import grpc

from tests.e2e.conftest import free_port, wait_for
from tests.k8s.certificates import Authority, make_authority, write_certificate

SERVER = "engine.test"
PROXY = "spiffe://test/proxy"
NO_PROXY = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
START_S = 30.0


class Engine:
    """`extproc serve` with TLS; `folder` holds server/, client/, stranger/, ... and what it says."""

    def __init__(
        self, folder: Path, transport: str, *flags: str, authority: Authority | None = None, port: int = 0
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.authority = authority or make_authority("our CA")
        write_certificate(folder / "server", self.authority, SERVER)
        write_certificate(folder / "client", self.authority, PROXY, is_client=True)
        write_certificate(folder / "stranger", make_authority("their CA"), PROXY, is_client=True)
        write_certificate(folder / "expired", self.authority, PROXY, is_client=True, days=-1)
        write_certificate(folder / "other", self.authority, "spiffe://test/other", is_client=True)
        write_certificate(folder / "not-a-client", self.authority, PROXY)
        (folder / "ca.crt").write_bytes(self.authority.pem)
        self.port, self.health = port or free_port(), free_port()
        command = [
            *(sys.executable, "-m", "extproc", "serve", f"--grpc=127.0.0.1:{self.port}"),
            *(f"--health=127.0.0.1:{self.health}", "--metrics=off", "--mode=block", f"--transport={transport}"),
            *(f"--tls-cert={folder}/server/tls.crt", f"--tls-key={folder}/server/tls.key"),
            *(f"--tls-client-ca={folder}/ca.crt", *flags),
        ]
        with (folder / "said").open("wb") as said:
            self.process = subprocess.Popen(command, stdout=said, stderr=said)

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    def page(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.health, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def channel(self, client: str = "client", authority: Authority | None = None) -> grpc.Channel:
        credentials = grpc.ssl_channel_credentials(
            (authority or self.authority).pem,
            (self.folder / client / "tls.key").read_bytes() if client else None,
            (self.folder / client / "tls.crt").read_bytes() if client else None,
        )
        options = [("grpc.ssl_target_name_override", SERVER), *NO_PROXY]
        return grpc.secure_channel(f"127.0.0.1:{self.port}", credentials, options)

    def is_ready(self) -> bool:
        try:
            return self.page("/readyz")[0] == 200
        except OSError:
            return False

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(10)


def start(folder: Path, transport: str, *flags: str, authority: Authority | None = None, port: int = 0) -> Engine:
    """Ready; whoever starts it stops it."""
    engine = Engine(folder, transport, *flags, authority=authority, port=port)
    try:
        wait_for(lambda: engine.is_ready() or engine.process.poll() is not None, START_S, "engine")
        assert engine.process.poll() is None, engine.said
    except BaseException:
        engine.stop()
        raise
    return engine
