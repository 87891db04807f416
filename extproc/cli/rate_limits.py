"""The rate limits of a policy, as Envoy is to keep them: by host and path, since the filter runs before any route."""

from __future__ import annotations

from pathlib import Path

from extproc.config import Config
from extproc.model.errors import PolicyErrors
from extproc.model.route import Route
from extproc.model.verdict import Mode
from extproc.policy.load import load_policy
from extproc.policy.merge import merge
from extproc.policy.model import DEFAULTS, Policy, Scope, Where
from extproc.policy.shapes import Report
from extproc.proxy.rate_limits import LimitedPlace, LocalLimit


def rate_limits(config: Config, policy: Policy) -> tuple[LocalLimit, ...]:
    """Of every scope that has one. Enforced where the policy blocks and `--mode` lets it.

    Raises PolicyErrors for a limit on a route that this Envoy has not.
    """
    report = Report(policy.file)
    defaults = [scope for scope in policy.scopes if scope.name == DEFAULTS]
    found = []
    for scope in policy.scopes:
        given = scope.given.get("rate_limit")
        if given is None:
            continue
        merged = merge([*defaults, scope] if scope.name != DEFAULTS else defaults)
        mode = Mode.weakest(Mode(config.mode), Mode(merged.value("mode", config.mode)))
        limit = given.value
        places = _places(scope, config.routes)
        if mode is Mode.OFF:
            continue
        if not places:
            report.tell(
                given.line, f"rate_limit of {scope.name}: no route of this Envoy leads there; match a host or path"
            )
            continue
        is_enforced = mode in (Mode.BLOCK, Mode.SAFE_BLOCK)
        found.append(
            LocalLimit(scope.name, places, limit.requests, limit.per_ms, limit.burst, limit.by_client, is_enforced)
        )
    if report.findings:
        raise PolicyErrors(policy.file, report.findings)
    return tuple(found)


def limits_of(config: Config) -> tuple[LocalLimit, ...]:
    """The same for the policy that the settings name, if they do."""
    return rate_limits(config, load_policy(Path(config.policy))) if config.policy else ()


def _places(scope: Scope, routes: tuple[Route, ...]) -> tuple[LimitedPlace, ...]:
    if scope.name == DEFAULTS:
        return (LimitedPlace(),)
    named = [_of_route(route) for route in routes if route.policy == scope.name]
    return tuple(dict.fromkeys([*named, *(place for where in scope.matches for place in _of_where(where, routes))]))


def _of_where(where: Where, routes: tuple[Route, ...]) -> list[LimitedPlace]:
    hosts = tuple(host.text for host in where.hosts)
    paths = tuple(path.text for path in where.paths)
    if not where.routes:
        return [LimitedPlace(hosts, paths)]
    found = [_of_route(route) for route in routes if route.name in where.routes]
    return [LimitedPlace(hosts or place.hosts, paths or place.paths) for place in found]


def _of_route(route: Route) -> LimitedPlace:
    path = route.path if route.is_exact else f"{route.path.rstrip('/')}/**"
    return LimitedPlace((route.host,) if route.host else (), (path,))
