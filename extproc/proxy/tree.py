"""A bootstrap as plain data → its parts that matter here: connection managers, ext_proc filters, routes, clusters.

Reads anybody's file: keys in snake_case or lowerCamelCase (the JSON form of protobuf), filters by their type and not
by a name of ours. What comes over xDS is not in a bootstrap, but it is in what a running Envoy tells of itself
(`/config_dump` of its admin), which is read as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from extproc.model.errors import ConfigError

Tree: TypeAlias = dict[str, Any]

MANAGER_TYPE = "HttpConnectionManager"
EXT_PROC_TYPE = "ext_proc.v3.ExternalProcessor"
PER_ROUTE_TYPE = "ext_proc.v3.ExtProcPerRoute"

_MARK = re.compile(rb"""(?:^|[\s{,])["']?static_?[rR]esources["']?\s*:|envoy\.admin\.v3\.[A-Za-z]+ConfigDump""")
_HUMP = re.compile(r"(?<=[a-z0-9])([A-Z])")


FILE_LIMIT_BYTES = 8 * 1024 * 1024
"""A larger file is refused: it is no bootstrap."""

NODES_LIMIT = 500_000
"""Mappings, lists and values of a tree, aliases of YAML written out; more are refused."""


def load(file: Path) -> Tree:
    """A bootstrap, or a patch of one, as YAML or JSON. Raises ConfigError."""
    try:
        with file.open("rb") as stream:
            text = stream.read(FILE_LIMIT_BYTES + 1)
    except OSError as error:
        raise ConfigError(str(file), f"cannot be read: {error.strerror}") from error
    if len(text) > FILE_LIMIT_BYTES:
        raise ConfigError(str(file), f"is larger than {FILE_LIMIT_BYTES} bytes; it is hardly Envoy's configuration")
    try:
        tree = normalise(parse(text))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(str(file), f"cannot be understood: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise ConfigError(str(file), "must hold Envoy's configuration, a mapping")
    return tree


def parse(text: str | bytes) -> Any:
    """YAML, plain data only, by the parser in C where there is one: a bootstrap is long. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # a safe one


def is_bootstrap(file: Path) -> bool:
    """Does it look like Envoy's configuration? A glance, not a judgement."""
    try:
        with file.open("rb") as stream:
            return _MARK.search(stream.read(FILE_LIMIT_BYTES)) is not None
    except OSError:
        return False


def normalise(tree: Any) -> Any:
    """The same with all keys in snake_case; a key with a dot or a dash is somebody's name and stays.

    Raises ValueError for a tree of more than NODES_LIMIT nodes.
    """
    nodes = count()

    def walk(value: Any) -> Any:
        if next(nodes) >= NODES_LIMIT:
            raise ValueError(f"more than {NODES_LIMIT} values")
        if isinstance(value, dict):
            return {_snake(key): walk(item) for key, item in value.items()}
        return [walk(item) for item in value] if isinstance(value, list) else value

    return walk(tree)


def _snake(key: object) -> str:
    text = str(key)
    return text if "." in text or "-" in text else _HUMP.sub(lambda hump: "_" + hump[1].lower(), text)


@dataclass(frozen=True, slots=True)
class Place:
    """A part of the tree, and where it is for people (`listener ingress, route /ws`)."""

    where: str
    value: Tree


@dataclass(frozen=True, slots=True)
class Manager:
    """One HTTP connection manager: its settings, its ext_proc filters in order, its virtual hosts and routes."""

    where: str
    value: Tree
    filters: tuple[Place, ...]
    hosts: tuple[Place, ...]
    routes: tuple[Place, ...]

    def overrides(self) -> Iterator[tuple[Place, Tree]]:
        """What a virtual host or a route changes of an ext_proc filter: (place, that change)."""
        names = [place.value.get("name") for place in self.filters]
        for place in (*self.hosts, *self.routes):
            for name, change in dict_at(place.value, "typed_per_filter_config").items():
                if name in names or is_a(change, PER_ROUTE_TYPE):
                    yield place, change if isinstance(change, dict) else {}


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """What `read` found. `budget_ms` is the engine's time budget, which the tree does not tell.

    `is_dump`: told by a running Envoy, which leaves out what has the value 0 (a body mode of NONE).
    """

    tree: Tree
    budget_ms: int
    managers: tuple[Manager, ...]
    clusters: dict[str, Tree] = field(default_factory=dict)
    is_dump: bool = False

    def guarded(self) -> Iterator[tuple[Manager, Place, Tree]]:
        """Every ext_proc filter: (manager, the filter, its settings)."""
        for manager in self.managers:
            for place in manager.filters:
                yield manager, place, dict_at(place.value, "typed_config")


def read(tree: Tree, budget_ms: int) -> Bootstrap:
    """`tree` is normalised. Raises nothing: what has another shape than Envoy's is left out, Envoy refuses it."""
    is_dump = "configs" in tree
    if is_dump:
        tree = _undumped(tree)
    static = dict_at(tree, "static_resources")
    listeners = [item for item in dicts_at(static, "listeners") if item.get("traffic_direction") != "OUTBOUND"]
    managers = tuple(manager for listener in listeners for manager in _managers(listener))
    clusters = {str(cluster.get("name")): cluster for cluster in dicts_at(static, "clusters")}
    return Bootstrap(tree, budget_ms, managers, clusters, is_dump)


def _undumped(dump: Tree) -> Tree:
    """A config dump (envoy.admin.v3.ConfigDump) → a bootstrap that says the same, xDS included."""
    parts: dict[str, list[Tree]] = {"listeners": [], "clusters": [], "route_configs": []}
    tree: Tree = {"dynamic_resources": {}}
    for config in dicts_at(dump, "configs"):
        tree |= {
            name: item for name, item in dict_at(config, "bootstrap").items() if name in ("admin", "layered_runtime")
        }
        for kind, found in parts.items():
            key = kind.removesuffix("s")
            for item in (*dicts_at(config, f"static_{kind}"), *dicts_at(config, f"dynamic_{kind}")):
                found.append(dict_at(item, key) or dict_at(item, "active_state", key))
            found += [dict_at(item, key) for item in dicts_at(config, f"dynamic_active_{kind}")]
    named = {str(item.get("name")): item for item in parts["route_configs"]}
    for listener in parts["listeners"]:
        for settings in _manager_settings(listener):
            wanted = dict_at(settings, "rds").get("route_config_name")
            if wanted is not None:
                settings["route_config"] = named.get(str(wanted), {})
    return {**tree, "static_resources": {"listeners": parts["listeners"], "clusters": parts["clusters"]}}


def _managers(listener: Tree) -> Iterator[Manager]:
    name = f"listener {listener.get('name', '(no name)')}"
    for settings in _manager_settings(listener):
        yield _manager(name, settings)


def _manager_settings(listener: Tree) -> Iterator[Tree]:
    for chain in (*dicts_at(listener, "filter_chains"), dict_at(listener, "default_filter_chain")):
        for item in dicts_at(chain, "filters"):
            if is_a(item.get("typed_config"), MANAGER_TYPE):
                yield dict_at(item, "typed_config")


def _manager(where: str, settings: Tree) -> Manager:
    hosts = [
        Place(f"{where}, virtual host {host.get('name', '(no name)')}", host)
        for host in dicts_at(dict_at(settings, "route_config"), "virtual_hosts")
    ]
    routes = [
        Place(f"{where}, route {route.get('name') or route.get('match')}", route)
        for host in hosts
        for route in dicts_at(host.value, "routes")
    ]
    filters = [
        Place(f"{where}, filter {item.get('name')}", item)
        for item in dicts_at(settings, "http_filters")
        if is_a(dict_at(item, "typed_config"), EXT_PROC_TYPE)
    ]
    return Manager(where, settings, tuple(filters), tuple(hosts), tuple(routes))


def is_a(config: object, kind: str) -> bool:
    """Is this a typed config whose type ends so?"""
    return isinstance(config, dict) and str(config.get("@type", "")).endswith(kind)


def dict_at(tree: Tree, *keys: str) -> Tree:
    """The mapping at that path, empty if there is none."""
    for key in keys:
        found = tree.get(key) if isinstance(tree, dict) else None
        tree = found if isinstance(found, dict) else {}
    return tree


def list_at(tree: Tree, key: str) -> list[Any]:
    """The list under a key, empty if there is none."""
    found = tree.get(key)
    return found if isinstance(found, list) else []


def dicts_at(tree: Tree, key: str) -> list[Tree]:
    """The mappings in the list under a key."""
    return [item for item in list_at(tree, key) if isinstance(item, dict)]


def seconds(value: object) -> float | None:
    """A protobuf duration (`1.5s`) → seconds, None if there is none."""
    text = str(value)
    try:
        return float(text.removesuffix("s")) if text.endswith("s") else None
    except ValueError:
        return None
