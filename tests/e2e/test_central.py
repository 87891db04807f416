"""A real Envoy that asks engines elsewhere by TLS: traffic, strangers, connections that age, engines that die."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extproc.proxy.binary import envoy_arguments
from tests.conformance.through_envoy.lone_envoy import read_stat
from tests.e2e.conftest import ATTACK, ATTACK_PATH, START_LIMIT_S, Load, free_port, send, wait_for
from tests.e2e.tls_engine import SERVER, Engine, start
from tests.k8s.certificates import Authority, make_authority, write_certificate

pytestmark = pytest.mark.envoy

UPLOAD_S = 2.5
AGE_S = 1


class Proxy:
    """Envoy from `extproc envoy-config --engine ...`, with the certificate of `client`."""

    def __init__(
        self, binary: Path, folder: Path, app_port: int, engines: list[Engine], client: Path, is_watched: bool
    ) -> None:
        folder.mkdir()
        self.folder, self.port = folder, free_port()
        bootstrap = folder / "envoy.yaml"
        command = [sys.executable, "-m", "extproc", "envoy-config", f"--bootstrap={bootstrap}"]
        command += [f"--listen=127.0.0.1:{self.port}", f"--app=127.0.0.1:{app_port}", f"--engine-name={SERVER}"]
        command += [f"--engine=127.0.0.1:{engine.port}" for engine in engines]
        command += [f"--engine-ca={client}/ca.crt", f"--engine-cert={client}/tls.crt", f"--engine-key={client}/tls.key"]
        command += [f"--engine-secrets={folder}"] if is_watched else []
        command += [f"--admin=unix:{folder}/admin.sock", f"--access-log={folder}/access"]
        subprocess.run(command, check=True, capture_output=True)
        with (folder / "envoy.log").open("wb") as log:
            self.process = subprocess.Popen(envoy_arguments(binary, bootstrap, 1), stderr=log)

    def send(self, *args: Any, **more: Any) -> Any:
        return send(self.port, *args, **more)

    def stat(self, name: str) -> int:
        return read_stat(self.folder / "admin.sock", f"cluster.extproc.{name}")

    def answers(self, status: int) -> bool:
        try:
            return bool(self.send().status == status)
        except OSError:
            return False

    def await_answer(self, status: int) -> Proxy:
        wait_for(lambda: self.answers(status) or self.process.poll() is not None, START_LIMIT_S, f"answer {status}")
        assert self.process.poll() is None, (self.folder / "envoy.log").read_text()
        return self

    def access_log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "access").read_text().splitlines()]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


class Site:
    """Engines and proxies of one test."""

    def __init__(self, binary: Path, folder: Path, app: Any) -> None:
        self.authority = make_authority("our CA")
        self.engines: list[Engine] = []
        self.proxies: list[Proxy] = []
        self.app = app
        self._binary, self._folder = binary, folder

    def engine(self, *flags: str, transport: str = "http2") -> Engine:
        folder = self._folder / f"engine{len(self.engines)}"
        self.engines.append(start(folder, transport, *flags, authority=self.authority))
        return self.engines[-1]

    def proxy(self, client: Path | None = None, is_watched: bool = True) -> Proxy:
        if client is None:
            client = client_folder(self._folder / f"client{len(self.proxies)}", self.authority, self.authority)
        folder = self._folder / f"proxy{len(self.proxies)}"
        self.proxies.append(Proxy(self._binary, folder, self.app.port, self.engines, client, is_watched))
        return self.proxies[-1]

    def stop(self) -> None:
        for one in (*self.proxies, *self.engines):
            one.stop()


def client_folder(folder: Path, ours: Authority, theirs: Authority, name: str = "spiffe://test/proxy") -> Path:
    """As a kubelet mounts a Secret: names that lead through `..data`, which is swapped whole."""
    version = folder / f"v{time.monotonic_ns()}"
    folder.mkdir(exist_ok=True)
    write_certificate(version, ours, name, is_client=True)
    (version / "ca.crt").write_bytes(theirs.pem)
    (folder / "..next").symlink_to(version.name)
    (folder / "..next").rename(folder / "..data")
    for file in ("tls.crt", "tls.key", "ca.crt"):
        if not (folder / file).is_symlink():
            (folder / file).symlink_to(f"..data/{file}")
    return folder


@pytest.fixture
def site(envoy_binary: Path, app: Any, tmp_path: Path) -> Iterator[Site]:
    site = Site(envoy_binary, tmp_path, app)
    yield site
    site.stop()


@pytest.mark.parametrize("is_watched", [True, False])
def test_requests_are_inspected_over_tls(site: Site, is_watched: bool) -> None:
    site.engine("--tls-client-name=spiffe://test/proxy")
    proxy = site.proxy(is_watched=is_watched).await_answer(200)
    site.app.forget()
    assert proxy.send("POST", "/a", b"x=1", {"content-type": "application/x-www-form-urlencoded"}).status == 200
    assert proxy.send(path=ATTACK_PATH).status == 403
    assert proxy.send("POST", "/a", ATTACK.encode(), {"content-type": "text/plain"}).status == 403
    assert [seen["path"] for seen in site.app.seen()] == ["/a"]
    assert proxy.send(path="/.well-known/waf/ready").status == 200
    assert proxy.stat("ssl.versions.TLSv1.3") > 0


@pytest.mark.parametrize("who", ["stranger", "wrong name", "an engine of another CA"])
def test_without_trust_on_both_sides_nothing_passes(site: Site, tmp_path: Path, who: str) -> None:
    site.engine("--tls-client-name=spiffe://test/proxy")
    other = make_authority("their CA")
    ours, theirs, name = {
        "stranger": (other, site.authority, "spiffe://test/proxy"),
        "wrong name": (site.authority, site.authority, "spiffe://test/other"),
        "an engine of another CA": (site.authority, other, "spiffe://test/proxy"),
    }[who]
    proxy = site.proxy(client_folder(tmp_path / "wrong", ours, theirs, name)).await_answer(503)
    site.app.forget()
    assert {proxy.send(path=path).status for path in ("/hello", ATTACK_PATH, "/hello")} == {503}
    assert proxy.send("POST", "/a", b"x=1").status == 503
    assert site.app.seen() == []
    assert "client refused: 127.0.0.1: " in site.engines[0].said


def test_a_renewed_certificate_is_taken_up_without_a_restart(site: Site, tmp_path: Path) -> None:
    site.engine("--tls-client-name=spiffe://test/proxy")
    client = client_folder(tmp_path / "renewed", site.authority, site.authority, "spiffe://test/other")
    proxy = site.proxy(client).await_answer(503)
    client_folder(client, site.authority, site.authority)
    proxy.await_answer(200)


class Uploads:
    """Clients whose request is not whole for UPLOAD_S; its stream is open all that time."""

    def __init__(self, proxy: Proxy, number: int) -> None:
        self.statuses: list[int] = []
        self._threads = [threading.Thread(target=self._run, args=(proxy,)) for _ in range(number)]

    def __enter__(self) -> Uploads:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join()

    def _run(self, proxy: Proxy) -> None:
        def body() -> Iterator[bytes]:
            for _ in range(10):
                yield b"x" * 100
                time.sleep(UPLOAD_S / 10)

        headers = {"content-type": "text/plain"}
        try:
            self.statuses.append(proxy.send("POST", "/slow", body(), headers).status)
        except OSError:
            self.statuses.append(0)


@pytest.mark.parametrize("transport", ["http2", "grpc"])
def test_connections_that_age_lose_no_request(site: Site, transport: str) -> None:
    """Streams are open across several ages of a second; each ends on the connection it began on."""
    for _ in range(2):
        site.engine(f"--connection-age-seconds={AGE_S}", "--connection-grace-seconds=30", transport=transport)
    proxy = site.proxy().await_answer(200)
    before = proxy.stat("upstream_cx_total")
    with Load(proxy) as load, Uploads(proxy, 20) as uploads:
        time.sleep(2 * UPLOAD_S)
    assert uploads.statuses == [200] * 20
    assert {status for _, status in load.clean} == {200}
    assert {status for _, status in load.attack} == {403}
    assert proxy.stat("upstream_cx_total") - before >= 2 * (2 * UPLOAD_S / AGE_S / 2)
    assert proxy.stat("upstream_cx_close_notify") >= 2


def test_patience_with_an_old_connection_ends_closed(site: Site) -> None:
    site.engine(f"--connection-age-seconds={AGE_S}", "--connection-grace-seconds=1")
    proxy = site.proxy().await_answer(200)
    site.app.forget()
    with Uploads(proxy, 3) as uploads:
        pass
    assert 200 not in uploads.statuses  # a client that still sends may not see its answer
    assert [line["status"] for line in proxy.access_log() if line["path"] == "/slow"] == [503] * 3
    assert site.app.seen() == []


def test_an_engine_that_dies_takes_no_request_uninspected(site: Site) -> None:
    """What was at work on it is refused; then the other one has all, and the first one its share when it is back."""
    first, _ = site.engine(), site.engine()
    proxy = site.proxy().await_answer(200)
    wait_for(lambda: proxy.stat("membership_healthy") == 2, 10, "both healthy")
    with Load(proxy) as load:
        time.sleep(1)
        died = time.monotonic()
        first.stop()
        time.sleep(4)
    assert {status for _, status in load.attack} <= {403, 503}
    assert {status for _, status in load.clean} <= {200, 503}
    late = [status for at, status in load.clean if at > died + 3]
    assert late
    assert set(late) == {200}
    failed = [at - died for at, status in (*load.clean, *load.attack) if status == 503]
    sent = len(load.clean) + len(load.attack)
    print(f"{len(failed)} of {sent} requests were answered 503, {max(failed, default=0):.1f} s after the death at most")
    assert len(failed) < sent / 20
    again = start(first.folder, "http2", authority=site.authority, port=first.port)
    site.engines[0] = again
    wait_for(lambda: proxy.stat("membership_healthy") == 2, 10, "both healthy again")
    wait_for(lambda: proxy.answers(200) and requests(again) > 5, 10, "its share")


def test_an_engine_that_leaves_loses_no_request(site: Site) -> None:
    """A rollout: SIGTERM, then NOT_SERVING, then GOAWAY, and the uploads that it began end there."""
    first, _ = site.engine(), site.engine()
    proxy = site.proxy().await_answer(200)
    wait_for(lambda: proxy.stat("membership_healthy") == 2, 10, "both healthy")
    with Load(proxy) as load, Uploads(proxy, 20) as uploads:
        time.sleep(1)
        first.process.terminate()
        time.sleep(6)
    assert first.process.wait(20) == 0
    assert uploads.statuses == [200] * 20
    assert {status for _, status in load.clean} == {200}
    assert {status for _, status in load.attack} == {403}


def test_a_reload_loses_no_request(site: Site) -> None:
    """One engine alone, whose port passes from one generation to the next while connections age and begin."""
    engine = site.engine(f"--connection-age-seconds={AGE_S}")
    proxy = site.proxy().await_answer(200)
    with Load(proxy) as load, Uploads(proxy, 10) as uploads:
        for number in range(1, 4):
            engine.process.send_signal(signal.SIGHUP)
            wait_for(lambda number=number: engine.said.count("reloaded in") == number, 30, "reload")
    assert uploads.statuses == [200] * 10
    assert {status for _, status in load.clean} == {200}
    assert {status for _, status in load.attack} == {403}


def requests(engine: Engine) -> int:
    return int(json.loads(engine.page("/status")[1])["requests"])


FILES = ["--engine-ca=a", "--engine-cert=b", "--engine-key=c"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--engine=engine:9002"], "open-engine"),
        (["--engine=engine:9002", "--engine-ca=a"], "--engine-cert: is missing"),
        (["--engine=engine:9002", "--engine-name=x"], "--engine-name: needs --engine-ca"),
        (["--engine=engine"], "--engine: must be HOST:PORT"),
        (["--engine=10.0.0.1:9002", *FILES], "--engine-name: is missing"),
        (["--engine=a:9002", "--engine=b:9002", *FILES], "--engine-name: is missing"),
        (["--engine=a:9002", *FILES, "--engine-secrets=/nowhere/at/all"], "cannot be written"),
        (["--tls-cert=x", "--tls-key=y", "--tls-client-ca=z"], "lets in Envoy with a certificate only"),
    ],
)
def test_what_cannot_work_is_said(flags: list[str], said: str) -> None:
    command = [sys.executable, "-m", "extproc", "envoy-config", "--listen=127.0.0.1:1", "--app=127.0.0.1:2", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.parametrize("flag", ["--tls-cert=x", "--engine=engine:9002"])
def test_a_pair_asks_its_own_engine(flag: str) -> None:
    command = [sys.executable, "-m", "extproc", "up", "--listen=127.0.0.1:1", "--app=127.0.0.1:2", flag]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "only its Envoy asks that of `up`" in done.stderr
