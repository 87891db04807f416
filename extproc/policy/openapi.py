"""An OpenAPI 3 document → the kinds of the fields of each operation. No value is validated.

Taken are query, header and cookie parameters, and the properties of JSON and form bodies, through local `$ref`,
`allOf`, `oneOf`, `anyOf`, arrays and nesting. What a schema says becomes a field kind of `fields.KINDS`:
`x-extproc-kind` before anything else, then enum, type and format. Where alternatives differ (`oneOf`), the kind that
asks for most counts: a value that one of them allows shall pass. What could not be taken is told, never guessed.
Source: OpenAPI Specification 3.1.1, 4.8; JSON Schema 2020-12.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from extproc.model.errors import ConfigError
from extproc.policy.document import compose
from extproc.policy.fields import KINDS, least_score
from extproc.policy.patterns import compile_pattern

MAX_API_BYTES = 4 * 1024 * 1024
"""A larger document is refused."""

MAX_API_DEPTH = 64
"""Lists and mappings inside each other."""

MAX_OPERATIONS = 2000
"""Operations of one document, one for each of its servers' paths; more are refused."""

MAX_SCHEMAS = 200_000
"""Schemas visited in one document, references each time; more are refused."""

MAX_SCHEMA_DEPTH = 12
"""Schemas inside schemas; deeper properties are not taken."""

MAX_FIELDS = 500
"""Fields taken of one operation; more are not taken."""

MAX_NOTES = 20
"""Sorts of things not taken that are told, each with its number."""

MAX_NAME_CHARS = 200
"""A longer name of a field is not taken."""

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

FORMATS = {
    **dict.fromkeys(("uuid", "date", "date-time", "time", "duration", "ipv4", "ipv6"), "id"),
    **dict.fromkeys(("int32", "int64", "float", "double", "decimal"), "number"),
    **dict.fromkeys(("password", "byte"), "token"),
    **dict.fromkeys(("markdown", "commonmark"), "markdown"),
}
"""`format` of a string → kind; of others (email, uri, ...) nothing is known that a detector could use."""

MEDIA_KINDS = {"text/markdown": "markdown"}
"""`contentMediaType` of a string → kind."""

COLLECTIONS = {"query": "ARGS", "header": "REQUEST_HEADERS", "cookie": "REQUEST_COOKIES"}
"""`in` of a parameter → variable. One in the path is a part of REQUEST_FILENAME, which has no names."""

_SAID = re.compile(rb"^\s*\{?\s*[\"']?(?:openapi|swagger)[\"']?\s*:", re.MULTILINE)
_NUMBERS = frozenset({"integer", "number", "boolean"})
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
_JSON_TYPE = re.compile(r"application/(?:[a-z0-9.+-]+\+)?json")
_VARIABLE = re.compile(r"\{[^{}/]*\}")
_NAME = re.compile(r"[^\x00-\x1f\x7f]+")


class ApiError(ValueError):
    """The document cannot be used; the text says why, and how to mend it."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `fields`: `ARGS:name` → kind; indexes of JSON arrays are `array_*`."""

    method: bytes
    path: str
    fields: Mapping[str, str]
    _regex: Any = field(compare=False, repr=False, default=None)  # None: the path names one place

    @property
    def text(self) -> str:
        """`GET /users/{id}`."""
        return f"{self.method.decode()} {self.path}"


class ApiDocument:
    """The operations of a document, ready to be found. `left`: what could not be taken, as sentences."""

    def __init__(self, name: str, operations: list[Operation], left: tuple[str, ...]) -> None:
        self.name = name
        self.operations = tuple(operations)
        self.left = left
        self._plain: dict[tuple[bytes, bytes], Operation] = {}
        self._by_length: dict[tuple[bytes, int], list[Operation]] = {}
        # A path without variables counts before one that has some (OpenAPI, 4.8.8.2); fewer before more.
        for operation in sorted(operations, key=lambda one: one.path.count("{")):
            if operation._regex is None:
                self._plain.setdefault((operation.method, operation.path.encode()), operation)
            else:
                self._by_length.setdefault((operation.method, operation.path.count("/")), []).append(operation)

    def find(self, method: bytes, path: bytes) -> Operation | None:
        """The operation of a request; `path` as `scopes.read_path` gives it."""
        found = self._plain.get((method, path))
        if found is None:
            for one in self._by_length.get((method, path.count(b"/")), ()):
                if one._regex.fullmatch(path) is not None:
                    return one
        return found

    @property
    def kinds(self) -> dict[str, int]:
        """How many fields of each kind all operations have."""
        return dict(Counter(kind for one in self.operations for kind in one.fields.values()))

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        return f"{self.name}: {len(self.operations)} operations, fields: {kinds or 'none'}"


def is_api(file: Path) -> bool:
    """Does the file say `openapi:` or `swagger:`? False for what cannot be read."""
    try:
        with file.open("rb") as stream:
            return _SAID.search(stream.read(MAX_API_BYTES)) is not None
    except OSError:
        return False


def load_api(file: Path) -> ApiDocument:
    """One file. Raises ConfigError with its name."""
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_API_BYTES + 1)
        if len(data) > MAX_API_BYTES:
            raise ApiError(f"is larger than {MAX_API_BYTES} bytes; divide it")
        return read_api(data, str(file))
    except (ApiError, OSError) as error:
        raise ConfigError(str(file), str(getattr(error, "strerror", None) or error)) from None


def read_api(data: bytes, name: str) -> ApiDocument:
    """YAML or JSON. Raises ApiError."""
    root = _parse(data)
    if not isinstance(root, dict):
        raise ApiError("is no mapping; an OpenAPI document has `openapi`, `info` and `paths`")
    if "swagger" in root:
        raise ApiError("is Swagger 2.0; convert it to OpenAPI 3")
    if not str(root.get("openapi", "")).startswith("3."):
        raise ApiError("does not say `openapi: 3.x`; name an OpenAPI 3 document")
    return _Reader(root).read(name)


def _parse(data: bytes) -> Any:
    if data.lstrip()[:1] == b"{":
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            if b"\\u" in data or isinstance(error, RecursionError):
                raise ApiError(f"is not valid JSON: {error}") from None
    try:
        root = compose(data, MAX_API_DEPTH)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        said = getattr(error, "problem", None) or str(error)
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark is not None else ""
        raise ApiError(f"is not valid YAML or JSON: {where}{said}") from None
    return _plain(root, {}) if root is not None else None


def _plain(node: yaml.Node, known: dict[int, Any]) -> Any:
    """A node as dict, list or str; one that holds itself is None there. No deeper than MAX_API_DEPTH."""
    if isinstance(node, yaml.ScalarNode):
        return node.value
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = None
    if isinstance(node, yaml.SequenceNode):
        known[id(node)] = [_plain(item, known) for item in node.value]
    else:
        known[id(node)] = {
            key.value: _plain(value, known) for key, value in node.value if isinstance(key, yaml.ScalarNode)
        }
    return known[id(node)]


class _Reader:
    """Walks one document; counts what it cannot take."""

    def __init__(self, root: dict[str, Any]) -> None:
        self.root = root
        self.left: Counter[str] = Counter()
        self.schemas = 0

    def read(self, name: str) -> ApiDocument:
        operations: list[Operation] = []
        for path, item in _pairs(self.root.get("paths")):
            item = self.resolved(item)
            for method in METHODS:
                said = item.get(method)
                if not isinstance(said, dict) or not path.startswith("/"):
                    continue
                found = self.fields_of(item, said)
                for base in self.bases(said.get("servers") or item.get("servers") or self.root.get("servers")):
                    operations.append(_operation(method, base + path, found))
                    if len(operations) > MAX_OPERATIONS:
                        raise ApiError(f"has more than {MAX_OPERATIONS} operations; divide it over policies")
        left = tuple(f"{count} {what}" for what, count in self.left.most_common(MAX_NOTES))
        return ApiDocument(name, operations, left)

    def bases(self, servers: Any) -> list[str]:
        """The paths below which the servers have the operations."""
        urls = (
            [str(one.get("url", "")) for one in servers if isinstance(one, dict)] if isinstance(servers, list) else []
        )
        return list(dict.fromkeys(_base(url) for url in urls)) or [""]

    def fields_of(self, item: dict[str, Any], said: dict[str, Any]) -> dict[str, str]:
        found: dict[str, str] = {}
        parameters: dict[tuple[str, str], dict[str, Any]] = {}
        for one in (*_items(item.get("parameters")), *_items(said.get("parameters"))):
            one = self.resolved(one)
            parameters[str(one.get("in")), str(one.get("name"))] = one
        for (place, name), one in parameters.items():
            if place not in COLLECTIONS:
                self.left[f"parameters in the {place}"] += 1
                continue
            self.take_parameter(f"{COLLECTIONS[place]}:", name, place, one, found)
        content = self.resolved(said.get("requestBody")).get("content")
        for kind, media in _pairs(content):
            media_type = kind.partition(";")[0].strip().lower()
            schema = media.get("schema") if isinstance(media, dict) else None
            if _JSON_TYPE.fullmatch(media_type):
                self.merge(found, {f"ARGS:{key}": kind for key, kind in self.leaves(schema, "json", 0).items()})
            elif media_type in _FORMS:
                self.merge(found, self.form(schema))
            else:
                self.left[f"bodies of the type {media_type}"] += 1
        kept = {key: kind for key, kind in found.items() if kind and self.is_fit(key)}
        if len(kept) > MAX_FIELDS:
            self.left[f"operations with more than {MAX_FIELDS} fields, cut there"] += 1
        return dict(list(kept.items())[:MAX_FIELDS])

    def is_fit(self, key: str) -> bool:
        if len(key) <= MAX_NAME_CHARS and _NAME.fullmatch(key):
            return True
        self.left["fields with names that are too long or odd"] += 1
        return False

    def take_parameter(self, before: str, name: str, place: str, said: dict[str, Any], found: dict[str, str]) -> None:
        schema = said.get("schema")
        if schema is None:
            self.left["parameters without a schema of their own"] += 1
            return
        leaves = self.leaves(schema, "", 0)
        kind = said.get("x-extproc-kind")
        if kind is not None:
            leaves = {"": self.known_kind(kind)}
        is_deep = said.get("style") == "deepObject"
        for key, value in leaves.items():
            parts = [part for part in key.split(".") if part and part != ARRAY]
            if not parts:
                self.merge(found, {before + name: value})
                if ARRAY in key and place == "query":
                    self.merge(found, {f"{before}{name}[]": value})
            elif place == "query" and (is_deep or len(parts) == 1):
                inner = name + "".join(f"[{part}]" for part in parts) if is_deep else parts[0]
                self.merge(found, {before + inner: value})
            else:
                self.left["properties of parameters that are objects"] += 1

    def form(self, schema: Any) -> dict[str, str]:
        found: dict[str, str] = {}
        for key, kind in self.leaves(schema, "", 0).items():
            parts = key.split(".")[1:]
            names = [part for part in parts if part != ARRAY]
            if len(names) == 1:
                self.merge(found, {f"ARGS:{names[0]}": kind})
                if ARRAY in parts:
                    self.merge(found, {f"ARGS:{names[0]}[]": kind})
            else:
                self.left["properties of forms that are objects"] += 1
        return found

    def leaves(self, schema: Any, name: str, depth: int) -> dict[str, str]:
        """Name of each value below → kind, "" for a text of any kind."""
        self.schemas += 1
        if self.schemas > MAX_SCHEMAS:
            raise ApiError(
                f"has more than {MAX_SCHEMAS} schemas, references counted each time; divide it over policies"
            )
        if not isinstance(schema, dict):
            return {name: ""}
        if "x-extproc-kind" in schema:
            return {name: self.known_kind(schema["x-extproc-kind"])}
        if depth > MAX_SCHEMA_DEPTH:
            self.left[f"schemas deeper than {MAX_SCHEMA_DEPTH}"] += 1
            return {name: ""}
        if "$ref" in schema:
            target = self.target(schema["$ref"])
            return {name: ""} if target is None else self.leaves(target, name, depth + 1)
        found: dict[str, str] = {}
        types = _types(schema)
        own = _kind_of(schema, types)
        if own is not None:
            found[name] = own
        for key, value in _pairs(schema.get("properties")):
            found.update(self.leaves(value, f"{name}.{key or 'empty-key'}", depth + 1))
        if isinstance(schema.get("additionalProperties"), dict):
            self.left["properties of any name"] += 1
        if "items" in schema:
            found.update(self.leaves(schema["items"], f"{name}.{ARRAY}", depth + 1))
        if "prefixItems" in schema:
            self.left["arrays with a schema for each place"] += 1
        for part in _items(schema.get("allOf")):
            for key, kind in self.leaves(part, name, depth + 1).items():
                found[key] = kind or found.get(key, "")
        for word in ("oneOf", "anyOf"):
            alternatives: dict[str, str] = {}
            for part in _items(schema.get(word)):
                self.merge(alternatives, self.leaves(part, name, depth + 1))
            for key, kind in alternatives.items():
                found[key] = kind or found.get(key, "")
        return found or {name: ""}

    def merge(self, found: dict[str, str], more: Mapping[str, str]) -> None:
        """Alternatives: the kind that asks for most."""
        for key, kind in more.items():
            known = found.get(key)
            if known is None or least_score(kind) > least_score(known):
                found[key] = kind

    def known_kind(self, kind: Any) -> str:
        if kind in KINDS:
            return str(kind)
        raise ApiError(f"says x-extproc-kind: {str(kind)[:60]!r}; known are {', '.join(KINDS)}")

    def resolved(self, node: Any) -> dict[str, Any]:
        """The mapping that is meant, {} if there is none."""
        for _ in range(MAX_SCHEMA_DEPTH):
            if not isinstance(node, dict):
                return {}
            if "$ref" not in node:
                return node
            node = self.target(node["$ref"])
        return {}

    def target(self, reference: Any) -> Any:
        """What a local reference names (RFC 6901); None for all others."""
        if not isinstance(reference, str) or not reference.startswith("#/"):
            self.left["references into other documents"] += 1
            return None
        node: Any = self.root
        for part in reference[2:].split("/"):
            part = unquote(part).replace("~1", "/").replace("~0", "~")
            node = node.get(part) if isinstance(node, dict) else None
        if node is None:
            self.left["references to what there is not"] += 1
        return node


ARRAY = "array_*"
"""Stands for every index of a JSON array."""


def _operation(method: str, path: str, found: dict[str, str]) -> Operation:
    regex = None
    if "{" in path:
        regex = compile_pattern("[^/]+".join(re.escape(part) for part in _VARIABLE.split(path)))
    return Operation(method.upper().encode(), path, found, regex)


def _base(url: str) -> str:
    """The path of a server's URL, which may hold variables."""
    path = url if url.startswith("/") else urlsplit(_VARIABLE.sub("{x}", url)).path
    return path.rstrip("/")


def _types(schema: dict[str, Any]) -> frozenset[str]:
    said = schema.get("type")
    return frozenset(str(one) for one in (said if isinstance(said, list) else [said]) if one not in (None, "null"))


def _kind_of(schema: dict[str, Any], types: frozenset[str]) -> str | None:
    """Of a value that is neither object nor array; None if it may be nothing else."""
    if "enum" in schema or "const" in schema:
        return "enum"
    if not types:
        return None
    if types <= _NUMBERS:
        return "number"
    if "string" not in types:
        return None if types <= {"object", "array"} else ""
    if types != {"string"}:
        return ""
    return FORMATS.get(str(schema.get("format")), MEDIA_KINDS.get(str(schema.get("contentMediaType")), ""))


def _pairs(node: Any) -> Iterator[tuple[str, Any]]:
    return iter([(str(key), value) for key, value in node.items()] if isinstance(node, dict) else ())


def _items(node: Any) -> list[Any]:
    return node if isinstance(node, list) else []
