"""The EnvoyFilter that `attach --to istio` writes, in a real Envoy behind a real REDIRECT, with a real engine.

istiod itself is in tests/k8s/planes; here `istio_proxy.apply` does what its documentation says. Every run looks at
Envoy's count of streams to the engine as well, for a slip in the redirect would let all traffic go straight to the app.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from istio_proxy import INBOUND_PORT, PROXY_VERSION, apply, managers, sidecar, waypoint
from manifests import PROGRAMS, REPO
from pod_network import PodNetwork

from extproc.attachment.manifests import Manifests
from extproc.attachment.mesh import waypoint_filter
from extproc.attachment.settings import AttachSettings

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(180)]

APP = REPO / "k8s" / "examples" / "app"
ATTACK = "1%27%20UNION%20SELECT%20name,password%20FROM%20users--%20"
DECLARED, UNDECLARED, HEALTH = 8080, 8081, 9003
ADMIN = 15000
PATIENCE_S = 30.0


def envoy_filter() -> dict:
    text = (APP / "deployment.yaml").read_text()
    attached = Manifests(["app"], [text]).attach(AttachSettings(to="istio"))
    (found,) = [one for one in yaml.safe_load_all(attached.texts[0]) if one["kind"] == "EnvoyFilter"]
    return dict(found)


def patched() -> dict:
    return dict(apply(sidecar(DECLARED), envoy_filter()))


def envoy_binary() -> Path:
    return next((PROGRAMS.parent / "lib").glob("python3*/site-packages/envoy/_bin/envoy"))


LISTENERS = ("virtualInbound", "main_internal")


def guarded(bootstrap: dict) -> list[dict]:
    return [manager for name in LISTENERS for manager in managers(bootstrap, name)]


def test_every_chain_gets_the_filter_right_before_the_router() -> None:
    """What comes through a tunnel as well: ztunnels and waypoints send it past `virtualInbound`."""
    chains = guarded(patched())
    assert len(chains) == 4
    for manager in chains:
        names = [one["name"] for one in manager["http_filters"]]
        assert names == ["extproc.ext_proc", "envoy.filters.http.router"]


def patched_waypoint() -> dict:
    engine = "extproc-engine.extproc-system.svc.cluster.local"
    clusters = [{"name": name, "type": "STATIC"} for name in ("inbound-vip|80||hello", f"outbound|9002||{engine}")]
    return dict(apply(waypoint(*clusters), waypoint_filter("extproc", "default", "waypoint", engine)))


def test_a_waypoint_asks_about_requests_and_not_about_tunnels() -> None:
    bootstrap = patched_waypoint()
    (manager,) = managers(bootstrap, "main_internal")
    assert [one["name"] for one in manager["http_filters"]] == ["extproc.ext_proc", "envoy.filters.http.router"]
    assert "early_header_mutation_extensions" in manager


@pytest.mark.parametrize("bootstrap", [patched(), patched_waypoint()], ids=["sidecar", "waypoint"])
def test_tunnels_are_left_alone(bootstrap: dict) -> None:
    (manager,) = managers(bootstrap, "connect_terminate")
    assert [one["name"] for one in manager["http_filters"]] == ["envoy.filters.http.router"]
    assert "early_header_mutation_extensions" not in manager


def test_the_filter_is_the_pairs_own() -> None:
    """What was shown for the sidecar holds for the mesh as far as the filter goes."""
    pair = yaml.safe_load((REPO / "envoy" / "sidecar.yaml").read_text())
    (ours,) = [one for one in managers(pair, "ingress")[0]["http_filters"] if one["name"] == "extproc.ext_proc"]
    assert all(ours in manager["http_filters"] for manager in guarded(patched()))


def test_it_matches_the_versions_of_istio_it_was_made_for() -> None:
    for patch in envoy_filter()["spec"]["configPatches"]:
        version = patch["match"]["proxy"]["proxyVersion"]
        assert re.match(version, PROXY_VERSION)
        assert not re.match(version, "1.19.3")
        assert patch["match"]["context"] == "SIDECAR_INBOUND"
        assert "portNumber" not in patch["match"].get("listener", {})


def validate(bootstrap: dict, folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "envoy.yaml"
    file.write_text(yaml.safe_dump(bootstrap))
    command = [envoy_binary(), "--mode", "validate", "-c", file]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("bootstrap", [patched(), patched_waypoint()], ids=["sidecar", "waypoint"])
def test_envoy_takes_it(bootstrap: dict, tmp_path: Path) -> None:
    """istiod drops a misspelt field without a word; Envoy does not."""
    done = validate(bootstrap, tmp_path)
    assert done.returncode == 0, done.stderr
    for manager in managers(bootstrap, "main_internal"):
        manager["http_filters"][0]["typed_config"]["failure_mode_alow"] = False
    assert validate(bootstrap, tmp_path).returncode != 0


def why_not() -> str | None:
    if os.geteuid() != 0:
        return "network namespaces are made by root"
    missing = [program for program in ("ip", "iptables", "unshare") if shutil.which(program) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    tried = subprocess.run(["unshare", "--net", "iptables", "-t", "nat", "-L"], capture_output=True, check=False)
    return None if tried.returncode == 0 else "the kernel gives no namespace with NAT"


class Mesh(NamedTuple):
    network: PodNetwork
    engine: subprocess.Popen[bytes]


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    reason = why_not()
    if reason is not None:
        print(f"the mesh is not run: {reason}")
        pytest.skip(reason)
    network = PodNetwork("extproc-istio")
    network.open()
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str | Path, **environment: str) -> subprocess.Popen[bytes]:
        entered = ["ip", "netns", "exec", network.pod, *map(str, command)]
        with (tmp_path / f"log{len(started)}").open("wb") as log:
            process = subprocess.Popen(entered, stdout=log, stderr=log, env={**os.environ, **environment})
        started.append(process)
        return process

    rule = f"-t nat -A PREROUTING -i eth0 -p tcp -m multiport ! --dports 15020,15021,{HEALTH} -j REDIRECT"
    redirect = ["ip", "netns", "exec", network.pod, "iptables", *rule.split(), "--to-ports", str(INBOUND_PORT)]
    try:
        subprocess.run(redirect, check=True, capture_output=True)
        for port in (DECLARED, UNDECLARED):
            start(sys.executable, APP / "app.py", PORT=str(port), BIND="0.0.0.0")
        engine = start(
            sys.executable,
            "-m",
            "extproc",
            "serve",
            "--mode=block",
            "--grpc=127.0.0.1:9002",
            f"--health=0.0.0.0:{HEALTH}",
        )
        bootstrap = patched()
        admin = {"socket_address": {"address": "0.0.0.0", "port_value": ADMIN}}
        bootstrap["admin"] = {"address": admin}
        file = tmp_path / "envoy.yaml"
        file.write_text(yaml.safe_dump(bootstrap))
        start(envoy_binary(), "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning", "-c", file)
        wait_for(network, DECLARED, "/", 200)
        yield Mesh(network, engine)
    finally:
        for process in started:
            process.kill()
            process.wait()
        network.close()


def ask(network: PodNetwork, port: int, path: str = "/", body: str | None = None, **headers: str) -> tuple[int, str]:
    with contextlib.closing(network.http(port)) as connection:
        form = {"content-type": "application/x-www-form-urlencoded"} if body is not None else {}
        connection.request("GET" if body is None else "POST", path, body, {**form, **headers})
        response = connection.getresponse()
        return response.status, response.read().decode()


def wait_for(network: PodNetwork, port: int, path: str, status: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    seen: object = None
    while time.monotonic() < deadline:
        try:
            seen = ask(network, port, path)[0]
        except (OSError, HTTPException) as error:
            seen = error
        if seen == status:
            return
        time.sleep(0.1)
    raise AssertionError(f"{path}: {seen} instead of {status}")


def streams(mesh: Mesh) -> int:
    """Streams that Envoy opened to the engine, all chains. The admin is asked from inside: nothing redirects there."""
    command = ["ip", "netns", "exec", mesh.network.pod, sys.executable, "-c"]
    look = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{ADMIN}/stats').read().decode())"
    text = subprocess.run([*command, look], capture_output=True, text=True, check=True).stdout
    lines = [line for line in text.splitlines() if "ext_proc" in line and "streams_started" in line]
    return sum(int(line.rsplit(" ", 1)[1]) for line in lines)


@pytest.mark.parametrize("port", [DECLARED, UNDECLARED], ids=["declared", "undeclared"])
def test_attacks_are_blocked_on_every_port(mesh: Mesh, port: int) -> None:
    before = streams(mesh)
    assert ask(mesh.network, port, "/hello?q=tea", "sugar=two") == (200, "POST /hello?q=tea\nsugar=two")
    assert ask(mesh.network, port, f"/?q={ATTACK}")[0] == 403
    assert ask(mesh.network, port, "/", f"q={ATTACK}")[0] == 403
    assert streams(mesh) == before + 3


def test_without_the_engine_nothing_passes_and_health_is_untouched(mesh: Mesh) -> None:
    assert ask(mesh.network, HEALTH, "/readyz")[0] == 200  # past the proxy, as the kubelet's rewritten probes go
    mesh.engine.kill()
    mesh.engine.wait()
    wait_for(mesh.network, DECLARED, "/", 503)
    assert ask(mesh.network, UNDECLARED, f"/?q={ATTACK}")[0] == 503
