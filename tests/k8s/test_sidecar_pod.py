"""The rendered overlay as a running pod: the shipped Dockerfile's images, real Envoy, real engine, kubelet's order."""

from __future__ import annotations

import contextlib
import copy
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import pod_images
import pytest
from manifests import REPO, Tree, documents, kustomize, of_kind
from pod_network import PodNetwork
from pod_runner import Pod

pytestmark = [pytest.mark.pod, pytest.mark.envoy, pytest.mark.slow, pytest.mark.timeout(900)]

ATTACK = "1%27%20UNION%20SELECT%20name,password%20FROM%20users--%20"
FORM = {"content-type": "application/x-www-form-urlencoded"}

HEAL_SECONDS = 15.0
"""A restarted engine, and Envoy's next health check of it; far above what a busy machine was seen to need."""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture(scope="module")
def podman() -> Iterator[pod_images.Podman]:
    reason = pod_images.why_not()
    if reason is not None:
        print(f"the pod is not run: {reason}")
        pytest.skip(reason)
    podman = pod_images.Podman()
    yield podman
    podman.close()


@pytest.fixture(scope="module")
def images(podman: pod_images.Podman) -> dict[str, str]:
    return pod_images.build(podman)


@pytest.fixture(scope="module")
def trees() -> list[Tree]:
    return documents(kustomize(REPO / "k8s" / "overlays" / "sidecar"))


@contextlib.contextmanager
def running(
    name: str,
    podman: pod_images.Podman,
    images: dict[str, str],
    trees: list[Tree],
    folder: Path,
    mode: str | None = None,
) -> Iterator[tuple[Pod, PodNetwork]]:
    """The overlay's pod, ready. `mode` replaces the one thing that a user is meant to change."""
    spec = copy.deepcopy(of_kind(trees, "Deployment")[0]["spec"]["template"]["spec"])
    if mode is not None:
        spec["initContainers"][0]["env"] = [{"name": "EXTPROC_MODE", "value": mode}]
    config_maps = {tree["metadata"]["name"]: tree["data"] for tree in of_kind(trees, "ConfigMap")}
    network = PodNetwork(name)
    network.open()
    pod = Pod(podman, network, spec, config_maps, images, folder)
    try:
        pod.remove()
        pod.start()
        yield pod, network
    finally:
        pod.remove()
        network.close()


@pytest.fixture(scope="module")
def blocking(
    podman: pod_images.Podman, images: dict[str, str], trees: list[Tree], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Pod, PodNetwork]]:
    with running("extproc-block", podman, images, trees, tmp_path_factory.mktemp("volumes"), "block") as pair:
        yield pair


def ask(network: PodNetwork, path: str = "/", body: str | None = None, port: int = 8000) -> Answer:
    """One request from the node to the pod."""
    with contextlib.closing(network.http(port)) as connection:
        connection.request("GET" if body is None else "POST", path, body, FORM if body is not None else {})
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def test_start_order(blocking: tuple[Pod, PodNetwork]) -> None:
    pod, _ = blocking
    started = [event.container for event in pod.events if event.what == "started"]
    assert started == ["extproc-engine", "extproc-envoy", "hello"]


def test_clean_requests_reach_the_app(blocking: tuple[Pod, PodNetwork]) -> None:
    _, network = blocking
    answer = ask(network, "/hello?q=tea", "sugar=two")
    assert (answer.status, answer.body) == (200, b"POST /hello?q=tea\nsugar=two")


@pytest.mark.parametrize(("path", "body"), [(f"/?q={ATTACK}", None), ("/", f"q={ATTACK}")], ids=["query", "body"])
def test_attacks_are_blocked(blocking: tuple[Pod, PodNetwork], path: str, body: str | None) -> None:
    pod, network = blocking
    answer = ask(network, path, body)
    assert answer.status == 403
    incident = answer.headers["x-waf-incident"]
    pod.await_log("extproc-engine", incident)  # the decision event, written when some have come together


@pytest.mark.parametrize("port", [8080, 9002, 9901], ids=["app", "engine", "envoy-admin"])
def test_nobody_gets_past_envoy(blocking: tuple[Pod, PodNetwork], port: int) -> None:
    _, network = blocking
    with pytest.raises(ConnectionRefusedError):
        network.connect(port)


def test_containers_are_confined(blocking: tuple[Pod, PodNetwork]) -> None:
    """Seen from inside: the user, no capabilities, no new privileges, a filter on system calls, a read-only root."""
    pod, _ = blocking
    look = "import pathlib; print(pathlib.Path('/proc/1/status').read_text())"
    status = pod.execute("extproc-engine", "python", "-c", look)
    facts = dict(re.findall(r"^(Uid|CapEff|CapBnd|NoNewPrivs|Seccomp):\s*(\S+)", status, re.MULTILINE))
    nothing = "0" * 16
    assert facts == {"Uid": "65532", "CapEff": nothing, "CapBnd": nothing, "NoNewPrivs": "1", "Seccomp": "2"}
    write = "import errno,os\ntry: os.mkdir('/opt/x')\nexcept OSError as e: print(errno.errorcode[e.errno])"
    assert pod.execute("extproc-engine", "python", "-c", write).strip() == "EROFS"


def test_image_has_no_installer(blocking: tuple[Pod, PodNetwork]) -> None:
    pod, _ = blocking
    look = "import importlib.util as u; print([n for n in ('pip', 'setuptools', 'envoy') if u.find_spec(n)])"
    assert pod.execute("extproc-engine", "python", "-c", look).strip() == "[]"


def test_killed_engine_closes_the_pod_and_comes_back(blocking: tuple[Pod, PodNetwork]) -> None:
    pod, network = blocking
    pod.kill("extproc-engine")
    assert ask(network).status == 503
    assert ask(network, f"/?q={ATTACK}").status == 503
    assert pod.heal() == ["extproc-engine"]
    wait_for_status(network, "/", 200)
    assert ask(network, f"/?q={ATTACK}").status == 403


def test_killed_envoy_comes_back(blocking: tuple[Pod, PodNetwork]) -> None:
    pod, network = blocking
    pod.kill("extproc-envoy")
    with pytest.raises(ConnectionRefusedError):
        network.connect(8000)
    assert pod.heal() == ["extproc-envoy"]
    wait_for_status(network, "/", 200)
    assert ask(network, f"/?q={ATTACK}").status == 403


def wait_for_status(network: PodNetwork, path: str, status: int) -> None:
    deadline = time.monotonic() + HEAL_SECONDS
    seen: object = None
    while time.monotonic() < deadline:
        try:
            seen = ask(network, path).status
        except (OSError, HTTPException) as error:
            seen = error
        if seen == status:
            return
        time.sleep(0.1)
    raise AssertionError(f"{path}: {seen} instead of {status} for {HEAL_SECONDS:.0f} s")


def test_what_attach_writes_runs(
    podman: pod_images.Podman, images: dict[str, str], trees: list[Tree], tmp_path: Path
) -> None:
    """`extproc attach` on the example app: no ConfigMap for Envoy, the engine writes its configuration."""
    app = REPO / "k8s" / "examples" / "app"
    files = [str(app / name) for name in ("deployment.yaml", "service.yaml")]
    command = [sys.executable, "-m", "extproc", "attach", *files, "--target-port=name", "--mode=block"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    attached = [*documents(done.stdout), *of_kind(documents(kustomize(app)), "ConfigMap")]
    volume = of_kind(attached, "Deployment")[0]["spec"]["template"]["spec"]["volumes"][0]
    volume["configMap"]["name"] = of_kind(attached, "ConfigMap")[0]["metadata"]["name"]  # kustomize adds a hash
    with running("extproc-attached", podman, images, attached, tmp_path) as (_, network):
        assert ask(network, "/hello?q=tea", "sugar=two").status == 200
        assert ask(network, f"/?q={ATTACK}").status == 403
        assert ask(network, "/", f"q={ATTACK}").status == 403


def test_as_shipped_it_watches_and_ends_in_order(
    podman: pod_images.Podman, images: dict[str, str], trees: list[Tree], tmp_path: Path
) -> None:
    """Monitor mode blocks nothing; on deletion the app ends first and the engine last, each with exit code 0."""
    with running("extproc-watch", podman, images, trees, tmp_path) as (pod, network):
        assert ask(network, f"/?q={ATTACK}").status == 200
        log = pod.log("extproc-engine")
        assert '"would": "block"' in log or '"would":"block"' in log
        answers: list[object] = []
        stopping = threading.Thread(target=pod.stop)
        stopping.start()
        # As long as the app's preStop hook sleeps, requests that still come in are served.
        while not any(event.what == "signalled" for event in pod.events):
            try:
                answers.append(ask(network).status)
            except (OSError, HTTPException) as error:
                answers.append(error)
            time.sleep(0.05)
        stopping.join()
        assert set(answers[:-1]) == {200}  # the last one may have met the end of the app
        ended = [event.container for event in pod.events if event.what == "ended"]
        assert ended == ["hello", "extproc-envoy", "extproc-engine"]
        assert {name: pod.exit_code(name) for name in ended} == dict.fromkeys(ended, 0), pod.log("extproc-engine")
