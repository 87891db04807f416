"""Events added up: verdicts, routes, rules, latency, and matches that look like false alarms, likeliest first.

What speaks for a false alarm: different clients meet the same rule in the same field of the same path, and do nothing
else that is suspicious. What speaks for an attack: one client meets many rules in many places.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from extproc.review.event_file import Event, path_of

MAX_CLIENTS = 20_000
"""Clients told apart; the suspicion of further ones is not known."""

MAX_ALARMS = 5_000
"""Places told apart where rules matched; further ones are counted together."""

MAX_TIMES = 100_000
"""Durations kept for the quantiles; beyond, each new one replaces one of them in turn."""

Key = tuple[str, str, str, tuple[int, ...]]
"""(method, path, variable, ids of rules)."""


@dataclass(slots=True)
class Alarm:
    """Requests in which the same rules matched in the same variable of the same path."""

    method: str
    path: str
    variable: str
    rule_ids: tuple[int, ...]
    message: str
    requests: int = 0
    denied: int = 0
    clients: Counter[str] = field(default_factory=Counter)
    incident: str = ""

    likelihood: float = 0.0
    """0 to 1, that these are false alarms; set by `Summary.alarms`."""


@dataclass(slots=True)
class _Client:
    requests: int = 0
    clean: int = 0
    places: set[Any] = field(default_factory=set)


class Summary:
    """`add` events, then read."""

    def __init__(self) -> None:
        self.requests = 0
        self.verdicts: Counter[str] = Counter()
        self.modes: Counter[str] = Counter()
        self.would_block = 0
        self.routes: Counter[str] = Counter()
        self.incomplete: Counter[str] = Counter()
        self.rules: Counter[int] = Counter()
        self.messages: dict[int, str] = {}
        self.first = self.last = ""
        self._times: list[int] = []
        self._alarms: dict[Key, Alarm] = {}
        self._clients: dict[str, _Client] = {}
        self.other_alarms = 0

    def add_all(self, events: Iterable[Event]) -> Summary:
        """Adds all; returns itself."""
        for event in events:
            self.add(event)
        return self

    def add(self, event: Event) -> None:
        """One event."""
        self.requests += 1
        self.first = self.first or str(event.get("time", ""))
        self.last = str(event.get("time", ""))
        self.verdicts[str(event.get("verdict"))] += 1
        self.modes[str(event.get("mode"))] += 1
        is_denied = event.get("would") == "block"
        self.would_block += is_denied
        self.routes[str(event.get("route") or "none")] += 1
        if event.get("coverage") != "inspected":
            self.incomplete[f"{event.get('coverage')}: {event.get('coverage_reason')}"] += 1
        self._add_time(event.get("duration_us"))
        client = self._client(str(event.get("client", "")))
        if client is not None:
            client.requests += 1
        matches = [match for match in event["matches"] if isinstance(match, dict) and is_of_request(match)]
        if not matches:
            if client is not None:
                client.clean += 1
            return
        for rule_id in {_id(match) for match in matches}:
            self.rules[rule_id] += 1
        for match in matches:
            self.messages.setdefault(_id(match), str(match.get("msg", "")))
        self._add_alarms(event, matches, is_denied, client)

    def _add_time(self, duration_us: Any) -> None:
        if not isinstance(duration_us, int):
            return
        if len(self._times) < MAX_TIMES:
            self._times.append(duration_us)
        else:
            self._times[self.requests % MAX_TIMES] = duration_us

    def _client(self, address: str) -> _Client | None:
        found = self._clients.get(address)
        if found is None and len(self._clients) < MAX_CLIENTS:
            found = self._clients[address] = _Client()
        return found

    def _add_alarms(self, event: Event, matches: list[Any], is_denied: bool, client: _Client | None) -> None:
        by_variable: dict[str, set[int]] = {}
        for match in matches:
            by_variable.setdefault(str(match.get("variable", "")), set()).add(_id(match))
        for variable, rule_ids in by_variable.items():
            ids = tuple(sorted(rule_ids))
            key = (str(event.get("method", "")), path_of(event), variable, ids)
            alarm = self._alarms.get(key)
            if alarm is None:
                if len(self._alarms) >= MAX_ALARMS:
                    self.other_alarms += 1
                    continue
                alarm = self._alarms[key] = Alarm(*key, message=self.messages.get(ids[0], ""))
            alarm.requests += 1
            alarm.denied += is_denied
            alarm.clients[str(event.get("client", ""))] += 1
            alarm.incident = str(event.get("incident", ""))
            if client is not None:
                client.places.add(key)

    def alarms(self) -> list[Alarm]:
        """All places where rules matched, the likeliest false alarms first."""
        for alarm in self._alarms.values():
            alarm.likelihood = self._likelihood(alarm)
        return sorted(self._alarms.values(), key=lambda alarm: (-round(alarm.likelihood, 2), -alarm.requests))

    def _likelihood(self, alarm: Alarm) -> float:
        weights = total = 0.0
        for address, count in alarm.clients.items():
            client = self._clients.get(address)
            if client is None:
                continue
            # A client that matches everywhere looks for holes; one that matches here alone uses the app.
            is_narrow = 1 / len(client.places) if client.places else 0.0
            clean = client.clean / client.requests
            weights += count
            total += count * (0.5 * is_narrow + 0.5 * clean)
        company = 1 - 1 / (1 + len(alarm.clients))  # 0.5 for one client, towards 1 for many
        return company * total / weights if weights else 0.0

    def quantile_us(self, share: float) -> int | None:
        """Microseconds within which that share of the requests was decided; None without any."""
        times = sorted(self._times)
        return times[min(int(share * len(times)), len(times) - 1)] if times else None

    def as_data(self) -> dict[str, Any]:
        """Everything as JSON data."""
        return {
            "schema": "extproc.report/1",
            "from": self.first,
            "to": self.last,
            "requests": self.requests,
            "verdicts": dict(self.verdicts),
            "modes": dict(self.modes),
            "would_block": self.would_block,
            "routes": dict(self.routes.most_common()),
            "incomplete": dict(self.incomplete.most_common()),
            "latency_us": {"p50": self.quantile_us(0.5), "p99": self.quantile_us(0.99)},
            "rules": [
                {"id": rule_id, "requests": number, "msg": self.messages.get(rule_id, "")}
                for rule_id, number in self.rules.most_common()
            ],
            "alarms": [
                {
                    "method": alarm.method,
                    "path": alarm.path,
                    "variable": alarm.variable,
                    "rules": list(alarm.rule_ids),
                    "msg": alarm.message,
                    "requests": alarm.requests,
                    "denied": alarm.denied,
                    "clients": len(alarm.clients),
                    "false_alarm_likelihood": round(alarm.likelihood, 2),
                    "incident": alarm.incident,
                }
                for alarm in self.alarms()
            ],
            "alarms_left_out": self.other_alarms,
        }


def is_of_request(match: dict[str, Any]) -> bool:
    """Is it about something that was sent, not about the sum of what other rules found (TX)?"""
    return not str(match.get("variable", "")).startswith("TX") and bool(match.get("variable"))


def _id(match: dict[str, Any]) -> int:
    found = match.get("id")
    return found if isinstance(found, int) else 0
