"""Files of manifests: which objects are in them, the pair put beside one workload, and taken out again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from extproc.attachment import yaml_text
from extproc.attachment.app_port import PROBES, find_app_port
from extproc.attachment.mesh import envoy_filter, gateway_objects
from extproc.attachment.network_policy import network_policy
from extproc.attachment.operations import Operation, Path, look
from extproc.attachment.services import selects, service_change
from extproc.attachment.settings import (
    ATTACH_LABEL,
    BOOTSTRAP,
    ENGINE,
    ENVOY,
    INJECT_LABEL,
    MANAGED_LABELS,
    RECORD,
    AttachError,
    AttachSettings,
)
from extproc.attachment.sidecar import (
    attach_operations,
    attached_containers,
    envoy_port_name,
    refuse_attached,
    with_annotations,
)

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Rollout", "Pod")
"""Kinds that hold a pod template, or are a pod."""


PORT_HOLDERS = frozenset({"ports", "lifecycle", "httpGet", "tcpSocket", "postStart", "preStop", *PROBES})
"""Keys of a container below which a port may be named."""

PORT_NAMES = {("httpGet", "port"), ("tcpSocket", "port")}

VOLUMES = ("extproc-run", "extproc-tmp", "extproc-policy")


@dataclass(frozen=True, slots=True)
class Located:
    """An object and where it stands: file, document of the file, place in the document (a List has items)."""

    file: int
    document: int
    path: Path
    data: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.data.get("kind", ""))

    @property
    def name(self) -> str:
        return str(look(self.data, "metadata", "name") or look(self.data, "metadata", "generateName") or "")

    @property
    def title(self) -> str:
        return f"{self.kind}/{self.name}"

    @property
    def pod_path(self) -> Path:
        return () if self.kind == "Pod" else ("spec", "template")

    @property
    def pod(self) -> dict[str, Any]:
        found = look(self.data, *self.pod_path)
        if not isinstance(found, dict) or not isinstance(look(found, "spec", "containers"), list):
            raise AttachError(f"{self.title} has no pod template with containers")
        return found


@dataclass(slots=True)
class Result:
    """The files' new texts, and sentences for the user."""

    texts: list[str]
    notes: list[str] = field(default_factory=list)


class Manifests:
    """Some files, read. Raises YamlTextError, with the file's name, for what is not YAML."""

    def __init__(self, names: Sequence[str], texts: Sequence[str]) -> None:
        self.names = names
        self.documents = [yaml_text.split(text) for text in texts]
        self.objects = list(self._read())

    def _read(self) -> Iterator[Located]:
        for file, documents in enumerate(self.documents):
            for number, document in enumerate(documents):
                try:
                    data = yaml_text.load(document)
                except yaml_text.YamlTextError as error:
                    raise yaml_text.YamlTextError(f"{self.names[file]}: document {number + 1} {error}") from error
                if not isinstance(data, dict):
                    continue
                _refuse_odd_shapes(data, f"{self.names[file]}: document {number + 1}")
                if data.get("kind") == "List":
                    for place, item in enumerate(data.get("items") or []):
                        if isinstance(item, dict):
                            yield Located(file, number, ("items", place), item)
                else:
                    yield Located(file, number, (), data)

    def attach(self, settings: AttachSettings, workload: str = "", *, closes_app_port: bool = False) -> Result:
        """The pair beside one workload, or the engine for the proxy that `settings.to` names.

        `workload` is KIND/NAME or NAME. Raises AttachError, YamlTextError.
        """
        if settings.to == "envoy-gateway":
            settings.refuse_wrong_names()
            return self._attach_gateway(settings, workload)
        target = self._workload(workload)
        try:
            settings = with_annotations(target.pod, settings)
            refuse_attached(target.pod)
            if settings.to == "istio":
                return self._attach_istio(target, settings)
            return self._attach_pair(target, settings, closes_app_port)
        except AttachError as error:
            raise AttachError(f"{target.title}: {error}") from error

    def _attach_pair(self, target: Located, settings: AttachSettings, closes_app_port: bool) -> Result:
        app = find_app_port(target.pod, settings)
        name = envoy_port_name(app, settings)
        changes: list[tuple[Located, list[Operation]]] = []
        record: dict[str, Any] = {}
        follows = []
        for service in self.objects:
            if service.kind != "Service" or not selects(service.data, target.pod):
                continue
            change = service_change(service.data, app, name, settings)
            if change.record:
                changes.append((service, change.operations))
                record.setdefault("services", {})[service.name] = change.record
            elif change.follows:
                follows.append(service.title)
        operations = attach_operations(target.pod, settings, record)
        changes.append((target, [operation.below(target.pod_path) for operation in operations]))
        notes = [f"{target.title}: {ENGINE} and {ENVOY} beside it, mode {settings.effective_mode}"]
        notes += [f"{title}: finds Envoy by the name {name}; nothing to change" for title in follows]
        notes += [f"{service.title}: leads to Envoy" for service, _ in changes[:-1]]
        if not follows and not changes[:-1]:
            notes.append(f"no Service in the input leads to port {app.number}: point yours at the port named {name}")
        more = []
        if closes_app_port:
            more.append(_policy(target, settings))
        else:
            notes.append(
                f"port {app.number} of the pod is still open beside Envoy: let the app listen on 127.0.0.1, or add "
                "--network-policy"
            )
        return Result(self._with(self._edited(changes), more), notes)

    def _attach_gateway(self, settings: AttachSettings, wanted: str) -> Result:
        route = self._one(("HTTPRoute",), wanted)
        namespace = str(look(route.data, "metadata", "namespace") or "")
        objects = gateway_objects(f"{route.name}-extproc", namespace, route.name, settings)
        return Result(
            self._with(self._edited([]), [yaml_text.dump(one) for one in objects]),
            [
                f"{route.title}: the gateway asks {route.name}-extproc, mode {settings.effective_mode}",
                "trailers are not inspected there, and normalisation is the gateway's (docs/SECURITY.md)",
            ],
        )

    def _attach_istio(self, target: Located, settings: AttachSettings) -> Result:
        operations = attach_operations(target.pod, settings)
        texts = self._edited([(target, [operation.below(target.pod_path) for operation in operations])])
        namespace = str(look(target.data, "metadata", "namespace") or "")
        labels = {**_selector(target), ATTACH_LABEL: "istio"}
        filters = envoy_filter(f"{target.name}-extproc", namespace, labels)
        return Result(
            self._with(texts, [yaml_text.dump(filters)]),
            [
                f"{target.title}: {ENGINE} beside it, mode {settings.effective_mode}; istio-proxy asks it",
                "only ports that Istio treats as HTTP are inspected: name them http-... or set appProtocol",
            ],
        )

    def _with(self, texts: list[str], more: list[str]) -> list[str]:
        """The files, and behind the last one some documents of ours."""
        if more and not texts[-1].endswith("\n"):
            raise AttachError(f"{self.names[-1]}: ends without a line break; add one, or no document can follow")
        return [*texts[:-1], texts[-1] + "".join(f"---\n{document}" for document in more)]

    def detach(self, workload: str = "") -> Result:
        """What `attach` did, undone. Raises AttachError, YamlTextError."""
        routes = [one for one in self.objects if one.kind == "HTTPRoute" and wanted_is(one, workload)]
        if len(routes) == 1 and not any(one.kind in WORKLOADS and not is_ours(one) for one in self.objects):
            return Result(self._edited([], drops=routes[0].name), [f"{routes[0].title}: the gateway asks nobody"])
        target = self._workload(workload, is_attached=True)
        pod = target.pod
        annotation = look(pod, "metadata", "annotations", RECORD)
        if annotation is None:
            raise AttachError(
                f"{target.title}: has no annotation {RECORD}, so `extproc attach` did not put the pair there "
                "(the injector, or a kustomize component?); take it out where it came from"
            )
        try:
            record = json.loads(annotation)
            added = set(record.get("added", ()))
            renamed: dict[str, str] = dict(record.get("renamed", {}))
            services: dict[str, list[list[Any]]] = dict(record.get("services", {}))
        except (ValueError, TypeError, AttributeError) as error:
            raise AttachError(f"{target.title}: the annotation {RECORD} is not as it was written: {error}") from error
        changes = [(target, [one.below(target.pod_path) for one in _detach_operations(pod, added, renamed)])]
        notes = [f"{target.title}: the pair is out"]
        for service in self.objects:
            if service.kind == "Service" and service.name in services:
                changes.append((service, list(_service_back(service.data, services[service.name]))))
                notes.append(f"{service.title}: leads to the app again")
        return Result(self._edited(changes, drops=target.name), notes)

    def _workload(self, wanted: str, *, is_attached: bool = False) -> Located:
        return self._one(WORKLOADS, wanted, is_attached=is_attached)

    def _one(self, kinds: tuple[str, ...], wanted: str, *, is_attached: bool = False) -> Located:
        found = [one for one in self.objects if one.kind in kinds and wanted_is(one, wanted) and not is_ours(one)]
        if is_attached and len(found) > 1 and not wanted:
            found = [one for one in found if attached_containers(one.pod)] or found
        if not found:
            raise AttachError(
                f"{wanted}: is not in the input" if wanted else f"the input holds none of {', '.join(kinds)}"
            )
        if len(found) > 1:
            titles = ", ".join(one.title for one in found)
            raise AttachError(f"there are several: {titles}. Say which: --workload KIND/NAME")
        return found[0]

    def _edited(self, changes: Sequence[tuple[Located, Sequence[Operation]]], drops: str = "") -> list[str]:
        """All texts, with the changes made; documents that `attach` added for the workload `drops` are left out."""
        documents = [list(one) for one in self.documents]
        for located, operations in changes:
            text = documents[located.file][located.document]
            try:
                text = yaml_text.edit(text, [operation.below(located.path) for operation in operations])
            except yaml_text.YamlTextError as error:
                raise yaml_text.YamlTextError(f"{self.names[located.file]}: {located.title}: {error}") from error
            documents[located.file][located.document] = text
        for one in self.objects:
            if drops and is_ours(one) and one.name.startswith(f"{drops}-") and not one.path:
                documents[one.file][one.document] = ""
        return ["".join(one) for one in documents]


ENTERED = frozenset({"metadata", "spec", "template"})
MAPPINGS = ENTERED | {"labels", "annotations", "selector"}
LISTS = frozenset({"containers", "initContainers", "volumes", "ports", "items"})
"""Of mappings. Both may be null, as kubectl takes them."""


def _refuse_odd_shapes(value: dict[str, Any], place: str) -> None:
    """Raises AttachError where an object of a kind that is looked into is not built as Kubernetes says."""
    if value.get("kind") == "List":
        _refuse_odd_keys({"items": value.get("items")}, place)
        for item in value.get("items") or ():
            _refuse_odd_shapes(item, place)
    elif value.get("kind") in (*WORKLOADS, "Service", "HTTPRoute"):
        _refuse_odd_keys(value, place)


def _refuse_odd_keys(value: dict[str, Any], place: str) -> None:
    for key, below in value.items():
        if below is None:
            continue
        if key in MAPPINGS and not isinstance(below, dict):
            raise AttachError(f"{place}: {key} must hold `name: value` lines, not {below!r}")
        if key in ENTERED:  # what stands below labels and their like is the user's own
            _refuse_odd_keys(below, place)
        if key in LISTS:
            if not isinstance(below, list) or not all(isinstance(one, dict) for one in below):
                raise AttachError(f"{place}: {key} must be a list of `name: value` lines, not {below!r}")
            for one in below:
                _refuse_odd_keys(one, place)


def is_ours(one: Located) -> bool:
    """Did `attach` add this object?"""
    labels = look(one.data, "metadata", "labels") or {}
    return all(labels.get(name) == value for name, value in MANAGED_LABELS.items())


def wanted_is(one: Located, wanted: str) -> bool:
    """Does KIND/NAME or NAME mean this object? "" means any."""
    return wanted in ("", one.name) or wanted.lower() == one.title.lower()


def _selector(target: Located) -> dict[str, Any]:
    found = look(target.data, "spec", "selector", "matchLabels") or look(target.pod, "metadata", "labels") or {}
    return dict(found)


def _policy(target: Located, settings: AttachSettings) -> str:
    namespace = str(look(target.data, "metadata", "namespace") or "")
    return network_policy(target.name, namespace, _selector(target), settings.effective_listen_port)


def _detach_operations(pod: dict[str, Any], added: set[str], renamed: dict[str, str]) -> Iterator[Operation]:
    for kind in ("initContainers", "containers", "volumes"):
        items = look(pod, "spec", kind) or []
        ours = [place for place, item in enumerate(items) if item.get("name") in (*VOLUMES, BOOTSTRAP, ENGINE, ENVOY)]
        if ours and f"spec/{kind}" in added and len(ours) == len(items):
            yield Operation("remove", ("spec", kind))
            continue
        for place in reversed(ours):
            yield Operation("remove", ("spec", kind, place))
    for at, container in enumerate(look(pod, "spec", "containers") or []):
        if container.get("name") not in (ENGINE, ENVOY):
            yield from _names_back(container, ("spec", "containers", at), renamed)
    label = ATTACH_LABEL if ATTACH_LABEL in (look(pod, "metadata", "labels") or {}) else INJECT_LABEL
    for key, name in (("labels", label), ("annotations", RECORD)):
        others = set(look(pod, "metadata", key) or {}) - {name}
        if f"metadata/{key}" in added and not others:
            yield Operation("remove", ("metadata", key))
        elif key == "annotations" or f"metadata/{key}" in added or f"metadata/{key}/{name}" in added:
            yield Operation("remove", ("metadata", key, name))


def _names_back(value: Any, path: Path, renamed: dict[str, str]) -> Iterator[Operation]:
    """Every port of the container that bears a name of ours gets its former one."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, str):
                is_port = (path[-1], key) in PORT_NAMES or (key == "name" and path[-2] == "ports")
                if is_port and inner in renamed:
                    yield Operation("replace", (*path, key), renamed[inner])
            elif key in PORT_HOLDERS:
                yield from _names_back(inner, (*path, key), renamed)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _names_back(inner, (*path, place), renamed)


def _service_back(service: dict[str, Any], record: Sequence[Sequence[Any]]) -> Iterator[Operation]:
    former: dict[Any, Any] = {entry[0]: entry[1] for entry in record}
    for place, port in enumerate(look(service, "spec", "ports") or []):
        if port.get("port") in former and "targetPort" in port:
            target = former[port["port"]]
            path: Path = ("spec", "ports", place, "targetPort")
            yield Operation("remove", path) if target is None else Operation("replace", path, target)
