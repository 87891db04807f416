"""What objects say of each other: names, selectors, ports and keys that have to lead somewhere.

An API server takes a Service that selects nothing and an autoscaler of what does not exist. Nobody says so afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from manifests import Tree, containers, endpoint, pod_of, selects

Given = frozenset[tuple[str, str]]


class World(NamedTuple):
    """All objects that are applied together, and (kind, name) of what is there before."""

    trees: list[Tree]
    given: Given

    def named(self, kind: str, name: str, namespace: str | None) -> Tree | None:
        for tree in self.trees:
            metadata = tree["metadata"]
            if (tree["kind"], metadata["name"], metadata.get("namespace")) == (kind, name, namespace):
                return tree
        return None

    def has(self, kind: str, name: str, namespace: str | None) -> bool:
        return (kind, name) in self.given or self.named(kind, name, namespace) is not None

    def pods(self, selector: Tree, namespace: str | None) -> list[Tree]:
        return [
            pod
            for tree in self.trees
            if tree["metadata"].get("namespace") == namespace
            and (pod := pod_of(tree)) is not None
            and selects(selector, pod)
        ]


def dangling(trees: list[Tree], given: Given = frozenset()) -> list[str]:
    """References that lead nowhere, each with who has it. Empty is fine."""
    world = World(trees, given)
    found = []
    for tree in trees:
        who = f"{tree['kind']} {tree['metadata']['name']}"
        namespace = tree["metadata"].get("namespace")
        found += [f"{who}: {text}" for text in _of_object(tree, namespace, world)]
        pod = pod_of(tree)
        if pod is not None:
            found += [f"{who}: {text}" for text in _of_pod(pod, namespace, world)]
    return found


def _of_object(tree: Tree, namespace: str | None, world: World) -> Iterator[str]:
    spec = tree.get("spec", {})
    match tree["kind"]:
        case "Service":
            yield from _of_service(spec, namespace, world)
        case "NetworkPolicy":
            yield from _of_network_policy(spec, namespace, world)
        case "PodDisruptionBudget":
            if not world.pods(spec["selector"], namespace):
                yield "selects no pod"
        case "HorizontalPodAutoscaler":
            target = spec["scaleTargetRef"]
            if not world.has(target["kind"], target["name"], namespace):
                yield f"there is no {target['kind']} {target['name']}"
        case "MutatingWebhookConfiguration":
            for webhook in tree["webhooks"]:
                service = webhook["clientConfig"]["service"]
                yield from _backend(service["name"], service["port"], service["namespace"], world)
            ca = tree["metadata"].get("annotations", {}).get("cert-manager.io/inject-ca-from")
            if ca and not world.has("Certificate", ca.partition("/")[2], ca.partition("/")[0]):
                yield f"there is no Certificate {ca}"
        case "RoleBinding" | "ClusterRoleBinding":
            role = tree["roleRef"]
            if not world.has(role["kind"], role["name"], namespace if role["kind"] == "Role" else None):
                yield f"there is no {role['kind']} {role['name']}"
            for subject in tree["subjects"]:
                if not world.has(subject["kind"], subject["name"], subject["namespace"]):
                    yield f"there is no {subject['kind']} {subject['name']} in {subject['namespace']}"
        case "PodMonitor":
            yield from _of_pod_monitor(spec, namespace, world)
        case "Certificate":
            issuer = spec["issuerRef"]
            if not world.has(issuer["kind"], issuer["name"], namespace):
                yield f"there is no {issuer['kind']} {issuer['name']}"
        case "EnvoyFilter":
            selector = spec.get("workloadSelector")
            if selector and not world.pods({"matchLabels": selector["labels"]}, namespace):
                yield "selects no pod"
            yield from _targets(spec, namespace, world)
        case "ClientTrafficPolicy":
            yield from _targets(spec, namespace, world)
        case "EnvoyExtensionPolicy":
            yield from _targets(spec, namespace, world)
            for processor in spec.get("extProc", []):
                for backend in processor["backendRefs"]:
                    yield from _backend(backend["name"], backend["port"], backend.get("namespace", namespace), world)
        case "HTTPRoute":
            for parent in spec["parentRefs"]:
                if not world.has("Gateway", parent["name"], namespace):
                    yield f"there is no Gateway {parent['name']}"
            for rule in spec["rules"]:
                for backend in rule["backendRefs"]:
                    yield from _backend(backend["name"], backend["port"], namespace, world)


def _backend(name: str, port: int, namespace: str | None, world: World) -> Iterator[str]:
    service = world.named("Service", name, namespace)
    if service is None:
        if ("Service", name) not in world.given:
            yield f"there is no Service {name}"
    elif port not in [one["port"] for one in service["spec"]["ports"]]:
        yield f"the Service {name} has no port {port}"


def _targets(spec: Tree, namespace: str | None, world: World) -> Iterator[str]:
    for target in spec.get("targetRefs", []):
        if not world.has(target["kind"], target["name"], namespace):
            yield f"there is no {target['kind']} {target['name']}"


def _of_service(spec: Tree, namespace: str | None, world: World) -> Iterator[str]:
    pods = world.pods({"matchLabels": spec["selector"]}, namespace)
    if not pods:
        yield "selects no pod"
    for pod in pods:
        for port in spec["ports"]:
            target = port.get("targetPort", port["port"])
            if endpoint(pod["spec"], target) is None:
                yield f"no container has the port {target}"


def _of_network_policy(spec: Tree, namespace: str | None, world: World) -> Iterator[str]:
    pods = world.pods(spec["podSelector"], namespace)
    if not pods:
        yield "selects no pod"
    for rule in spec.get("ingress", []):
        for port in rule.get("ports", []):
            yield from (
                f"no container has the port {port['port']}"
                for pod in pods
                if endpoint(pod["spec"], port["port"]) is None
            )


def _of_pod_monitor(spec: Tree, namespace: str | None, world: World) -> Iterator[str]:
    pods = world.pods(spec["selector"], namespace)
    if not pods:
        yield "selects no pod"
    for one in spec["podMetricsEndpoints"]:
        for pod in pods:
            names = {port.get("name") for container in containers(pod["spec"]) for port in container.get("ports", [])}
            if one["port"] not in names:
                yield f"no container has the port {one['port']}"


def _of_pod(pod: Tree, namespace: str | None, world: World) -> Iterator[str]:
    spec = pod["spec"]
    account = spec.get("serviceAccountName")
    if account is not None and not world.has("ServiceAccount", account, namespace):
        yield f"there is no ServiceAccount {account}"
    for secret in spec.get("imagePullSecrets", []):
        if not world.has("Secret", secret["name"], namespace):
            yield f"there is no Secret {secret['name']} to pull with"
    for volume in spec.get("volumes", []):
        yield from _of_source(f"volume {volume['name']}", volume, namespace, world)
        for source in volume.get("projected", {}).get("sources", []):
            yield from _of_source(f"volume {volume['name']}", source, namespace, world)
    for container in containers(spec):
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            for kind, key in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
                if key in source:
                    wanted = {"name": source[key]["name"], "items": [{"key": source[key]["key"]}]}
                    yield from _keys(f"variable {variable['name']}", kind, wanted, namespace, world)
        for mount in container.get("volumeMounts", []):
            yield from _sub_path(mount, spec, namespace, world)
    for one in spec.get("topologySpreadConstraints", []):
        if not selects(one["labelSelector"], pod):
            yield "spreads other pods than its own"
    apart = spec.get("affinity", {}).get("podAntiAffinity", {})
    for term in apart.get("preferredDuringSchedulingIgnoredDuringExecution", []):
        if not selects(term["podAffinityTerm"]["labelSelector"], pod):
            yield "keeps away from other pods than its own"
    grace = spec.get("terminationGracePeriodSeconds", 30)
    for container in containers(spec):
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if pause >= grace:
            yield f"{container['name']} sleeps through the whole grace period"


def _of_source(who: str, source: Tree, namespace: str | None, world: World) -> Iterator[str]:
    if "configMap" in source:
        yield from _keys(who, "ConfigMap", source["configMap"], namespace, world)
    if "secret" in source:
        wanted = source["secret"]
        yield from _keys(
            who, "Secret", {**wanted, "name": wanted.get("secretName", wanted.get("name"))}, namespace, world
        )


def _keys(who: str, kind: str, wanted: Tree, namespace: str | None, world: World) -> Iterator[str]:
    """`wanted` is a reference with `name`, `items` and `optional`."""
    name = wanted["name"]
    found = world.named(kind, name, namespace)
    if found is not None:
        held = {**found.get("data", {}), **found.get("binaryData", {}), **found.get("stringData", {})}
        yield from (
            f"{who}: the {kind} {name} has no key {item['key']}"
            for item in wanted.get("items", [])
            if item["key"] not in held
        )
    elif not (wanted.get("optional") or (kind, name) in world.given or _is_made(kind, name, namespace, world)):
        yield f"{who}: there is no {kind} {name}"


def _is_made(kind: str, name: str, namespace: str | None, world: World) -> bool:
    """Whether something that is applied makes a Secret: cert-manager, or a Job that may."""
    if kind != "Secret":
        return False
    for tree in world.trees:
        if tree["metadata"].get("namespace") != namespace:
            continue
        if tree["kind"] == "Certificate" and tree["spec"]["secretName"] == name:
            return True
        if tree["kind"] == "Role" and any(_may_make(rule, name) for rule in tree["rules"]):
            return True
    return False


def _may_make(rule: Tree, name: str) -> bool:
    return "secrets" in rule["resources"] and name in rule.get("resourceNames", []) and "update" in rule["verbs"]


def _sub_path(mount: Tree, spec: Tree, namespace: str | None, world: World) -> Iterator[str]:
    if "subPath" not in mount:
        return
    volume: dict[str, Any] = next(one for one in spec["volumes"] if one["name"] == mount["name"])
    if "configMap" in volume:
        wanted = {"name": volume["configMap"]["name"], "items": [{"key": mount["subPath"]}]}
        yield from _keys(f"mount {mount['mountPath']}", "ConfigMap", wanted, namespace, world)
