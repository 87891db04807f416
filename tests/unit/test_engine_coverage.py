"""What was not fully inspected is never silent: for every way that an exchange can end, what its event says."""

from __future__ import annotations

import gzip
import itertools
import logging
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from extproc.engine.inspector import EngineInspection, EngineInspector, EngineSettings
from extproc.engine.plan import Plan
from extproc.engine.ruleset import BodySettings
from extproc.model.deadline import Deadline
from extproc.model.inspection import Steps
from extproc.model.message import RequestHead, ResponseHead
from extproc.model.verdict import Coverage, Decision, Mode, Outcome, Verdict
from extproc.seclang.assemble import Sources, load_ruleset

RULES = rb"""
SecRuleEngine On
SecRequestBodyAccess On
SecResponseBodyAccess On
SecResponseBodyMimeType text/plain
SecResponseBodyLimit 20
SecRule REQUEST_URI "@beginsWith /unread" "id:1,phase:1,pass,nolog,ctl:requestBodyAccess=Off"
SecRule REQUEST_URI "@beginsWith /free" "id:2,phase:1,allow,nolog"
SecRule REQUEST_URI "@beginsWith /off" "id:3,phase:1,pass,nolog,ctl:ruleEngine=Off"
SecRule REQUEST_URI|ARGS|REQUEST_BODY "@contains evil" "id:4,phase:2,deny,status:403,msg:'evil'"
SecRule RESPONSE_BODY "@contains secret" "id:5,phase:4,deny,status:502,msg:'leak'"
"""
BODY_LIMIT = 50
FORM = (b"content-type", b"application/x-www-form-urlencoded")

Script = Callable[[EngineInspection], None]


def drive(steps: Steps) -> Verdict:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def begin(steps: Steps) -> None:
    """One slice, and never another."""
    next(steps, None)
    steps.close()


def deadline(budget_us: int = 10**9) -> Deadline:
    return Deadline(lambda: 0, budget_us)


def hasty() -> Deadline:
    """Every slice is over at once."""
    clock = itertools.count(0, 10**9)
    return Deadline(lambda: next(clock), 1)


def head(path: bytes = b"/", *headers: tuple[bytes, bytes], is_last: bool = False) -> RequestHead:
    return RequestHead(b"POST", path, b"h", (FORM, *headers), is_last=is_last)


def answered(*headers: tuple[bytes, bytes]) -> ResponseHead:
    return ResponseHead(200, ((b"content-type", b"text/plain"), *headers))


def request(path: bytes = b"/", body: bytes | None = None, *headers: tuple[bytes, bytes]) -> Script:
    """A whole request."""

    def play(inspection: EngineInspection) -> None:
        verdict = drive(inspection.request_headers(head(path, *headers, is_last=body is None), deadline()))
        if body is not None and verdict.outcome is Outcome.PENDING:
            drive(inspection.request_body(body, True, deadline()))
        inspection.close(None)

    return play


def exchange(response: ResponseHead, *pieces: bytes) -> Script:
    def play(inspection: EngineInspection) -> None:
        drive(inspection.request_headers(head(is_last=True), deadline()))
        drive(inspection.response_headers(response, deadline()))
        for number, piece in enumerate(pieces, 1):
            drive(inspection.response_body(piece, number == len(pieces), deadline()))
        inspection.close(None)

    return play


def upgrade(inspection: EngineInspection) -> None:
    drive(inspection.request_headers(head(is_last=True), deadline()))
    inspection.skip("upgrade")
    inspection.close(None)


def upgrade_elsewhere(inspection: EngineInspection) -> None:
    drive(inspection.request_headers(head(is_last=True), deadline()))
    if inspection.refuse(403, "upgrade-not-allowed").outcome is not Outcome.BLOCK:
        inspection.skip("upgrade")
    inspection.close(None)


def late_head(inspection: EngineInspection) -> None:
    begin(inspection.request_headers(head(b"/?q=evil"), hasty()))
    if inspection.refuse(503, "time-budget").outcome is Outcome.PENDING:
        drive(inspection.request_body(b"q=evil", True, deadline()))
    inspection.close(None)


def late_body(inspection: EngineInspection) -> None:
    drive(inspection.request_headers(head(), deadline()))
    begin(inspection.request_body(b"q=evil", True, hasty()))
    inspection.refuse(503, "time-budget")
    inspection.close(None)


def gone_at_once(inspection: EngineInspection) -> None:
    begin(inspection.request_headers(head(b"/?q=evil"), hasty()))
    inspection.close("cancelled")


def gone_before_its_body(inspection: EngineInspection) -> None:
    drive(inspection.request_headers(head(), deadline()))
    inspection.close("cancelled")


def ended_before_its_body(inspection: EngineInspection) -> None:
    drive(inspection.request_headers(head(), deadline()))
    inspection.close(None)


def gone_after_all(inspection: EngineInspection) -> None:
    drive(inspection.request_headers(head(is_last=True), deadline()))
    inspection.close("cancelled")


def gone_while_its_response_is_looked_at(inspection: EngineInspection) -> None:
    drive(inspection.request_headers(head(is_last=True), deadline()))
    begin(inspection.response_headers(answered(), hasty()))
    inspection._begin(is_last=True)  # as a phase 3 that did not fit into its slice
    inspection.close("internal")


INSPECTED: tuple[str, Any] = ("inspected", None)

# name: script, (verdict, would) by mode block and monitor, (coverage, reason) in both
ENDS: dict[str, tuple[Script, str, str, tuple[str, Any]]] = {
    "clean": (request(), "allow allow", "allow allow", INSPECTED),
    "clean body": (request(b"/", b"q=1"), "allow allow", "allow allow", INSPECTED),
    "attack": (request(b"/?q=evil"), "block block", "allow block", INSPECTED),
    "body of the limit": (request(b"/", b"a" * BODY_LIMIT), "allow allow", "allow allow", INSPECTED),
    "body over the limit": (
        request(b"/", b"a" * (BODY_LIMIT + 1)), "block block", "allow block", ("partly", "request-body-limit"),
    ),
    "packed body over the limit": (
        request(b"/", gzip.compress(b"a" * 90), (b"content-encoding", b"gzip")),
        "block block", "allow block", ("partly", "decompressed-limit"),
    ),
    "body falsely packed": (
        request(b"/", b"q=1", (b"content-encoding", b"gzip")),
        "allow allow", "allow allow", ("partly", "encoding-broken"),
    ),
    "body that no rule may read": (
        request(b"/unread", b"q=evil"), "allow allow", "allow allow", ("partly", "request-body-access-off"),
    ),
    "switched off by a rule": (request(b"/off", b"q=evil"), "allow allow", "allow allow", ("partly", "mode-off")),
    "upgrade": (upgrade, "allow allow", "allow allow", ("partly", "upgrade")),
    "upgrade elsewhere": (upgrade_elsewhere, "block block", "allow block", ("partly", "upgrade-not-allowed")),
    "too late with the head": (late_head, "block block", "allow block", ("partly", "time-budget")),
    "too late with the body": (late_body, "block block", "allow block", ("partly", "time-budget")),
    "gone at once": (gone_at_once, "block allow", "block allow", ("uninspected", "cancelled")),
    "gone before its body": (gone_before_its_body, "block allow", "block allow", ("partly", "cancelled")),
    "ended before its body": (ended_before_its_body, "block allow", "block allow", ("partly", "incomplete")),
    "gone after all": (gone_after_all, "allow allow", "allow allow", INSPECTED),
    "response": (exchange(answered(), b"fine"), "allow allow", "allow allow", INSPECTED),
    "response with a leak": (exchange(answered(), b"secret"), "block block", "allow block", INSPECTED),
    "response of the limit": (exchange(answered(), b"a" * 20), "allow allow", "allow allow", INSPECTED),
    "response over the limit": (
        exchange(answered(), b"a" * 21), "allow allow", "allow allow", ("partly", "response-body-limit"),
    ),
    "packed response": (
        exchange(answered((b"content-encoding", b"deflate")), zlib.compress(b"secret")),
        "block block", "allow block", INSPECTED,
    ),
    "response in an unknown encoding": (
        exchange(answered((b"content-encoding", b"rot13")), b"frperg"),
        "allow allow", "allow allow", ("partly", "encoding-unknown"),
    ),
    "fault in the response": (
        gone_while_its_response_is_looked_at, "block allow", "block allow", ("partly", "internal"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    file = tmp_path_factory.mktemp("rules") / "rules.conf"
    file.write_bytes(RULES)
    bodies = BodySettings(request_limit_bytes=BODY_LIMIT)
    ruleset = load_ruleset(Sources((Path(file),)), bodies)
    limits = replace(ruleset.bodies.limits, decompressed_bytes=BODY_LIMIT)
    return Plan(replace(ruleset, bodies=replace(ruleset.bodies, limits=limits)))


def play(
    plan: Plan,
    mode: Mode,
    script: Script,
    publish: Callable[[Decision], None] | None = None,
    inspect_response: bool = False,
) -> list[Decision]:
    decisions: list[Decision] = []
    inspector = EngineInspector(plan, EngineSettings(mode, inspect_response), publish or decisions.append)
    script(inspector.open())
    return decisions


@pytest.mark.parametrize("mode", [Mode.BLOCK, Mode.MONITOR])
@pytest.mark.parametrize("name", ENDS)
def test_the_event_says_how_much_was_seen(plan: Plan, name: str, mode: Mode) -> None:
    script, blocking, watching, coverage = ENDS[name]
    [decision] = play(plan, mode, script, inspect_response="response" in name)
    told = f"{decision.verdict} {decision.would}"
    assert (told, decision.coverage.value, decision.coverage_reason) == (
        blocking if mode is Mode.BLOCK else watching,
        *coverage,
    )


@pytest.mark.parametrize("name", ["clean", "attack", "upgrade elsewhere", "body over the limit", "late"])
def test_mode_off_blocks_nothing_and_says_that_it_saw_nothing(plan: Plan, name: str) -> None:
    [decision] = play(plan, Mode.OFF, late_head if name == "late" else ENDS[name][0])
    assert decision.verdict is Outcome.ALLOW
    assert (decision.coverage, decision.coverage_reason) == (Coverage.UNINSPECTED, "mode-off")


@pytest.mark.parametrize(("mode", "coverage"), [(Mode.BLOCK, ("partly", "allow-rule")), (Mode.MONITOR, INSPECTED)])
def test_a_rule_that_allows_ends_the_inspection_where_a_denial_would_count(
    plan: Plan, mode: Mode, coverage: tuple[str, Any]
) -> None:
    [decision] = play(plan, mode, request(b"/free", b"q=1"))
    assert decision.verdict is Outcome.ALLOW
    assert (decision.coverage.value, decision.coverage_reason) == coverage


def test_the_answer_says_it_too(plan: Plan) -> None:
    """What the event says is in the last verdict, from which the metadata are made."""
    inspection = EngineInspector(plan, EngineSettings(Mode.MONITOR), lambda decision: None).open()
    drive(inspection.request_headers(head(is_last=True), deadline()))
    refused = inspection.refuse(403, "upgrade-not-allowed")
    skipped = inspection.skip("upgrade")
    for verdict in (refused, skipped):
        assert (verdict.outcome, verdict.coverage, verdict.coverage_reason) == (
            Outcome.ALLOW,
            Coverage.PARTLY,
            "upgrade-not-allowed",
        )


def test_monitor_mode_answers_a_late_head_as_one_without_a_finding(plan: Plan) -> None:
    """PENDING while the body is due, as its trailers and its end are still to come; then ALLOW."""
    inspection = EngineInspector(plan, EngineSettings(Mode.MONITOR), lambda decision: None).open()
    begin(inspection.request_headers(head(), hasty()))
    assert inspection.refuse(503, "time-budget").outcome is Outcome.PENDING
    assert drive(inspection.request_body(b"q=evil", False, deadline())).outcome is Outcome.PENDING
    assert drive(inspection.request_trailers((), deadline())).outcome is Outcome.ALLOW


@pytest.mark.parametrize(
    ("mode", "outcome", "reason"),
    [
        (Mode.BLOCK, Outcome.BLOCK, "overloaded"),
        (Mode.MONITOR, Outcome.ALLOW, "overloaded"),
        (Mode.OFF, Outcome.ALLOW, "mode-off"),
    ],
)
def test_what_is_declined_was_not_looked_at(plan: Plan, mode: Mode, outcome: Outcome, reason: str) -> None:
    decisions: list[Decision] = []
    inspection = EngineInspector(plan, EngineSettings(mode), decisions.append).open()
    assert inspection.decline(head(b"/?q=evil", is_last=True), 503, "overloaded").outcome is outcome
    inspection.close(None)
    [decision] = decisions
    assert (decision.verdict, decision.would) == (outcome, Outcome.BLOCK)
    assert (decision.coverage, decision.coverage_reason) == (Coverage.UNINSPECTED, reason)
    assert (decision.path, decision.matches) == (b"/?q=evil", ())


CUTS = {"two pieces": (b"a=1&q=ev", b"il"), "four": (b"a=1&q=", b"e", b"v", b"il"), "first empty": (b"", b"q=evil")}


@pytest.mark.parametrize("has_trailers", [False, True])
@pytest.mark.parametrize("name", CUTS)
def test_a_body_in_pieces_is_judged_as_a_whole(plan: Plan, name: str, has_trailers: bool) -> None:
    inspection = EngineInspector(plan, EngineSettings(Mode.BLOCK), lambda decision: None).open()
    drive(inspection.request_headers(head(), deadline()))
    *first, last = CUTS[name]
    for piece in first:
        assert drive(inspection.request_body(piece, False, deadline())).outcome is Outcome.PENDING
    verdict = drive(inspection.request_body(last, not has_trailers, deadline()))
    if has_trailers:
        assert verdict.outcome is Outcome.PENDING
        verdict = drive(inspection.request_trailers((), deadline()))
    assert verdict.outcome is Outcome.BLOCK


def test_pieces_of_a_body_over_its_limit(plan: Plan) -> None:
    """Refused with the piece that passes the limit, not at the end; monitor mode drops the rest."""
    blocking = EngineInspector(plan, EngineSettings(Mode.BLOCK), lambda _: None)
    inspection = blocking.open()
    drive(inspection.request_headers(head(), deadline()))
    assert drive(inspection.request_body(b"a" * BODY_LIMIT, False, deadline())).outcome is Outcome.PENDING
    assert drive(inspection.request_body(b"a", False, deadline())).status == 413
    watching = EngineInspector(plan, EngineSettings(Mode.MONITOR), lambda _: None)
    inspection = watching.open()
    drive(inspection.request_headers(head(), deadline()))
    for piece in (b"q=a" * BODY_LIMIT, b"&q=evil", b"&q=evil"):
        assert drive(inspection.request_body(piece, False, deadline())).outcome is Outcome.PENDING
    verdict = drive(inspection.request_body(b"", True, deadline()))
    assert (verdict.outcome, verdict.coverage_reason) == (Outcome.ALLOW, "request-body-limit")


@pytest.mark.plain
def test_a_fault_in_a_rule_is_an_event_and_no_second_fault(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also the logging phase fails, as it would when the cause lies in what all phases share."""
    decisions: list[Decision] = []
    inspection = EngineInspector(plan, EngineSettings(Mode.BLOCK), decisions.append).open()

    def broken(self: Any, *_: Any) -> Any:
        raise RecursionError("made up")

    monkeypatch.setattr("extproc.engine.transaction.Transaction._run_segment", broken)
    with pytest.raises(RecursionError):
        drive(inspection.request_headers(head(b"/?q=evil", is_last=True), deadline()))
    with caplog.at_level(logging.ERROR):
        inspection.close("internal")
    inspection.close(None)
    [decision] = decisions
    assert (decision.verdict, decision.coverage, decision.coverage_reason) == (
        Outcome.BLOCK,
        Coverage.UNINSPECTED,
        "internal",
    )
    assert inspection.incident == decision.incident


def test_an_event_that_cannot_be_published_is_told(plan: Plan, caplog: pytest.LogCaptureFixture) -> None:
    def fail(decision: Decision) -> None:
        raise OSError("made up")

    with caplog.at_level(logging.ERROR):
        play(plan, Mode.BLOCK, request(), fail)
    assert "no event could be made of it" in caplog.text
