"""What Envoy Gateway itself makes of our overlay, in a real Envoy with a real engine behind it.

`egctl x translate` is Envoy Gateway's own translation, without a cluster. It knows no EndpointSlices, so the Services
get addresses here, and those addresses are the only thing that is changed in the result: clusters and routes that Envoy
would ask for stand in the bootstrap, with ports of this machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from cluster import Tree, free_port
from manifests import REPO, documents, kustomize
from plane_build import find
from test_istio_filter import ATTACK, envoy_binary

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(180)]

APP = REPO / "k8s" / "examples" / "app"
PATIENCE_S = 30.0
ADDRESSES = {"hello": "192.0.2.10", "hello-extproc": "192.0.2.11"}
GIVEN = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: eg, namespace: default}
spec:
  gatewayClassName: eg
  listeners: [{name: http, protocol: HTTP, port: 80}]
"""
"""What the overlay expects to be there."""


class Translated(NamedTuple):
    """Resources as Envoy Gateway sends them; names in camel case, as its tool prints them."""

    listener: Tree
    route: Tree
    clusters: list[Tree]
    endpoints: dict[str, Tree]

    @property
    def manager(self) -> Tree:
        return dict(self.listener["defaultFilterChain"]["filters"][0]["typedConfig"])

    @property
    def ext_proc(self) -> Tree:
        (found,) = [one for one in self.manager["httpFilters"] if "ext_proc" in one["name"]]
        return dict(found)


def translate(folder: Path) -> Translated:
    programs = find("gateway")
    if isinstance(programs, str):
        print(f"Envoy Gateway translates nothing: {programs}")
        pytest.skip(f"Envoy Gateway translates nothing: {programs}")
    trees = [*documents(GIVEN), *documents(kustomize(REPO / "k8s" / "overlays" / "envoy-gateway"))]
    for tree in trees:
        if tree["kind"] != "GatewayClass":
            tree["metadata"]["namespace"] = "default"
        if tree["kind"] == "Service":
            tree["spec"]["clusterIP"] = ADDRESSES[tree["metadata"]["name"]]
    file = folder / "resources.yaml"
    file.write_text(yaml.safe_dump_all(trees))
    command = [programs / "egctl", "x", "translate", "--from=gateway-api", "--to=xds", "--output=json", "--file", file]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    (proxy,) = json.loads(done.stdout)["xds"].values()
    dumps = {one["@type"].rsplit(".", 1)[1]: one for one in proxy["configs"]}
    listeners = [one["activeState"]["listener"] for one in dumps["ListenersConfigDump"]["dynamicListeners"]]
    (listener,) = [one for one in listeners if one["name"] == "default/eg/http"]
    (route,) = [one["routeConfig"] for one in dumps["RoutesConfigDump"]["dynamicRouteConfigs"]]
    clusters = [one["cluster"] for one in dumps["ClustersConfigDump"]["dynamicActiveClusters"]]
    found = [one["endpointConfig"] for one in dumps["EndpointsConfigDump"]["dynamicEndpointConfigs"]]
    return Translated(listener, route, clusters, {one["clusterName"]: one for one in found})


def bootstrap(translated: Translated, ports: dict[str, int], listen: int) -> Tree:
    """The same resources at addresses of this machine; `ports` by the address that a Service had."""
    text = json.dumps([translated.listener, translated.clusters, translated.route])
    listener, clusters, route = json.loads(text)
    for one in (listener, route, *clusters, *translated.endpoints.values()):
        one.pop("@type", None)  # it has its place in an answer to Envoy, and not in a bootstrap
    listener["address"] = {"socketAddress": {"address": "127.0.0.1", "portValue": listen}}
    manager = listener["defaultFilterChain"]["filters"][0]["typedConfig"]
    assert manager.pop("rds")["routeConfigName"] == route["name"]
    manager["routeConfig"] = route
    for cluster in clusters:
        endpoints = translated.endpoints[cluster.pop("edsClusterConfig")["serviceName"]]
        for place in endpoints["endpoints"]:
            for one in place["lbEndpoints"]:
                port = ports[one["endpoint"]["address"]["socketAddress"]["address"]]
                one["endpoint"]["address"]["socketAddress"] = {"address": "127.0.0.1", "portValue": port}
        cluster.update(type="STATIC", loadAssignment={**endpoints, "clusterName": cluster["name"]})
    return {"staticResources": {"listeners": [listener], "clusters": clusters}}


class Gateway(NamedTuple):
    port: int
    engine: subprocess.Popen[bytes]

    def ask(self, path: str = "/", body: str | bytes | None = None) -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            form = {"content-type": "application/x-www-form-urlencoded"} if body is not None else {}
            connection.request("GET" if body is None else "POST", path, body, form)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, HTTPException):
                if condition():
                    return
            time.sleep(0.1)
        raise AssertionError(what)


@contextlib.contextmanager
def running(translated: Translated, folder: Path) -> Iterator[Gateway]:
    app, grpc, health, listen = (free_port() for _ in range(4))
    file = folder / "envoy.json"
    file.write_text(
        json.dumps(bootstrap(translated, {ADDRESSES["hello"]: app, ADDRESSES["hello-extproc"]: grpc}, listen))
    )
    commands = [
        [sys.executable, "-m", "extproc", "serve", "--mode=block", f"--grpc=127.0.0.1:{grpc}"],
        [sys.executable, APP / "app.py"],
        [envoy_binary(), "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning", "-c", file],
    ]
    commands[0] += [f"--health=127.0.0.1:{health}", f"--metrics=127.0.0.1:{free_port()}"]
    started = []
    environment = {**os.environ, "PORT": str(app), "BIND": "127.0.0.1"}
    try:
        for number, command in enumerate(commands):
            with (folder / f"log{number}").open("wb") as log:
                started.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
        gateway = Gateway(listen, started[0])
        gateway.until(lambda: gateway.ask()[0] == 200, "the gateway answers")
        yield gateway
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_every_request_of_the_route_is_asked_about(tmp_path: Path) -> None:
    """On the listener the filter is off; the one route switches it on and changes nothing of it."""
    translated = translate(tmp_path)
    ext_proc = translated.ext_proc
    assert ext_proc["disabled"] is True
    for host in translated.route["virtualHosts"]:
        for route in host["routes"]:
            assert route["typedPerFilterConfig"][ext_proc["name"]]["config"] == {}
    settings = ext_proc["typedConfig"]
    assert not settings.get("failureModeAllow")
    assert settings["statusOnError"] == {"code": "ServiceUnavailable"}
    assert settings["processingMode"] == {
        "requestHeaderMode": "SEND",
        "requestBodyMode": "BUFFERED",
        "requestTrailerMode": "SKIP",
        "responseHeaderMode": "SKIP",
        "responseTrailerMode": "SKIP",
    }


def test_it_blocks_and_lets_nothing_through_without_an_engine(tmp_path: Path) -> None:
    with running(translate(tmp_path), tmp_path) as gateway:
        assert gateway.ask("/hello?q=tea", "sugar=two") == (200, "POST /hello?q=tea\nsugar=two")
        assert gateway.ask(f"/?q={ATTACK}")[0] == 403
        assert gateway.ask("/", f"q={ATTACK}")[0] == 403
        gateway.engine.kill()
        gateway.engine.wait()
        gateway.until(lambda: gateway.ask()[0] == 503, "503 without the engine")
        assert gateway.ask("/", f"q={ATTACK}")[0] == 503


@pytest.mark.parametrize(("size", "attack", "status"), [(100_000, "", 200), (100_000, ATTACK, 403), (140_000, "", 413)])
def test_bodies_are_read_up_to_the_limit_and_refused_beyond(
    tmp_path: Path, size: int, attack: str, status: int
) -> None:
    """128 KiB, by the overlay's own ClientTrafficPolicy; the gateway's default is 32. An attack at the end is seen."""
    with running(translate(tmp_path), tmp_path) as gateway:
        assert gateway.ask("/", f"a={'x' * size}&q={attack}")[0] == status


def test_what_the_overlay_asks_of_the_gateway_is_done(tmp_path: Path) -> None:
    translated = translate(tmp_path)
    assert translated.listener["perConnectionBufferLimitBytes"] == 128 * 1024
    (strip,) = translated.manager["earlyHeaderMutationExtensions"]
    (mutation,) = strip["typedConfig"]["mutations"]
    assert mutation["removeOnMatch"]["keyMatcher"]["prefix"] == "x-waf-"
    assert translated.manager["useRemoteAddress"] is True
    assert translated.manager["normalizePath"] is True
    assert translated.manager["pathWithEscapedSlashesAction"] == "REJECT_REQUEST"
