"""The injector, asked by a real API server through the Service that the shipped webhook configuration names.

The addresses of Services are addresses of this machine (see `cluster`), so the injector listens on its own Service's
address, and nothing between a `kubectl create` or a controller and the patched pod is ours but the injector.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from certificates import Authority, make_authority, write_certificate
from cluster import Cluster, Tree
from manifests import REPO, documents, kustomize, of_kind
from test_injector import HOST, POD, Injector

pytestmark = pytest.mark.timeout(300)

SYSTEM = "extproc-system"
PAIR = ["extproc-engine", "extproc-envoy"]
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}


class Installed:
    """k8s/injector as it is shipped, with this CA in the webhook; the injector where its Service is."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.authority = make_authority("extproc test CA")
        write_certificate(folder, self.authority, HOST)
        trees = documents(kustomize(REPO / "k8s" / "injector"))
        (webhook,) = of_kind(trees, "MutatingWebhookConfiguration")
        self.webhook: Tree = copy.deepcopy(webhook)
        cluster.apply(trees)
        self.trust(self.authority)
        self.address = cluster.get("service", "extproc-injector", SYSTEM)["spec"]["clusterIP"]
        self.injector = Injector(folder, f"{self.address}:443")

    def trust(self, authority: Authority) -> None:
        """As cert-manager would: by a patch of one field."""
        bundle = base64.b64encode(authority.pem).decode()
        patch = [{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle}]
        flags = ("--type=json", "-p", json.dumps(patch))
        done = self.cluster.kubectl("patch", "mutatingwebhookconfiguration", "extproc-injector", *flags)
        assert done.returncode == 0, done.stderr

    def counts(self) -> dict[str, int]:
        lines = self.injector.get("/metrics", self.authority).splitlines()
        pairs = [line.rsplit(" ", 1) for line in lines if line.startswith("extproc_injector_reviews_total{")]
        return {name.split('"')[1]: int(float(value)) for name, value in pairs}

    def remove(self) -> None:
        self.cluster.kubectl("delete", "mutatingwebhookconfiguration", "extproc-injector")
        self.injector.process.kill()
        self.injector.process.wait()


def why_not() -> str | None:
    return None if os.geteuid() == 0 else "the Service's port 443 asks for root"


@pytest.fixture(scope="module")
def installed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    if reason := why_not():
        print(f"the injector is not asked: {reason}")
        pytest.skip(reason)
    installed = Installed(cluster, tmp_path_factory.mktemp("injector"))
    yield installed
    installed.remove()


def create(
    cluster: Cluster, namespace: str, *flags: str, labels: dict[str, str] | None = None, **spec: object
) -> subprocess.CompletedProcess[str]:
    pod = copy.deepcopy(POD)
    pod["metadata"] = {"generateName": "shop-", "labels": {**POD["metadata"]["labels"], **(labels or {})}}
    pod["spec"] = {**POD["spec"], **spec}
    return cluster.kubectl("create", "-n", namespace, "-o", "json", *flags, "-f", "-", stdin=yaml.safe_dump(pod))


def init_containers(pod: Tree) -> list[str]:
    return [one["name"] for one in pod["spec"].get("initContainers", [])]


def test_a_labelled_pod_gets_the_pair_in_a_restricted_namespace(cluster: Cluster, installed: Installed) -> None:
    namespace = cluster.namespace("labelled", **RESTRICTED)
    before = installed.counts()
    for flags in (("--dry-run=server",), ()):
        done = create(cluster, namespace, *flags)
        assert (done.returncode, done.stderr) == (0, "")
        assert init_containers(json.loads(done.stdout)) == PAIR
    assert [init_containers(pod) for pod in cluster.pods(namespace)] == [PAIR]
    assert installed.counts()["injected"] == before["injected"] + 2


def test_a_deployment_gets_it_and_its_service_follows(cluster: Cluster, installed: Installed) -> None:
    """The pods are made by the ReplicaSet controller; the Service finds Envoy under the name that was the app's."""
    namespace = cluster.namespace("workload", **RESTRICTED)
    labels = {"app": "shop", "extproc.dev/inject": "true"}
    template = {"metadata": {"labels": labels}, "spec": POD["spec"]}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "shop"}}, "template": template}
    port = {"name": "http", "port": 80, "targetPort": "http"}
    service = {"apiVersion": "v1", "kind": "Service", "spec": {"selector": {"app": "shop"}, "ports": [port]}}
    meta = {"name": "shop", "namespace": namespace}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}
    cluster.apply([deployment, {**service, "metadata": meta}])
    cluster.until(lambda: len(cluster.pods(namespace)) == 2, "two pods")
    pods = cluster.pods(namespace)
    assert [init_containers(pod) for pod in pods] == [PAIR, PAIR]
    addresses = {cluster.report_ready(pod) for pod in pods}
    wanted = {(address, 8000) for address in addresses}
    cluster.until(lambda: cluster.ends(namespace) == wanted, "the Service leads to Envoy")


OTHER_POLICY = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "MutatingAdmissionPolicy",
    "metadata": {"name": "another-injector"},
    "spec": {
        "matchConstraints": {
            "resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
            ]
        },
        "failurePolicy": "Fail",
        "reinvocationPolicy": "IfNeeded",
        "mutations": [
            {
                "patchType": "JSONPatch",
                # Asked before the injector and again after it, it changes the pod both times.
                "jsonPatch": {
                    "expression": '[JSONPatch{op: "add", path: "/metadata/labels/seen",'
                    ' value: has(object.spec.initContainers) ? "both" : "one"}]'
                },
            }
        ],
    },
}


def test_asked_again_after_another_it_changes_nothing(cluster: Cluster, installed: Installed) -> None:
    """`reinvocationPolicy: IfNeeded`: a policy that changes the pod after us makes the API server ask us once more."""
    namespace = cluster.namespace("again", **RESTRICTED)
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": "another-injector"},
        "spec": {
            "policyName": "another-injector",
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}},
        },
    }
    cluster.apply([OTHER_POLICY, binding])
    try:
        seen: list[Tree] = []

        def both() -> bool:
            before = installed.counts()
            done = create(cluster, namespace)
            assert done.returncode == 0, done.stderr
            seen[:] = [json.loads(done.stdout)]
            after = installed.counts()
            assert after["injected"] == before["injected"] + 1
            # A policy is followed a moment after it was made.
            return seen[0]["metadata"]["labels"].get("seen") == "both" and after["unchanged"] == before["unchanged"] + 1

        cluster.until(both, "both have changed a pod, and the injector was asked twice")
        assert init_containers(seen[0]) == PAIR
        volumes = [one["name"] for one in seen[0]["spec"]["volumes"]]
        assert len(volumes) == len(set(volumes))
    finally:
        cluster.kubectl("delete", "mutatingadmissionpolicybinding,mutatingadmissionpolicy", "another-injector")


def test_a_pod_that_cannot_have_it_is_denied_in_words(cluster: Cluster, installed: Installed) -> None:
    namespace = cluster.namespace("denied")
    done = create(cluster, namespace, containers=[{"name": "shop", "image": "shop"}])
    assert done.returncode == 1
    assert 'admission webhook "inject.extproc.dev" denied the request' in done.stderr
    assert "no container declares a port" in done.stderr
    assert cluster.pods(namespace) == []


def test_who_is_not_asked_about_stays_as_it_is(cluster: Cluster, installed: Installed) -> None:
    before = installed.counts()
    namespace = cluster.namespace("bystander")
    plain = create(cluster, namespace, labels={"extproc.dev/inject": "false"})
    outside = [create(cluster, name) for name in ("kube-system", SYSTEM)]
    for done in (plain, *outside):
        assert (done.returncode, done.stderr) == (0, "")
        assert init_containers(json.loads(done.stdout)) == []
    assert installed.counts() == before


def test_a_wrong_ca_and_a_dead_injector_refuse(cluster: Cluster, installed: Installed, tmp_path: Path) -> None:
    namespace = cluster.namespace("closed")
    said: list[str] = []

    def refused() -> bool:
        done = create(cluster, namespace, "--dry-run=server")
        said[:] = [done.stderr]
        return done.returncode != 0

    def taken() -> bool:
        return not refused()

    # The API server sees a changed configuration a moment later.
    installed.trust(make_authority("another CA"))
    cluster.until(refused, "a pod is refused with a CA of somebody else")
    assert 'failed calling webhook "inject.extproc.dev"' in said[0]
    assert "certificate signed by unknown authority" in said[0]
    installed.trust(installed.authority)
    cluster.until(taken, "a pod is taken with the right CA again")
    assert installed.injector.stop() == 0
    cluster.until(refused, "a pod is refused while there is no injector")
    assert "connection refused" in said[0]
    unlabelled = create(cluster, namespace, "--dry-run=server", labels={"extproc.dev/inject": "false"})
    assert unlabelled.returncode == 0, unlabelled.stderr
    write_certificate(tmp_path, installed.authority, HOST)
    installed.injector = Injector(tmp_path, f"{installed.address}:443")
    cluster.until(taken, "a pod is taken when the injector is back")
