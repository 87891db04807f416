"""Every overlay besides `sidecar`: rendered, valid, and the same as what `extproc attach` writes."""

from __future__ import annotations

from typing import Any

import pytest
from manifests import REPO, Tree, documents, endpoint, kustomize, of_kind
from renderings import OVERLAYS

from extproc.attachment.mesh import envoy_filter, gateway_objects, waypoint_filter
from extproc.attachment.operations import apply
from extproc.attachment.settings import MANAGED_LABELS, AttachSettings
from extproc.attachment.sidecar import attach_operations

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
