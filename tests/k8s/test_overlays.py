"""Every overlay besides `sidecar`: rendered, valid, and the same as what `extproc attach` writes."""

from __future__ import annotations

import itertools
import re
import subprocess
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import REPO, Tree, documents, endpoint, kustomize, of_kind
from renderings import OVERLAYS

from extproc.attachment.mesh import envoy_filter, gateway_objects, waypoint_filter
from extproc.attachment.operations import apply
from extproc.attachment.settings import MANAGED_LABELS, AttachSettings
from extproc.attachment.sidecar import attach_operations
from extproc.config import SETTINGS
from extproc.server.settings import TlsSettings
from extproc.server.tls import load_identity
from extproc.telemetry.counters import empty
from extproc.telemetry.families import GAUGE, Facts, metrics

K8S = REPO / "k8s"


def rendered(overlay: str) -> list[Tree]:
    return documents(kustomize(K8S / "overlays" / overlay))


def pods(trees: list[Tree]) -> list[dict[str, Any]]:
    return [tree["spec"]["template"] for tree in of_kind(trees, "Deployment")]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_has_an_engine_that_only_watches_until_told_otherwise(overlay: str) -> None:
    engines = [
        container
        for pod in pods(rendered(overlay))
        for container in (*pod["spec"].get("initContainers", []), *pod["spec"]["containers"])
        if container["name"] == "extproc-engine"
    ]
    assert engines
    assert all({"name": "EXTPROC_MODE", "value": "monitor"} in one["env"] for one in engines)


def read(path: str) -> list[Any]:
    return documents((K8S / path).read_text())


def test_istio_is_what_attach_writes() -> None:
    assert read("components/istio/envoy-filter.yaml") == [envoy_filter("extproc")]
    pod = {"metadata": {"labels": {}}, "spec": {"containers": [{"name": "app"}]}}
    attached = apply(pod, attach_operations(pod, AttachSettings(to="istio")))["spec"]
    (engine,) = read("components/istio/engine.yaml")
    spec = engine["spec"]["template"]["spec"]
    assert spec == {key: attached[key] for key in ("initContainers", "volumes")}
    (found,) = of_kind(rendered("istio"), "EnvoyFilter")
    (pod,) = pods(rendered("istio"))
    assert found["spec"]["workloadSelector"]["labels"].items() <= pod["metadata"]["labels"].items()


def test_envoy_gateway_is_what_attach_writes() -> None:
    written = gateway_objects("hello-extproc", "", "hello", AttachSettings())
    assert read("overlays/envoy-gateway/engine.yaml") == written


def test_ambient_asks_the_central_engine_by_a_service_with_an_address() -> None:
    """A waypoint's cluster of a headless Service has no endpoints (seen with istiod)."""
    engine = "extproc-engine-mesh.extproc-system.svc.cluster.local"
    assert read("overlays/istio-ambient/envoy-filter.yaml") == [
        waypoint_filter("extproc", "default", "waypoint", engine)
    ]
    services = {tree["metadata"]["name"]: tree["spec"] for tree in of_kind(rendered("istio-ambient"), "Service")}
    headless = services["extproc-engine"]
    assert headless.pop("clusterIP") == "None"
    assert services["extproc-engine-mesh"] == headless


def test_the_central_engine_is_what_a_gateway_gets_but_for_who_may_call() -> None:
    objects = gateway_objects("extproc-engine", "extproc-system", "any", AttachSettings())[:4]
    by_kind = {tree["kind"]: tree for tree in read("central/engine.yaml")}
    for ours in objects:
        found = by_kind.pop(ours["kind"])
        if ours["kind"] != "NetworkPolicy":
            assert found["spec"] == ours["spec"]
        shared = {key: value for key, value in MANAGED_LABELS.items() if not key.endswith("managed-by")}
        assert found["metadata"]["labels"] == shared
    assert list(by_kind) == ["HorizontalPodAutoscaler"]


def test_only_proxies_may_call_the_central_engine() -> None:
    (policy,) = of_kind(rendered("central"), "NetworkPolicy")
    callers = {entry["ports"][0]["port"]: entry.get("from") for entry in policy["spec"]["ingress"]}
    (who,) = callers[9002]
    assert {"namespaceSelector", "podSelector"} == who.keys()
    assert set(callers) == {9002, 9090}


def test_legacy_has_the_same_containers_as_plain_ones() -> None:
    def containers(name: str, kind: str) -> list[Any]:
        (patch,) = read(f"components/{name}/sidecars.yaml")
        return list(patch["spec"]["template"]["spec"][kind])

    native = containers("sidecar", "initContainers")
    for one in native:
        assert one.pop("restartPolicy") == "Always"
    assert containers("sidecar-legacy", "containers") == native
    name = "app-port-name.yaml"
    assert read(f"components/sidecar/{name}") == read(f"components/sidecar-legacy/{name}")
    trees = rendered("sidecar-legacy")
    assert endpoint(pods(trees)[0]["spec"], "http") == ("extproc-envoy", 8000)


def test_the_central_engine_asks_for_certificates_and_ends_connections() -> None:
    trees = rendered("central")
    (pod,) = pods(trees)
    (engine,) = pod["spec"]["containers"]
    names = {one["name"] for one in engine["env"]}
    assert {"EXTPROC_TLS_CERT", "EXTPROC_TLS_KEY", "EXTPROC_TLS_CLIENT_CA", "EXTPROC_CONNECTION_AGE_SECONDS"} <= names
    variables = {setting.variable for setting in SETTINGS.values()}
    assert names <= variables
    certificates = {tree["metadata"]["name"]: tree["spec"] for tree in of_kind(trees, "Certificate")}
    (service,) = of_kind(trees, "Service")
    where = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"
    assert where in certificates["extproc-engine"]["dnsNames"]
    assert certificates["extproc-engine"]["usages"] == ["server auth"]
    assert certificates["extproc-proxy"]["usages"] == ["client auth"]
    (mount,) = [one for one in pod["spec"]["volumes"] if "secret" in one]
    assert mount["secret"]["secretName"] == certificates["extproc-engine"]["secretName"]


def test_the_central_engine_grows_by_a_metric_that_is_there() -> None:
    (autoscaler,) = of_kind(rendered("central"), "HorizontalPodAutoscaler")
    wanted = {one["type"]: one for one in autoscaler["spec"]["metrics"]}
    assert wanted.keys() == {"Resource", "Pods"}
    shown = {metric.name for metric in metrics(empty(), Facts("", "", "", 0.0, 0)) if metric.kind == GAUGE}
    assert wanted["Pods"]["pods"]["metric"]["name"] in shown


def test_the_rule_for_the_adapter_and_the_other_way_ask_for_the_same() -> None:
    page = (REPO / "docs" / "KUBERNETES.md").read_text()
    (rule,) = yaml.safe_load(_block(page, "rules:"))["rules"]["custom"]
    (autoscaler,) = of_kind(rendered("central"), "HorizontalPodAutoscaler")
    (wanted,) = [one["pods"]["metric"]["name"] for one in autoscaler["spec"]["metrics"] if one["type"] == "Pods"]
    assert rule["seriesQuery"].startswith(wanted + "{")
    assert re.fullmatch(rule["name"]["matches"], wanted)
    keda = yaml.safe_load(_block(page, "apiVersion: keda.sh"))
    assert keda["spec"]["scaleTargetRef"]["name"] == autoscaler["spec"]["scaleTargetRef"]["name"]
    assert wanted in keda["spec"]["triggers"][1]["metadata"]["query"]


def test_certificates_made_by_hand_serve(tmp_path: Path) -> None:
    """The page's commands, as they stand there."""
    page = (REPO / "docs" / "KUBERNETES.md").read_text()
    commands = textwrap.dedent(_block(page, "openssl req -x509"))
    subprocess.run(["bash", "-euc", commands], cwd=tmp_path, check=True, capture_output=True)
    settings = TlsSettings(tmp_path / "engine.crt", tmp_path / "engine.key", tmp_path / "ca.crt")
    assert load_identity(settings).expires > time.time()
    for name, usage in (("engine", "sslserver"), ("proxy", "sslclient")):
        command = ["openssl", "verify", "-CAfile", "ca.crt", "-purpose", usage, f"{name}.crt"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)


def _block(page: str, begin: str) -> str:
    """The indented block of a page that begins so."""
    lines = page[page.index(f"\n    {begin}") + 1 :].splitlines()
    return "\n".join(itertools.takewhile(lambda line: line.startswith("    "), lines))
