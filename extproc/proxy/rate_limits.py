"""Rate limits → Envoy's local rate limit filter, in front of the engine: what is over them costs no inspection.

Envoy counts in each of its processes on its own; a limit across pods needs a rate limit service.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FILTER = "envoy.filters.http.local_ratelimit"
TYPE = "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"

MIN_FILL_MS = 50
"""Envoy refills no bucket more often."""

MAX_CLIENTS = 20_000
"""Clients counted at a time, each by address; the one not seen for longest is forgotten."""

UNLIMITED = {"max_tokens": 4_294_967_295, "tokens_per_fill": 4_294_967_295, "fill_interval": "1s"}
"""The bucket of requests that no limit names; Envoy wants one."""


@dataclass(frozen=True, slots=True)
class LimitedPlace:
    """Where a limit holds: `hosts` as names or `*.name`, `paths` as patterns of a policy; an empty key fits all."""

    hosts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LocalLimit:
    """One limit by name. Not enforced: Envoy only counts what it would have refused."""

    name: str
    places: tuple[LimitedPlace, ...]
    requests: int
    per_ms: int
    burst: int
    by_client: bool
    is_enforced: bool


def render_rate_limits(limits: Sequence[LocalLimit]) -> list[dict[str, Any]]:
    """The filters, in order: one that refuses with 429, one that only counts; none where there is no limit."""
    enforced = [limit for limit in limits if limit.is_enforced]
    watched = [limit for limit in limits if not limit.is_enforced]
    return [
        _filter(some, name, percent)
        for some, name, percent in ((enforced, "waf_rate_limit", 100), (watched, "waf_rate_limit_watched", 0))
        if some
    ]


def _filter(limits: Sequence[LocalLimit], name: str, enforced_percent: int) -> dict[str, Any]:
    return {
        "name": f"extproc.{name.removeprefix('waf_')}",
        "typed_config": {
            "@type": TYPE,
            "stat_prefix": name,
            "token_bucket": UNLIMITED,
            "filter_enabled": _percent(100, f"{name}.enabled"),
            "filter_enforced": _percent(enforced_percent, f"{name}.enforced"),
            "response_headers_to_add": [{"header": {"key": "retry-after", "value": "1"}}],
            "max_dynamic_descriptors": MAX_CLIENTS,
            "rate_limits": [
                {"actions": [_match(limit, place), *([{"remote_address": {}}] if limit.by_client else [])]}
                for limit in limits
                for place in limit.places
            ],
            "descriptors": [_descriptor(limit) for limit in limits],
        },
    }


def _percent(percent: int, key: str) -> dict[str, Any]:
    return {"default_value": {"numerator": percent, "denominator": "HUNDRED"}, "runtime_key": key}


def _descriptor(limit: LocalLimit) -> dict[str, Any]:
    entries = [{"key": "waf_policy", "value": limit.name}]
    if limit.by_client:
        entries.append({"key": "remote_address"})  # any value: a bucket for each
    return {"entries": entries, "token_bucket": bucket(limit)}


def bucket(limit: LocalLimit) -> dict[str, Any]:
    """A bucket that fills evenly: as many tokens as come in one interval, which is as short as Envoy takes."""
    tokens = max(1, -(-limit.requests * MIN_FILL_MS // limit.per_ms))
    interval_ms = limit.per_ms * tokens / limit.requests
    return {
        "max_tokens": max(limit.burst, tokens),
        "tokens_per_fill": tokens,
        "fill_interval": f"{interval_ms / 1000:.6f}s",
    }


def _match(limit: LocalLimit, place: LimitedPlace) -> dict[str, Any]:
    headers = []
    if place.hosts:
        headers.append(_header(":authority", f"(?i)({'|'.join(_host(host) for host in place.hosts)})(:[0-9]+)?"))
    # Always one, as the action needs a header to look at; every request has a path.
    paths = "|".join(_path(path) for path in place.paths) if place.paths else "[^?]*"
    headers.append(_header(":path", rf"({paths})(\?.*)?"))
    return {
        "header_value_match": {
            "descriptor_key": "waf_policy",
            "descriptor_value": limit.name,
            "expect_match": True,
            "headers": headers,
        }
    }


def _host(host: str) -> str:
    return (r"([^.:]+\.)+" if host.startswith("*.") else "") + re.escape(host.removeprefix("*."))


def _path(pattern: str) -> str:
    stem, below = (pattern[:-3], "(/[^?]*)?") if pattern.endswith("/**") else (pattern, "")
    return "[^/?]*".join(re.escape(part) for part in stem.split("*")) + below


def _header(name: str, pattern: str) -> dict[str, Any]:
    return {"name": name, "string_match": {"safe_regex": {"regex": pattern}}}
