"""`/status`: what serves, how it goes, and what was not inspected. JSON, or a page that a person reads."""

from __future__ import annotations

import html
import json
import time
from typing import Any

from extproc.telemetry.counters import BUCKETS_US, Snapshot
from extproc.telemetry.families import Facts

SCHEMA = "extproc.status/1"

MAX_LISTED = 20
"""Routes and rules on the page; JSON has all."""


def status(total: Snapshot, facts: Facts) -> dict[str, Any]:
    """Everything as plain data."""
    verdicts: dict[str, int] = {}
    routes: dict[str, dict[str, float]] = {}
    would = 0
    for key, number in total["decisions"].items():
        verdict, wanted, _, route = key.split("\n")
        verdicts[verdict] = verdicts.get(verdict, 0) + number
        would += number if wanted == "block" else 0
        entry = routes.setdefault(route, {"requests": 0, "partly": 0, "uninspected": 0})
        entry["requests"] += number
    for key, number in total["coverage"].items():
        coverage, _, route = key.split("\n")
        routes.setdefault(route, {"requests": 0, "partly": 0, "uninspected": 0})[coverage] += number
    for entry in routes.values():
        incomplete = entry["partly"] + entry["uninspected"]
        entry["inspected_percent"] = round(100 * (1 - incomplete / entry["requests"]), 3) if entry["requests"] else 100
    rules: dict[str, int] = {}
    for key, number in total["rules"].items():
        rule = key.partition("\n")[0]
        rules[rule] = rules.get(rule, 0) + number
    return {
        "schema": SCHEMA,
        "version": facts.version,
        "ruleset": facts.ruleset,
        "mode": facts.mode,
        "uptime_seconds": round(time.time() - facts.started, 1),
        "workers": facts.workers,
        "requests": sum(verdicts.values()),
        "verdicts": verdicts,
        "would_block": would,
        "streams": total["gauges"].get("streams", 0),
        "latency_us": {name: quantile(total["buckets"], share) for name, share in (("p50", 0.5), ("p99", 0.99))},
        "coverage": dict(sorted(routes.items())),
        "reasons": {key.replace("\n", " "): number for key, number in sorted(total["coverage"].items())},
        "rules": dict(sorted(rules.items(), key=lambda item: -item[1])),
        "events_dropped": total["totals"].get("events_dropped", 0),
        "reload": {
            "generation": facts.generation,
            "is_good": facts.is_last_reload_good,
            "time": facts.last_reload,
            "reason": facts.last_reload_reason,
            "outcomes": facts.reloads,
        },
    }


def quantile(buckets: list[int], share: float) -> int | None:
    """Upper bound, microseconds, below which `share` of the requests were decided; None without any, -1 beyond all."""
    wanted, so_far = share * sum(buckets), 0
    if not wanted:
        return None
    for bound, number in zip((*BUCKETS_US, -1), buckets, strict=True):
        so_far += number
        if so_far >= wanted:
            return bound
    return -1


def as_json(found: dict[str, Any]) -> bytes:
    """The data, indented."""
    return json.dumps(found, indent=2).encode() + b"\n"


def as_page(found: dict[str, Any]) -> bytes:
    """The same for a browser: no script, no style from elsewhere, everything escaped."""

    def latency(name: str) -> str:
        bound = found["latency_us"][name]
        return "none yet" if bound is None else "over 1 s" if bound < 0 else f"at most {bound / 1000:g} ms"

    reload = found["reload"]
    state = "good" if reload["is_good"] else f"FAILED, older rules serve: {reload['reason']}"
    facts = [
        ("mode", found["mode"]),
        ("rule set", found["ruleset"]),
        ("version", found["version"]),
        ("workers", found["workers"]),
        ("up", f"{found['uptime_seconds']:.0f} s"),
        ("requests", found["requests"]),
        ("blocked", found["verdicts"].get("block", 0)),
        ("would block", found["would_block"]),
        ("half of the inspections took", latency("p50")),
        ("99 of 100 took", latency("p99")),
        ("last reload", state),
        ("events dropped", found["events_dropped"]),
    ]
    routes = [
        (route, entry["requests"], f"{entry['inspected_percent']:g} %", entry["partly"], entry["uninspected"])
        for route, entry in list(found["coverage"].items())[:MAX_LISTED]
    ]
    rules = list(found["rules"].items())[:MAX_LISTED]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>extproc</title><style>body{font:16px/1.5 sans-serif;",
        "max-width:50em;margin:2em auto;padding:0 1em}table{border-collapse:collapse;margin:1em 0}td,th{",
        "padding:.2em .8em;text-align:left;border-bottom:1px solid #ccc}</style><h1>extproc</h1>",
        _table((), facts),
        "<h2>Coverage</h2>",
        _table(("route", "requests", "inspected whole", "partly", "not at all"), routes),
        "<h2>Rules</h2>",
        _table(("rule", "requests"), rules),
        "</html>\n",
    ]
    return "".join(parts).encode()


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    titles = "".join(f"<th>{html.escape(title)}</th>" for title in head)
    lines = ("".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in rows)
    return f"<table><tr>{titles}</tr>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
