"""Kustomize as users run it, and the rules of Kubernetes that its schema cannot say.

`kubernetes-validate` checks names and types of fields; what one field demands of another is checked here.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import yaml

Tree: TypeAlias = dict[str, Any]

REPO = Path(__file__).parents[2]
VERSION = "1.37"
PROGRAMS = Path(sys.executable).parent

PORT_NAME_LIMIT = 15
"""IANA service names (RFC 6335, section 5.1), which Kubernetes takes port names from."""

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
ENUMS = {
    "imagePullPolicy": {"Always", "IfNotPresent", "Never"},
    "protocol": {"TCP", "UDP", "SCTP"},
    "medium": {"", "Memory"},
    "terminationMessagePolicy": {"File", "FallbackToLogsOnError"},
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


def kustomize(folder: Path) -> str:
    """What `kubectl apply -k FOLDER` would send. Raises CalledProcessError with kustomize's words in `stderr`."""
    command = [str(PROGRAMS / "kubectl"), "kustomize", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def documents(text: str) -> list[Tree]:
    return [tree for tree in yaml.safe_load_all(text) if tree]


def of_kind(trees: list[Tree], kind: str) -> list[Tree]:
    return [tree for tree in trees if tree["kind"] == kind]


def schema_errors(file: Path) -> str:
    """Empty if every document of `file` fits the strict schema of Kubernetes `VERSION`."""
    command = [str(PROGRAMS / "kubernetes-validate"), "-k", VERSION, "--strict", "--quiet", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr + f"exit code {done.returncode}"


def findings(trees: list[Tree]) -> list[str]:
    """What an API server or a kubelet would refuse, or silently not do. Empty is fine."""
    found: list[str] = []
    config_maps = {tree["metadata"]["name"]: set(tree.get("data", {})) for tree in of_kind(trees, "ConfigMap")}
    names = Counter((tree["kind"], tree["metadata"]["name"]) for tree in trees)
    found += [f"{kind} {name} exists twice" for (kind, name), count in names.items() if count > 1]
    pods = []
    for tree in of_kind(trees, "Deployment"):
        template = tree["spec"]["template"]
        pods.append(template)
        labels = template["metadata"]["labels"]
        if not tree["spec"]["selector"]["matchLabels"].items() <= labels.items():
            found.append("the Deployment's selector does not fit its own pods")
        found += _pod_findings(template["spec"], config_maps)
    for tree in of_kind(trees, "Service"):
        found += _service_findings(tree, pods)
    for tree in of_kind(trees, "NetworkPolicy"):
        wanted = tree["spec"]["podSelector"]["matchLabels"].items()
        if not any(wanted <= pod["metadata"]["labels"].items() for pod in pods):
            found.append("the NetworkPolicy selects no pod")
    return found


def containers(spec: Tree) -> list[Tree]:
    """All of a pod, in the order in which they start."""
    return [*spec.get("initContainers", []), *spec["containers"]]


def is_sidecar(container: Tree) -> bool:
    return container.get("restartPolicy") == "Always"


def _pod_findings(spec: Tree, config_maps: dict[str, set[str]]) -> Iterator[str]:
    volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
    everything = containers(spec)
    if len({container["name"] for container in everything}) < len(everything):
        yield "two containers have one name"
    if len(volumes) < len(spec.get("volumes", [])):
        yield "two volumes have one name"
    for volume in volumes.values():
        reference = volume.get("configMap", {}).get("name")
        if reference is not None and reference not in config_maps:
            yield f"volume {volume['name']}: there is no ConfigMap {reference}"
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
        yield from (f"{container['name']}: {text}" for text in _container_findings(container, volumes))
    yield from _enum_findings(spec)


def _container_findings(container: Tree, volumes: Tree) -> Iterator[str]:
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


def _enum_findings(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if isinstance(value, str) and value not in ENUMS.get(key, {value}):
                yield f"{key}: {value} is not one of {sorted(ENUMS[key])}"
            yield from _enum_findings(value)
    elif isinstance(node, list):
        for value in node:
            yield from _enum_findings(value)


def _service_findings(service: Tree, pods: list[Tree]) -> Iterator[str]:
    name = service["metadata"]["name"]
    selected = [pod for pod in pods if service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()]
    if not selected:
        yield f"Service {name} selects no pod"
    for pod in selected:
        for port in service["spec"]["ports"]:
            if endpoint(pod["spec"], port.get("targetPort", port["port"])) is None:
                yield f"Service {name}: no container has the port {port['targetPort']}"


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
