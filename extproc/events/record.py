"""Decision → one line of JSON, the event `extproc.decision/1`. Masked, bounded, always valid.

Keys and their order are those of the schema; bytes that are no UTF-8 are written as `\\xff`. The
line is pure ASCII, so a terminal that shows it cannot be steered by a request.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

from extproc.events.masking import MASK, Masking
from extproc.events.scrubber import Scrubber
from extproc.model.verdict import Decision, Match, Shadow

SCHEMA = "extproc.decision/1"

MAX_TEXT_BYTES = 1024
"""One text of an event (path, msg, logdata, ...); what is cut off is counted at its end."""

MAX_LISTED = 32
"""Tags and decoding steps of one match."""

MAX_EVENT_BYTES = 65_536
"""A whole line. Beyond it matches lose logdata and tags, then the last of them are left out."""

_DEFAULT = Masking()
_to_json = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def encode(decision: Decision, masking: Masking = _DEFAULT, scrubber: Scrubber | None = None) -> bytes:
    """The event of a decision, ending in a newline, at most MAX_EVENT_BYTES long. `scrubber`: of this decision.

    Keys beside those of the schema: `rule` (the rule that decided, 0: none), `ruleset`, `policies`, `source`,
    `expired_exclusions`, `shadow` (docs/POLICY.md), `trace_id` (null without a `traceparent`), and `matches_left_out`
    when matches did not fit. docs/EVENTS.md has them all.
    """
    scrubber = scrubber or Scrubber(masking, decision)
    event = _event(decision, scrubber)
    event["matches"] = [_match(match, scrubber) for match in decision.matches]
    line = _line(event)
    if len(line) <= MAX_EVENT_BYTES:
        return line
    bare = [{**match, "logdata": "", "tags": []} for match in event["matches"]]
    kept = len(bare)
    while True:
        event["matches"] = bare[:kept]
        if kept < len(bare):
            event["matches_left_out"] = len(bare) - kept
            event["rule_ids"] = event["rule_ids"][: max(kept, MAX_LISTED)]
        line = _line(event)
        if len(line) <= MAX_EVENT_BYTES:
            return line
        kept //= 2


def time_text(time: float) -> str:
    """Seconds since 1970 as RFC 3339 in UTC, to the microsecond."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _event(decision: Decision, scrubber: Scrubber) -> dict[str, Any]:
    # An id of Envoy's is a UUID; anything else may come from the client.
    is_uuid = _UUID.fullmatch(decision.request_id) is not None
    return {
        "schema": SCHEMA,
        "time": time_text(decision.time),
        "incident": decision.incident,
        "request_id": decision.request_id if is_uuid else _cut(scrubber.string(decision.request_id)),
        "verdict": decision.verdict.value,
        "mode": decision.mode.value,
        "would": decision.would.value,
        "coverage": decision.coverage.value,
        "coverage_reason": decision.coverage_reason,
        "method": _text(scrubber.text(decision.method)),
        "host": _text(scrubber.place(decision.host)),
        "path": _text(scrubber.text(decision.path)),
        "client": _cut(decision.client),
        "route": _text(scrubber.place(decision.route.encode("utf-8", "surrogateescape"))),
        "phase": int(decision.phase),
        "score": decision.score,
        "status": decision.status,
        "rule_ids": list(dict.fromkeys(match.rule_id for match in decision.matches)),
        "duration_us": decision.duration_us,
        "app_executed": decision.app_executed,
        "rule": decision.rule_id,
        "ruleset": decision.ruleset,
        "policies": list(decision.policies),
        "source": decision.source,
        "expired_exclusions": list(decision.expired_exclusions[:MAX_LISTED]),
        "shadow": _shadow(decision.shadow),
        "trace_id": decision.trace.trace_id if decision.trace is not None else None,
        "matches": [],
    }


def _shadow(shadow: Shadow | None) -> dict[str, Any] | None:
    if shadow is None:
        return None
    return {
        "would": shadow.would.value,
        "rule": shadow.rule_id,
        "rule_ids": list(shadow.rule_ids[:MAX_LISTED]),
        "score": shadow.score,
        "ruleset": shadow.ruleset,
    }


def _match(match: Match, scrubber: Scrubber) -> dict[str, Any]:
    return {
        "id": match.rule_id,
        "msg": _text(scrubber.msg(match)),
        "logdata": _text(MASK if match.logdata and scrubber.hides(match) else scrubber.text(match.logdata)),
        "tags": [_text(scrubber.place(tag.encode("utf-8", "surrogateescape"))) for tag in match.tags[:MAX_LISTED]],
        "severity": match.severity,
        "variable": _cut(scrubber.variable(match.variable)),
        "via": list(match.via[:MAX_LISTED]),
        "phase": int(match.phase),
        "reason": _cut(scrubber.string(match.reason)),
        "score": match.score,
    }


def _text(text: bytes) -> str:
    left_out = len(text) - MAX_TEXT_BYTES
    if left_out > 0:
        text = text[:MAX_TEXT_BYTES] + b"...[%d bytes more]" % left_out
    return text.decode("utf-8", "backslashreplace")


def _cut(text: str) -> str:
    return _text(text.encode("utf-8", "surrogateescape"))


def _line(event: dict[str, Any]) -> bytes:
    return _to_json(event).encode("ascii") + b"\n"
