"""Routes and their profiles: what Envoy sends of a request, and what the engine must therefore expect.

Renderer, server and engine read the same table (`modes`), so that what Envoy is told and what the engine takes for
granted cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

DEFAULT_ROUTE = "app"
"""Name of the route that takes what no other one does; its profile is `standard`."""

UPLOAD_LIMIT_BYTES = 10 * 1024 * 1024
"""Largest body of an upload route that does not say otherwise."""

UPLOAD_BUDGET_MS = 10_000
"""Time for a message of such a route: a body of the limit that rules read byte by byte takes seconds."""


class Profile(StrEnum):
    """How much of a request the rules see before the app does.

    `standard`: head, body, trailers. `upload`: the same with a limit of its own. `stream`: the head alone, as the rest
    has no end or must not wait (WebSocket, interactive gRPC, endless bodies).
    """

    STANDARD = "standard"
    UPLOAD = "upload"
    STREAM = "stream"


class Beyond(StrEnum):
    """What happens to the rest of a body over the limit: refused with 413, or passed on unseen, as `partly`."""

    REFUSE = "refuse"
    PASS = "pass"  # noqa: S105  # a word, not a secret


class Modes(NamedTuple):
    """A whole processing mode of Envoy: every field spelled out, as an unset one means its default, not *as before*."""

    request_header_mode: str
    request_body_mode: str
    request_trailer_mode: str
    response_header_mode: str
    response_body_mode: str
    response_trailer_mode: str


@dataclass(frozen=True, slots=True)
class Route:
    """Requests to `host` (empty: any; `*.example.com`: names below it) whose path is `path` or lies below it.

    `is_exact` leaves out what lies below. `body_limit_bytes` and `time_budget_ms` 0 are the general ones. `policy`
    travels as `x-waf-policy` to the engine.
    """

    name: str
    path: str
    host: str = ""
    is_exact: bool = False
    profile: Profile = Profile.STANDARD
    body_limit_bytes: int = 0
    time_budget_ms: int = 0
    beyond: Beyond = Beyond.REFUSE
    policy: str = ""


def modes(profile: Profile, beyond: Beyond, with_response: bool) -> Modes:
    """The mode that a profile is rendered with.

    BUFFERED is the one body mode in which the app sees nothing before the verdict. A response is buffered up to its
    limit and passes from there on: to break it off would tell nobody more than its beginning did. Streams are exempt.
    """
    if profile is Profile.STREAM:
        return Modes("SEND", "NONE", "SKIP", "SKIP", "NONE", "SKIP")
    body = "BUFFERED_PARTIAL" if beyond is Beyond.PASS else "BUFFERED"
    response = ("SEND", "BUFFERED_PARTIAL") if with_response else ("SKIP", "NONE")
    return Modes("SEND", body, "SEND", *response, "SKIP")


def upgraded(with_response: bool) -> Modes:
    """What the engine asks for when it lets a handshake through: nothing of the request is still to come.

    Trailers are skipped, so that Envoy needs the engine no more: an upgraded connection outlives its worker.
    """
    return Modes("SEND", "NONE", "SKIP", "SEND" if with_response else "SKIP", "NONE", "SKIP")


def unbuffered(mode: Modes) -> Modes:
    """What the engine asks for when it will not read the body of a response: that it flows."""
    return mode._replace(response_body_mode="NONE")


def overrides(routes: Iterable[Route], with_response: bool) -> list[Modes]:
    """Every override that the engine may ask for with these routes, and no other."""
    found = [upgraded(with_response)]
    if with_response:
        shapes = [(Profile.STANDARD, Beyond.REFUSE), *((route.profile, route.beyond) for route in routes)]
        found += [unbuffered(modes(*shape, with_response)) for shape in shapes if shape[0] is not Profile.STREAM]
    return list(dict.fromkeys(found))
