"""Kustomize as users run it, and the rules of Kubernetes that its schema cannot say.

`kubernetes-validate` checks names and types of fields; what one field demands of another is checked here, what one
object demands of another in `references`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import kubernetes_validate
import yaml

Tree: TypeAlias = dict[str, Any]

REPO = Path(__file__).parents[2]
VERSION = "1.37"
PROGRAMS = Path(sys.executable).parent

PORT_NAME_LIMIT = 15
"""IANA service names (RFC 6335, section 5.1), which Kubernetes takes port names from."""

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
LISTENS = re.compile(r"--(?:grpc|health|metrics|listen)=.*:(\d+)$")
"""Arguments of ours that open a port."""

HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
CORE_GROUPS = {
    "",
    "admissionregistration.k8s.io",
    "apps",
    "autoscaling",
    "batch",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
}
"""API groups of Kubernetes itself; what is of another has a schema of its own (`custom_resources`)."""

TEMPLATED = ("Deployment", "StatefulSet", "DaemonSet", "Job", "Rollout")
"""Kinds that make pods from `spec.template`."""

ENUMS = {
    "imagePullPolicy": {"Always", "IfNotPresent", "Never"},
    "protocol": {"TCP", "UDP", "SCTP"},
    "medium": {"", "Memory"},
    "terminationMessagePolicy": {"File", "FallbackToLogsOnError"},
    "restartPolicy": {"Always", "OnFailure", "Never"},
    "scheme": {"HTTP", "HTTPS"},
    "operator": {"In", "NotIn", "Exists", "DoesNotExist", "Equal"},
    "whenUnsatisfiable": {"DoNotSchedule", "ScheduleAnyway"},
    "failurePolicy": {"Fail", "Ignore"},
    "matchPolicy": {"Exact", "Equivalent"},
    "reinvocationPolicy": {"Never", "IfNeeded"},
    "sideEffects": {"None", "NoneOnDryRun"},
    "dnsPolicy": {"ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"},
}
RESTRICTED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


class UnavailableError(Exception):
    """A program or material that a check needs is not here; the text says why."""


def kustomize(folder: Path) -> str:
    """What `kubectl apply -k FOLDER` would send. Raises CalledProcessError with kustomize's words in `stderr`."""
    command = [str(PROGRAMS / "kubectl"), "kustomize", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def documents(text: str) -> list[Tree]:
    return [tree for tree in yaml.safe_load_all(text) if tree]


def of_kind(trees: list[Tree], kind: str) -> list[Tree]:
    return [tree for tree in trees if tree["kind"] == kind]


def is_core(tree: Tree) -> bool:
    return tree["apiVersion"].rpartition("/")[0] in CORE_GROUPS


def schema_errors(trees: list[Tree]) -> list[str]:
    """Where core objects do not fit the strict schema of Kubernetes `VERSION`: at most one sentence for each."""
    found = []
    for tree in trees:
        try:
            kubernetes_validate.validate(tree, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{tree['kind']} {'.'.join(map(str, error.path))}: {error.message}")
        except kubernetes_validate.SchemaNotFoundError:
            found.append(f"Kubernetes {VERSION} has no {tree['apiVersion']} {tree['kind']}")
    return found


def findings(trees: list[Tree]) -> list[str]:
    """What an API server or a kubelet would refuse, or silently not do, in each object. Empty is fine.

    What objects say of each other is in `references`.
    """
    found: list[str] = []
    names = Counter((tree["kind"], tree["metadata"].get("namespace"), tree["metadata"]["name"]) for tree in trees)
    found += [f"{kind} {name} exists twice" for (kind, _, name), count in names.items() if count > 1]
    for tree in trees:
        if is_core(tree):
            found += _enum_findings(tree)
        selector = tree.get("spec", {}).get("selector")
        if tree["kind"] in TEMPLATED and selector and not selects(selector, pod_of(tree)):
            found.append(f"the {tree['kind']}'s selector does not fit its own pods")
    pods = [pod for tree in trees if (pod := pod_of(tree)) is not None]
    for pod in pods:
        found += _pod_findings(pod["spec"])
    return found


def pod_of(tree: Tree) -> Tree | None:
    """Metadata and spec of the pods that an object stands for; None if it stands for none."""
    if tree["kind"] == "Pod":
        return tree
    found: Tree | None = tree["spec"]["template"] if tree["kind"] in TEMPLATED else None
    return found


def selects(selector: Tree, pod: Tree | None) -> bool:
    """Whether a LabelSelector without expressions finds a pod. Raises ValueError for expressions, which none has."""
    if "matchExpressions" in selector:
        raise ValueError("a selector with expressions")
    labels = (pod or {}).get("metadata", {}).get("labels", {})
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def containers(spec: Tree) -> list[Tree]:
    """All of a pod, in the order in which they start."""
    return [*spec.get("initContainers", []), *spec["containers"]]


def is_sidecar(container: Tree) -> bool:
    return container.get("restartPolicy") == "Always"


def _pod_findings(spec: Tree) -> Iterator[str]:
    volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
    everything = containers(spec)
    if len({container["name"] for container in everything}) < len(everything):
        yield "two containers have one name"
    if len(volumes) < len(spec.get("volumes", [])):
        yield "two volumes have one name"
    for container in spec.get("initContainers", []):
        if container.get("restartPolicy", "Always") != "Always":
            yield f"{container['name']}: restartPolicy of an init container can only be Always"
        if not is_sidecar(container) and (container.keys() & {*PROBES, "lifecycle"}):
            yield f"{container['name']}: probes and hooks are only for restartable init containers"
    for container in spec["containers"]:
        if "restartPolicy" in container:
            yield f"{container['name']}: restartPolicy is only for init containers"
    numbers = Counter(port["containerPort"] for container in everything for port in container.get("ports", []))
    yield from (f"port {number} is declared by two containers" for number, count in numbers.items() if count > 1)
    # Allowed, but Service → port name then finds the app's container first: the way around Envoy.
    named = Counter(port["name"] for container in everything for port in container.get("ports", []) if "name" in port)
    yield from (f"port name {name} is there twice" for name, count in named.items() if count > 1)
    for container in everything:
        declared = {port["containerPort"] for one in everything for port in one.get("ports", [])}
        yield from (f"{container['name']}: {text}" for text in _container_findings(container, volumes, declared))


def _container_findings(container: Tree, volumes: Tree, declared: set[int]) -> Iterator[str]:
    ports = {port["name"] for port in container.get("ports", []) if "name" in port}
    yield from (f"port name {name} is too long" for name in ports if len(name) > PORT_NAME_LIMIT)
    paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
    if len(set(paths)) < len(paths):
        yield "two volumes are mounted at one path"
    for mount in container.get("volumeMounts", []):
        if mount["name"] not in volumes:
            yield f"mounts {mount['name']}, which is no volume of the pod"
    for kind in PROBES:
        probe = container.get(kind)
        if probe is None:
            continue
        handlers = [handler for handler in HANDLERS if handler in probe]
        if len(handlers) != 1:
            yield f"{kind} has {len(handlers)} handlers"
            continue
        port = probe[handlers[0]].get("port")
        # A name is looked up in the container of the probe alone.
        if isinstance(port, str) and port not in ports:
            yield f"{kind}: {port} is no port of this container"
        # A number is dialled at the pod's address, whoever listens there.
        if isinstance(port, int) and port not in declared:
            yield f"{kind}: no container declares the port {port}"
    for argument in container.get("args", []):
        if (found := LISTENS.match(argument)) and int(found[1]) not in declared:
            yield f"{argument}: no container declares this port"
    names = Counter(one["name"] for one in container.get("env", []))
    yield from (f"the variable {name} is there twice" for name, count in names.items() if count > 1)


def _enum_findings(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if isinstance(value, str) and value not in ENUMS.get(key, {value}):
                yield f"{key}: {value} is not one of {sorted(ENUMS[key])}"
            yield from _enum_findings(value)
    elif isinstance(node, list):
        for value in node:
            yield from _enum_findings(value)


def endpoint(spec: Tree, target: str | int) -> tuple[str, int] | None:
    """(container, port number) that a Service's targetPort leads to, as the endpoints controller looks it up.

    Regular containers first, then restartable init containers; a number needs no declaration in Kubernetes, here it
    does.
    """
    sidecars = [container for container in spec.get("initContainers", []) if is_sidecar(container)]
    for container in [*spec["containers"], *sidecars]:
        for port in container.get("ports", []):
            if target in (port.get("name"), port["containerPort"]):
                return container["name"], port["containerPort"]
    return None


def restricted_findings(spec: Tree) -> Iterator[str]:
    """Where a pod breaks the Pod Security Standard `restricted` (kubernetes.io, Pod Security Standards)."""
    pod = spec.get("securityContext", {})
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"{key} is on"
    for volume in spec.get("volumes", []):
        kinds = volume.keys() - {"name"}
        if not kinds <= RESTRICTED_VOLUMES:
            yield f"volume {volume['name']} is a {kinds}"
    if pod.get("sysctls"):
        yield "sysctls are set"
    for container in containers(spec):
        name, context = container["name"], container.get("securityContext", {})
        if context.get("privileged"):
            yield f"{name} is privileged"
        if context.get("allowPrivilegeEscalation") is not False:
            yield f"{name} may gain privileges"
        capabilities = context.get("capabilities", {})
        if capabilities.get("drop") != ["ALL"] or not set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"}:
            yield f"{name} keeps capabilities"
        if context.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
            yield f"{name} may run as root"
        if context.get("runAsUser", pod.get("runAsUser")) == 0:
            yield f"{name} runs as user 0"
        profile = context.get("seccompProfile", pod.get("seccompProfile", {}))
        if profile.get("type") not in ("RuntimeDefault", "Localhost"):
            yield f"{name} has no seccomp profile"
        if any("hostPort" in port for port in container.get("ports", [])):
            yield f"{name} takes a port of the node"
        if context.get("procMount", "Default") != "Default":
            yield f"{name} has its own /proc"
