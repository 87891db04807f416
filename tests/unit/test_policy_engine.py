"""What a policy does to an exchange: modes, exclusions, thresholds, limits, address lists, shadow rules. In process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from extproc.engine.inspector import EngineInspector, EngineSettings
from extproc.engine.plan import Plan
from extproc.engine.second_opinion import SecondOpinion
from extproc.engine.transaction import Transaction
from extproc.model.deadline import Deadline
from extproc.model.errors import PolicyErrors
from extproc.model.inspection import LATE
from extproc.model.message import Address, RequestHead, ResponseHead
from extproc.model.verdict import Coverage, Decision, Mode, Outcome, Verdict
from extproc.policy.bind import MAX_UNKNOWN, Base, Binder
from extproc.policy.client import MAX_HOPS, client_of
from extproc.policy.load import load_policy
from extproc.replay.run import drive
from extproc.seclang.assemble import Sources, load_ruleset

RULES = r"""
SecRuleEngine On
SecRequestBodyAccess On
SecAction "id:1,phase:1,pass,nolog,setvar:tx.inbound_anomaly_score_threshold=5,setvar:tx.detection_paranoia_level=1"
SecAction "id:2,phase:1,pass,nolog,setvar:tx.score=0"
SecAction "id:3,phase:1,pass,nolog,setvar:tx.other=0"
SecRule ARGS|REQUEST_COOKIES "@contains attack" "id:1001,phase:2,pass,log,msg:'attack',tag:'kind/a',setvar:tx.score=+5"
SecRule ARGS "@contains second" "id:1002,phase:2,pass,log,msg:'second',tag:'kind/b',setvar:tx.score=+5"
SecRule REQUEST_HEADERS:X-Deny "@streq 400" "id:1003,phase:1,deny,status:400,log"
SecRule REQUEST_HEADERS:X-Deny "@streq 403" "id:1004,phase:1,deny,log"
SecRule TX:DETECTION_PARANOIA_LEVEL "@lt 2" "id:1010,phase:2,pass,nolog,skipAfter:END-PL2"
SecRule ARGS "@contains subtle" "id:1011,phase:2,pass,log,msg:'subtle',setvar:tx.score=+5"
SecMarker END-PL2
SecRule TX:SCORE "@ge %{tx.inbound_anomaly_score_threshold}" "id:1020,phase:2,deny,status:403,log,msg:'too high'"
SecRule RESPONSE_HEADERS:X-Leak "@streq yes" "id:1030,phase:3,deny,log,msg:'leak'"
"""

SHADOW = r"""
SecRuleEngine On
SecRule ARGS "@contains subtle" "id:1001,phase:2,deny,log,msg:'a stricter one'"
SecRule ARGS "@contains both" "id:5,phase:2,deny,log"
"""

NOW = 1_780_000_000.0  # 2026-05-28


@dataclass
class Made:
    inspector: EngineInspector
    decisions: list[Decision]
    binder: Binder

    def send(
        self,
        path: bytes = b"/?q=attack",
        body: bytes | None = None,
        answer: ResponseHead | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        **more: Any,
    ) -> tuple[Verdict, Decision]:
        """One exchange; of its head, `more` is what differs."""
        head = RequestHead(
            method=b"GET", path=path, authority=b"shop.example", headers=headers, client=Address("192.0.2.1")
        )
        head = replace(head, **more, is_last=body is None)
        inspection = self.inspector.open()
        deadline = Deadline(time.monotonic_ns, 10_000_000)
        verdict = drive(inspection.request_headers(head, deadline))
        if body is not None and verdict.outcome is Outcome.PENDING:
            verdict = drive(inspection.request_body(body, True, deadline))
        if answer is not None and verdict.outcome is not Outcome.BLOCK:
            verdict = drive(inspection.response_headers(answer, deadline))
        inspection.close(None)
        return verdict, self.decisions[-1]


Make = Callable[..., Made]


@pytest.fixture(scope="module")
def plans() -> dict[str, Plan]:
    return {
        name: Plan(load_ruleset(Sources((), preamble=text.encode())))
        for name, text in {"": RULES, "shadow": SHADOW, "own": SHADOW}.items()
    }


@pytest.fixture
def make(tmp_path: Path, plans: dict[str, Plan]) -> Make:
    def made(policy: str, mode: Mode = Mode.BLOCK, shadow: bool = False, response: bool = False) -> Made:
        file = tmp_path / "waf.yaml"
        file.write_text("schema: extproc.policy/1\n" + policy)
        base = Base(
            plans={"": plans[""], "own": plans["own"]},
            mode=mode,
            inspect_response=response,
            body_limit_bytes=131_072,
            time_budget_ms=500,
            shadow=plans["shadow"] if shadow else None,
        )
        decisions: list[Decision] = []
        binder = Binder(load_policy(file), base)
        settings = EngineSettings(mode=mode, inspect_response=response)
        inspector = EngineInspector(
            plans[""], settings, decisions.append, clock=lambda: NOW, treat=binder.treat, shadow=base.shadow
        )
        return Made(inspector, decisions, binder)

    return made


MODES: list[tuple[Mode, str, str, str, str, str]] = [
    # (--mode, the policy's, client, verdict, would, mode told)
    (Mode.BLOCK, "block", "192.0.2.1", "block", "block", "block"),
    (Mode.BLOCK, "monitor", "192.0.2.1", "allow", "block", "monitor"),
    (Mode.BLOCK, "off", "192.0.2.1", "allow", "allow", "off"),
    (Mode.BLOCK, "safe-block", "192.0.2.1", "allow", "block", "safe-block"),
    (Mode.BLOCK, "safe-block", "203.0.113.9", "block", "block", "safe-block"),
    (Mode.MONITOR, "block", "192.0.2.1", "allow", "block", "monitor"),
    (Mode.MONITOR, "safe-block", "203.0.113.9", "allow", "block", "monitor"),
    (Mode.MONITOR, "off", "192.0.2.1", "allow", "allow", "off"),
    (Mode.OFF, "block", "192.0.2.1", "allow", "allow", "off"),
]


@pytest.mark.parametrize(("flag", "asked", "client", "verdict", "would", "told"), MODES)
def test_a_mode_means_what_it_says(
    make: Make, flag: Mode, asked: str, client: str, verdict: str, would: str, told: str
) -> None:
    made = make(f"defaults: {{mode: {asked}, ip: {{suspicious: [203.0.113.0/24]}}}}\n", flag)
    answer, decision = made.send(client=Address(client))
    assert (answer.outcome, decision.verdict, decision.would, decision.mode) == (verdict, verdict, would, told)
    assert (decision.coverage is Coverage.UNINSPECTED) == (told == "off")
    clean, _ = made.send(b"/?q=harmless", client=Address(client))
    assert clean.outcome == "allow"


def test_a_rule_may_weaken_the_mode_and_not_strengthen_it(make: Make) -> None:
    assert make("defaults: {mode: monitor}\n").binder.modes() == [("defaults", Mode.MONITOR, Mode.MONITOR)]
    assert make("defaults: {mode: block}\n", Mode.MONITOR).binder.modes() == [("defaults", Mode.BLOCK, Mode.MONITOR)]


def test_policies_of_a_request(make: Make) -> None:
    made = make(
        "defaults: {mode: monitor}\npolicies:\n"
        "  shop: {match: {route: shop}, mode: block}\n"
        "  api: {match: {path: /api/**}, mode: block}\n"
        "  asked: {mode: block}\n"
    )
    blocked = [made.send(**more)[0].outcome == "block" for more in ({}, {"route": "shop"}, {"policy": "asked"})]
    assert blocked == [False, True, True]
    verdict, decision = made.send(b"/api/x?q=attack")
    assert (verdict.outcome, decision.policies) == ("block", ("defaults", "api"))
    assert made.send(b"/x/..;/api/x?q=attack")[0].outcome == "block"  # read as /api/x by some apps: the strict reading


def test_a_policy_that_there_is_not_is_told_once(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    made = make("defaults: {mode: monitor}\n")
    for name in ["chekout", "chekout", *(f"n{number}" for number in range(2 * MAX_UNKNOWN))]:
        _, decision = made.send(policy=name)
        assert (decision.policies, decision.mode) == (("defaults",), "monitor")
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == MAX_UNKNOWN
    assert "asks for the policy 'chekout', which there is not; defaults hold" in told[0]


EXCLUSIONS: list[tuple[str, dict[str, Any], bool]] = [
    # (of the exclusion, of the request, is it still blocked?)
    ("rules: 1001", {}, False),
    ("rules: 1000-1001", {}, False),
    ("rules: 1002", {}, True),
    ("tags: kind/a", {}, False),
    ("tags: kind/b", {}, True),
    ("rules: 1001, variables: ARGS:q", {}, False),
    ("rules: 1001, variables: ARGS:Q", {}, False),
    ("rules: 1001, variables: 'ARGS:/^Q$/'", {}, False),
    ("rules: 1001, variables: ARGS", {}, False),
    ("rules: 1001, variables: ARGS:p", {}, True),
    ("rules: 1001, variables: REQUEST_COOKIES", {}, True),
    ("rules: 1001, method: POST", {}, True),
    ("rules: 1001, method: [GET, POST]", {}, False),
    ("rules: 1001, path: /a/**", {"path": b"/a/b?q=attack"}, False),
    ("rules: 1001, path: /a/**", {"path": b"/b?q=attack"}, True),
    ("rules: 1001, path: /a/**", {"path": b"/a/..%2fb?q=attack"}, True),
    ("rules: 1001, path: /a/**", {"path": b"/b;/../a/x?q=attack"}, True),
    ("rules: 1001, route: shop", {"route": "shop"}, False),
    ("rules: 1001, route: shop", {}, True),
    ("rules: 1001, host: shop.example", {}, False),
    ("rules: 1001, host: other.example", {}, True),
    ("rules: 1001, variables: ARGS:q", {"path": b"/?q=attack&p=attack"}, True),
    ("rules: 1020", {}, False),
    ("rules: 1001, expires: 2026-05-28", {}, False),
]


@pytest.mark.parametrize(("exclusion", "more", "is_blocked"), EXCLUSIONS)
def test_an_exclusion_is_as_wide_as_it_says(make: Make, exclusion: str, more: dict[str, Any], is_blocked: bool) -> None:
    made = make(f"defaults: {{exclusions: [{{{exclusion}, owner: a, reason: b}}]}}\n")
    verdict, decision = made.send(**more)
    assert (verdict.outcome is Outcome.BLOCK) is is_blocked
    assert (decision.would is Outcome.BLOCK) is is_blocked
    assert decision.expired_exclusions == ()


def test_an_expired_exclusion_is_told_and_not_enforced(make: Make) -> None:
    made = make(
        "defaults:\n  exclusions:\n"
        "  - {rules: 1001, expires: 2026-05-27, owner: a, reason: b}\n"
        "  - {rules: 1002, path: /other, expires: 2026-05-27, owner: a, reason: b}\n"
    )
    verdict, decision = made.send()
    assert (verdict.outcome, decision.verdict, decision.would, decision.mode) == ("allow", "allow", "block", "block")
    assert [match.rule_id for match in decision.matches] == [1001, 1020]
    assert [place.rpartition(":")[2] for place in decision.expired_exclusions] == ["4"]
    assert decision.rule_id == 1020
    _, decision = made.send(b"/?q=harmless")
    assert (decision.would, decision.expired_exclusions) == ("allow", ())
    blocked, decision = made.send(b"/?q=attack&p=second")
    assert (blocked.outcome, decision.expired_exclusions != ()) == ("block", True)


@pytest.mark.plain
def test_an_expired_exclusion_costs_nothing_while_it_hides_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[Mode] = []
    run = Transaction.run

    def counted(tx: Transaction, *args: Any) -> Any:
        runs.append(tx.mode)
        return run(tx, *args)

    monkeypatch.setattr(Transaction, "run", counted)
    made = make("defaults: {exclusions: [{rules: 1001, variables: ARGS, expires: 2026-05-27, owner: a, reason: b}]}\n")
    made.send(b"/?q=harmless")
    assert Mode.MONITOR not in runs
    _, decision = made.send(b"/", b"q=attack", headers=FORM, method=b"POST")
    assert runs.count(Mode.MONITOR) == 2  # both phases, once the second one hid something
    assert [match.rule_id for match in decision.matches] == [1001, 1020]


THRESHOLDS: list[tuple[str, bytes, bool]] = [
    ("{}", b"/?q=attack", True),
    ("{thresholds: {inbound: 6}}", b"/?q=attack", False),
    ("{thresholds: {inbound: 6}}", b"/?q=attack&p=second", True),
    ("{}", b"/?q=subtle", False),
    ("{paranoia: 2}", b"/?q=subtle", True),
    ("{paranoia: 2, thresholds: {inbound: 6}}", b"/?q=subtle", False),
]


@pytest.mark.parametrize(("policy", "path", "is_blocked"), THRESHOLDS)
def test_paranoia_and_thresholds_are_not_overruled_by_rules(
    make: Make, policy: str, path: bytes, is_blocked: bool
) -> None:
    made = make(f"policies: {{a: {policy}}}\n")
    for _ in range(3):  # what is remembered of runs of TX rules must not leak from one policy to the next
        assert (made.send(path, policy="a")[0].outcome is Outcome.BLOCK) is is_blocked
        assert made.send(b"/?q=attack")[0].outcome == "block"
        assert made.send(b"/?q=subtle")[0].outcome == "allow"


DETECTORS = r"""
SecRuleEngine On
SecRule ARGS "@detectSQL" "id:1,phase:2,deny,t:none,log,msg:'sql'"
"""
SENTENCE, INJECTION = b"/?Note=the+payload+'+OR+1=1--+is+classic", b"/?Note='+OR+1=1--"
FIELDS: list[tuple[str, bool, bool]] = [
    # (a policy, is the sentence blocked?, is the injection?)
    ("{}", True, True),
    ("{fields: {'ARGS:note': markdown}}", False, True),
    ("{fields: {'ARGS:NOTE': text}}", False, True),
    ("{fields: {'ARGS:note': prompt}}", False, True),
    ("{fields: {'ARGS:note': code}}", False, False),
    ("{fields: {'ARGS:other': code}}", True, True),
    ("{thresholds: {detection: 6}}", False, True),
    ("{thresholds: {detection: 9}}", False, False),
]


@pytest.mark.parametrize(("policy", "sentence", "injection"), FIELDS)
def test_what_is_expected_in_a_field(
    make: Make, plans: dict[str, Plan], policy: str, sentence: bool, injection: bool
) -> None:
    made = make(f"defaults: {policy}\n")
    plan = Plan(load_ruleset(Sources((), preamble=DETECTORS.encode())))
    made.binder._base = replace(made.binder._base, plans={"": plan})
    assert (made.send(SENTENCE)[0].outcome == "block") is sentence
    assert (made.send(INJECTION)[0].outcome == "block") is injection


REMEMBERED = (
    "SecRuleEngine On\n"
    'SecRule REQUEST_METHOD "@streq GET" "id:1,phase:1,pass,nolog,setvar:tx.score=5"\n'
    'SecRule REQUEST_HEADERS:X-Six "@streq 1" "id:2,phase:1,pass,nolog,setvar:tx.inbound_threshold=6"\n'
    + "".join(f'SecRule &TX:x{n} "@eq 0" "id:{10 + n},phase:1,pass,nolog,setvar:tx.x{n}=1"\n' for n in range(12))
    + 'SecRule TX:x0 "@ge 1" "id:30,phase:1,pass,nolog,setvar:tx.inbound_threshold=5"\n'
    + 'SecRule &REQUEST_HEADERS:X-None "@eq 9" "id:31,phase:1,pass,nolog"\n'
    + 'SecRule TX:score "@ge %{tx.inbound_threshold}" "id:32,phase:1,deny,log"\n'
)
"""A run of TX rules that is remembered as a whole, and ends by setting what a policy may pin."""


@pytest.mark.parametrize("first", ["a", ""])
def test_what_is_remembered_under_a_policy_holds_under_it_alone(make: Make, first: str) -> None:
    made = make("policies: {a: {thresholds: {inbound: 6}}}\n")
    plan = Plan(load_ruleset(Sources((), preamble=REMEMBERED.encode())))
    assert any(segment.variant({}, 0).blocks for segments in plan.segments.values() for segment in segments)
    made.binder._base = replace(made.binder._base, plans={"": plan})
    six = ((b"x-six", b"1"),)
    for policy in (first, "a", "", "a", ""):
        verdict, _ = made.send(b"/", headers=six, policy=policy)
        assert (verdict.outcome == "block") is (policy == "")


def test_another_profile(make: Make) -> None:
    made = make("policies: {a: {profile: own}}\n")
    verdict, decision = made.send(b"/?q=both", policy="a")
    assert (verdict.outcome, verdict.ruleset) == ("block", decision.ruleset)
    assert made.send(b"/?q=both")[0].outcome == "allow"


def body_of(length: int) -> bytes:
    return b"q=attack&x=".ljust(length, b"x")


FORM = ((b"content-type", b"application/x-www-form-urlencoded"),)
BODIES: list[tuple[str, bytes, int, str | None]] = [
    # (of body, body, status, why partly)
    ("{limit: 1KiB}", body_of(1024), 403, None),
    ("{limit: 1KiB}", body_of(1025), 413, "request-body-limit"),
    ("{limit: 1KiB, beyond: reject}", body_of(1025), 413, "request-body-limit"),
    ("{limit: 1KiB, beyond: inspect-prefix}", body_of(1025), 403, "request-body-limit"),
    ("{limit: 1KiB, beyond: inspect-prefix}", b"x=".ljust(1024, b"x") + b"&q=attack", 0, "request-body-limit"),
    ("{limit: 1KiB, beyond: skip}", body_of(1025), 0, "request-body-limit"),
    ("{limit: 1KiB, beyond: skip}", body_of(1024), 403, None),
]


@pytest.mark.parametrize(("body", "sent", "status", "reason"), BODIES)
def test_at_the_edge_of_a_body_limit(make: Make, body: str, sent: bytes, status: int, reason: str | None) -> None:
    made = make(f"defaults: {{body: {body}}}\n")
    verdict, decision = made.send(b"/", sent, headers=FORM, method=b"POST")
    assert (decision.status, decision.coverage_reason) == (status, reason)
    assert (verdict.outcome == "block") == (status != 0)


@pytest.mark.parametrize(("beyond", "outcome"), [("reject", "block"), ("allow", "allow")])
def test_a_time_limit_and_what_comes_beyond(make: Make, beyond: str, outcome: str) -> None:
    made = make(f"defaults: {{time: {{limit: 10ms, beyond: {beyond}}}}}\n")
    ticks = iter(range(0, 10**12, 6_000_000))
    deadline = Deadline(lambda: next(ticks), 500_000, slice_us=1)
    inspection = made.inspector.open()
    head = RequestHead(method=b"GET", path=b"/?q=attack", authority=b"x", headers=())
    steps = inspection.request_headers(head, deadline)
    next(steps)
    while not deadline.is_expired():
        next(steps)
    verdict = inspection.refuse(503, LATE)
    inspection.close(None)
    decision = made.decisions[-1]
    assert (verdict.outcome, decision.coverage, decision.coverage_reason) == (outcome, "partly", LATE)


ADDRESSES: list[tuple[str, str, str, str | None, int]] = [
    # (of ip, client, verdict of a harmless request, source, status)
    ("{deny: [192.0.2.0/24]}", "192.0.2.77", "block", "denied", 403),
    ("{deny: [192.0.2.0/24]}", "192.0.3.1", "allow", None, 0),
    ("{deny: ['2001:db8::/32']}", "2001:db8::1", "block", "denied", 403),
    ("{deny: [192.0.2.0/24]}", "::ffff:192.0.2.1", "block", "denied", 403),
    ("{deny: [192.0.2.0/24], allow: [192.0.2.5]}", "192.0.2.5", "allow", "allowed", 0),
    ("{suspicious: [192.0.2.0/24]}", "192.0.2.5", "allow", "suspicious", 0),
    ("{deny: [192.0.2.0/24]}", "", "allow", None, 0),
]


@pytest.mark.parametrize(("lists", "client", "verdict", "source", "status"), ADDRESSES)
def test_address_lists(make: Make, lists: str, client: str, verdict: str, source: str | None, status: int) -> None:
    made = make(f"defaults: {{ip: {lists}}}\n")
    answer, decision = made.send(b"/", client=Address(client))
    assert (answer.outcome, decision.source, decision.status) == (verdict, source, status)


def test_who_is_allowed_is_inspected_and_told(make: Make) -> None:
    verdict, decision = make("defaults: {ip: {allow: [192.0.2.1]}}\n").send()
    assert (verdict.outcome, decision.would, decision.coverage, decision.mode) == (
        "allow",
        "block",
        "inspected",
        "monitor",
    )


def test_monitor_mode_denies_nobody(make: Make) -> None:
    verdict, decision = make("defaults: {ip: {deny: [192.0.2.1]}}\n", Mode.MONITOR).send(b"/")
    assert (verdict.outcome, decision.would, decision.source) == ("allow", "block", "denied")


def test_the_lists_of_all_policies_add_up(make: Make) -> None:
    made = make("defaults: {ip: {deny: [192.0.2.1]}}\npolicies: {a: {ip: {deny: [192.0.2.2]}}}\n")
    outcomes = [
        made.send(b"/", client=Address(client), policy=policy)[0].outcome
        for client, policy in (("192.0.2.1", "a"), ("192.0.2.2", "a"), ("192.0.2.2", ""))
    ]
    assert outcomes == ["block", "block", "allow"]


CLIENTS: list[tuple[str, list[bytes], str]] = [
    ("192.0.2.1", [b"203.0.113.1"], "192.0.2.1"),
    ("10.0.0.1", [b"203.0.113.1"], "203.0.113.1"),
    ("10.0.0.1", [b"1.1.1.1, 203.0.113.1"], "203.0.113.1"),
    ("10.0.0.1", [b"1.1.1.1, 203.0.113.1, 10.0.0.2"], "203.0.113.1"),
    ("10.0.0.1", [b"1.1.1.1", b"203.0.113.1,10.0.0.1"], "203.0.113.1"),
    ("10.0.0.1", [b"1.1.1.1, unknown"], "10.0.0.1"),
    ("10.0.0.1", [b"1.1.1.1, , 10.0.0.2"], "10.0.0.2"),
    ("10.0.0.1", [b"203.0.113.1:4711"], "203.0.113.1"),
    ("10.0.0.1", [b'"[2001:db8::1]:80"'], "2001:db8::1"),
    ("10.0.0.1", [b"2001:db8::1"], "2001:db8::1"),
    ("10.0.0.1", [], "10.0.0.1"),
    ("10.0.0.1", [b"10.0.0.3,10.0.0.2"], "10.0.0.3"),
    ("10.0.0.1", [b"203.0.113.1" + b",10.0.0.2" * (MAX_HOPS - 1)], "203.0.113.1"),
    ("10.0.0.1", [b"203.0.113.1" + b",10.0.0.2" * MAX_HOPS], "10.0.0.2"),
    ("", [b"203.0.113.1"], ""),
]


@pytest.mark.parametrize(("peer", "lines", "client"), CLIENTS)
def test_the_client_behind_trusted_proxies(make: Make, peer: str, lines: list[bytes], client: str) -> None:
    made = make("defaults: {trusted_proxies: [10.0.0.0/8], ip: {deny: [203.0.113.0/24, '2001:db8::/32']}}\n")
    headers = tuple((b"x-forwarded-for", line) for line in lines)
    verdict, decision = made.send(b"/", client=Address(peer), headers=headers)
    assert decision.client == client
    assert (verdict.outcome == "block") == client.startswith(("203.", "2001:"))
    assert client_of(peer, headers, ()) == peer


STATUSES = [(b"403", 429, 403), (b"400", 400, 400)]


@pytest.mark.parametrize(("denied", "with_policy", "without"), STATUSES)
def test_the_status_of_a_block(make: Make, denied: bytes, with_policy: int, without: int) -> None:
    made = make("policies: {a: {block: {status: 429}}}\n")
    headers = ((b"x-deny", denied),)
    assert made.send(b"/", headers=headers, policy="a")[0].status == with_policy
    assert made.send(b"/", headers=headers)[0].status == without


def test_responses_are_inspected_where_a_policy_does_not_say_no(make: Make) -> None:
    made = make("policies: {a: {response: false}}\n", response=True)
    leak = ResponseHead(200, ((b"x-leak", b"yes"),), is_last=True)
    assert made.send(b"/", answer=leak)[0].outcome == "block"
    assert made.send(b"/", answer=leak, policy="a")[0].outcome == "allow"


SHADOWS: list[tuple[bytes, str, str, int]] = [
    (b"/?q=harmless", "allow", "allow", 0),
    (b"/?q=attack", "block", "allow", 0),
    (b"/?q=subtle", "allow", "block", 1001),
    (b"/?q=attack+both", "block", "block", 5),
]


@pytest.mark.parametrize(("path", "verdict", "shadow", "rule"), SHADOWS)
def test_shadow_rules_tell_and_decide_nothing(make: Make, path: bytes, verdict: str, shadow: str, rule: int) -> None:
    made = make("defaults: {}\n", shadow=True)
    for body in (None, path.partition(b"?")[2]):
        target = path if body is None else b"/"
        answer, decision = made.send(target, body, headers=FORM if body else (), method=b"POST")
        assert decision.shadow is not None
        assert (answer.outcome, answer.shadow) == (verdict, shadow)
        assert (decision.shadow.would, decision.shadow.rule_id) == (shadow, rule)
        assert decision.would == verdict
        assert decision.shadow.ruleset != decision.ruleset


def test_shadow_rules_did_not_see_what_was_blocked_before_its_body(make: Make) -> None:
    made = make("defaults: {}\n", shadow=True)
    verdict, decision = made.send(b"/", b"q=subtle", headers=((b"x-deny", b"403"), *FORM))
    assert decision.shadow is not None
    assert (verdict.outcome, decision.shadow.would) == ("block", "pending")


def test_exclusions_hold_for_shadow_rules_too(make: Make) -> None:
    made = make("defaults: {exclusions: [{rules: 1001, owner: a, reason: b}]}\n", shadow=True)
    _, decision = made.send(b"/?q=subtle")
    assert decision.shadow is not None
    assert decision.shadow.would == "allow"


@pytest.mark.plain
def test_shadow_rules_that_take_too_long_cost_no_answer(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def forever(*_: object) -> Any:
        while True:
            yield

    monkeypatch.setattr(SecondOpinion, "request_headers", forever)
    inspection = make("defaults: {}\n", shadow=True).inspector.open()
    head = RequestHead(method=b"GET", path=b"/?q=attack", authority=b"x", headers=())
    steps = inspection.request_headers(head, Deadline(lambda: 0, 10_000_000))  # no time passes for the first opinion
    next(steps)
    verdict = inspection.refuse(503, LATE)
    assert (verdict.outcome, verdict.status, verdict.shadow) == ("block", 403, "pending")


@pytest.mark.plain
def test_a_fault_in_shadow_rules_is_not_ours(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    made = make("defaults: {}\n", shadow=True)
    shadow = made.inspector.terms.shadow
    assert shadow is not None
    broken = Plan(shadow.ruleset)
    broken.segments = None  # type: ignore[assignment]
    made.binder._base = replace(made.binder._base, shadow=broken)
    verdict, decision = made.send()
    assert (verdict.outcome, decision.shadow and decision.shadow.would) == ("block", "pending")
    assert "second opinion" in caplog.text


def test_what_the_rules_do_not_know_changes_nothing_and_is_told(make: Make) -> None:
    made = make(
        "defaults: {paranoia: 2, thresholds: {inbound: 7, outbound: 4, detection: 6}}\n"
        "policies: {a: {profile: own, paranoia: 2, fields: {'ARGS:a': text}}}\n"
    )
    told = [line.partition(": ")[2].partition(" changes")[0] for line in made.binder.without_effect()]
    assert told == ["thresholds.outbound", "thresholds.detection", "paranoia", "fields.ARGS:a"]


CANNOT_BE = [
    ("defaults: {mode: safe-block}\n", "knows none"),
    ("defaults: {body: {limit: 1MiB}}\n", "raise --body-limit"),
    ("defaults: {time: {limit: 1s}}\n", "--time-budget"),
    ("defaults: {response: true}\n", "--response"),
    ("defaults: {profile: crs}\n", "needs --crs DIR"),
]


@pytest.mark.parametrize(("policy", "words"), CANNOT_BE)
def test_what_the_settings_do_not_allow(make: Make, policy: str, words: str) -> None:
    with pytest.raises(PolicyErrors, match=words) as refusal:
        make(policy)
    assert ":2: " in refusal.value.findings[0]


def test_trailers_begin_anew_under_the_same_policy(make: Make) -> None:
    made = make("defaults: {paranoia: 2, exclusions: [{rules: 1001, owner: a, reason: b}]}\n")
    head = RequestHead(b"POST", b"/?q=attack", b"x", (), is_last=False)
    inspection = made.inspector.open()
    deadline = Deadline(time.monotonic_ns, 10_000_000)
    drive(inspection.request_headers(head, deadline))
    verdict = drive(inspection.request_trailers(((b"x-t", b"1"),), deadline))
    inspection.close(None)
    assert verdict.outcome == "allow"
