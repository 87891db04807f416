"""Routes as users write them → `model.route.Route`: `--route /ws=stream`, or a list of mappings in the file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from extproc.model.route import DEFAULT_ROUTE, UPLOAD_BUDGET_MS, UPLOAD_LIMIT_BYTES, Beyond, Profile, Route

ROUTES_LIMIT = 200
"""Envoy walks them in order for every request."""

RESERVED = frozenset({DEFAULT_ROUTE, "ambiguous-host", "empty-host"})
"""Names of routes that are rendered in any case."""

KEYS = ("name", "host", "prefix", "path", "profile", "body_limit", "time_budget", "beyond", "policy")

_PATH = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,=:@-]*)+")
"""RFC 3986 path characters but `;` and escapes: what could be written in two ways cannot be matched in one."""

_HOST = re.compile(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

Word = TypeVar("Word", Profile, Beyond)
ReadNumber = Callable[[object], int]


def read_routes(value: object, read_size: ReadNumber, read_time: ReadNumber) -> tuple[Route, ...]:
    """Items are `[HOST]/PREFIX=PROFILE[:LIMIT][:TIME][:pass]`, `[HOST]=/PATH=...` for one path alone, or mappings.

    `read_size` and `read_time` read bytes and milliseconds as users write them.
    Raises ValueError with a sentence that mends it.
    """
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise ValueError("must be a list of routes, each PREFIX=PROFILE or a mapping with `prefix` and `profile`")
    if len(items) > ROUTES_LIMIT:
        raise ValueError(f"must be at most {ROUTES_LIMIT} routes, not {len(items)}")
    routes = tuple(
        _from_mapping(item if isinstance(item, Mapping) else _from_text(item), read_size, read_time) for item in items
    )
    _refuse_twins(routes)
    return routes


def _refuse_twins(routes: Sequence[Route]) -> None:
    names: set[str] = set()
    places: dict[tuple[str, str, bool], str] = {}
    for route in routes:
        if route.name in names:
            raise ValueError(f"must not name two routes {route.name!r}")
        names.add(route.name)
        place = (route.host.lower(), route.path, route.is_exact)
        if place in places:
            raise ValueError(f"{route.name!r} would never be reached: {places[place]!r} matches the same requests")
        places[place] = route.name


def _from_text(item: object) -> Mapping[str, object]:
    """The mapping that a text stands for."""
    if not isinstance(item, str):
        raise ValueError(f"must be routes such as /ws=stream, not {item!r}")
    where, equals, how = item.strip().rpartition("=")
    if not equals:
        raise ValueError(f"must be PREFIX=PROFILE such as /ws=stream, not {item!r}")
    host, slash, rest = where.partition("/")
    profile, *more = how.split(":")
    written: dict[str, object] = {"profile": profile, "path" if host.endswith("=") else "prefix": slash + rest}
    if host.rstrip("="):
        written["host"] = host.rstrip("=")
    for word in more:
        is_time = word.endswith(("ms", "s", "m"))
        written["beyond" if word in set(Beyond) else "time_budget" if is_time else "body_limit"] = word
    return written


def _from_mapping(written: Mapping[Any, object], read_size: ReadNumber, read_time: ReadNumber) -> Route:
    for key in written:
        if key not in KEYS:
            near = difflib.get_close_matches(str(key), KEYS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(KEYS)}"
            raise ValueError(f"holds a route with {key!r}, which is not a key of a route; {hint}")
    is_exact = "path" in written
    if is_exact == ("prefix" in written):
        raise ValueError(f"needs `prefix` or `path` in each route, and not both, unlike {dict(written)!r}")
    path = _path(written["path"]) if is_exact else _path(written["prefix"]).rstrip("/") or "/"
    host = _host(written.get("host", ""))
    profile = _word(Profile, "profile", written.get("profile", Profile.STANDARD))
    limit = read_size(written["body_limit"]) if "body_limit" in written else 0
    time_ms = read_time(written["time_budget"]) if "time_budget" in written else 0
    beyond = _word(Beyond, "beyond", written.get("beyond", Beyond.REFUSE))
    is_upload = profile is Profile.UPLOAD
    if not is_upload and (limit or time_ms or beyond is not Beyond.REFUSE):
        raise ValueError(f"gives {path} a body_limit, time_budget or beyond, which only the profile `upload` has")
    shown = f"{host}{'=' if is_exact else ''}{path}"
    return Route(
        name=_name(written["name"]) if "name" in written else shown,
        path=path,
        host=host,
        is_exact=is_exact,
        profile=profile,
        body_limit_bytes=limit or (UPLOAD_LIMIT_BYTES if is_upload else 0),
        time_budget_ms=time_ms or (UPLOAD_BUDGET_MS if is_upload else 0),
        beyond=beyond,
        policy=_name(written["policy"]) if "policy" in written else "",
    )


def _word(kind: type[Word], key: str, value: object) -> Word:
    if value not in set(kind):
        raise ValueError(f"{key} must be one of {', '.join(kind)}, not {value!r}")
    return kind(str(value))


def _path(value: object) -> str:
    is_plain = isinstance(value, str) and _PATH.fullmatch(value) is not None and "//" not in value
    if not isinstance(value, str) or not is_plain or ".." in value or "." in value.split("/"):
        raise ValueError(
            f"must have paths that begin with / and hold no escapes, `;`, `?` or dots alone, not {value!r}"
        )
    return value


def _host(value: object) -> str:
    if value == "":
        return ""
    if not isinstance(value, str) or _HOST.fullmatch(value) is None:
        raise ValueError(f"must have hosts such as example.com or *.example.com, without a port, not {value!r}")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str) or _WORD.fullmatch(value) is None or value in RESERVED:
        taken = ", ".join(sorted(RESERVED))
        raise ValueError(f"must have names of letters, digits, `.`, `_` and `-`, none of {taken}, not {value!r}")
    return value
