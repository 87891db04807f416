"""The record of an explanation, laid out for a person at a terminal. Texts come masked; here they are made harmless."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

MAX_SHOWN_CHARS = 200
"""Of one text; the rest is an ellipsis. The JSON record has more."""

PLACE = (
    "exclusions stand before the rules: --rules exclusions.conf in front of the other --rules, or in the Core "
    "Rule Set's rules/REQUEST-900-EXCLUSION-RULES-BEFORE-CRS.conf"
)
"""Where the proposed lines belong: phase 1 runs in file order."""


def lay_out(record: dict[str, Any]) -> str:
    """Verdict and reasons, each match with its way through the decodings, what was spared, what would cure it."""
    lines = [*_event(record), *_verdict(record), ""]
    is_quiet = [_is_quiet(match, record["decided_by"]) for match in record["matches"]]
    told = [match for match, quiet in zip(record["matches"], is_quiet, strict=True) if not quiet]
    for match in told:
        lines += [*_match(match), ""]
    if not told:
        lines += ["no rule that reports or scores matched", ""]
    for match, quiet in zip(record["matches"], is_quiet, strict=True):
        if quiet:
            place = f"{_escaped(match['file'])}:{match['line']}"
            lines += [f"rule {match['id']} ({place}): ctl:{_escaped(control)}" for control in match["controls"]]
    lines.append(_account(record["prefilter"], len(record["silent"])))
    lines += _cure(record)
    return "\n".join(lines)


def shown(text: str) -> str:
    """In quotes, what is no printable character escaped: a request cannot paint the terminal."""
    escaped = "".join(
        char if char.isprintable() and char != "\\" else char.encode("unicode_escape").decode("ascii")
        for char in text[: MAX_SHOWN_CHARS + 1]
    )
    return f'"{escaped}"' if len(escaped) <= MAX_SHOWN_CHARS else f'"{escaped[:MAX_SHOWN_CHARS]}…"'


def _is_quiet(match: dict[str, Any], decided_by: dict[str, Any] | None) -> bool:
    """Does the rule do nothing but control the engine, which is worth one line?"""
    has_decided = decided_by is not None and decided_by["id"] == match["id"]
    return not (match["is_logged"] or match["score"] or has_decided)


def _plain(text: str) -> str:
    return shown(text)[1:-1]


def _verdict(record: dict[str, Any]) -> Iterable[str]:
    request = record["request"]
    if record["verdict"] == "block":
        headline = f"BLOCK {record['status']}"
    elif record["would"] == "block":
        headline = "ALLOW, although the rules say block"
    else:
        headline = "ALLOW"
    body = f", body {request['body_bytes']} bytes" if request["body_bytes"] else ""
    yield f"{headline}: {_plain(request['method'])} {_plain(request['host'])}{_plain(request['path'])}{body}"
    yield from (f"  {_plain(reason)}" for reason in record["why"])
    reason = f" ({record['coverage_reason']})" if record["coverage_reason"] else ""
    yield f"  coverage: {record['coverage']}{reason}"
    for missing in record.get("missing", ()):
        yield f"  not known: {missing}"


def _event(record: dict[str, Any]) -> Iterable[str]:
    event = record.get("event")
    if event is None:
        return
    yield f"incident {_plain(event['incident'])} at {_plain(str(event.get('time')))}"
    status = f" {event['status']}, rule {event.get('rule')}" if event.get("status") else ""
    yield f"  then: {event.get('verdict')}{status}, score {event.get('score')}, mode {event.get('mode')}"
    for match in event.get("matches", ()):
        is_silent = {"id": match["id"], "variable": match["variable"]} in record["silent_now"]
        again = "not matched again" if is_silent else "matched again"
        msg, logdata = _plain(match["msg"]), shown(match["logdata"])
        yield f"  rule {match['id']} {msg} in {_plain(match['variable'])}: {logdata} ({again})"
    for exclusion in record["exclusions"]:
        if exclusion["proved"] is None:
            yield f"  cure: {_escaped(exclusion['seclang'])}"
            yield f"        {_proof(exclusion)}"
    yield ""
    yield "what can be rebuilt, run again:"


def _match(match: dict[str, Any]) -> Iterable[str]:
    severity = f", {match['severity']}" if match["severity"] else ""
    note = "" if match["is_logged"] else ", nolog"
    note += "" if match["is_complete"] else ", chain not complete"
    yield f"rule {match['id']} {_plain(match['msg'])}".rstrip()
    yield f"  {_plain(match['file'])}:{match['line']}, phase {match['phase']}{severity}{note}"
    for variable in match["variables"]:
        yield from _variable(variable)
    if match["variables_left_out"]:
        yield f"  and {match['variables_left_out']} more variables"
    for score in match["score"]:
        yield f"  score {score['variable']} {score['gain']:+d} ({score['before']} → {score['after']})"
    for control in match["controls"]:
        yield f"  ctl:{_plain(control)}"
    for exclusion in match["exclusions"]:
        yield f"  cure: {_escaped(exclusion['seclang'])}"
        yield f"        {_proof(exclusion)}"


def _variable(variable: dict[str, Any]) -> Iterable[str]:
    link = f" (link {variable['link']} of the chain)" if variable["link"] else ""
    yield f"  {_plain(variable['variable'])}{link}"
    rows: list[tuple[str, str]] = []
    if variable["sent"] is not None:
        is_own = variable["variable"].startswith("TX:")
        rows.append(("value" if is_own else "sent", shown(variable["sent"])))
        prefix = "" if variable["score"] else "t:"
        rows += [(prefix + step["transformation"], shown(step["text"])) for step in variable["steps"]]
    elif variable["text"]:
        rows.append(("seen", shown(variable["text"])))
    if variable["operator"]:
        test = _escaped(f"{variable['operator']} {variable['argument']}".rstrip())
        rows.append(("test", test if len(test) <= MAX_SHOWN_CHARS else test[:MAX_SHOWN_CHARS] + "…"))
    matched = variable["matched"]
    if matched is not None:
        rows.append(("matched", f"{shown(matched['text'])} at {matched['start']}..{matched['end']}"))
    if variable["score"]:
        context, reason = _escaped(variable["context"]), _escaped(variable["reason"])
        rows.append(("finding", f"{variable['score']} of 9, in {context}: {reason}"))
    width = max((len(name) for name, _ in rows), default=0)
    yield from (f"    {name:<{width}}  {text}" for name, text in rows)


def _proof(exclusion: dict[str, Any]) -> str:
    return {
        True: "proved: run again with the exclusions, the rule is silent there",
        False: "not enough: the rule still matches with it",
        None: "not proved: the request is not known whole",
    }[exclusion["proved"]]


def _account(prefilter: dict[str, int], silent: int) -> str:
    pairs = prefilter["pairs"]
    share = f" ({100 * prefilter['spared'] / pairs:.0f} %)" if pairs else ""
    gated = f", {prefilter['rules_gated']} left out by skips on settings" if prefilter["rules_gated"] else ""
    return (
        f"prefilter: {prefilter['values']} value(s) against the rules that look at them: {pairs} pairs; named "
        f"{prefilter['named']}, run {prefilter['run']}, spared {prefilter['spared']}{share}\n"
        f"rules: {prefilter['rules']} in the phases that ran{gated}, {prefilter['rules_direct']} without values to "
        f"scan; {silent} more matched and only set variables or skipped"
    )


def _cure(record: dict[str, Any]) -> Iterable[str]:
    if not record["exclusions"]:
        return
    yield ""
    if record["cured"] is not None:
        tried = sum(exclusion["proved"] is not None for exclusion in record["exclusions"])
        yield f"with all {tried} exclusions tried here the rules say: {record['cured']}"
    yield PLACE


def _escaped(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
