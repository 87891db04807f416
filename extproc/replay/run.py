"""Cases through the engine, in process, by the same steps that the server drives."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

from extproc.engine.inspector import EngineInspector
from extproc.model.deadline import Deadline
from extproc.model.message import Header, ResponseHead
from extproc.model.verdict import Decision, Outcome, Verdict
from extproc.replay.ftw import Case, Stage
from extproc.replay.http1 import Request, parse_request

BUDGET_US = 60_000_000
"""No live timeout holds here; a minute stops what would never end."""

FRONT_END_STATUSES = frozenset({400, 405, 408, 413, 414, 417, 426, 431, 501, 505})
"""Statuses with which an HTTP parser refuses what never gets to a rule."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Result:
    """`failures` are sentences; none: passed. `set_aside` says why a case cannot be judged in process."""

    case: Case
    failures: tuple[str, ...] = ()
    set_aside: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the app would have said."""

    head: ResponseHead
    body: bytes


def drive(steps: Generator[None, None, T]) -> T:
    """Run steps to their end without a pause."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            value: T = end.value
            return value


def run_exchange(inspector: EngineInspector, request: Request, answer: Answer | None) -> Verdict:
    """One exchange through all phases; the last verdict."""
    inspection = inspector.open()
    deadline = Deadline(time.monotonic_ns, BUDGET_US, slice_us=BUDGET_US)
    verdict = drive(inspection.request_headers(request.head, deadline))
    if verdict.outcome is Outcome.PENDING:
        verdict = drive(inspection.request_body(request.body, True, deadline))
    if answer is not None and verdict.outcome is not Outcome.BLOCK:
        verdict = drive(inspection.response_headers(answer.head, deadline))
        if verdict.outcome is Outcome.PENDING:
            verdict = drive(inspection.response_body(answer.body, True, deadline))
    inspection.close(None)
    return verdict


def reflect(request: Request) -> Answer:
    """The backend of the Core Rule Set's tests: `POST /reflect` answers as the request's JSON says."""
    status, headers, body = 200, [], b""
    if request.head.path.partition(b"?")[0] == b"/reflect":
        try:
            wanted = json.loads(request.body)
            status = int(wanted.get("status", 200))
            headers = [
                (name.lower().encode(), str(value).encode()) for name, value in wanted.get("headers", {}).items()
            ]
            body = wanted.get("body", "").encode()
            if wanted.get("encodedBody"):
                body = base64.b64decode(wanted["encodedBody"])
        except (ValueError, AttributeError):
            status = 400
    if body and not any(name == b"content-type" for name, _ in headers):
        headers.append((b"content-type", b"text/plain; charset=utf-8"))
    lines: list[Header] = [*headers, (b"content-length", b"%d" % len(body))]
    return Answer(ResponseHead(status, tuple(lines), is_last=False), body)


def run_case(case: Case, inspector: EngineInspector, decisions: list[Decision]) -> Result:
    """`inspector` appends to `decisions`."""
    failures: list[str] = []
    for number, stage in enumerate(case.stages, 1):
        set_aside = _set_aside(stage)
        if set_aside:
            return Result(case, set_aside=set_aside)
        decisions.clear()
        request = parse_request(stage.raw, is_framed=True)
        answer = reflect(request)
        verdict = run_exchange(inspector, request, answer)
        status = verdict.status if verdict.outcome is Outcome.BLOCK else answer.head.status
        decision = decisions[-1]
        prefix = f"stage {number}: " if len(case.stages) > 1 else ""
        failures += [prefix + failure for failure in _judge(stage, decision, status)]
    return Result(case, tuple(failures))


def _set_aside(stage: Stage) -> str | None:
    if stage.expect_error and not stage.expect_ids:
        return "expects a connection error: a front end's doing"
    if stage.status in FRONT_END_STATUSES and not stage.expect_ids:
        return f"expects status {stage.status} of a front end, no rule"
    return None


def _judge(stage: Stage, decision: Decision, status: int) -> list[str]:
    seen = {match.rule_id for match in decision.matches}
    failures = [f"rule {one} did not match" for one in stage.expect_ids if one not in seen]
    failures += [f"rule {one} matched" for one in stage.no_expect_ids if one in seen]
    if stage.match_regex or stage.no_match_regex:
        log = log_text(decision)
        if stage.match_regex and not re.search(stage.match_regex, log):
            failures.append(f"nothing in the log matches {stage.match_regex!r}")
        if stage.no_match_regex and re.search(stage.no_match_regex, log):
            failures.append(f"the log matches {stage.no_match_regex!r}")
    is_about_rules = bool(stage.expect_ids or stage.no_expect_ids)
    if stage.status is not None and not is_about_rules and status != stage.status:
        failures.append(f"status {status}, expected {stage.status}")
    return failures


def log_text(decision: Decision) -> str:
    """The matches as a ModSecurity log would spell them."""
    return "\n".join(
        f'[id "{match.rule_id}"] [msg "{match.msg.decode("utf-8", "replace")}"] '
        f'[data "{match.logdata.decode("utf-8", "replace")}"] at {match.variable}.'
        for match in decision.matches
    )


def run_cases(
    cases: list[Case], make_inspector: Callable[[Callable[[Decision], None]], EngineInspector]
) -> list[Result]:
    """All cases with one inspector."""
    decisions: list[Decision] = []
    inspector = make_inspector(decisions.append)
    return [run_case(case, inspector, decisions) for case in cases]
