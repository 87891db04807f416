"""Everything of ours that a user may apply: overlays, profiles of the chart, what `attach` writes, injected pods.

A table, so that every check of objects meets all of them.
"""

from __future__ import annotations

import base64
import functools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jsonpatch
import yaml
from helm_binary import find_helm
from manifests import REPO, Tree, UnavailableError, documents, kustomize, of_kind

from extproc.attachment.admission import review
from extproc.attachment.settings import AttachSettings

K8S = REPO / "k8s"
CHART = K8S / "helm" / "extproc"
APP = K8S / "examples" / "app"
NAMESPACE = "extproc-system"
OVERLAYS = ("sidecar", "sidecar-legacy", "istio", "istio-ambient", "envoy-gateway", "central")

PROFILES: dict[str, tuple[str, ...]] = {
    "defaults": (),
    "cert-manager, everything": (
        "injector.certificate.method=cert-manager",
        "central.enabled=true",
        "central.podMonitor.enabled=true",
        "injector.podMonitor.enabled=true",
    ),
    "central alone, without autoscaling": (
        "injector.enabled=false",
        "central.enabled=true",
        "central.autoscaling.enabled=false",
        "central.replicas=5",
    ),
    "central in a mesh, by CPU": (
        "injector.enabled=false",
        "central.enabled=true",
        "central.tls.enabled=false",
        "central.connectionAgeSeconds=0",
        "central.autoscaling.streams=0",
    ),
    "central with a Secret of one's own, for two callers": (
        "injector.enabled=false",
        "central.enabled=true",
        "central.tls.method=existing",
        "central.tls.existingSecret=mine",
        "central.tls.clientNames={spiffe://a/b,proxy.example}",
    ),
    "a Secret of one's own": (
        "injector.certificate.method=existing",
        "injector.certificate.existingSecret=mine",
        "injector.certificate.caBundle=Zm9v",
        "injector.failurePolicy=Ignore",
    ),
    "own images": (
        "image.engine.repository=r.example/extproc",
        f"image.engine.digest=sha256:{'0' * 64}",
        "image.envoy.repository=r.example/envoy",
        "image.envoy.tag=v1",
        "imagePullSecrets[0].name=pull",
        "mode=block",
    ),
    "where it may run": (
        "injector.legacy=true",
        "injector.replicas=3",
        "injector.priorityClassName=system-cluster-critical",
        "injector.nodeSelector.pool=infra",
        "injector.tolerations[0].key=infra",
        "injector.tolerations[0].operator=Exists",
        "injector.excludedNamespaces={kube-system,monitoring}",
    ),
}
"""Values of the chart, as `--set` takes them."""

ATTACHED: dict[str, tuple[str, ...]] = {
    "sidecar": (),
    "blocking, closed, by number": ("--mode=block", "--network-policy", "--target-port=number"),
    "another port, a policy": ("--listen-port=15080", "--policy=shop"),
    "plain containers": ("--legacy", "--network-policy"),
    "istio": ("--to=istio", "--target-port=keep"),
    "istio, a policy": ("--to=istio", "--policy=shop", "--mode=block", "--target-port=keep"),
}
"""Flags of `attach` for the example app."""

WORKLOADS = ("StatefulSet", "DaemonSet")
"""Kinds that are attached besides the example's Deployment. A Rollout's schema is not at hand."""


class Rendering(NamedTuple):
    """`given`: (kind, name) of what the objects ask for and the user has already."""

    text: Callable[[], str]
    given: frozenset[tuple[str, str]] = frozenset()

    def trees(self) -> list[Tree]:
        """Raises UnavailableError."""
        return documents(self.text())


def template(helm: Path, values: tuple[str, ...] | list[str], *flags: str) -> subprocess.CompletedProcess[str]:
    """`helm template` of our chart, for the version of Kubernetes that the schemas are of."""
    sets = [flag for value in values for flag in ("--set", value)]
    command = [helm, "template", "waf", CHART, "-n", NAMESPACE, "--kube-version", "1.37.0", *sets, *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@functools.cache
def _chart(values: tuple[str, ...]) -> str:
    helm = find_helm()
    if isinstance(helm, str):
        raise UnavailableError(helm)
    done = template(helm, values)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return done.stdout


@functools.cache
def _kustomized(folder: str) -> str:
    return kustomize(K8S / folder)


def _attach(*arguments: str | Path, stdin: str | None = None) -> str:
    command = [sys.executable, "-m", "extproc", "attach", *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return done.stdout


def _example() -> list[Tree]:
    """The example app's Deployment and Service, as their files say."""
    return documents((APP / "deployment.yaml").read_text() + "---\n" + (APP / "service.yaml").read_text())


@functools.cache
def _attached(flags: tuple[str, ...]) -> str:
    target = () if any(flag.startswith("--target-port") for flag in flags) else ("--target-port=name",)
    return _attach(APP / "deployment.yaml", APP / "service.yaml", *target, *flags)


@functools.cache
def _attached_route() -> str:
    # The gateway's own objects are the user's; the Service is what the route leads to.
    route = (K8S / "overlays" / "envoy-gateway" / "route.yaml").read_text()
    return _attach("--to=envoy-gateway", "-", stdin=route) + "---\n" + yaml.safe_dump_all(_example())


@functools.cache
def _attached_workload(kind: str) -> str:
    workload, service = _example()
    workload["kind"] = kind
    if kind == "StatefulSet":
        workload["spec"]["serviceName"] = "hello"
    if kind == "DaemonSet":
        del workload["spec"]["replicas"]
    return _attach("-", "--target-port=name", stdin=yaml.safe_dump_all([workload, service]))


@functools.cache
def _injected(settings: AttachSettings) -> str:
    (deployment,) = of_kind(_example(), "Deployment")
    metadata = {"name": "hello", **deployment["spec"]["template"]["metadata"]}
    metadata["labels"] = {**metadata["labels"], "extproc.dev/inject": "true"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": deployment["spec"]["template"]["spec"]}
    request = {"uid": "1", "namespace": "default", "operation": "CREATE", "object": pod}
    asked = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    response: dict[str, Any] = review(json.dumps(asked).encode(), settings).review["response"]
    return yaml.safe_dump(jsonpatch.apply_patch(pod, json.loads(base64.b64decode(response["patch"]))))


CONFIG_OF_APP = frozenset({("ConfigMap", "hello-app")})
POLICY = frozenset({("ConfigMap", "shop")})
GATEWAY = frozenset({("Gateway", "eg")})
GIVEN = {
    "overlay istio-ambient": frozenset({("Gateway", "waypoint")}),
    "overlay envoy-gateway": GATEWAY,
    "chart: a Secret of one's own": frozenset({("Secret", "mine")}),
    "chart: own images": frozenset({("Secret", "pull")}),
    "chart: central with a Secret of one's own, for two callers": frozenset({("Secret", "mine")}),
}


def _table() -> dict[str, Rendering]:
    table: dict[str, Rendering] = {}

    def add(name: str, render: Callable[[], str], given: frozenset[tuple[str, str]] = frozenset()) -> None:
        table[name] = Rendering(render, given | GIVEN.get(name, frozenset()))

    add("base", functools.partial(_kustomized, "base"))
    add("example", functools.partial(_kustomized, "examples/app"))
    for name in OVERLAYS:
        add(f"overlay {name}", functools.partial(_kustomized, f"overlays/{name}"))
    add("injector", functools.partial(_kustomized, "injector"))
    add("monitoring", functools.partial(_kustomized, "monitoring"))
    for name, values in PROFILES.items():
        add(f"chart: {name}", functools.partial(_chart, values))
    for name, flags in ATTACHED.items():
        policy = POLICY if "--policy=shop" in flags else frozenset()
        add(f"attach: {name}", functools.partial(_attached, flags), CONFIG_OF_APP | policy)
    add("attach: envoy-gateway", _attached_route, CONFIG_OF_APP | GATEWAY)
    for kind in WORKLOADS:
        add(f"attach: a {kind}", functools.partial(_attached_workload, kind), CONFIG_OF_APP)
    add("injected", functools.partial(_injected, AttachSettings()), CONFIG_OF_APP)
    add("injected, legacy", functools.partial(_injected, AttachSettings(is_legacy=True, mode="block")), CONFIG_OF_APP)
    return table


RENDERINGS = _table()
"""Name → what is rendered."""
