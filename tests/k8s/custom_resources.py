"""What an API server with the authors' own CustomResourceDefinitions would say of a custom resource.

The definitions come at test time from the authors' Go modules, by the ordinary Go client and held against the checksum
below; none of them is kept here. A definition says what fits in two ways: a structural schema, and rules in the Common
Expression Language (Kubernetes documentation: *Extend the Kubernetes API with CustomResourceDefinitions*).
"""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import yaml
from cel_expr_python import cel
from cel_expr_python.ext import ext_strings
from manifests import UnavailableError

Tree = dict[str, Any]

DOWNLOAD_LIMIT_S = 300


class Module(NamedTuple):
    """A Go module and where it keeps definitions. `checksum` is what go.sum would hold."""

    path: str
    version: str
    checksum: str
    files: str


MODULES = {
    "networking.istio.io": Module(
        "istio.io/api",
        "v1.31.1",
        "h1:5Yb5ihcz4YQsCkciusK7DnFpBMwRB6EFWeUKH1Atuyk=",
        "kubernetes/customresourcedefinitions.gen.yaml",
    ),
    "gateway.networking.k8s.io": Module(
        "sigs.k8s.io/gateway-api",
        "v1.6.3",
        "h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc=",
        "config/crd/standard/gateway.networking.k8s.io_*s.yaml",
    ),
    "gateway.envoyproxy.io": Module(
        "github.com/envoyproxy/gateway",
        "v1.9.1",
        "h1:vAVp6/AlBXJ1aOhp1mxL7fNEzVEfjADUguUhm2wzxQY=",
        "charts/gateway-helm/charts/crds/crds/generated/gateway.envoyproxy.io_*.yaml",
    ),
    "cert-manager.io": Module(
        "github.com/cert-manager/cert-manager",
        "v1.21.2",
        "h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68=",
        "deploy/crds/cert-manager.io_*.yaml",
    ),
    "monitoring.coreos.com": Module(
        "github.com/prometheus-operator/prometheus-operator",
        "v0.85.0",
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        "example/prometheus-operator-crd/monitoring.coreos.com_*.yaml",
    ),
}
"""API group → the module that defines it."""

MODULES["security.istio.io"] = MODULES["networking.istio.io"]

RESERVED = frozenset(
    (
        *("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if"),
        *("import", "let", "loop", "package", "namespace", "return", "var", "void", "while"),
    )
)
"""Words of the language: a field called so is `__name__` in a rule."""

ESCAPES = {"_": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}

FORMATS_OF_TYPES = frozenset({"duration", "date", "date-time", "byte"})
"""Strings that Kubernetes hands to rules as something else. None of our objects has one where a rule looks."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """`=` is a text, as Kubernetes reads it; YAML 1.1 has a type of its own for it."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda _loader, node: node.value)


def is_custom(tree: Tree) -> bool:
    return group_of(tree) in MODULES


def group_of(tree: Tree) -> str:
    return str(tree["apiVersion"]).rpartition("/")[0]


def errors(tree: Tree) -> list[str]:
    """What the definition of `tree`'s kind finds wrong in it. Raises UnavailableError without Go or the module."""
    module = MODULES[group_of(tree)]
    versions = _definitions(module).get((group_of(tree), tree["kind"]), {})
    version = tree["apiVersion"].rpartition("/")[2]
    schema = versions.get(version)
    if schema is None:
        return [f"{tree['apiVersion']} {tree['kind']} is not served; {sorted(versions)} are"]
    found = [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
        for error in jsonschema.Draft4Validator(_closed(schema, at_root=True)).iter_errors(tree)
    ]
    return found or [*_duplicates(tree, schema, ""), *_broken_rules(_defaulted(tree, schema), schema, "")]


def rules(group: str, kind: str, version: str) -> list[str]:
    """Every CEL rule of a kind, to be compiled once. Raises UnavailableError."""
    return list(_all_rules(_definitions(MODULES[group])[group, kind][version]))


def compile_rule(rule: str) -> cel.Expression:
    """Raises the library's error for what is no rule."""
    return _environment().compile(rule)


@functools.cache
def _environment() -> cel.Env:
    return cel.NewEnv(variables={"self": cel.Type.DYN, "oldSelf": cel.Type.DYN}, extensions=[ext_strings.ExtStrings()])


_compiled = functools.lru_cache(maxsize=4096)(compile_rule)


@functools.cache
def _folder(module: Module) -> Path:
    go = shutil.which("go")
    if go is None:
        raise UnavailableError("no go on PATH, so no module with definitions")
    name = f"{module.path}@{module.version}"
    command = [go, "mod", "download", "-json", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DOWNLOAD_LIMIT_S, cwd="/")
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{name} did not come within {DOWNLOAD_LIMIT_S} s") from None
    if done.returncode != 0:
        raise UnavailableError(f"{name} cannot be had: {(done.stdout + done.stderr).strip()[-200:]}")
    told = json.loads(done.stdout)
    if told["Sum"] != module.checksum:
        raise AssertionError(f"{name} is not what it was: {told['Sum']}")
    return Path(told["Dir"])


@functools.cache
def _definitions(module: Module) -> dict[tuple[str, str], dict[str, Tree]]:
    """(group, kind) → version → schema, of the versions that are served."""
    found: dict[tuple[str, str], dict[str, Tree]] = {}
    for file in sorted(_folder(module).glob(module.files)):
        for tree in yaml.load_all(file.read_text(), Loader=_Loader):
            if tree and tree.get("kind") == "CustomResourceDefinition":
                spec = tree["spec"]
                found[spec["group"], spec["names"]["kind"]] = {
                    one["name"]: one["schema"]["openAPIV3Schema"] for one in spec["versions"] if one["served"]
                }
    return found


def _closed(schema: Tree, *, at_root: bool = False) -> Tree:
    """The structural schema as a JSON schema in which a field that is not named is an error, as for `kubectl apply`."""
    result: Tree = {}
    for key, value in schema.items():
        if key == "properties":
            result[key] = {name: _closed(one) for name, one in value.items()}
        elif key == "items" or (key == "additionalProperties" and isinstance(value, dict)):
            result[key] = _closed(value)
        elif key in ("allOf", "anyOf", "oneOf", "not"):
            # These only add to what the structure says: names are checked there.
            result[key] = value
        elif not key.startswith("x-kubernetes-") and key not in ("default", "description", "nullable", "format"):
            result[key] = value
    if schema.get("x-kubernetes-int-or-string"):
        result["type"] = ["integer", "string"]
    if schema.get("nullable") and isinstance(result.get("type"), str):
        result["type"] = [result["type"], "null"]
    if at_root:
        # Every object has these, whatever its definition says of them.
        result["properties"] = {
            **result.get("properties", {}),
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
        }
    closed = "properties" in result and "additionalProperties" not in result
    if closed and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result["additionalProperties"] = False
    return result


def _defaulted(value: Any, schema: Tree) -> Any:
    """With the defaults that the API server puts in before it asks the rules."""
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        result = {
            key: _defaulted(one, properties.get(key, schema.get("additionalProperties") or {}))
            for key, one in value.items()
        }
        for key, one in properties.items():
            if key not in result and "default" in one:
                result[key] = _defaulted(one["default"], one)
        return result
    if isinstance(value, list):
        return [_defaulted(one, schema.get("items", {})) for one in value]
    return value


def _duplicates(value: Any, schema: Tree, path: str) -> Iterator[str]:
    """Lists that are sets or maps hold everything once."""
    if isinstance(value, list):
        kind = schema.get("x-kubernetes-list-type")
        keys = schema.get("x-kubernetes-list-map-keys", [])
        seen = [one if kind == "set" else [one.get(key) for key in keys] for one in value] if kind != "atomic" else []
        if kind in ("set", "map"):
            yield from (f"{path}: {one} stands twice" for place, one in enumerate(seen) if one in seen[:place])
    for name, one, inner in _children(value, schema):
        yield from _duplicates(one, inner, f"{path}.{name}")


def _broken_rules(value: Any, schema: Tree, path: str) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", []):
        text = rule["rule"]
        if re.search(r"\boldSelf\b", text) and not rule.get("optionalOldSelf"):
            continue  # about a change, and nothing was there before
        told = _compiled(text).eval(data={"self": _for_rules(value, schema)})
        if told.type() != cel.Type.BOOL or told.plain_value() is not True:
            why = rule.get("message") or text
            yield f"{path.lstrip('.')}: {why}" + ("" if told.type() == cel.Type.BOOL else f" ({told.plain_value()})")
    for name, one, inner in _children(value, schema):
        yield from _broken_rules(one, inner, f"{path}.{name}")


def _children(value: Any, schema: Tree) -> Iterator[tuple[str, Any, Tree]]:
    if isinstance(value, dict):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        for key, one in value.items():
            inner = properties.get(key, others if isinstance(others, dict) else None)
            if inner is not None:
                yield key, one, inner
    elif isinstance(value, list):
        for place, one in enumerate(value):
            yield str(place), one, schema.get("items", {})


def _for_rules(value: Any, schema: Tree) -> Any:
    """As a rule sees it: names of fields escaped, keys of maps as they are."""
    if isinstance(value, dict):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        result = {}
        for key, one in value.items():
            if key in properties:
                result[_escaped(key)] = _for_rules(one, properties[key])
            else:
                result[key] = _for_rules(one, others if isinstance(others, dict) else {})
        return result
    if isinstance(value, list):
        return [_for_rules(one, schema.get("items", {})) for one in value]
    if isinstance(value, str) and schema.get("format") in FORMATS_OF_TYPES:
        raise NotImplementedError(f"a {schema['format']} in sight of a rule")
    return value


def _escaped(name: str) -> str:
    if name in RESERVED:
        return f"__{name}__"
    return re.sub("__|[.\\-/]", lambda found: ESCAPES[found[0][0]], name)


def _all_rules(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        found = node.get("x-kubernetes-validations")
        yield from (rule["rule"] for rule in (found if isinstance(found, list) else []))
        for one in node.values():
            yield from _all_rules(one)
    elif isinstance(node, list):
        for one in node:
            yield from _all_rules(one)
