"""Everything that a user may apply: schemas, custom resources, references, Pod Security."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import custom_resources
import pytest
from manifests import (
    PROGRAMS,
    Tree,
    UnavailableError,
    findings,
    is_core,
    of_kind,
    pod_of,
    restricted_findings,
    schema_errors,
)
from references import dangling
from renderings import K8S, OVERLAYS, RENDERINGS

everything = pytest.mark.parametrize("name", RENDERINGS)


def rendered(name: str) -> list[Tree]:
    try:
        return RENDERINGS[name].trees()
    except UnavailableError as reason:
        print(f"{name} is not rendered: {reason}")
        pytest.skip(str(reason))


def custom_errors(tree: Tree) -> list[str]:
    try:
        return custom_resources.errors(tree)
    except UnavailableError as reason:
        print(f"custom resources are not held against their definitions: {reason}")
        pytest.skip(str(reason))


def test_every_folder_is_in_the_table() -> None:
    folders = {path.parent.relative_to(K8S).as_posix() for path in K8S.rglob("kustomization.yaml")}
    applied = {folder for folder in folders if not folder.startswith("components/")}
    known = {"base", "central", "examples/app", "injector", "monitoring", *(f"overlays/{name}" for name in OVERLAYS)}
    assert applied == known


@everything
def test_the_schema_of_kubernetes(name: str) -> None:
    trees = rendered(name)
    assert trees
    assert schema_errors([tree for tree in trees if is_core(tree)]) == []
    unknown = [tree for tree in trees if not is_core(tree) and not custom_resources.is_custom(tree)]
    assert unknown == []


@everything
def test_the_definitions_of_custom_resources(name: str) -> None:
    for tree in rendered(name):
        if custom_resources.is_custom(tree):
            assert custom_errors(tree) == [], tree["kind"]


@everything
def test_rules_between_fields(name: str) -> None:
    assert findings(rendered(name)) == []


@everything
def test_references(name: str) -> None:
    assert dangling(rendered(name), RENDERINGS[name].given) == []


@everything
def test_pod_security_restricted(name: str) -> None:
    for tree in rendered(name):
        pod = pod_of(tree)
        if pod is not None:
            assert list(restricted_findings(pod["spec"])) == [], tree["metadata"]["name"]


@everything
@pytest.mark.envoy
def test_envoy_takes_the_configurations(name: str, tmp_path: Path) -> None:
    for tree in of_kind(rendered(name), "ConfigMap"):
        if "envoy.yaml" in tree.get("data", {}):
            file = tmp_path / "envoy.yaml"
            file.write_text(tree["data"]["envoy.yaml"])
            command = [PROGRAMS / "envoy", "--mode", "validate", "--disable-hot-restart", "-c", file]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr


# --- the checks themselves: each is seen to find what it is for ---

Spoiler = Callable[[Tree], Any]


def spoiled(name: str, kind: str, spoil: Spoiler) -> list[Tree]:
    trees = copy.deepcopy(rendered(name))
    spoil(of_kind(trees, kind)[0])
    return trees


def _manager(tree: Tree) -> Tree:
    found: Tree = tree["spec"]["podMetricsEndpoints"][0]
    return found


DANGLING: list[tuple[str, str, str, Spoiler]] = [
    ("selects no pod", "example", "Service", lambda one: one["spec"].update(selector={"a": "b"})),
    ("no container has the port 81", "example", "Service", lambda one: one["spec"]["ports"][0].update(targetPort=81)),
    ("there is no ConfigMap gone", "example", "Deployment", lambda one: _volume(one)["configMap"].update(name="gone")),
    (
        "has no key gone",
        "example",
        "Deployment",
        lambda one: _volume(one)["configMap"].update(items=[{"key": "gone", "path": "x"}]),
    ),
    (
        "NetworkPolicy extproc-engine: selects no pod",
        "overlay central",
        "NetworkPolicy",
        lambda one: one["spec"].update(podSelector={"matchLabels": {"a": "b"}}),
    ),
    (
        "no container has the port 9999",
        "overlay central",
        "NetworkPolicy",
        lambda one: one["spec"]["ingress"][0]["ports"][0].update(port=9999),
    ),
    (
        "PodDisruptionBudget extproc-engine: selects no pod",
        "overlay central",
        "PodDisruptionBudget",
        lambda one: one["spec"].update(selector={"matchLabels": {"a": "b"}}),
    ),
    (
        "there is no Deployment gone",
        "overlay central",
        "HorizontalPodAutoscaler",
        lambda one: one["spec"]["scaleTargetRef"].update(name="gone"),
    ),
    (
        "spreads other pods",
        "overlay central",
        "Deployment",
        lambda one: one["spec"]["template"]["metadata"]["labels"].update({"app.kubernetes.io/name": "x"}),
    ),
    (
        "there is no Service gone",
        "injector",
        "MutatingWebhookConfiguration",
        lambda one: one["webhooks"][0]["clientConfig"]["service"].update(name="gone"),
    ),
    (
        "has no port 444",
        "injector",
        "MutatingWebhookConfiguration",
        lambda one: one["webhooks"][0]["clientConfig"]["service"].update(port=444),
    ),
    (
        "there is no Certificate",
        "injector",
        "MutatingWebhookConfiguration",
        lambda one: one["metadata"]["annotations"].update({"cert-manager.io/inject-ca-from": "a/b"}),
    ),
    ("there is no Secret", "injector", "Certificate", lambda one: one["spec"].update(secretName="other")),
    ("there is no Issuer gone", "injector", "Certificate", lambda one: one["spec"]["issuerRef"].update(name="gone")),
    (
        "keeps away from other pods",
        "injector",
        "Deployment",
        lambda one: one["spec"]["template"]["metadata"]["labels"].clear(),
    ),
    (
        "sleeps through",
        "injector",
        "Deployment",
        lambda one: one["spec"]["template"]["spec"].update(terminationGracePeriodSeconds=5),
    ),
    ("there is no Role gone", "chart: defaults", "RoleBinding", lambda one: one["roleRef"].update(name="gone")),
    (
        "there is no ServiceAccount gone",
        "chart: defaults",
        "ClusterRoleBinding",
        lambda one: one["subjects"][0].update(name="gone"),
    ),
    ("there is no Secret", "chart: defaults", "Role", lambda one: one["rules"][0].update(resourceNames=["x"])),
    (
        "there is no ServiceAccount gone",
        "chart: defaults",
        "Job",
        lambda one: one["spec"]["template"]["spec"].update(serviceAccountName="gone"),
    ),
    (
        "no container has the port gone",
        "chart: cert-manager, everything",
        "PodMonitor",
        lambda one: _manager(one).update(port="gone"),
    ),
    (
        "EnvoyFilter extproc: selects no pod",
        "overlay istio",
        "EnvoyFilter",
        lambda one: one["spec"]["workloadSelector"]["labels"].update(a="b"),
    ),
    (
        "there is no Gateway gone",
        "overlay istio-ambient",
        "EnvoyFilter",
        lambda one: one["spec"]["targetRefs"][0].update(name="gone"),
    ),
    (
        "there is no HTTPRoute gone",
        "overlay envoy-gateway",
        "EnvoyExtensionPolicy",
        lambda one: one["spec"]["targetRefs"][0].update(name="gone"),
    ),
    (
        "has no port 1",
        "overlay envoy-gateway",
        "EnvoyExtensionPolicy",
        lambda one: one["spec"]["extProc"][0]["backendRefs"][0].update(port=1),
    ),
    (
        "there is no Service gone",
        "overlay envoy-gateway",
        "HTTPRoute",
        lambda one: one["spec"]["rules"][0]["backendRefs"][0].update(name="gone"),
    ),
]


def _volume(deployment: Tree) -> Tree:
    found: Tree = deployment["spec"]["template"]["spec"]["volumes"][0]
    return found


@pytest.mark.parametrize(("said", "name", "kind", "spoil"), DANGLING, ids=[f"{one[2]}: {one[0]}" for one in DANGLING])
def test_what_dangles_is_found(said: str, name: str, kind: str, spoil: Spoiler) -> None:
    found = dangling(spoiled(name, kind, spoil), RENDERINGS[name].given)
    assert any(said in text for text in found), found


REFUSED: list[tuple[str, str, str, Spoiler]] = [
    ("'specc' was unexpected", "overlay istio", "EnvoyFilter", lambda one: one.update(specc={})),
    (
        "'CLUSTERS' is not one of",
        "overlay istio",
        "EnvoyFilter",
        lambda one: one["spec"]["configPatches"][0].update(applyTo="CLUSTERS"),
    ),
    (
        "only one of targetRefs or workloadSelector can be set",
        "overlay istio-ambient",
        "EnvoyFilter",
        lambda one: one["spec"].update(workloadSelector={"labels": {"a": "b"}}),
    ),
    (
        "is not of type 'boolean'",
        "overlay envoy-gateway",
        "EnvoyExtensionPolicy",
        lambda one: one["spec"]["extProc"][0].update(failOpen="no"),
    ),
    (
        "FailOpen must be false",
        "overlay envoy-gateway",
        "EnvoyExtensionPolicy",
        lambda one: one["spec"]["extProc"][0].update(
            failOpen=True, processingMode={"request": {"body": "FullDuplexStreamed"}}
        ),
    ),
    (
        "not served",
        "overlay envoy-gateway",
        "HTTPRoute",
        lambda one: one.update(apiVersion="gateway.networking.k8s.io/v1alpha9"),
    ),
    (
        "Must have port for Service reference",
        "overlay envoy-gateway",
        "HTTPRoute",
        lambda one: one["spec"]["rules"][0]["backendRefs"][0].pop("port"),
    ),
    (
        "is a required property",
        "injector",
        "Certificate",
        lambda one: one["spec"].pop("secretName"),
    ),
    (
        "is not one of",
        "injector",
        "Certificate",
        lambda one: one["spec"]["privateKey"].update(algorithm="DSA"),
    ),
    (
        "'expresion' was unexpected",
        "monitoring",
        "PrometheusRule",
        lambda one: one["spec"]["groups"][0]["rules"][0].update(expresion="1"),
    ),
    (
        "stands twice",
        "monitoring",
        "PrometheusRule",
        lambda one: one["spec"]["groups"].append(one["spec"]["groups"][0]),
    ),
    (
        "does not match",
        "chart: cert-manager, everything",
        "PodMonitor",
        lambda one: _manager(one).update(interval="often"),
    ),
]


@pytest.mark.parametrize(("said", "name", "kind", "spoil"), REFUSED, ids=[f"{one[2]}: {one[0]}" for one in REFUSED])
def test_definitions_refuse(said: str, name: str, kind: str, spoil: Spoiler) -> None:
    (one, *_) = of_kind(spoiled(name, kind, spoil), kind)
    found = custom_errors(one)
    assert any(said in text for text in found), found


@pytest.mark.parametrize(
    ("group", "kind", "version"),
    [
        ("networking.istio.io", "EnvoyFilter", "v1alpha3"),
        ("gateway.networking.k8s.io", "HTTPRoute", "v1"),
        ("gateway.networking.k8s.io", "Gateway", "v1"),
        ("gateway.envoyproxy.io", "EnvoyExtensionPolicy", "v1alpha1"),
        ("cert-manager.io", "Issuer", "v1"),
    ],
)
def test_every_rule_is_one_for_our_library(group: str, kind: str, version: str) -> None:
    """A rule that could not be read would be an error of the object; here it is told before."""
    try:
        found = custom_resources.rules(group, kind, version)
    except UnavailableError as reason:
        pytest.skip(str(reason))
    assert found
    for rule in found:
        custom_resources.compile_rule(rule)
