"""A decision event → the request that it tells of, as far as it can be rebuilt, and what is missing.

Events are masked and hold neither headers nor bodies, on purpose; so this says what is not known instead of
guessing it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from extproc.engine.variables import CHANGING
from extproc.events.masking import MASK
from extproc.events.record import SCHEMA
from extproc.model.errors import ConfigError
from extproc.model.message import Address, RequestHead
from extproc.replay.explain_exclusion import FIRST_ID, Exclusion, Place
from extproc.replay.http1 import SERVER, Request

RECALLED_ID = FIRST_ID + 1000
"""Where the ids of exclusions begin that cannot be proved."""

MAX_LINE_BYTES = 1_048_576
"""Of an event file, without its newline; a longer line is no event and passed over."""

_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
_BODY_PREFIXES = ("ARGS_POST", "FILES", "MULTIPART", "REQUEST_BODY", "REQBODY", "XML", "ARGS:json.")


@dataclass(frozen=True, slots=True)
class Incident:
    """The event as written, the request rebuilt from it, and sentences on what is not in it."""

    event: dict[str, Any]
    request: Request
    missing: tuple[str, ...]


def find_incident(file: Path, incident: str) -> Incident:
    """The last event of that incident. Raises ConfigError when the file cannot be read or does not hold it."""
    found: dict[str, Any] | None = None
    wanted = incident.encode("utf-8", "surrogateescape")
    try:
        with file.open("rb") as stream:
            while line := stream.readline(MAX_LINE_BYTES):
                if wanted in line:
                    found = _event(line, incident) or found
    except OSError as error:
        raise ConfigError("--events", f"{file} cannot be read: {error.strerror}") from error
    if found is None:
        raise ConfigError("--incident", f"{file} holds no event of incident {incident}")
    return Incident(found, _request(found), tuple(_missing(found)))


def _event(line: bytes, incident: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    is_ours = isinstance(event, dict) and event.get("incident") == incident and event.get("schema") == SCHEMA
    return event if is_ours else None


def _request(event: dict[str, Any]) -> Request:
    host = _bytes(event.get("host"))
    head = RequestHead(
        method=_bytes(event.get("method")) or b"GET",
        path=_bytes(event.get("path")) or b"/",
        authority=host,
        headers=((b"host", host),) if host else (),
        client=Address(str(event.get("client") or ""), 0),
        server=SERVER,
        request_id=str(event.get("request_id") or ""),
        route=str(event.get("route") or ""),
        policy=str((event.get("policies") or [""])[-1]),  # the last one may be what Envoy named; if not, no harm
        is_last=True,
    )
    return Request(head, b"")


def _missing(event: dict[str, Any]) -> list[str]:
    variables = [str(match.get("variable", "")) for match in event.get("matches") or []]
    missing = ["headers and cookies, but for Host: events do not hold them, so rules on missing headers may match here"]
    if event.get("method") in _BODY_METHODS or any(name.startswith(_BODY_PREFIXES) for name in variables):
        missing.append("the body: events do not hold it")
    path = str(event.get("path") or "")
    if MASK.decode() in path:
        missing.append(f"parts of the path: {MASK.decode()} stands for secrets")
    if path.endswith(" bytes more]"):
        missing.append("the end of the path: it was too long for the event")
    if event.get("phase") in (3, 4):
        missing.append("the response that the rules looked at")
    return missing


def _bytes(text: object) -> bytes:
    return str(text).encode("utf-8", "surrogateescape") if text else b""


def recall(incident: Incident, record: dict[str, Any]) -> dict[str, Any]:
    """The record of the rebuilt request, with what the event says of the real one.

    Adds `event`, `missing`, `silent_now` (what matched then and does not now), and for these the exclusion
    that would have cured them, `proved` None since nothing can be run again.
    """
    event = incident.event
    now = {(match["id"], one["variable"]) for match in record["matches"] for one in match["variables"]}
    then = [match for match in event.get("matches") or [] if isinstance(match, dict)]
    silent = [match for match in then if (match.get("id"), match.get("variable")) not in now]
    missing = list(incident.missing)
    if event.get("ruleset") not in (None, "", record["ruleset"]):
        missing.append("the rules of then: those loaded now have another hash")
    path = unquote_to_bytes(_bytes(event.get("path")).partition(b"?")[0])
    exclusions = [
        {"rule": match["id"], "variable": match["variable"], "seclang": exclusion.seclang.decode("utf-8", "replace")}
        | {"proved": None}
        for number, match in enumerate(silent)
        if (exclusion := _exclusion(match, path, number)) is not None
    ]
    return {
        **record,
        "event": event,
        "missing": missing,
        "silent_now": [{"id": match.get("id"), "variable": match.get("variable")} for match in silent],
        "exclusions": [*record["exclusions"], *exclusions],
    }


def _exclusion(match: dict[str, Any], path: bytes, number: int) -> Exclusion | None:
    """None where the event does not say what to exclude: a sum of the rules, or a name that was masked."""
    collection, colon, key = str(match.get("variable") or "").partition(":")
    is_sum = not collection or collection in CHANGING
    if is_sum or MASK in path or MASK.decode() in key or not isinstance(match.get("id"), int):
        return None
    place = Place(collection, _bytes(key) if colon else None)
    return Exclusion(RECALLED_ID + number, match["id"], path, place)
