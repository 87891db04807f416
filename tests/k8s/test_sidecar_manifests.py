"""k8s/ rendered by kustomize: schema, the rules between fields, Pod Security, and Envoy's own word on its part."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import (
    PROGRAMS,
    REPO,
    Tree,
    containers,
    documents,
    endpoint,
    findings,
    kustomize,
    of_kind,
    restricted_findings,
    schema_errors,
)

OVERLAY = REPO / "k8s" / "overlays" / "sidecar"


@pytest.fixture(scope="module")
def trees() -> list[Tree]:
    return documents(kustomize(OVERLAY))


@pytest.fixture
def pod(trees: list[Tree]) -> Tree:
    return copy.deepcopy(of_kind(trees, "Deployment")[0]["spec"]["template"]["spec"])


def test_sidecars_in_order(pod: Tree) -> None:
    assert [c["name"] for c in containers(pod)] == ["extproc-engine", "extproc-envoy", "hello"]
    assert [c["restartPolicy"] for c in pod["initContainers"]] == ["Always", "Always"]


@pytest.mark.parametrize("index", [0, 1])
def test_sidecar_promises(pod: Tree, index: int) -> None:
    sidecar = pod["initContainers"][index]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= sidecar.keys()
    assert sidecar["resources"]["requests"].keys() == {"cpu", "memory"}
    assert sidecar["resources"]["limits"].keys() == {"memory"}  # a CPU limit throttles, and throttling times out
    assert sidecar["securityContext"]["readOnlyRootFilesystem"] is True


def test_sidecars_run_as_different_users(pod: Tree) -> None:
    users = {c["securityContext"]["runAsUser"] for c in pod["initContainers"]}
    assert users == {65532, 65533}


def test_ports(pod: Tree) -> None:
    ports = {port["name"]: port["containerPort"] for c in pod["initContainers"] for port in c["ports"]}
    assert ports == {"waf-grpc": 9002, "waf-health": 9003, "waf-metrics": 9090, "http": 8000}


def test_default_mode_is_monitor(pod: Tree) -> None:
    assert {"name": "EXTPROC_MODE", "value": "monitor"} in pod["initContainers"][0]["env"]


def test_service_leads_to_envoy(trees: list[Tree], pod: Tree) -> None:
    """Whichever way the endpoints controller looks the port up, the app is not what it finds."""
    (service,) = of_kind(trees, "Service")
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]
    assert endpoint(pod, "http") == ("extproc-envoy", 8000)


def test_without_the_components_the_example_is_a_plain_app() -> None:
    trees = documents(kustomize(REPO / "k8s" / "examples" / "app"))
    assert sorted(tree["kind"] for tree in trees) == ["ConfigMap", "Deployment", "Service"]
    spec = of_kind(trees, "Deployment")[0]["spec"]["template"]["spec"]
    assert "initContainers" not in spec
    assert endpoint(spec, of_kind(trees, "Service")[0]["spec"]["ports"][0]["targetPort"]) == ("hello", 8080)


def test_a_changed_setting_rolls_the_pods(tmp_path: Path) -> None:
    shutil.copytree(REPO / "k8s", tmp_path / "k8s")
    before = of_kind(documents(kustomize(tmp_path / "k8s/overlays/sidecar")), "Deployment")[0]
    settings = tmp_path / "k8s/base/extproc.yaml"
    settings.write_text(settings.read_text() + "trusted_hops: 1\n")
    after = of_kind(documents(kustomize(tmp_path / "k8s/overlays/sidecar")), "Deployment")[0]
    assert before != after


# --- the component on other people's Deployments ---

DEPLOYMENT: Tree = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "shop", "labels": {"extproc.dev/inject": "true"}},
    "spec": {
        "selector": {"matchLabels": {"app": "shop"}},
        "template": {
            "metadata": {"labels": {"app": "shop"}},
            "spec": {
                "terminationGracePeriodSeconds": 90,
                "initContainers": [{"name": "migrate", "image": "shop"}],
                "volumes": [{"name": "data", "emptyDir": {}}],
                "containers": [
                    {
                        "name": "shop",
                        "image": "shop",
                        "env": [{"name": "A", "value": "b"}],
                        "ports": [{"name": "http", "containerPort": 3000}, {"containerPort": 3001}],
                        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                    }
                ],
            },
        },
    },
}
SERVICE: Tree = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "shop", "labels": {"extproc.dev/inject": "true"}},
    "spec": {"selector": {"app": "shop"}, "ports": [{"port": 80, "targetPort": "http"}]},
}


def included(folder: Path, *trees: Tree) -> list[Tree]:
    """The two components as a user includes them beside their own manifests."""
    shutil.copytree(REPO / "k8s", folder / "k8s")
    mine = folder / "mine"
    mine.mkdir()
    (mine / "app.yaml").write_text(yaml.safe_dump_all(trees))
    kustomization = {
        "resources": ["app.yaml"],
        "components": ["../k8s/components/sidecar", "../k8s/components/service"],
    }
    (mine / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return documents(kustomize(mine))


def test_component_keeps_what_is_the_users(tmp_path: Path) -> None:
    trees = included(tmp_path, DEPLOYMENT, SERVICE)
    assert findings(trees) == []
    (deployment,) = of_kind(trees, "Deployment")
    spec, own = deployment["spec"]["template"]["spec"], DEPLOYMENT["spec"]["template"]["spec"]
    names = [c["name"] for c in spec["initContainers"]]
    assert names.index("extproc-engine") < names.index("extproc-envoy")
    assert "migrate" in names
    assert spec["terminationGracePeriodSeconds"] == 90
    assert own["volumes"][0] in spec["volumes"]
    (container,) = spec["containers"]
    assert container["ports"][0] == {"name": "app-http", "containerPort": 3000}
    container["ports"][0]["name"] = "http"
    assert container == own["containers"][0]


def test_component_moves_the_users_named_port_to_envoy(tmp_path: Path) -> None:
    trees = included(tmp_path, DEPLOYMENT, SERVICE)
    spec = of_kind(trees, "Deployment")[0]["spec"]["template"]["spec"]
    target = of_kind(trees, "Service")[0]["spec"]["ports"][0]["targetPort"]
    assert endpoint(spec, target) == ("extproc-envoy", 8000)


def test_component_leaves_what_has_no_label(tmp_path: Path) -> None:
    deployment, service = copy.deepcopy(DEPLOYMENT), copy.deepcopy(SERVICE)
    for tree in (deployment, service):
        del tree["metadata"]["labels"]
    trees = included(tmp_path, deployment, service)
    assert of_kind(trees, "Deployment") == [deployment]
    assert of_kind(trees, "Service") == [service]


def test_component_refuses_an_app_without_a_declared_port(tmp_path: Path) -> None:
    deployment = copy.deepcopy(DEPLOYMENT)
    del deployment["spec"]["template"]["spec"]["containers"][0]["ports"]
    with pytest.raises(subprocess.CalledProcessError) as refused:
        included(tmp_path, deployment)
    assert "ports/0/name" in refused.value.stderr


# --- what the containers read ---


def test_engine_settings_are_settings(tmp_path: Path, trees: list[Tree]) -> None:
    from extproc.config import resolve

    data = next(tree["data"] for tree in of_kind(trees, "ConfigMap") if "extproc.yaml" in tree["data"])
    (tmp_path / "extproc.yaml").write_text(data["extproc.yaml"])
    config = resolve({}, {"EXTPROC_MODE": "monitor"}, tmp_path / "extproc.yaml")
    assert config.grpc == ("127.0.0.1:9002",)
    assert config.health == "0.0.0.0:9003"
    assert config.mode == "monitor"


def test_envoy_configuration_is_what_the_command_writes() -> None:
    command = [sys.executable, "-m", "extproc", "envoy-config", "--listen", "0.0.0.0:8000", "--app", "127.0.0.1:8080"]
    written = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert (REPO / "k8s/base/envoy.yaml").read_text() == written


@pytest.mark.envoy
def test_envoy_accepts_its_configuration(trees: list[Tree], tmp_path: Path) -> None:
    data = next(tree["data"] for tree in of_kind(trees, "ConfigMap") if "envoy.yaml" in tree["data"])
    (tmp_path / "envoy.yaml").write_text(data["envoy.yaml"])
    command = [
        str(PROGRAMS / "envoy"),
        "--mode",
        "validate",
        "--disable-hot-restart",
        "-c",
        str(tmp_path / "envoy.yaml"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_envoy_and_pod_agree(trees: list[Tree], pod: Tree) -> None:
    data = next(tree["data"] for tree in of_kind(trees, "ConfigMap") if "envoy.yaml" in tree["data"])
    bootstrap = yaml.safe_load(data["envoy.yaml"])
    (listener,) = bootstrap["static_resources"]["listeners"]
    assert listener["address"]["socket_address"] == {"address": "0.0.0.0", "port_value": 8000}
    assert bootstrap["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
    heap = bootstrap["overload_manager"]["resource_monitors"][0]["typed_config"]["max_heap_size_bytes"]
    limit = pod["initContainers"][1]["resources"]["limits"]["memory"]
    assert int(limit.removesuffix("Mi")) * 1024 * 1024 > heap  # Envoy sheds load before the kernel kills it


# --- the checks themselves: each is seen to find what it is for ---


def _engine(spec: Tree) -> Tree:
    return spec["initContainers"][0]  # type: ignore[no-any-return]


SPOILERS: list[tuple[str, Callable[[Tree], Any]]] = [
    ("two containers have one name", lambda spec: spec["containers"][0].update(name="extproc-envoy")),
    ("mounts gone", lambda spec: _engine(spec)["volumeMounts"][0].update(name="gone")),
    ("mounted at one path", lambda spec: _engine(spec)["volumeMounts"][0].update(mountPath="/tmp")),
    ("can only be Always", lambda spec: _engine(spec).update(restartPolicy="Sometimes")),
    ("only for restartable", lambda spec: _engine(spec).pop("restartPolicy")),
    ("only for init containers", lambda spec: spec["containers"][0].update(restartPolicy="Always")),
    ("port 8080 is declared by two", lambda spec: _engine(spec)["ports"][0].update(containerPort=8080)),
    ("port name http is there twice", lambda spec: spec["containers"][0]["ports"][0].update(name="http")),
    ("is too long", lambda spec: _engine(spec)["ports"][0].update(name="a-name-of-16-chr")),
    ("has 2 handlers", lambda spec: _engine(spec)["startupProbe"].update(tcpSocket={"port": 1})),
    ("is no port of this container", lambda spec: _engine(spec)["startupProbe"]["httpGet"].update(port="http")),
    ("imagePullPolicy: Sometimes", lambda spec: _engine(spec).update(imagePullPolicy="Sometimes")),
    ("no container declares the port 1", lambda spec: _engine(spec)["startupProbe"]["httpGet"].update(port=1)),
    ("no container declares this port", lambda spec: _engine(spec)["args"].append("--metrics=0.0.0.0:9091")),
    ("EXTPROC_MODE is there twice", lambda spec: _engine(spec)["env"].append({"name": "EXTPROC_MODE"})),
]


@pytest.mark.parametrize(("complaint", "spoil"), SPOILERS, ids=[complaint for complaint, _ in SPOILERS])
def test_findings_are_found(trees: list[Tree], complaint: str, spoil: Callable[[Tree], Any]) -> None:
    spoiled = copy.deepcopy(trees)
    spoil(of_kind(spoiled, "Deployment")[0]["spec"]["template"]["spec"])
    assert any(complaint in found for found in findings(spoiled)), findings(spoiled)


INSECURE: list[tuple[str, Callable[[Tree], Any]]] = [
    ("hostNetwork is on", lambda spec: spec.update(hostNetwork=True)),
    ("is privileged", lambda spec: _engine(spec)["securityContext"].update(privileged=True)),
    ("may gain privileges", lambda spec: _engine(spec)["securityContext"].pop("allowPrivilegeEscalation")),
    ("keeps capabilities", lambda spec: _engine(spec)["securityContext"].pop("capabilities")),
    ("keeps capabilities", lambda spec: _engine(spec)["securityContext"]["capabilities"].update(add=["NET_ADMIN"])),
    ("may run as root", lambda spec: _engine(spec)["securityContext"].update(runAsNonRoot=False)),
    ("runs as user 0", lambda spec: _engine(spec)["securityContext"].update(runAsUser=0)),
    (
        "has no seccomp profile",
        lambda spec: _engine(spec)["securityContext"]["seccompProfile"].update(type="Unconfined"),
    ),
    ("takes a port of the node", lambda spec: _engine(spec)["ports"][0].update(hostPort=9002)),
    ("is a {'hostPath'}", lambda spec: spec["volumes"].append({"name": "host", "hostPath": {"path": "/"}})),
    ("sysctls are set", lambda spec: spec["securityContext"].update(sysctls=[{"name": "a", "value": "b"}])),
    ("has its own /proc", lambda spec: _engine(spec)["securityContext"].update(procMount="Unmasked")),
]


@pytest.mark.parametrize(("complaint", "spoil"), INSECURE)
def test_insecurities_are_found(pod: Tree, complaint: str, spoil: Callable[[Tree], Any]) -> None:
    spoil(pod)
    assert any(complaint in found for found in restricted_findings(pod))


def test_schema_finds_an_unknown_field() -> None:
    (wrong,) = schema_errors(documents(kustomize(OVERLAY).replace("startupProbe:", "startProbe:")))
    assert "startProbe" in wrong
