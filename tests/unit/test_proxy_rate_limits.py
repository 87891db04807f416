"""Rate limits of a policy → Envoy's filter: which places, how full a bucket, enforced or only counted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from extproc.cli.rate_limits import rate_limits
from extproc.config import resolve
from extproc.model.errors import PolicyErrors
from extproc.policy.load import load_policy
from extproc.proxy.rate_limits import LimitedPlace, LocalLimit, bucket, render_rate_limits


def limit(**more: Any) -> LocalLimit:
    given = {"requests": 10, "per_ms": 1000, "burst": 10, "by_client": False, "is_enforced": True, **more}
    return LocalLimit("a", (LimitedPlace(),), **given)


BUCKETS = [
    # (requests, per ms, burst, most, at a time, every)
    (100, 60_000, 100, 100, 1, "0.600000s"),
    (1, 60_000, 1, 1, 1, "60.000000s"),
    (1000, 1000, 1000, 1000, 50, "0.050000s"),
    (30, 1000, 5, 5, 2, "0.066667s"),
    (1_000_000, 1000, 1, 50_000, 50_000, "0.050000s"),
]


@pytest.mark.parametrize(("requests", "per_ms", "burst", "most", "tokens", "interval"), BUCKETS)
def test_a_bucket_fills_evenly(requests: int, per_ms: int, burst: int, most: int, tokens: int, interval: str) -> None:
    assert bucket(limit(requests=requests, per_ms=per_ms, burst=burst)) == {
        "max_tokens": most,
        "tokens_per_fill": tokens,
        "fill_interval": interval,
    }


def test_what_blocks_is_enforced_and_what_watches_is_counted() -> None:
    filters = render_rate_limits([limit(), limit(is_enforced=False)])
    percents = [one["typed_config"]["filter_enforced"]["default_value"]["numerator"] for one in filters]
    assert [one["name"] for one in filters] == ["extproc.rate_limit", "extproc.rate_limit_watched"]
    assert percents == [100, 0]
    assert render_rate_limits([]) == []


PATHS = [
    ("/login", "/login", True),
    ("/login", "/login?a=/b", True),
    ("/login", "/login/x", False),
    ("/a/**", "/a", True),
    ("/a/**", "/a/b/c?d", True),
    ("/a/**", "/ab", False),
    ("/*/b", "/a/b", True),
    ("/*/b", "/a/c/b", False),
    ("/a.b", "/axb", False),
]


@pytest.mark.parametrize(("pattern", "path", "fits"), PATHS)
def test_the_expression_of_a_path(pattern: str, path: str, fits: bool) -> None:
    [one] = render_rate_limits([LocalLimit("a", (LimitedPlace(paths=(pattern,)),), 1, 1000, 1, False, True)])
    [header] = one["typed_config"]["rate_limits"][0]["actions"][0]["header_value_match"]["headers"]
    assert (re.fullmatch(header["string_match"]["safe_regex"]["regex"], path) is not None) is fits


POLICY = """schema: extproc.policy/1
defaults: {mode: monitor, rate_limit: {requests: 9, per: 1s}}
policies:
  place: {match: [{host: "*.example", path: /a/**}, {path: /b}], mode: block, rate_limit: {requests: 1, per: 1s}}
  route: {match: {route: shop}, mode: block, rate_limit: {requests: 2, per: 1s}}
  named: {mode: safe-block, ip: {suspicious: [192.0.2.1]}, rate_limit: {requests: 3, per: 1s, by: client}}
  quiet: {match: {path: /q}, mode: off, rate_limit: {requests: 4, per: 1s}}
"""
ROUTES = [{"name": "shop", "prefix": "/shop", "host": "shop.example"}, {"path": "/one", "policy": "named"}]


def limits(folder: Path, text: str, mode: str = "block") -> dict[str, LocalLimit]:
    file = folder / "waf.yaml"
    file.write_text(text)
    config = resolve({"routes": ROUTES, "mode": mode}, {})
    return {one.name: one for one in rate_limits(config, load_policy(file))}


def test_the_places_of_a_policy(tmp_path: Path) -> None:
    found = limits(tmp_path, POLICY)
    assert {name: (one.requests, one.is_enforced, one.places) for name, one in found.items()} == {
        "defaults": (9, False, (LimitedPlace(),)),
        "place": (1, True, (LimitedPlace(("*.example",), ("/a/**",)), LimitedPlace((), ("/b",)))),
        "route": (2, True, (LimitedPlace(("shop.example",), ("/shop/**",)),)),
        "named": (3, True, (LimitedPlace((), ("/one",)),)),
    }


def test_monitor_mode_limits_nobody(tmp_path: Path) -> None:
    assert not any(one.is_enforced for one in limits(tmp_path, POLICY, "monitor").values())


def test_a_limit_on_a_route_that_this_envoy_has_not(tmp_path: Path) -> None:
    with pytest.raises(PolicyErrors, match="no route of this Envoy leads there"):
        limits(tmp_path, POLICY.replace("route: shop", "route: other"))
