"""`extproc policy`: the JSON Schema of policy files, and what one says of a request, each value with its origin."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from extproc.cli.flags import add_flags, resolve_arguments
from extproc.config import Config
from extproc.model.errors import ConfigError
from extproc.model.verdict import Mode
from extproc.policy.definition import json_schema
from extproc.policy.load import load_policy
from extproc.policy.merge import Effective, Merger
from extproc.policy.model import AddressList, Exclusion, Policy, RateLimit
from extproc.policy.openapi import ApiDocument

FROM_SETTINGS = {
    "mode": "mode",
    "paranoia": "paranoia",
    "profile": "profile",
    "body.limit": "body_limit",
    "time.limit": "time_budget",
    "response": "response",
}
"""Keys that the configuration answers for where no policy does: dotted key → setting."""

BUILT_IN = {
    "body.beyond": "reject",
    "time.beyond": "reject",
    "block.status": "as the rule says, else 403",
    "thresholds.inbound": "as the rules say",
    "thresholds.outbound": "as the rules say",
}
"""What holds where nobody says anything."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Subcommands and their flags."""
    parser.add_argument("what", choices=("schema", "show"), help="schema: JSON Schema; show: what holds for a request")
    add_flags(parser, ("policy", "mode", "paranoia", "profile", "body_limit", "time_budget", "response"))
    parser.add_argument("--host", default="", metavar="HOST", help="the host that is asked for")
    parser.add_argument("--path", default="/", metavar="PATH", help="the path (default: /)")
    parser.add_argument("--method", default="GET", metavar="METHOD", help="the method, for openapi (default: GET)")
    parser.add_argument("--route", default="", metavar="NAME", help="Envoy's name of the route")
    parser.add_argument("--name", default="", metavar="POLICY", help="the policy that Envoy names in x-waf-policy")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines for people")


def run(arguments: argparse.Namespace) -> int:
    """0: printed; 2: wrong input."""
    if arguments.what == "schema":
        print(json.dumps(json_schema(), indent=2))
        return 0
    config = resolve_arguments(arguments)
    if not config.policy:
        raise ConfigError("extproc policy show", "needs --policy FILE")
    if not arguments.path.startswith("/"):
        raise ConfigError("--path", f"must begin with /, not {arguments.path!r}")
    policy = load_policy(Path(config.policy))
    merger = Merger(policy)
    if arguments.name and not merger.knows(arguments.name):
        names = ", ".join(scope.name for scope in policy.scopes) or "none"
        raise ConfigError("--name", f"{arguments.name} is no policy of {policy.file}; there are: {names}")
    fit = merger.fit(arguments.name, arguments.route, arguments.host.encode(), arguments.path.encode())
    effective = fit.effective
    rows = [*_rows(effective, policy, config), *_api_rows(effective, policy, arguments.method.encode(), fit.path)]
    if arguments.json:
        print(
            json.dumps({"policies": effective.names, "values": [dict(zip(COLUMNS, row, strict=True)) for row in rows]})
        )
        return 0
    print(f"policies: {', '.join(effective.names) or 'none fits'}")
    if fit.path is None:
        print("path: apps may read it in several ways; the strictest reading is shown, exclusions by path do not hold")
    width, values = max(len(row[0]) for row in rows), max(len(row[1]) for row in rows)
    for key, value, origin in rows:
        print(f"  {key:<{width}}  {value:<{min(values, 40)}}  {origin}".rstrip())
    return 0


COLUMNS = ("key", "value", "origin")


def _rows(effective: Effective, policy: Policy, config: Config) -> Iterator[tuple[str, str, str]]:
    """(dotted key, value, where it came from), what the configuration says first."""
    for key, setting in FROM_SETTINGS.items():
        if key not in effective.said:
            yield key, _shown(key, getattr(config, setting)), config.sources.get(setting, "default")
        elif key == "mode":
            yield from _mode_rows(effective, policy, config)
        else:
            yield from _said_rows(effective, policy, key)
    for key, value in BUILT_IN.items():
        if key not in effective.said:
            yield key, value, "built in"
    for key in effective.said:
        if key not in FROM_SETTINGS:
            yield from _said_rows(effective, policy, key)


def _api_rows(
    effective: Effective, policy: Policy, method: bytes, path: bytes | None
) -> Iterator[tuple[str, str, str]]:
    """The fields that the OpenAPI document knows of the request, but those that a policy speaks of itself."""
    api: ApiDocument | None = effective.value("openapi")
    operation = api.find(method, path) if api is not None and path is not None else None
    if api is not None and operation is not None:
        scope, _ = effective.said["openapi"][-1]
        for variable, kind in operation.fields.items():
            if f"fields.{variable}" not in effective.said:
                yield f"fields.{variable}", kind, f"{api.name} {operation.text} ({scope.name})"


def _mode_rows(effective: Effective, policy: Policy, config: Config) -> Iterator[tuple[str, str, str]]:
    asked = Mode(effective.value("mode"))
    flag = Mode(config.mode)
    scope, given = effective.said["mode"][-1]
    place = f"{policy.place(given.line)} ({scope.name})"
    weakest = Mode.weakest(asked, flag)
    if weakest is asked:
        yield "mode", asked, place
    else:
        yield "mode", weakest, f"{config.sources.get('mode', 'default of --mode')}, weaker than {asked} of {place}"


def _said_rows(effective: Effective, policy: Policy, key: str) -> Iterator[tuple[str, str, str]]:
    for scope, given in effective.said[key]:
        if key == "exclusions":
            for one in given.value:
                yield key, _describe(one.value), f"{policy.place(one.line)} ({scope.name})"
        else:
            yield key, _shown(key, given.value), f"{policy.place(given.line)} ({scope.name})"


def _shown(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, AddressList):
        return f"{value.count} entries"
    if isinstance(value, RateLimit):
        return (
            f"{value.requests} in {value.per_ms} ms, burst {value.burst}, by {'client' if value.by_client else 'all'}"
        )
    if isinstance(value, bytes):
        return f"template of {len(value)} bytes"
    if isinstance(value, ApiDocument):
        return str(value)
    unit = {"body.limit": " bytes", "time.limit": " ms"}.get(key, "")
    return f"{value}{unit}"


def _describe(exclusion: Exclusion) -> str:
    rules = [str(first) if first == last else f"{first}-{last}" for first, last in exclusion.rules]
    words = [f"rules {','.join((*rules, *exclusion.tags))}"]
    if exclusion.variables:
        words.append("on " + ",".join(target.text for target in exclusion.variables))
    places = (*exclusion.where.routes, *(host.text for host in exclusion.where.hosts))
    paths = tuple(path.text for path in exclusion.where.paths)
    methods = tuple(method.decode() for method in exclusion.methods)
    words += [",".join(some) for some in (methods, places, paths) if some]
    if exclusion.expires is not None:
        is_over = exclusion.ends is not None and exclusion.ends <= time.time()
        words.append(f"{'EXPIRED' if is_over else 'until'} {exclusion.expires}")
    return " ".join(words)
