"""Envoy's bootstrap: bootstrap.yaml with its reasons, filled from `ProxySettings`.

The template is the text that a reader of envoy/*.yaml sees, comments and all. Values enter as JSON, which
is YAML too, so no value can change the structure; `- *${NAME}` is a line for
each item of a list. Two marks make a line of the template conditional: `#if NAME` and `#endif`, at the left margin,
not nested.
"""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from string import Template
from typing import Any, cast

import yaml

from extproc.model.errors import ConfigError
from extproc.model.route import Beyond, Profile, Route, modes, overrides
from extproc.proxy.engine_tls import EngineTls, transport_socket
from extproc.proxy.holes import Finding, find_holes
from extproc.proxy.patch import lay_over
from extproc.proxy.rate_limits import LocalLimit, render_rate_limits
from extproc.proxy.routes import render_override, render_route
from extproc.proxy.tree import normalise, parse, read

READY_PATH = "/.well-known/waf/ready"
"""Answered by Envoy itself, 200 as long as the engine is healthy (INTERFACE)."""

HEAP_LIMIT_BYTES = 512 * 1024 * 1024
"""Envoy begins to refuse work near this much heap; a container's memory limit belongs above it."""

CONNECTION_LIMIT = 20_000
"""Client connections at a time, whole process."""

ANSWER_MARGIN_MS = 1_000
"""Envoy waits this much longer for an answer than the engine's own time budget."""

PATCHED = """# Envoy 1.40 in front of one app, asking the extproc engine about every request before the app sees a byte.
# Written by `extproc envoy-config`, with {source} laid over it; change the flags or that, not this file.
"""

ACCEPTED = "# Accepted in writing:"
"""Begins the line of a rendered file that tells of a hole that may be open, and is or is not."""

_ITEMS = re.compile(r"( *- )\*\$\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """What differs between one pair and the next. Addresses are `IP:PORT` or `unix:PATH`.

    `patch` is laid over the rest (`proxy.patch`), `accepted_risks` are names of `proxy.holes.HOLES`.

    `engine` holds one address per worker, or those of engines elsewhere (`is_remote`), which may begin with a DNS name;
    `engine_tls` then says how to ask them. `app` may begin with a DNS name; `app_protocol` is `http1` or
    `http2`. `access_log` is a file for Envoy to write to, None for no log.
    """

    listen: str
    app: str
    engine: tuple[str, ...]
    admin: str
    body_limit_bytes: int
    time_budget_ms: int
    app_protocol: str = "http1"
    trusted_hops: int = 0
    inspect_response: bool = False
    routes: tuple[Route, ...] = ()
    rate_limits: tuple[LocalLimit, ...] = ()
    request_timeout_ms: int = 30_000
    access_log: str | None = None
    accepted_risks: tuple[str, ...] = ()
    is_remote: bool = False
    engine_tls: EngineTls | None = None
    patch: dict[str, Any] | None = None
    patch_source: str = ""

    @property
    def longest_budget_ms(self) -> int:
        """Envoy has one time limit for all routes, so the most patient of them sets it."""
        return max(self.time_budget_ms, *(route.time_budget_ms for route in self.routes), 0)


def render(settings: ProxySettings) -> dict[str, Any]:
    """The bootstrap as plain data. Raises ConfigError."""
    tree: dict[str, Any] = parse(render_text(settings))
    return tree


def render_text(settings: ProxySettings) -> str:
    """The bootstrap as YAML; `envoy -c` takes it as it is. What a patch changes loses the comments.

    Raises ConfigError when it would open a hole that nobody accepted in writing.
    """
    text = _fill(settings)
    tree = parse(text)
    if settings.patch is not None:
        tree = lay_over(tree, settings.patch, settings.patch_source)
        text = PATCHED.format(source=settings.patch_source) + yaml.safe_dump(tree, sort_keys=False, width=120)
    risks = open_risks(settings, tree)
    refused = [finding for finding in risks if finding.name not in settings.accepted_risks]
    if refused:
        raise ConfigError("Envoy's configuration", _refusal(refused))
    told = [finding.told for finding in risks]
    closed = [name for name in settings.accepted_risks if name not in {finding.name for finding in risks}]
    told += [f"{name}, which nothing opens; take the acceptance out" for name in closed]
    accepted = "".join(f"{ACCEPTED} {line}.\n" for line in told)
    first, _, rest = text.partition("\n")
    return f"{first}\n{accepted}{rest}"


def open_risks(settings: ProxySettings, tree: dict[str, Any]) -> list[Finding]:
    """The holes in a rendered tree, accepted or not, without those that its routes declare."""
    found = find_holes(read(normalise(tree), settings.longest_budget_ms))
    return [finding for finding in found if not finding.hole.is_declared]


def _refusal(refused: list[Finding]) -> str:
    lines = [f"opens {len(refused)} hole{'s' * (len(refused) > 1)} that nobody accepted:"]
    lines += [f"  {finding}" for finding in refused]
    flags = " ".join(f"--accept-risk {name}" for name in dict.fromkeys(finding.name for finding in refused))
    return "\n".join([*lines, f"  if it is meant, say so: {flags}"])


def _fill(settings: ProxySettings) -> str:
    conditions = {
        "private_admin": settings.admin.startswith("unix:"),
        "access_log": settings.access_log is not None,
        "response": settings.inspect_response,
        "routes": bool(settings.routes),
        "rate_limits": bool(settings.rate_limits),
        "engine_tls": settings.engine_tls is not None,
        "engine_secrets": settings.engine_tls is not None and bool(settings.engine_tls.secrets),
        "local_engine": not settings.is_remote,
        "remote_engine": settings.is_remote,
    }
    values: dict[str, object] = {
        "admin_address": _address(settings.admin),
        "listen_address": _address(settings.listen),
        "heap_limit_bytes": HEAP_LIMIT_BYTES,
        "connection_limit": CONNECTION_LIMIT,
        "body_limit_bytes": settings.body_limit_bytes,
        "trusted_hops": settings.trusted_hops,
        "access_log": settings.access_log,
        "request_timeout": f"{settings.request_timeout_ms / 1000:g}s",
        "message_timeout": f"{(settings.longest_budget_ms + ANSWER_MARGIN_MS) / 1000:.3f}s",
        "processing_mode": modes(Profile.STANDARD, Beyond.REFUSE, settings.inspect_response)._asdict(),
        "override_modes": [render_override(mode) for mode in overrides(settings.routes, settings.inspect_response)],
        "rate_limits": render_rate_limits(settings.rate_limits),
        "routes": [render_route(route, settings.inspect_response) for route in settings.routes],
        # A name is looked up again as its records change; an IP needs no lookup.
        "app_cluster_type": "STATIC" if _is_ip(settings.app) else "STRICT_DNS",
        "engine_cluster_type": "STATIC" if all(map(_is_known, settings.engine)) else "STRICT_DNS",
        "engine_transport_socket": transport_socket(settings.engine_tls) if settings.engine_tls is not None else None,
        "app_options": {f"{settings.app_protocol.replace('http1', 'http')}_protocol_options": {}},
        "app_endpoints": [_endpoint(settings.app)],
        "engine_endpoints": [_endpoint(address) for address in settings.engine],
    }
    lines = []
    for line in _keep_lines(_template().splitlines(), conditions):
        item = _ITEMS.fullmatch(line)
        if item is None:
            lines.append(Template(line).substitute({name: json.dumps(value) for name, value in values.items()}))
        else:
            lines += [item[1] + json.dumps(value) for value in cast(list[object], values[item[2]])]
    return "\n".join(lines) + "\n"


@cache
def _template() -> str:
    return resources.files("extproc.proxy").joinpath("bootstrap.yaml").read_text(encoding="utf-8")


def _keep_lines(lines: list[str], conditions: dict[str, bool]) -> list[str]:
    kept = []
    is_kept = True
    for line in lines:
        if line.startswith("#if "):
            is_kept = conditions[line.removeprefix("#if ")]
        elif line == "#endif":
            is_kept = True
        elif is_kept:
            kept.append(line)
    return kept


def _address(address: str) -> dict[str, Any]:
    if address.startswith("unix:"):
        return {"pipe": {"path": address.removeprefix("unix:")}}
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}


def _endpoint(address: str) -> dict[str, Any]:
    return {"endpoint": {"address": _address(address)}}


def _is_known(address: str) -> bool:
    """Needs no lookup."""
    return address.startswith("unix:") or _is_ip(address)


def _is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address.rpartition(":")[0].strip("[]"))
    except ValueError:
        return False
    return True
