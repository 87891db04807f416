"""From an event to the narrowest exclusion of a policy, and what else it would have let through."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from extproc.events.masking import MASK
from extproc.model.errors import ExtprocError
from extproc.review.event_file import Event, path_of
from extproc.review.summary import is_of_request

_MASK = MASK.decode()
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9/._~@:+,;=&()%-]*")
"""Paths that can stand in a policy as they are; `*` would mean more than itself."""


class NoExclusionError(ExtprocError):
    """The event has nothing that an exclusion could be about; the message says why."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """Entries for `exclusions` of a policy, as plain data; `rules` by variable is what they let through."""

    entries: tuple[dict[str, Any], ...]
    path: str
    method: str
    route: str
    by_variable: dict[str, frozenset[int]]


@dataclass(frozen=True, slots=True)
class Reach:
    """Of recorded requests: how many would no longer have been denied, of how many clients; matches that go."""

    requests: int
    clients: int
    matches: int


def propose(event: Event, *, owner: str, reason: str, expires: date | None) -> Proposal:
    """One entry per set of rules, for their variables, this path, method and route. Raises NoExclusionError."""
    matches = [match for match in event["matches"] if isinstance(match, dict) and is_of_request(match)]
    if not matches:
        raise NoExclusionError("no rule matched anything of the request")
    path = path_of(event)
    if _MASK in path or "\\x" in path or not _PLAIN_PATH.fullmatch(path):
        raise NoExclusionError(f"the path {path!r} cannot be written into a policy; write the exclusion by hand")
    by_variable: dict[str, set[int]] = {}
    for match in matches:
        variable, rule_id = str(match["variable"]), match.get("id")
        if _MASK in variable or "\\x" in variable:
            raise NoExclusionError(f"the name of the variable is masked ({variable}); write the exclusion by hand")
        if isinstance(rule_id, int):
            by_variable.setdefault(variable, set()).add(rule_id)
    by_rules: dict[tuple[int, ...], list[str]] = {}
    for variable, rule_ids in by_variable.items():
        by_rules.setdefault(tuple(sorted(rule_ids)), []).append(variable)
    where: dict[str, Any] = {"path": path, "method": [str(event.get("method", "GET"))]}
    route = str(event.get("route") or "")
    if route:
        where = {"route": [route], **where}
    said: dict[str, Any] = {"owner": owner, "reason": reason}
    if expires is not None:
        said["expires"] = expires
    entries = tuple(
        {"rules": list(rules), "variables": sorted(variables), **where, **said} for rules, variables in by_rules.items()
    )
    frozen = {variable: frozenset(rule_ids) for variable, rule_ids in by_variable.items()}
    return Proposal(entries, path, where["method"][0], route, frozen)


def reach(proposal: Proposal, events: Iterable[Event]) -> Reach:
    """What the proposal would have changed of `events`. A request with another match stays denied."""
    requests = matches = 0
    clients: set[str] = set()
    for event in events:
        if (path_of(event), event.get("method"), str(event.get("route") or "")) != (
            proposal.path,
            proposal.method,
            proposal.route,
        ):
            continue
        found = [match for match in event["matches"] if isinstance(match, dict) and is_of_request(match)]
        covered = [match for match in found if _covers(proposal, match)]
        matches += len(covered)
        if covered and len(covered) == len(found) and event.get("would") == "block":
            requests += 1
            clients.add(str(event.get("client", "")))
    return Reach(requests, len(clients), matches)


def _covers(proposal: Proposal, match: dict[str, Any]) -> bool:
    return match.get("id") in proposal.by_variable.get(str(match.get("variable", "")), ())


def as_lines(entries: Sequence[dict[str, Any]]) -> list[str]:
    """The entries as YAML list items, for a person to copy."""
    lines: list[str] = []
    for entry in entries:
        start = "- "
        for key, value in entry.items():
            written = f"[{', '.join(_word(item) for item in value)}]" if isinstance(value, list) else _word(value)
            lines.append(f"{start}{key}: {written}")
            start = "  "
    return lines


def _word(value: object) -> str:
    text = str(value)
    is_plain = isinstance(value, int | date) or re.fullmatch(r"[A-Za-z/][A-Za-z0-9 _./:-]*[A-Za-z0-9/]|/", text)
    return text if is_plain and ": " not in text else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
