"""What is shipped, given to a real API server: schemas, CEL, Pod Security, and what the controllers make of it.

Every apply is server-side with strict validation, and a warning is a failure.
"""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import Cluster
from manifests import REPO, Tree, UnavailableError, documents, kustomize, of_kind
from renderings import OVERLAYS, RENDERINGS

pytestmark = pytest.mark.timeout(300)

APP = REPO / "k8s" / "examples" / "app"
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
UNNAMESPACED = ("Namespace", "ClusterRole", "ClusterRoleBinding", "MutatingWebhookConfiguration")


def placed(trees: list[Tree], namespace: str) -> list[Tree]:
    """Into a namespace of the test's own, whatever the manifests say: many tests share a server."""
    trees = [copy.deepcopy(tree) for tree in trees if tree["kind"] != "Namespace"]
    for tree in trees:
        if tree["kind"] not in UNNAMESPACED:
            tree["metadata"]["namespace"] = namespace
    return trees


def rendered(overlay: str) -> list[Tree]:
    return documents(kustomize(REPO / "k8s" / "overlays" / overlay))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_is_taken_and_its_pods_are_made(cluster: Cluster, overlay: str) -> None:
    namespace = cluster.namespace(f"overlay-{overlay}", **RESTRICTED)
    trees = placed(rendered(overlay), namespace)
    cluster.apply(trees, "--dry-run=server")
    assert cluster.pods(namespace) == []
    cluster.apply(trees)
    wanted = sum(tree["spec"]["replicas"] for tree in of_kind(trees, "Deployment"))
    cluster.until(lambda: len(cluster.pods(namespace)) == wanted, f"{wanted} pods of {overlay}")
    diff = cluster.kubectl("diff", "--server-side", "-f", "-", stdin=_yaml(trees))
    assert (diff.returncode, diff.stdout, diff.stderr) == (0, "", "")


def test_the_standard_restricted_is_really_asked(cluster: Cluster) -> None:
    """The other half of the test above: a pod that breaks the standard is not made."""
    namespace = cluster.namespace("not-restricted", **RESTRICTED)
    trees = placed(rendered("sidecar"), namespace)
    (deployment,) = of_kind(trees, "Deployment")
    del deployment["spec"]["template"]["spec"]["initContainers"][1]["securityContext"]["seccompProfile"]
    deployment["spec"]["template"]["spec"]["initContainers"][1]["securityContext"]["capabilities"]["add"] = [
        "NET_ADMIN"
    ]
    done = cluster.kubectl("apply", "--server-side", "-f", "-", stdin=_yaml(trees))
    assert 'would violate PodSecurity "restricted:latest"' in done.stderr
    assert 'container "extproc-envoy" must not include "NET_ADMIN"' in done.stderr

    def refused() -> bool:
        events = cluster.call("GET", f"/api/v1/namespaces/{namespace}/events")["items"]
        return any("violates PodSecurity" in event["message"] for event in events)

    cluster.until(refused, "the ReplicaSet says why it has no pod")
    assert cluster.pods(namespace) == []


def test_the_service_leads_to_envoy_and_nowhere_else(cluster: Cluster) -> None:
    """The named port of a native sidecar, as the EndpointSlice controller looks it up."""
    namespace = cluster.namespace("endpoints", **RESTRICTED)
    trees = placed(rendered("sidecar"), namespace)
    cluster.apply(trees)
    cluster.until(lambda: cluster.pods(namespace), "a pod")
    address = cluster.report_ready(cluster.pods(namespace)[0])

    cluster.until(lambda: cluster.ends(namespace) == {(address, 8000)}, "the Service leads to Envoy's port alone")
    done = cluster.kubectl("rollout", "status", "deployment/hello", "-n", namespace, "--timeout=60s")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_budget_and_the_autoscaler_of_the_central_engine_are_worked_with(cluster: Cluster) -> None:
    """Their controllers find the pods they are about; there are no measurements here, and the autoscaler says so."""
    namespace = cluster.namespace("central", **RESTRICTED)
    cluster.apply(placed(rendered("central"), namespace))
    cluster.until(lambda: len(cluster.pods(namespace)) == 2, "two engines")
    for pod in cluster.pods(namespace):
        cluster.report_ready(pod)

    def allowed() -> bool:
        status = cluster.get("pdb", "extproc-engine", namespace).get("status", {})
        return (status.get("currentHealthy"), status.get("disruptionsAllowed")) == (2, 1)

    cluster.until(allowed, "one of two engines may be disturbed")

    def scaled() -> dict[str, str]:
        status = cluster.get("hpa", "extproc-engine", namespace).get("status", {})
        return {one["type"]: one["status"] for one in status.get("conditions", [])}

    cluster.until(lambda: scaled().get("AbleToScale") == "True", "the autoscaler finds what it scales")


@pytest.mark.parametrize("name", RENDERINGS)
def test_everything_rendered_is_taken(cluster: Cluster, name: str) -> None:
    """Overlays, profiles of the chart, what `attach` writes and the injector makes: all that others look at."""
    try:
        trees = RENDERINGS[name].trees()
    except UnavailableError as reason:
        print(f"{name} is not rendered: {reason}")
        pytest.skip(str(reason))
    namespace = cluster.namespace(f"rendering-{list(RENDERINGS).index(name)}", **RESTRICTED)
    cluster.apply(placed(trees, namespace), "--dry-run=server")


def _yaml(trees: list[Tree]) -> str:
    return yaml.safe_dump_all(trees)


def _set(tree: Tree, path: str, value: Any) -> None:
    *parents, last = path.split("/")
    for key in parents:
        tree = tree[int(key)] if isinstance(tree, list) else tree[key]
    tree[int(last) if isinstance(tree, list) else last] = value


INIT = "spec/template/spec/initContainers/0"
PATCH = "spec/configPatches/0"
BAD: dict[str, tuple[str, str, str, Any, str]] = {
    "a probe that is none": ("sidecar", "Deployment", f"{INIT}/startProbe", {}, "startProbe"),
    "a restart policy": ("sidecar", "Deployment", f"{INIT}/restartPolicy", "Sometimes", "Unsupported value"),
    "a volume that is not there": ("sidecar", "Deployment", f"{INIT}/volumeMounts/0/name", "nowhere", "Not found"),
    "a port name too long": (
        "sidecar",
        "Deployment",
        f"{INIT}/ports/0/name",
        "waf-grpc-and-more-words",
        "no more than 15",
    ),
    "a selector of other pods": ("sidecar", "Deployment", "spec/selector/matchLabels", {"a": "b"}, "does not match"),
    "two kinds of budget": ("central", "PodDisruptionBudget", "spec/minAvailable", 1, "cannot be both set"),
    "a range the wrong way": ("central", "HorizontalPodAutoscaler", "spec/maxReplicas", 1, "greater than or equal to"),
    "a port of a policy": ("central", "NetworkPolicy", "spec/ingress/0/ports/0/port", 99999, "between 1 and 65535"),
    "a headless load balancer": ("central", "Service", "spec/type", "LoadBalancer", "may not be set to 'None'"),
    "an unknown operation": ("istio", "EnvoyFilter", f"{PATCH}/patch/operation", "INSERT_BEHIND", "Unsupported value"),
    "an unknown context": ("istio", "EnvoyFilter", f"{PATCH}/match/context", "INBOUND", "Unsupported value"),
    "two kinds of target": (
        "istio",
        "EnvoyFilter",
        "spec/targetRefs",
        [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"}],
        "only one of targetRefs or workloadSelector",
    ),
    "a field that EnvoyFilter has not": ("istio", "EnvoyFilter", "spec/failOpen", True, "field not declared"),
    "a field that the policy has not": (
        "envoy-gateway",
        "EnvoyExtensionPolicy",
        "spec/extProc/0/failOpn",
        True,
        "failOpn",
    ),
    "a body mode": (
        "envoy-gateway",
        "EnvoyExtensionPolicy",
        "spec/extProc/0/processingMode/request/body",
        "Whole",
        "Unsupported value",
    ),
    "open and full duplex": (
        "envoy-gateway",
        "EnvoyExtensionPolicy",
        "spec/extProc/0",
        {
            "backendRefs": [{"name": "hello-extproc", "port": 9002}],
            "failOpen": True,
            "processingMode": {"request": {"body": "FullDuplexStreamed"}},
        },
        "FullDuplexStreamed",
    ),
    "a Service without its port": (
        "envoy-gateway",
        "EnvoyExtensionPolicy",
        "spec/extProc/0/backendRefs",
        [{"name": "hello-extproc"}],
        "ort",
    ),
    "a target of another kind": (
        "envoy-gateway",
        "EnvoyExtensionPolicy",
        "spec/targetRefs/0/kind",
        "Service",
        "can only have a targetRefs[*].kind of",
    ),
}


@pytest.fixture(scope="module")
def empty(cluster: Cluster) -> str:
    return cluster.namespace("bad")


@pytest.mark.parametrize("case", BAD)
def test_bad_objects_are_refused(cluster: Cluster, empty: str, case: str) -> None:
    """So that "taken" above says something: the same objects, one value changed."""
    overlay, name, path, value, said = BAD[case]
    bad = copy.deepcopy(of_kind(rendered(overlay), name)[0])
    _set(bad, path, value)
    bad["metadata"]["namespace"] = empty
    flags = ("--server-side", "--dry-run=server", "--validate=strict")
    done = cluster.kubectl("apply", *flags, "-f", "-", stdin=_yaml([bad]))
    assert done.returncode != 0, done.stdout
    assert said in done.stderr


def extproc(*arguments: str | Path, stdin: str | None = None) -> str:
    command = [sys.executable, "-m", "extproc", *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, cwd=REPO, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


ATTACHED: dict[str, tuple[str, ...]] = {
    "sidecar": ("--target-port=name", "--network-policy"),
    "legacy": ("--target-port=name", "--legacy"),
    "istio": ("--to=istio",),
}


@pytest.mark.parametrize("way", ATTACHED)
def test_attach_is_taken_and_detach_leaves_nothing(cluster: Cluster, way: str) -> None:
    namespace = cluster.namespace(f"attach-{way}", **RESTRICTED)
    files = [APP / "deployment.yaml", APP / "service.yaml"]
    server = ("--server-side", "--validate=strict", "-n", namespace)
    before = cluster.kubectl("apply", *server, "-f", files[0], "-f", files[1])
    assert before.returncode == 0, before.stderr
    if way != "istio":
        attached = extproc("attach", *files, *ATTACHED[way])
    else:
        attached = extproc("attach", files[0], *ATTACHED[way])
    done = cluster.kubectl("apply", *server, "-f", "-", stdin=attached)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr

    def engines() -> list[Tree]:
        return [pod for pod in cluster.pods(namespace) if "extproc-engine" in str(pod["spec"])]

    cluster.until(engines, "a pod with the engine")
    detached = extproc("detach", "-", stdin=attached)
    back = cluster.kubectl("apply", *server, "-f", "-", stdin=detached)
    assert (back.returncode, back.stderr) == (0, ""), back.stderr
    original = "---\n".join(file.read_text() for file in files)
    for text in (detached, original):
        diff = cluster.kubectl("diff", "--server-side", "-n", namespace, "-f", "-", stdin=text)
        assert (diff.returncode, diff.stdout) == (0, ""), diff.stdout + diff.stderr


def test_attach_reads_what_the_server_gives(cluster: Cluster) -> None:
    namespace = cluster.namespace("attach-live", **RESTRICTED)
    server = ("--server-side", "--validate=strict", "-n", namespace)
    files = ("-f", APP / "deployment.yaml", "-f", APP / "service.yaml")
    assert cluster.kubectl("apply", *server, *files).returncode == 0
    live = cluster.kubectl("get", "deployment,service", "hello", "-n", namespace, "-o", "yaml").stdout
    attached = extproc("attach", "-", "--target-port=name", stdin=live)
    done = cluster.kubectl("apply", "-f", "-", stdin=attached)
    assert done.returncode == 0, done.stderr
    names = [
        one["name"]
        for one in cluster.get("deployment", "hello", namespace)["spec"]["template"]["spec"]["initContainers"]
    ]
    assert names == ["extproc-engine", "extproc-envoy"]
    assert cluster.get("service", "hello", namespace)["spec"]["ports"][0]["targetPort"] == "http"
