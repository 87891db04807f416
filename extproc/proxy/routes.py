"""One declared route → an entry of Envoy's route table, with what its profile changes of the ext_proc filter."""

from __future__ import annotations

import re
from typing import Any

from extproc.model.route import Beyond, Modes, Profile, Route, modes

FILTER = "extproc.ext_proc"
PER_ROUTE_TYPE = "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute"

POLICY_KEY = "x-waf-policy"
"""Of the initial metadata of the stream to the engine (INTERFACE)."""

STREAM_IDLE = "3600s"
"""A stream may be silent for that long, in both directions."""

AMBIGUOUS = r"[^?]*(;|\.\.|\\|(?i:%(00|25|2e|2f|3b|5c)))[^?]*(\?.*)?"
"""Paths that may mean another one to the app (`/ws/..;/admin`, `/ws/%252e%252e/admin`). On them no route applies that
inspects less than the standard one does; a query may hold anything."""


def render_route(route: Route, with_response: bool) -> dict[str, Any]:
    """The entry, named as the engine knows the route. An override spells out the whole processing mode: it replaces
    the filter's, and what it leaves out would fall back to Envoy's defaults, which send no body."""
    entry: dict[str, Any] = {"name": route.name, "match": _match(route), "route": _action(route)}
    if route.body_limit_bytes:
        entry["request_body_buffer_limit"] = route.body_limit_bytes
    overrides: dict[str, Any] = {}
    if is_own_mode(route):
        overrides["processing_mode"] = modes(route.profile, route.beyond, with_response)._asdict()
    if route.policy:
        overrides["grpc_initial_metadata"] = [{"key": POLICY_KEY, "value": route.policy}]
    if overrides:
        entry["typed_per_filter_config"] = {FILTER: {"@type": PER_ROUTE_TYPE, "overrides": overrides}}
    return entry


def is_own_mode(route: Route) -> bool:
    """Does Envoy send another part of such a request than of a standard one?"""
    return route.profile is Profile.STREAM or route.beyond is Beyond.PASS


def render_override(mode: Modes) -> dict[str, str]:
    """An entry of `allowed_override_modes`; the request head is past when the engine asks."""
    return {name: value for name, value in mode._asdict().items() if name != "request_header_mode"}


def _match(route: Route) -> dict[str, Any]:
    if route.is_exact:
        match: dict[str, Any] = {"path": route.path}
    elif route.path == "/":
        match = {"prefix": "/"}
    else:
        match = {"path_separated_prefix": route.path}  # `/ws` and `/ws/a`, not `/wsx`
    headers: list[dict[str, Any]] = []
    if route.host:
        name = re.escape(route.host.removeprefix("*."))
        below = r"([^.:]+\.)+" if route.host.startswith("*.") else ""
        headers.append(_header(":authority", f"(?i){below}{name}(:[0-9]+)?"))
    if route.profile is not Profile.STANDARD:
        headers.append({**_header(":path", AMBIGUOUS), "invert_match": True})
    return {**match, "headers": headers} if headers else match


def _header(name: str, pattern: str) -> dict[str, Any]:
    return {"name": name, "string_match": {"safe_regex": {"regex": pattern}}}


def _action(route: Route) -> dict[str, Any]:
    idle = STREAM_IDLE if route.profile is Profile.STREAM else "900s"
    return {"cluster": "app", "timeout": "0s", "idle_timeout": idle}
