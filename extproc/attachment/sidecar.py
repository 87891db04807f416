"""The pair into a pod: the operations for one pod template, which `attach` writes and the injector answers.

Envoy takes over the name of the app's port, so that whoever looks that name up finds Envoy; the app's port is
renamed, because Kubernetes looks in the app's containers before the sidecars.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib import resources
from typing import Any

import yaml

from extproc.attachment.app_port import PROBES, AppPort, find_app_port, port_names_in_use, ports_in_use
from extproc.attachment.operations import Operation, look
from extproc.attachment.settings import (
    ADMIN_PORT,
    ANNOTATIONS,
    ATTACH_LABEL,
    BOOTSTRAP,
    ENGINE,
    ENVOY,
    GRPC_PORT,
    HEALTH_PORT,
    INJECT_LABEL,
    METRICS_PORT,
    MODES,
    PORT_NAME_LIMIT,
    PREFIX,
    RECORD,
    AttachError,
    AttachSettings,
)

RUN = "/run/extproc"
POLICY = "/etc/extproc/policy"


OWN_PORTS = {
    GRPC_PORT: "the engine's gRPC",
    HEALTH_PORT: "the engine's health",
    METRICS_PORT: "the engine's metrics",
    ADMIN_PORT: "Envoy's admin",
}


def attached_containers(pod: Mapping[str, Any]) -> set[str]:
    """Which of the pair the pod has, by container name: an annotation could be anybody's."""
    return {ENGINE, ENVOY} & {
        container.get("name")
        for kind in ("initContainers", "containers")
        for container in look(pod, "spec", kind) or []
    }


def refuse_attached(pod: Mapping[str, Any]) -> None:
    """Raises AttachError if the pod has one of the pair."""
    if found := attached_containers(pod):
        raise AttachError(f"has {' and '.join(sorted(found))} already; `extproc detach` takes them out")


def with_annotations(pod: Mapping[str, Any], settings: AttachSettings) -> AttachSettings:
    """`settings`, completed by the pod's annotations. Raises AttachError for a wrong value."""
    annotations = look(pod, "metadata", "annotations") or {}
    given: dict[str, Any] = {}
    for word, field in ANNOTATIONS.items():
        value = annotations.get(f"{PREFIX}/{word}")
        if value is None or getattr(settings, field):
            continue
        if word == "listen-port":
            if not str(value).isdecimal() or not 1 <= int(value) <= 65535:
                raise AttachError(f"annotation {PREFIX}/{word}: must be a TCP port, not {value!r}")
            value = int(value)
        elif word == "mode" and value not in MODES:
            raise AttachError(f"annotation {PREFIX}/{word}: must be one of {', '.join(MODES)}, not {value!r}")
        given[field] = value
    completed = replace(settings, **given)
    completed.refuse_wrong_names()
    return completed


def attach_operations(
    pod: Mapping[str, Any], settings: AttachSettings, record: Mapping[str, Any] | None = None
) -> list[Operation]:
    """Operations on a pod or pod template. `record`: what else `detach` will have to know.

    Raises AttachError where something would have to be guessed.
    """
    settings = with_annotations(pod, settings)
    refuse_attached(pod)
    if look(pod, "spec", "hostNetwork") and not settings.is_host_network_accepted:
        raise AttachError(
            "hostNetwork: the pair would listen on the node itself, and every process of the node could call the app "
            "or the engine. --accept-host-network if that is what you want"
        )
    if settings.to == "istio":
        _refuse_taken(pod, (GRPC_PORT, HEALTH_PORT, METRICS_PORT))
        made = _mesh_engine(pod, settings)
        return [*made, *_marks(pod, dict(record or {}), made, (ATTACH_LABEL, "istio"))]
    app = find_app_port(pod, settings)
    _refuse_clashes(pod, settings, app)
    name = envoy_port_name(app, settings)
    renamed = _free_name(f"app-{app.name}", pod) if app.name == name else ""
    if name != app.name and name in port_names_in_use(pod):
        raise AttachError(f"a port called {name} exists already: --port-name NAME for Envoy's")
    operations = list(_pair(pod, settings, app, name))
    if renamed:
        operations += _rename(pod, app, renamed)
    record = {**(record or {}), "renamed": {renamed: app.name}} if renamed else dict(record or {})
    operations += _marks(pod, record, [operation for operation in operations if operation.op == "add"])
    return operations


def envoy_port_name(app: AppPort, settings: AttachSettings) -> str:
    """By which Services find Envoy."""
    return settings.port_name or app.name or "http"


def _refuse_clashes(pod: Mapping[str, Any], settings: AttachSettings, app: AppPort) -> None:
    used = ports_in_use(pod)
    listen = settings.effective_listen_port
    if listen in used or listen == app.number:
        raise AttachError(f"port {listen} is taken by {used.get(listen, 'the app')}: --listen-port PORT for Envoy's")
    if listen in OWN_PORTS:
        raise AttachError(f"--listen-port {listen}: {OWN_PORTS[listen]} needs it")
    if app.number in OWN_PORTS:
        raise AttachError(f"port {app.number} is the app's, and {OWN_PORTS[app.number]} needs it: move the app")
    _refuse_taken(pod, OWN_PORTS)


def _refuse_taken(pod: Mapping[str, Any], ports: Iterable[int]) -> None:
    used = ports_in_use(pod)
    for number in ports:
        if number in used:
            raise AttachError(
                f"port {number} is taken by {used[number]}, and {OWN_PORTS[number]} needs it: move the app, or use the "
                "kustomize component, where every port can be changed"
            )
    volumes = {volume.get("name") for volume in look(pod, "spec", "volumes") or []}
    if taken := sorted({volume["name"] for volume in template()["volumes"]} & volumes):
        raise AttachError(f"a volume called {taken[0]} exists already: rename it, the pair needs that name")


def _engine(parts: dict[str, Any], settings: AttachSettings, more: list[str]) -> dict[str, Any]:
    """The engine's container; `parts` gets the volume of its policy."""
    engine: dict[str, Any] = parts["engine"]
    engine["image"] = settings.image
    engine["args"] = [
        "serve",
        f"--grpc=127.0.0.1:{GRPC_PORT}",
        f"--health=0.0.0.0:{HEALTH_PORT}",
        f"--metrics=0.0.0.0:{METRICS_PORT}",
        *more,
        "--drain-delay-seconds=0",
        "--events=-",
    ]
    engine["env"] = [{"name": "EXTPROC_MODE", "value": settings.effective_mode}]
    if settings.policy:
        engine["args"].append(f"--policy={POLICY}/policy.yaml")
        engine["volumeMounts"].append({"name": "extproc-policy", "mountPath": POLICY, "readOnly": True})
        parts["volumes"].append({"name": "extproc-policy", "configMap": {"name": settings.policy}})
    return engine


def _mesh_engine(pod: Mapping[str, Any], settings: AttachSettings) -> list[Operation]:
    """The engine alone, for a pod whose proxy is the mesh's. Its probes are commands: Istio redirects what the
    kubelet asks over the network to its own agent, which is not there yet when the engine starts."""
    parts = template()
    engine = _engine(parts, settings, [])
    for probe, path in (("startupProbe", "readyz"), ("readinessProbe", "readyz"), ("livenessProbe", "healthz")):
        ask = f"import urllib.request as u; u.urlopen('http://127.0.0.1:{HEALTH_PORT}/{path}', timeout=2)"
        del engine[probe]["httpGet"]
        engine[probe] = {"exec": {"command": ["python", "-c", ask]}, **engine[probe]}
    volumes = [volume for volume in parts["volumes"] if volume["name"] != "extproc-run"]
    engine["volumeMounts"] = [mount for mount in engine["volumeMounts"] if mount["name"] != "extproc-run"]
    kind = "initContainers"
    if settings.is_legacy:
        kind = "containers"
        del engine["restartPolicy"]
    return [*_append(pod, ("spec", kind), [engine]), *_append(pod, ("spec", "volumes"), volumes)]


def gateway_engine(settings: AttachSettings) -> dict[str, Any]:
    """Spec of a pod that is the engine and nothing else, for proxies that call it over the network."""
    parts = template()
    engine = _engine(parts, settings, [])
    engine["args"] = [
        f"--grpc=0.0.0.0:{GRPC_PORT}" if one.startswith("--grpc=") else one
        for one in engine["args"]
        if not one.startswith("--drain-delay")  # its callers need the time to notice
    ]
    del engine["restartPolicy"]
    engine["volumeMounts"] = [mount for mount in engine["volumeMounts"] if mount["name"] != "extproc-run"]
    volumes = [volume for volume in parts["volumes"] if volume["name"] != "extproc-run"]
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 30,
        "containers": [engine],
        "volumes": volumes,
    }


def _pair(pod: Mapping[str, Any], settings: AttachSettings, app: AppPort, name: str) -> list[Operation]:
    parts = template()
    listen = settings.effective_listen_port
    halves = [f"--listen=0.0.0.0:{listen}", f"--app=127.0.0.1:{app.number}", f"--bootstrap={RUN}/envoy.yaml"]
    engine = _engine(parts, settings, halves)
    envoy, volumes = parts["envoy"], parts["volumes"]
    envoy["image"] = settings.envoy_image
    envoy["ports"] = [{"name": name, "containerPort": listen}]
    for probe, how in (("startupProbe", "httpGet"), ("readinessProbe", "httpGet"), ("livenessProbe", "tcpSocket")):
        envoy[probe][how]["port"] = listen
    added = _append(pod, ("spec", "volumes"), volumes)
    if not settings.is_legacy:
        return [*_append(pod, ("spec", "initContainers"), [engine, envoy]), *added]
    del engine["restartPolicy"], envoy["restartPolicy"]
    # Plain containers start together: what Envoy reads has to be there before.
    first = {key: engine[key] for key in ("image", "imagePullPolicy", "securityContext", "resources")}
    first |= {
        "name": BOOTSTRAP,
        "args": ["envoy-config", *engine["args"][1:]],
        "volumeMounts": engine["volumeMounts"][:1],
    }
    added += _append(pod, ("spec", "initContainers"), [first])
    return [*_append(pod, ("spec", "containers"), [engine, envoy]), *added]


def _append(pod: Mapping[str, Any], path: tuple[str, ...], items: list[Any]) -> list[Operation]:
    """Behind the items that are there, or as a list of its own."""
    holder = look(pod, *path[:-1])
    if path[-1] in holder:
        return [Operation("add", (*path, "-"), item) for item in items]
    return [Operation("add", path, items)]


def _rename(pod: Mapping[str, Any], app: AppPort, renamed: str) -> list[Operation]:
    """The app's port gets another name, and its own probes follow."""
    container: tuple[str | int, ...] = ("spec", "containers", app.container)
    operations = [Operation("replace", (*container, "ports", app.port or 0, "name"), renamed)]
    for probe in PROBES:
        for how in ("httpGet", "tcpSocket"):
            if look(pod, *container, probe, how, "port") == app.name:
                operations.append(Operation("replace", (*container, probe, how, "port"), renamed))
    for hook in ("postStart", "preStop"):
        if look(pod, *container, "lifecycle", hook, "httpGet", "port") == app.name:
            operations.append(Operation("replace", (*container, "lifecycle", hook, "httpGet", "port"), renamed))
    return operations


def _free_name(wanted: str, pod: Mapping[str, Any]) -> str:
    used = port_names_in_use(pod)
    name = wanted[:PORT_NAME_LIMIT].rstrip("-")
    number = 1
    while name in used:
        number += 1
        name = f"{wanted[: PORT_NAME_LIMIT - len(str(number)) - 1]}-{number}"
    return name


def _marks(
    pod: Mapping[str, Any],
    record: dict[str, Any],
    made: list[Operation],
    label: tuple[str, str] = (INJECT_LABEL, "true"),
) -> list[Operation]:
    """The label that network policies select by, and the record for `detach`."""
    metadata = look(pod, "metadata")
    if metadata is None:
        raise AttachError("the pod template has no metadata; give it the labels that its selector asks for")
    labels = metadata.get("labels") or {}
    if labels.get(INJECT_LABEL) == "false":
        raise AttachError(f'the label {INJECT_LABEL}: "false" says that this pod wants no pair; take it out first')
    added = ["/".join(map(str, operation.path)) for operation in made if operation.path[-1] != "-"]
    added += [f"metadata/{key}" for key in ("labels", "annotations") if key not in metadata]
    if label[0] not in labels and "labels" in metadata:
        added.append(f"metadata/labels/{label[0]}")
    record = {**record, "added": added} if added else record
    operations = []
    if label[0] not in labels:
        operations.append(_put(metadata, "labels", *label))
    operations.append(_put(metadata, "annotations", RECORD, json.dumps(record, sort_keys=True)))
    return operations


def _put(metadata: Mapping[str, Any], key: str, name: str, value: str) -> Operation:
    if key in metadata:
        return Operation("add", ("metadata", key, name), value)
    return Operation("add", ("metadata", key), {name: value})


def template() -> dict[str, Any]:
    """The shipped containers and volumes, a copy of one's own."""
    text = (resources.files("extproc.attachment") / "containers.yaml").read_text()
    parts: dict[str, Any] = yaml.safe_load(text)
    return parts
