"""The engine's port with TLS: who may call, who is refused and what is told of it, and certificates that change."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from extproc._pb.envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from tests.e2e.tls_engine import NO_PROXY, PROXY, SERVER, START_S, Engine, start
from tests.k8s.certificates import make_authority, write_certificate

PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"


def eventually(claim: Callable[[], Any], seconds: float = START_S) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if value := claim():
                return value
        except OSError:
            pass
        time.sleep(0.05)
    pytest.fail("it never became true")


@pytest.fixture(params=["http2", "grpc"], scope="module")
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = start(tmp_path_factory.mktemp("engine"), request.param, f"--tls-client-name={PROXY}")
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """On our own HTTP/2, which tells why it refuses."""
    engine = start(tmp_path_factory.mktemp("own"), "http2", f"--tls-client-name={PROXY}")
    yield engine
    engine.stop()


def head(path: str) -> Any:
    message = pb.ProcessingRequest()
    for key, value in {":path": path, ":method": "GET", ":authority": "a"}.items():
        message.request_headers.headers.headers.add(key=key, raw_value=value.encode())
    message.request_headers.end_of_stream = True
    return message


def ask(channel: grpc.Channel, path: str = "/") -> Any:
    """The first answer of a stream."""
    call = channel.stream_stream(
        PROCESS,
        request_serializer=pb.ProcessingRequest.SerializeToString,
        response_deserializer=pb.ProcessingResponse.FromString,
    )
    return next(call(iter([head(path)]), timeout=10)).WhichOneof("response")


def code_of(channel: grpc.Channel) -> grpc.StatusCode:
    with channel, pytest.raises(grpc.RpcError) as raised:
        ask(channel)
    return raised.value.code()


def test_a_proxy_of_ours_is_answered(engine: Engine) -> None:
    with engine.channel() as channel:
        assert ask(channel) == "request_headers"
        assert ask(channel, "/?q=%27%20OR%201=1--%20") == "immediate_response"
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        assert check(health_pb2.HealthCheckRequest(), timeout=10).status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("client", ["", "stranger", "expired", "not-a-client"])
def test_nobody_else_is(engine: Engine, client: str) -> None:
    assert code_of(engine.channel(client)) is grpc.StatusCode.UNAVAILABLE


def test_nor_a_client_of_another_name(engine: Engine) -> None:
    assert code_of(engine.channel("other")) in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED)


def test_nor_one_that_speaks_plain_text(engine: Engine) -> None:
    assert code_of(grpc.insecure_channel(f"127.0.0.1:{engine.port}", NO_PROXY)) is grpc.StatusCode.UNAVAILABLE


def test_old_tls_is_refused(engine: Engine) -> None:
    context = ssl.create_default_context(cadata=engine.authority.pem.decode())
    context.load_cert_chain(engine.folder / "client" / "tls.crt", engine.folder / "client" / "tls.key")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", engine.port), 10) as plain, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(plain, server_hostname=SERVER).close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_http2_is_agreed_on_and_no_session_is_resumed(own: Engine, version: ssl.TLSVersion) -> None:
    context = ssl.create_default_context(cadata=own.authority.pem.decode())
    context.load_cert_chain(own.folder / "client" / "tls.crt", own.folder / "client" / "tls.key")
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    session = None
    for _ in range(2):
        with (
            socket.create_connection(("127.0.0.1", own.port), 10) as plain,
            context.wrap_socket(plain, server_hostname=SERVER, session=session) as connection,
        ):
            assert (connection.version(), connection.selected_alpn_protocol()) == (
                f"TLSv1.{2 if version is ssl.TLSVersion.TLSv1_2 else 3}",
                "h2",
            )
            assert connection.recv(9)[3] == 4  # SETTINGS
            assert not (version is ssl.TLSVersion.TLSv1_3 and connection.session_reused)
            session = connection.session


def test_health_needs_no_certificate(engine: Engine) -> None:
    assert engine.page("/readyz") == (200, "ready\n")
    assert engine.page("/healthz")[0] == 200


REFUSED = {
    "": ("no-certificate", "it shows no certificate"),
    "stranger": ("unknown-ca", "its certificate is not to be trusted"),
    "not-a-client": ("unknown-ca", "certificate purpose"),
    "expired": ("expired", "certificate has expired"),
    "other": ("wrong-name", "its certificate is for spiffe://test/other"),
}


def refused(engine: Engine, reason: str) -> int:
    found = re.search(rf'extproc_clients_refused_total{{reason="{reason}"}} (\d+)', engine.page("/metrics")[1])
    return int(found[1]) if found else 0


@pytest.mark.parametrize("client", REFUSED)
def test_who_is_refused_is_told_and_counted(own: Engine, client: str) -> None:
    reason, told = REFUSED[client]
    before = refused(own, reason)
    time.sleep(1.1)  # one line a second for each reason
    code_of(own.channel(client))
    eventually(lambda: refused(own, reason) > before)
    [line] = [line for line in own.said.splitlines() if told in line][-1:]
    assert "client refused: 127.0.0.1: " in line


def test_a_flood_of_strangers_is_no_flood_of_lines(own: Engine) -> None:
    before = own.said.count("it speaks no TLS")
    for _ in range(200):
        with socket.create_connection(("127.0.0.1", own.port), 10) as stranger:
            stranger.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            assert stranger.recv(100) == b""
    eventually(lambda: refused(own, "plain-text") >= 200)
    assert 1 <= own.said.count("it speaks no TLS") - before < 100


def test_a_probe_that_only_connects_is_no_stranger(own: Engine) -> None:
    lines, page = len(own.said.splitlines()), own.page("/metrics")[1]
    for _ in range(20):
        socket.create_connection(("127.0.0.1", own.port), 10).close()
    time.sleep(0.6)
    assert len(own.said.splitlines()) == lines
    counted = [line for line in page.splitlines() if "clients_refused" in line]
    assert [line for line in own.page("/metrics")[1].splitlines() if "clients_refused" in line] == counted


@pytest.mark.parametrize("transport", ["http2", "grpc"])
def test_certificates_change_while_it_serves(tmp_path: Path, transport: str) -> None:
    """A new CA with a new certificate: from then on its clients may call, the others no more. A broken one changes
    nothing, and what is open stays."""
    engine = start(tmp_path, transport)
    new = make_authority("our new CA")
    try:
        with engine.channel() as before:
            assert ask(before) == "request_headers"
            write_certificate(tmp_path / "next", new, PROXY, is_client=True)
            time.sleep(1.1)
            (tmp_path / "ca.crt").write_bytes(new.pem)
            write_certificate(tmp_path / "server", new, SERVER)
            time.sleep(1.1)
            with engine.channel("next", new) as after:
                eventually(lambda: is_answered(after))
            assert code_of(engine.channel("client")) is grpc.StatusCode.UNAVAILABLE
            assert ask(before) == "request_headers"
        assert "a new certificate is in use" in engine.said
        (tmp_path / "server" / "tls.crt").write_text("no certificate")
        time.sleep(1.1)
        with engine.channel("next", new) as after:
            assert ask(after) == "request_headers"
        assert "the certificate in use stays: tls_cert" in engine.said
        assert engine.page("/readyz")[0] == 200
    finally:
        engine.stop()


def is_answered(channel: grpc.Channel) -> bool:
    try:
        return bool(ask(channel) == "request_headers")
    except grpc.RpcError:
        return False


def test_when_the_certificate_expires_is_a_metric(own: Engine) -> None:
    def shown() -> float:
        found = re.search(r"^extproc_certificate_expires_seconds ([\d.e+]+)$", own.page("/metrics")[1], re.M)
        return float(found[1]) if found else 0.0

    expires = eventually(shown)
    assert 47 * 3600 < expires - time.time() < 49 * 3600


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--tls-cert=server/tls.crt"], "--tls-key: is missing"),
        (["--tls-cert=server/tls.crt", "--tls-key=server/tls.key"], "without a CA for them anybody could call"),
        (["--tls-client-name=x"], "needs --tls-cert"),
        (["--tls-cert=no.crt", "--tls-key=server/tls.key", "--tls-client-ca=ca.crt"], "no.crt cannot be read"),
        (["--tls-cert=server/tls.crt", "--tls-key=client/tls.key", "--tls-client-ca=ca.crt"], "mismatch"),
        (["--tls-cert=ca.crt", "--tls-key=server/tls.key", "--tls-client-ca=server/tls.key"], "tls_cert"),
        (["--tls-cert=server/tls.crt", "--tls-key=server/tls.key", "--tls-client-ca=server/tls.key"], "holds no CA"),
        (
            ["--grpc=unix:x", "--tls-cert=server/tls.crt", "--tls-key=server/tls.key", "--tls-client-ca=ca.crt"],
            "is for a port",
        ),
    ],
)
def test_what_cannot_work_is_said_at_the_start(own: Engine, flags: list[str], said: str) -> None:
    command = [sys.executable, "-m", "extproc", "serve", "--health=off", "--metrics=off", *flags]
    done = subprocess.run(command, cwd=own.folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
