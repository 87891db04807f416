"""What istiod itself makes of our EnvoyFilters, for a sidecar and for a waypoint, and real traffic through it.

Every run looks at Envoy's count of streams to the engine as well: a patch that istiod leaves out without a word lets
all traffic pass.
"""

from __future__ import annotations

import contextlib
import ssl
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from cluster import Cluster, Tree
from istiod import Istiod, Proxy, http_filters, in_namespace
from manifests import REPO, documents, kustomize
from pod_network import POD_ADDRESS, PodNetwork
from test_istio_filter import ATTACK, DECLARED, HEALTH, UNDECLARED, ask, patched, wait_for

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(300)]

APP = REPO / "k8s" / "examples" / "app"
FRONT = 8000
"""Where a waypoint is called instead of through a tunnel."""


class Run(NamedTuple):
    network: PodNetwork
    proxy: Proxy
    engine: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def sidecar_pod(cluster: Cluster, istiod: Istiod) -> Tree:
    """The example app with what `attach --to istio` adds, as the API server has it, ready."""
    cluster.namespace("mesh")
    command = [sys.executable, "-m", "extproc", "attach", "--to=istio", "--target-port=keep"]
    files = [APP / "deployment.yaml", APP / "service.yaml"]
    attached = subprocess.run([*command, *files], capture_output=True, text=True, check=True, cwd=REPO).stdout
    done = cluster.kubectl("apply", "-n", "mesh", "-f", "-", stdin=attached)
    assert done.returncode == 0, done.stderr
    pod = cluster.until(lambda: cluster.pods("mesh"), "the pod of the app")[0]
    cluster.report_ready(pod, podIP=POD_ADDRESS)
    return cluster.pods("mesh")[0]


@contextlib.contextmanager
def world(name: str, folder: Path, *addresses: str) -> Iterator[tuple[PodNetwork, subprocess.Popen[bytes]]]:
    """App and engine in a network namespace; the engine is ready."""
    network = PodNetwork(name)
    network.open()
    started = []
    try:
        for address in addresses:
            add = ["ip", "-n", network.pod, "address", "add", f"{address}/32", "dev", "lo"]
            subprocess.run(add, check=True, capture_output=True)
        for port in (DECLARED, UNDECLARED):
            log = folder / f"app{port}.log"
            started.append(in_namespace(network, log, sys.executable, APP / "app.py", PORT=str(port), BIND="0.0.0.0"))
        serve = ("-m", "extproc", "serve", "--mode=block", "--grpc=0.0.0.0:9002", f"--health=0.0.0.0:{HEALTH}")
        engine = in_namespace(network, folder / "engine.log", sys.executable, *serve)
        started.append(engine)
        wait_for(network, HEALTH, "/readyz", 200)
        yield network, engine
    finally:
        for process in started:
            process.kill()
            process.wait()
        network.close()


@pytest.fixture
def sidecar(istiod: Istiod, sidecar_pod: Tree, tmp_path: Path) -> Iterator[Run]:
    with world("extproc-istiod", tmp_path) as (network, engine):
        rule = f"-t nat -A PREROUTING -i eth0 -p tcp -m multiport ! --dports 15020,15021,{HEALTH} -j REDIRECT"
        redirect = ["ip", "netns", "exec", network.pod, "iptables", *rule.split(), "--to-ports", "15006"]
        subprocess.run(redirect, check=True, capture_output=True)
        admin = tmp_path / "sidecar.sock"
        proxy = Proxy(network.pod, istiod.bootstrap("sidecar", sidecar_pod, admin), tmp_path, admin)
        try:
            wait_for(network, DECLARED, "/", 200)
            yield Run(network, proxy, engine)
        finally:
            proxy.stop()


def test_istiod_leaves_nothing_of_it_out(istiod: Istiod, sidecar: Run, tmp_path: Path) -> None:
    """Chain by chain and field by field what our own applier makes of it, both as Envoy gives them back."""
    admin = tmp_path / "ours.sock"
    bootstrap = {**patched(), "admin": {"address": {"pipe": {"path": str(admin)}}}}
    ours = Proxy(sidecar.network.node, bootstrap, tmp_path, admin)
    try:
        istiod.cluster.until(lambda: "LIVE" in ours.get("/ready"), "our own Envoy answers")
        wanted_cluster = ours.clusters("static_clusters")["extproc"]
        dump = yaml.safe_load(ours.get("/config_dump?resource=static_listeners"))["configs"]
    finally:
        ours.stop()
    fixtures = {one["listener"]["name"]: one["listener"] for one in dump}
    # Of `virtualInbound` the declared port and the catch-all, each with and without mTLS; of tunnels the same two.
    for name, at_least in (("virtualInbound", 4), ("main_internal", 2)):
        fixture, sent = fixtures[name], sidecar.proxy.listeners()[name]
        (wanted,) = {str(one) for chain in http_filters(fixture) for one in chain if one["name"] == "extproc.ext_proc"}
        chains = http_filters(sent)
        assert len(chains) >= at_least
        for filters in chains:
            assert filters[-1]["name"] == "envoy.filters.http.router"
            assert str(filters[-2]) == wanted
        (strip,) = {str(manager["early_header_mutation_extensions"]) for manager in _managers(fixture)}
        assert {str(manager.get("early_header_mutation_extensions")) for manager in _managers(sent)} == {strip}
        assert sent["per_connection_buffer_limit_bytes"] == fixture["per_connection_buffer_limit_bytes"]
    tunnels = http_filters(sidecar.proxy.listeners()["connect_terminate"])
    assert tunnels
    assert "extproc" not in str(tunnels)
    assert sidecar.proxy.clusters()["extproc"] == wanted_cluster
    assert "failed to build" not in istiod.log.read_text()


def _managers(listener: Tree) -> list[Tree]:
    found = [one["typed_config"] for chain in listener["filter_chains"] for one in chain["filters"]]
    return [one for one in found if "http_filters" in one]


@pytest.mark.parametrize("port", [DECLARED, UNDECLARED], ids=["declared", "undeclared"])
def test_a_sidecar_blocks_on_every_port(sidecar: Run, port: int) -> None:
    before = sidecar.proxy.streams()
    assert ask(sidecar.network, port, "/hello?q=tea", "sugar=two") == (200, "POST /hello?q=tea\nsugar=two")
    assert ask(sidecar.network, port, f"/?q={ATTACK}")[0] == 403
    assert ask(sidecar.network, port, "/", f"q={ATTACK}")[0] == 403
    assert sidecar.proxy.streams() == before + 3


def test_a_sidecar_blocks_what_comes_by_mtls(istiod: Istiod, sidecar: Run) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # it is Envoy that looks at certificates here
    context.load_cert_chain(istiod.identity / "tls.crt", istiod.identity / "tls.key")
    context.set_alpn_protocols(["istio-http/1.1"])

    def status(path: str) -> int:
        connection = HTTPConnection(POD_ADDRESS, DECLARED)
        with contextlib.closing(connection):
            connection.sock = context.wrap_socket(sidecar.network.connect(DECLARED))
            connection.request("GET", path)
            return connection.getresponse().status

    before = sidecar.proxy.streams()
    assert (status("/?q=tea"), status(f"/?q={ATTACK}")) == (200, 403)
    assert sidecar.proxy.streams() == before + 2


def test_a_sidecar_lets_nothing_through_without_its_engine(sidecar: Run) -> None:
    sidecar.engine.kill()
    sidecar.engine.wait()
    wait_for(sidecar.network, DECLARED, "/", 503)
    assert ask(sidecar.network, UNDECLARED, f"/?q={ATTACK}")[0] == 503


WAYPOINT = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: default, labels: {istio.io/waypoint-for: service}}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
---
apiVersion: v1
kind: Service
metadata: {name: waypoint, namespace: default}
spec:
  selector: {gateway.networking.k8s.io/gateway-name: waypoint}
  ports: [{name: hbone, port: 15008, appProtocol: hbone}]
---
apiVersion: v1
kind: Pod
metadata:
  name: waypoint
  namespace: default
  labels: {gateway.networking.k8s.io/gateway-name: waypoint}
spec: {containers: [{name: istio-proxy, image: proxy}]}
"""


@pytest.fixture
def waypoint(cluster: Cluster, istiod: Istiod, tmp_path: Path) -> Iterator[Run]:
    """The overlay as it is, an app in an ambient namespace, and an Envoy in the waypoint's place."""
    labels = ("istio.io/dataplane-mode=ambient", "istio.io/use-waypoint=waypoint")
    assert cluster.kubectl("label", "namespace", "default", "--overwrite", *labels).returncode == 0
    overlay = documents(kustomize(REPO / "k8s" / "overlays" / "istio-ambient"))
    cluster.apply([*overlay, *documents(WAYPOINT)])
    files = ("-f", APP / "deployment.yaml", "-f", APP / "service.yaml")
    assert cluster.kubectl("apply", "-n", "default", *files).returncode == 0
    system, named = "extproc-system", "app.kubernetes.io/name="
    # One of two is run; the other stays where a scheduler would find it.
    cluster.until(lambda: cluster.pods(system, f"{named}extproc-engine"), "an engine")
    cluster.until(lambda: cluster.pods("default", f"{named}hello"), "an app")
    addresses = [
        cluster.report_ready(cluster.pods(system, f"{named}extproc-engine")[0]),
        cluster.report_ready(cluster.pods("default", f"{named}hello")[0]),
    ]
    (pod,) = [one for one in cluster.pods("default") if one["metadata"]["name"] == "waypoint"]
    cluster.report_ready(pod, podIP=POD_ADDRESS)
    (pod,) = [one for one in cluster.pods("default") if one["metadata"]["name"] == "waypoint"]
    # As Istio's own controller writes it when it has made the waypoint's pods.
    status = {"status": {"addresses": [{"type": "Hostname", "value": "waypoint.default.svc.cluster.local"}]}}
    path = "/apis/gateway.networking.k8s.io/v1/namespaces/default/gateways/waypoint/status"
    cluster.call("PATCH", path, status, "application/merge-patch+json")
    service = cluster.get("service", "hello", "default")["spec"]["clusterIP"]
    admin = tmp_path / "waypoint.sock"
    bootstrap = istiod.bootstrap("waypoint", pod, admin)
    bootstrap["static_resources"]["listeners"] = [front(f"{service}:80")]
    with world("extproc-waypoint", tmp_path, *addresses) as (network, process):
        proxy = Proxy(network.pod, bootstrap, tmp_path, admin)
        try:
            wait_for(network, FRONT, "/", 200)
            yield Run(network, proxy, process)
        finally:
            proxy.stop()


def front(service: str) -> Tree:
    """Instead of the tunnel that ztunnel opens: the same state of the connection, which Service was meant."""
    types = "type.googleapis.com/envoy.extensions.filters.network"
    state = {
        "object_key": "envoy.filters.listener.original_dst.local_ip",
        "format_string": {"text_format_source": {"inline_string": service}},
        "shared_with_upstream": "ONCE",
    }
    return {
        "name": "front",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": FRONT}},
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.set_filter_state",
                        "typed_config": {
                            "@type": f"{types}.set_filter_state.v3.Config",
                            "on_new_connection": [state],
                        },
                    },
                    {
                        "name": "envoy.filters.network.tcp_proxy",
                        "typed_config": {
                            "@type": f"{types}.tcp_proxy.v3.TcpProxy",
                            "stat_prefix": "front",
                            "cluster": "main_internal",
                        },
                    },
                ]
            }
        ],
    }


def test_a_waypoint_blocks_and_lets_nothing_through_without_an_engine(istiod: Istiod, waypoint: Run) -> None:
    chains = http_filters(waypoint.proxy.listeners()["main_internal"])
    assert len(chains) >= 2  # the Service's, and the one for pods that are called directly
    for filters in chains:
        assert [one["name"] for one in filters[-2:]] == ["extproc.ext_proc", "envoy.filters.http.router"]
    before = waypoint.proxy.streams()
    assert ask(waypoint.network, FRONT, "/hello?q=tea", "sugar=two") == (200, "POST /hello?q=tea\nsugar=two")
    assert ask(waypoint.network, FRONT, f"/?q={ATTACK}")[0] == 403
    assert ask(waypoint.network, FRONT, "/", f"q={ATTACK}")[0] == 403
    assert waypoint.proxy.streams() == before + 3
    waypoint.engine.kill()
    waypoint.engine.wait()
    wait_for(waypoint.network, FRONT, "/", 503)
    assert "failed to build" not in istiod.log.read_text()
