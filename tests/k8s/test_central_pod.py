"""The central engine as a running pod from its rendered manifests, and a real Envoy on another node that asks it."""

from __future__ import annotations

import contextlib
import copy
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pod_images
import pytest
from certificates import Authority, make_authority, write_certificate
from manifests import REPO, Tree, documents, kustomize, of_kind
from pod_network import POD_ADDRESS, PodNetwork
from pod_runner import Pod

from extproc.proxy.binary import envoy_arguments, find_envoy

pytestmark = [pytest.mark.pod, pytest.mark.envoy, pytest.mark.slow, pytest.mark.timeout(900)]

ATTACK = "1%27%20UNION%20SELECT%20name,password%20FROM%20users--%20"
FORM = {"content-type": "application/x-www-form-urlencoded"}
APP, CONTROL, LISTEN = 8080, 8081, 8000
PATIENCE_S = 30.0


def held(folder: Path, authority: Authority) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("tls.crt", "tls.key")} | {"ca.crt": authority.pem}


class Site:
    """The pod, and on the node an app and one proxy after the other."""

    def __init__(self, pod: Pod, network: PodNetwork, authority: Authority, folder: Path) -> None:
        self.pod, self.network, self.authority, self.folder = pod, network, authority, folder

    def ask(self, path: str = "/hello", body: str | None = None, port: int = LISTEN) -> int:
        return self.answer("GET" if body is None else "POST", path, body, port)[0]

    def answer(self, method: str, path: str, body: str | None, port: int) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        connection.sock = self.network.connect_node(port)
        with contextlib.closing(connection):
            connection.request(method, path, body, FORM if body is not None else {})
            response = connection.getresponse()
            return response.status, response.read()

    def seen(self) -> list[str]:
        """Paths that reached the app since the last call."""
        found: list[dict[str, Any]] = json.loads(self.answer("GET", "/seen", None, CONTROL)[1])
        self.answer("DELETE", "/seen", None, CONTROL)
        return [one["path"] for one in found]

    def await_answer(self, status: int) -> None:
        until(lambda: self.ask() == status, f"answer {status}")

    @contextlib.contextmanager
    def proxy(self, name: str, authority: Authority, kind: str = "client") -> Iterator[None]:
        """Envoy with a certificate of `authority`."""
        client = self.folder / name
        write_certificate(client, authority, "spiffe://extproc/proxy", is_client=kind == "client")
        (client / "ca.crt").write_bytes(self.authority.pem)
        command = [sys.executable, "-m", "extproc", "envoy-config", f"--listen=127.0.0.1:{LISTEN}"]
        command += [f"--app=127.0.0.1:{APP}", f"--engine={POD_ADDRESS}:9002", "--access-log=off"]
        command += ["--engine-name=extproc-engine.extproc-system.svc", f"--engine-secrets={client}"]
        command += [f"--engine-ca={client}/ca.crt", f"--engine-cert={client}/tls.crt", f"--engine-key={client}/tls.key"]
        command += [f"--bootstrap={client}/envoy.yaml", f"--admin=unix:{client}/admin.sock"]
        subprocess.run(command, check=True)
        with (client / "envoy.log").open("wb") as log:
            arguments = self.network.on_node(*envoy_arguments(find_envoy(""), client / "envoy.yaml", 1))
            process = subprocess.Popen(arguments, stderr=log)
        try:
            until(lambda: bool(self.ask()), "Envoy")
            yield
        finally:
            process.terminate()
            process.wait(20)


def until(claim: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(OSError, HTTPException):
            if claim():
                return
        if time.monotonic() > end:
            pytest.fail(f"no {what}")
        time.sleep(0.1)


def shipped(mode: str) -> Tree:
    """The pod of the overlay; `mode` is the one thing that a user is meant to change."""
    deployments = of_kind(documents(kustomize(REPO / "k8s" / "overlays" / "central")), "Deployment")
    spec: Tree = copy.deepcopy(deployments[0]["spec"]["template"]["spec"])
    [container] = spec["containers"]
    [setting] = [one for one in container["env"] if one["name"] == "EXTPROC_MODE"]
    setting["value"] = mode
    return spec


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    reason = pod_images.why_not()
    if reason is not None:
        print(f"the pod is not run: {reason}")
        pytest.skip(reason)
    podman, network, folder = pod_images.Podman(), PodNetwork("extproc-central"), tmp_path_factory.mktemp("central")
    authority = make_authority("extproc central")
    write_certificate(folder / "server", authority, "extproc-engine.extproc-system.svc")
    secrets = {"extproc-engine-tls": held(folder / "server", authority)}
    images = pod_images.build(podman)
    network.open()
    pod = Pod(podman, network, shipped("block"), {}, images, folder / "volumes", secrets)
    demo = [sys.executable, "-m", "extproc.cli.demo_app", "--listen", f"127.0.0.1:{APP}"]
    app = subprocess.Popen(network.on_node(*demo, "--control", f"127.0.0.1:{CONTROL}"), stdout=subprocess.DEVNULL)
    site = Site(pod, network, authority, folder)
    try:
        until(lambda: site.ask(port=APP) == 200, "app")
        pod.remove()
        pod.start()
        site.seen()
        yield site
    finally:
        app.kill()
        app.wait(10)
        pod.remove()
        network.close()
        podman.close()


def test_a_proxy_with_a_certificate_is_served_and_guarded(site: Site) -> None:
    with site.proxy("good", site.authority):
        site.await_answer(200)
        site.seen()
        assert site.ask("/hello?q=tea", "sugar=two") == 200
        assert site.ask(f"/hello?q={ATTACK}") == 403
        assert site.ask("/hello", f"q={ATTACK}") == 403
        assert site.seen() == ["/hello?q=tea"]


@pytest.mark.parametrize("who", ["of another CA", "not a client's"])
def test_one_without_is_told_nothing_and_lets_nothing_pass(site: Site, who: str) -> None:
    authority = make_authority("their CA") if who == "of another CA" else site.authority
    kind = "client" if who == "of another CA" else "server"
    with site.proxy(who.replace(" ", "-"), authority, kind):
        time.sleep(2)
        site.seen()
        assert {site.ask(), site.ask(f"/hello?q={ATTACK}"), site.ask("/hello", "a=b")} == {503}
        assert site.seen() == []
    until(lambda: "its certificate is not to be trusted" in site.pod.log("extproc-engine"), "line in the log")


def test_plain_text_is_refused_and_counted(site: Site) -> None:
    with site.network.connect(9002) as plain:
        plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert plain.recv(100) == b""
    until(lambda: 'extproc_clients_refused_total{reason="plain-text"} 1' in metrics(site), "count")


def metrics(site: Site) -> str:
    with contextlib.closing(site.network.http(9090)) as connection:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()


def test_probes_and_metrics_need_no_certificate(site: Site) -> None:
    for port, path in ((9003, "/healthz"), (9003, "/readyz")):
        with contextlib.closing(site.network.http(port)) as connection:
            connection.request("GET", path)
            assert connection.getresponse().status == 200
    assert "extproc_streams 0" in metrics(site)
    assert "extproc_certificate_expires_seconds 1" in metrics(site)


def test_a_dead_engine_closes_and_a_restarted_one_opens(site: Site) -> None:
    with site.proxy("patient", site.authority):
        site.await_answer(200)
        site.seen()
        site.pod.kill("extproc-engine")
        assert {site.ask(), site.ask(f"/hello?q={ATTACK}")} == {503}
        assert site.seen() == []
        assert site.pod.heal() == ["extproc-engine"]
        site.await_answer(200)
        assert site.ask(f"/hello?q={ATTACK}") == 403


def test_it_leaves_in_time(site: Site) -> None:
    site.pod.stop()
    assert site.pod.exit_code("extproc-engine") == 0
