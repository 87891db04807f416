"""A policy file → `Policy`, with every finding at once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from extproc.model.answer import PLACEHOLDERS
from extproc.model.errors import PolicyErrors
from extproc.model.files import FilesRead
from extproc.operators.addresses import Networks, add_network, tester
from extproc.policy.definition import FILE_PREFIX, MAX_ADDRESSES, MAX_ALL_EXCLUSIONS, POLICY
from extproc.policy.document import compose
from extproc.policy.model import DEFAULTS, AddressList, Exclusion, Policy, RateLimit, Scope, Where
from extproc.policy.openapi import MAX_API_BYTES, ApiError, read_api
from extproc.policy.overlap import tell_overlaps
from extproc.policy.shapes import MISSING, TOP, Given, Report

MAX_FILE_BYTES = 8 * 1024 * 1024
"""A larger policy file is refused; long lists of addresses belong into files of their own."""

MAX_LIST_BYTES = 16 * 1024 * 1024
"""A larger file of addresses is refused."""

MAX_TEMPLATE_BYTES = 6144
"""A larger template is refused: what Envoy is given must stay below 8 KiB with the incident in it."""

MAX_FILLED_BYTES = 8192
"""With every placeholder filled in by PLACEHOLDER_BYTES; Envoy sends no larger page."""

PLACEHOLDER_BYTES = 40
"""The longest title of a status has 31, an incident 16."""

_PLACEHOLDER = re.compile(rb"\$\{([^}]{0,40})\}?")
_SCHEMA_LINE = re.compile(rb"^[\"']?schema[\"']?\s*:", re.MULTILINE)
_TEMPLATES = ("html", "problem", "plain")

UnknownRules = Callable[[Exclusion], list[str]]
"""What of an exclusion's rules and tags no loaded rule has, as sentences."""


def load_policy(file: Path, files: FilesRead | None = None) -> Policy:
    """Read, check, build. Whether rules exist that it names, `require_rules` asks.

    `files` notes what was read. Raises PolicyErrors with every finding of the file and of the files that it names.
    """
    loading = _Loading(file, files or FilesRead())
    policy = loading.load()
    findings = [line for report in loading.reports.values() for line in report.findings]
    if findings or policy is None:
        raise PolicyErrors(str(file), findings)
    return policy


def require_rules(policy: Policy, unknown_rules: UnknownRules) -> None:
    """Raises PolicyErrors when exclusions name rules or tags that there are not."""
    report = Report(policy.file)
    for scope in policy.scopes:
        for given in _exclusions(scope):
            for sentence in unknown_rules(given.value):
                report.tell(given.line, sentence)
    if report.findings:
        raise PolicyErrors(policy.file, report.findings)


def is_policy(file: Path) -> bool:
    """Does the file say `schema:`? Configurations have no such key. False for what cannot be read."""
    try:
        with file.open("rb") as stream:
            return _SCHEMA_LINE.search(stream.read(MAX_FILE_BYTES)) is not None
    except OSError:
        return False


def expired(policy: Policy, now: float) -> list[str]:
    """A sentence for each exclusion that is over at `now` (seconds since 1970)."""
    return [
        f"{one.place}: this exclusion expired on {one.expires}: what it lets through is reported as a block that would "
        f"have been; ask {one.owner} to renew or drop it"
        for one in policy.exclusions
        if one.ends is not None and one.ends <= now
    ]


class _Loading:
    """What has been read and what was found so far."""

    def __init__(self, file: Path, files: FilesRead) -> None:
        self.file = file
        self.report = Report(str(file))
        self.reports: dict[Path, Report] = {file: self.report}
        self.files = files

    def load(self) -> Policy | None:
        root = self._compose()
        if root is None:
            return None
        tree = POLICY.read(root, self.report, TOP)
        if tree is MISSING:
            return None
        scopes: list[Scope] = []
        if "defaults" in tree:
            scopes.append(self._scope(DEFAULTS, tree["defaults"]))
        for name, given in tree.get("policies", Given({}, 0)).value.items():
            if name == DEFAULTS:
                self.report.tell(given.line, f"a policy cannot be called {DEFAULTS}: that holds for every request")
            scopes.append(self._scope(name, given))
        count = sum(len(_exclusions(scope)) for scope in scopes)
        if count > MAX_ALL_EXCLUSIONS:
            self.report.tell(0, f"{count} exclusions are more than {MAX_ALL_EXCLUSIONS}; drop what is not needed")
        else:
            tell_overlaps(scopes, self.report)
        masking = tree["masking"].value if "masking" in tree else {}
        shadow = tuple(self._beside(item) for item in _items(tree, "shadow_rules"))
        for path, item in zip(shadow, _items(tree, "shadow_rules"), strict=True):
            if not path.is_file():
                self.report.tell(item.line, f"{path} is no file; name a file of rules, relative to this one")
        return Policy(
            file=str(self.file),
            scopes=tuple(scopes),
            shadow_rules=shadow,
            secret_names=frozenset(item.value for item in _items(masking, "names")),
            secret_looks=tuple(item.value for item in _items(masking, "looks")),
        )

    def _compose(self) -> yaml.Node | None:
        data = self._read(self.file, MAX_FILE_BYTES, self.report, 0)
        if data is None:
            return None
        try:
            root = compose(data)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            mark = getattr(error, "problem_mark", None)
            said = getattr(error, "problem", None) or " ".join(str(error).split())
            self.report.tell(mark.line + 1 if mark else 0, f"this is not valid YAML: {said}")
            return None
        if root is None:
            self.report.tell(0, "the file is empty; it needs at least `schema: extproc.policy/1`")
        return root

    def _scope(self, name: str, given: Given) -> Scope:
        keys: Mapping[str, Given] = given.value
        flat: dict[str, Given] = {}
        for key in ("mode", "profile", "paranoia", "response"):
            if key in keys:
                flat[key] = keys[key]
        for group in ("thresholds", "body", "time", "graphql"):
            for key, value in keys[group].value.items() if group in keys else ():
                flat[f"{group}.{key}"] = value
        for key, value in keys["ip"].value.items() if "ip" in keys else ():
            flat[f"ip.{key}"] = self._addresses(value)
        if "trusted_proxies" in keys:
            flat["trusted_proxies"] = self._addresses(keys["trusted_proxies"])
        if "rate_limit" in keys:
            flat["rate_limit"] = self._rate_limit(keys["rate_limit"])
        for key, value in keys["block"].value.items() if "block" in keys else ():
            flat[f"block.{key}"] = self._template(key, value) if key in _TEMPLATES else value
        for key, value in keys["fields"].value.items() if "fields" in keys else ():
            flat[f"fields.{key}"] = value
        if "openapi" in keys:
            flat["openapi"] = self._api(keys["openapi"])
        if "exclusions" in keys:
            built = tuple(Given(self._exclusion(item), item.line) for item in keys["exclusions"].value)
            flat["exclusions"] = Given(built, keys["exclusions"].line)
        matches = tuple(self._where(item.value, item.line) for item in _items(keys, "match"))
        return Scope(
            name, given.line, matches, {key: value for key, value in flat.items() if value.value is not MISSING}
        )

    def _where(self, keys: Mapping[str, Given], line: int) -> Where:
        if not keys:
            self.report.tell(
                line, "match holds nothing: give a route, a host or a path, or use defaults for everything"
            )
        return Where(_values(keys, "route"), _values(keys, "host"), _values(keys, "path"))

    def _exclusion(self, given: Given) -> Exclusion:
        keys: Mapping[str, Given] = given.value
        if "rules" not in keys and "tags" not in keys:
            self.report.tell(given.line, "an exclusion needs rules or tags: which rules shall leave something alone?")
        return Exclusion(
            place=f"{self.file}:{given.line}",
            owner=keys["owner"].value,
            reason=keys["reason"].value,
            rules=_values(keys, "rules"),
            tags=_values(keys, "tags"),
            variables=_values(keys, "variables"),
            where=Where(_values(keys, "route"), _values(keys, "host"), _values(keys, "path")),
            methods=tuple(method.encode() for method in _values(keys, "method")),
            expires=keys["expires"].value if "expires" in keys else None,
        )

    def _rate_limit(self, given: Given) -> Given:
        keys: Mapping[str, Given] = given.value
        requests = keys["requests"].value
        burst = keys["burst"].value if "burst" in keys else requests
        by_client = "by" in keys and keys["by"].value == "client"
        return Given(RateLimit(requests, keys["per"].value, burst, by_client), given.line)

    def _addresses(self, given: Given) -> Given:
        networks: Networks = {}
        count = 0
        for item in given.value:
            entries = [(item.value, item.line, self.report)]
            if item.value.startswith(FILE_PREFIX):
                entries = self._listed(Given(item.value.removeprefix(FILE_PREFIX), item.line))
            count += len(entries)
            if count > MAX_ADDRESSES:
                self.report.tell(given.line, f"more than {MAX_ADDRESSES} addresses; join them into larger blocks")
                return Given(MISSING, given.line)
            for text, line, report in entries:
                try:
                    add_network(networks, text, is_strict=True)
                except ValueError as error:
                    report.tell(line, str(error))
        return Given(AddressList(tester(networks), count), given.line)

    def _listed(self, given: Given) -> list[tuple[str, int, Report]]:
        """The entries of a file: one a line, `#` begins a comment."""
        path = self._beside(given)
        data = self._read(path, MAX_LIST_BYTES, self.report, given.line)
        report = self.reports.setdefault(path, Report(str(path)))
        lines = (data or b"").decode("utf-8", "backslashreplace").splitlines()
        texts = ((line.partition("#")[0].strip(), number) for number, line in enumerate(lines, 1))
        return [(text, number, report) for text, number in texts if text]

    def _template(self, kind: str, given: Given) -> Given:
        path = self._beside(given)
        data = self._read(path, MAX_TEMPLATE_BYTES, self.report, given.line)
        if data is None:
            return Given(MISSING, given.line)
        names = [name.decode("latin-1") for name in _PLACEHOLDER.findall(data)]
        for name in names:
            if name not in PLACEHOLDERS:
                known = ", ".join(f"${{{known}}}" for known in PLACEHOLDERS)
                self.report.tell(given.line, f"{path} holds ${{{name}}}; a block page may hold {known}, never the rule")
        if "incident" not in names:
            self.report.tell(given.line, f"{path} does not show ${{incident}}: nobody could ask why they were blocked")
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            self.report.tell(given.line, f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8")
        if len(_PLACEHOLDER.sub(b"x" * PLACEHOLDER_BYTES, data)) > MAX_FILLED_BYTES:
            self.report.tell(given.line, f"{path} is too large once its placeholders are filled in; use fewer of them")
        if kind == "problem":
            self._check_json(path, data, given.line)
        return Given(data, given.line)

    def _api(self, given: Given) -> Given:
        path = self._beside(given)
        data = self._read(path, MAX_API_BYTES, self.report, given.line)
        if data is None:
            return Given(MISSING, given.line)
        try:
            return Given(read_api(data, path.name), given.line)
        except ApiError as error:
            self.report.tell(given.line, f"{path} {error}")
            return Given(MISSING, given.line)

    def _check_json(self, path: Path, data: bytes, line: int) -> None:
        tried = _PLACEHOLDER.sub(b"1", data)
        try:
            if not isinstance(json.loads(tried), dict):
                raise ValueError("a problem document is an object, { ... }")
        except ValueError as error:
            self.report.tell(line, f"{path} is no JSON once its placeholders are filled in: {error}")

    def _beside(self, given: Given) -> Path:
        return self.file.parent / str(given.value)

    def _read(self, path: Path, most: int, report: Report, line: int) -> bytes | None:
        self.files.file(path)
        try:
            with path.open("rb") as stream:
                data = stream.read(most + 1)
        except OSError as error:
            report.tell(line, f"{path} cannot be read: {error.strerror}")
            return None
        if len(data) > most:
            report.tell(line, f"{path} is larger than {most} bytes; make it smaller or divide it")
            return None
        return data


def _items(keys: Mapping[str, Given], key: str) -> tuple[Given, ...]:
    return keys[key].value if key in keys else ()


def _values(keys: Mapping[str, Given], key: str) -> tuple[Any, ...]:
    return tuple(item.value for item in _items(keys, key))


def _exclusions(scope: Scope) -> tuple[Given, ...]:
    return _items(scope.given, "exclusions")
