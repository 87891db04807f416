"""The language, rule by rule: what matches, what is set, what is skipped, what is decided."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from extproc.engine.inspector import EngineInspector, EngineSettings
from extproc.engine.matching import EveryRule
from extproc.engine.plan import Plan
from extproc.engine.ruleset import BodySettings
from extproc.engine.transaction import Transaction
from extproc.model.deadline import Deadline
from extproc.model.errors import SecLangErrors
from extproc.model.message import RequestHead
from extproc.model.verdict import Mode, Outcome
from extproc.replay.http1 import parse_request
from extproc.replay.run import run_exchange
from extproc.seclang.assemble import Sources, load_ruleset

GET = (
    b"GET /shop/item.php?q=hello&id=7 HTTP/1.1\r\n"
    b"Host: shop.example\r\nUser-Agent: test\r\nCookie: sid=abc; theme=dark\r\n\r\n"
)


@dataclass
class Seen:
    ids: list[int]
    tx: dict[bytes, bytes]
    outcome: Outcome
    status: int
    rule_id: int
    would: str
    matches: list = field(default_factory=list)


@pytest.fixture
def run(tmp_path):
    def run_rules(rules: str, raw: bytes = GET, mode: Mode = Mode.BLOCK, *, prefilter: bool = True) -> Seen:
        file = tmp_path / "rules.conf"
        file.write_text(rules, encoding="latin-1")
        ruleset = load_ruleset(Sources((file,)))
        plan = Plan(ruleset, None if prefilter else EveryRule(-1))
        decisions = []
        made = []

        def make(*arguments):
            made.append(Transaction(*arguments))
            return made[-1]

        settings = EngineSettings(mode, inspect_response=False)
        inspector = EngineInspector(plan, settings, decisions.append, make_transaction=make)
        verdict = run_exchange(inspector, parse_request(raw), None)
        [decision] = decisions
        return Seen(
            [match.rule_id for match in decision.matches],
            made[0].tx,
            verdict.outcome,
            verdict.status,
            decision.rule_id,
            str(decision.would),
            list(decision.matches),
        )

    return run_rules


def rule(variables: str, operator: str, actions: str = "") -> str:
    return f'SecRule {variables} "{operator}" "id:1,phase:2,pass,t:none{"," + actions if actions else ""}"\n'


@pytest.mark.parametrize(
    ("variables", "operator", "matches"),
    [
        ("ARGS", "@streq hello", True),
        ("ARGS:q", "@streq hello", True),
        ("ARGS:Q", "@streq hello", True),
        ("ARGS:id", "@streq hello", False),
        ("ARGS|!ARGS:q", "@streq hello", False),
        ("ARGS|!ARGS:/^Q$/", "@streq hello", False),
        ("ARGS:/^i/", "@eq 7", True),
        ("ARGS:/^i/", "!@eq 7", False),
        ("ARGS_NAMES", "@streq id", True),
        ("&ARGS", "@eq 2", True),
        ("&ARGS:q", "@eq 1", True),
        ("&ARGS:none", "@eq 0", True),
        ("&REQUEST_HEADERS:Host", "@eq 1", True),
        ("REQUEST_HEADERS:Host", "@streq shop.example", True),
        ("REQUEST_COOKIES:sid", "@streq abc", True),
        ("REQUEST_COOKIES_NAMES", "@streq theme", True),
        ("REQUEST_FILENAME", "@endsWith .php", True),
        ("REQUEST_BASENAME", "@streq item.php", True),
        ("REQUEST_LINE", "@beginsWith GET /shop", True),
        ("REQUEST_METHOD", "@within GET HEAD", True),
        ("REQUEST_PROTOCOL", "!@streq HTTP/1.1", False),
        ("QUERY_STRING", "@contains id=7", True),
        ("REQUEST_URI", "@rx ^/shop/.*id=\\d$", True),
        ("REMOTE_ADDR", "@ipMatch 127.0.0.0/8", True),
        ("REQUEST_BODY", "!@rx .", True),
        ("REQUEST_HEADERS:Missing", "!@rx .", False),
        ("ARGS_COMBINED_SIZE", "@eq 9", True),
        ("ARGS", "@pm nothing HELLO", True),
        ("TX:unset", "!@eq 1", False),
        ("UNIQUE_ID", "@rx ^[A-Z2-7]{16}$", True),
    ],
)
def test_targets(run, variables, operator, matches):
    assert (run(rule(variables, operator)).ids == [1]) is matches
    assert (run(rule(variables, operator), prefilter=False).ids == [1]) is matches


def test_setvar_has_every_sign_and_runs_once_per_match(run):
    seen = run(
        'SecAction "id:1,phase:1,pass,nolog,setvar:tx.a=5,setvar:tx.gone=1,setvar:tx.plain"\n'
        'SecRule ARGS "@rx ." "id:2,phase:2,pass,nolog,setvar:tx.a=+3,setvar:tx.b=-1,setvar:!tx.gone"\n'
        "SecAction \"id:3,phase:2,pass,nolog,setvar:'tx.c=%{tx.a} of %{ARGS.q}',setvar:tx.%{ARGS.q}_x=y\"\n"
    )
    assert seen.tx[b"a"] == b"11"
    assert seen.tx[b"b"] == b"-2"
    assert seen.tx[b"c"] == b"11 of hello"
    assert seen.tx[b"hello_x"] == b"y"
    assert seen.tx[b"plain"] == b"1"
    assert b"gone" not in seen.tx


def test_a_chain_needs_every_link_and_its_score_is_set_on_the_last(run):
    chain = (
        'SecRule ARGS:q "@rx ^(he)(l+)" "id:1,phase:2,deny,status:406,capture,chain,msg:\'%{tx.1}-%{tx.2}\'"\n'
        '    SecRule ARGS:id "%s" "t:none,setvar:tx.hit=+1"\n'
    )
    seen = run(chain.replace("%s", "@eq 7"))
    assert (seen.ids, seen.outcome, seen.status) == ([1], Outcome.BLOCK, 406)
    assert seen.matches[0].msg == b"he-ll"
    assert seen.tx[b"hit"] == b"1"
    missed = run(chain.replace("%s", "@eq 8"))
    assert (missed.ids, missed.outcome) == ([], Outcome.ALLOW)
    assert b"hit" not in missed.tx


def test_matched_vars_are_those_of_the_chain(run):
    seen = run(
        'SecRule ARGS "@rx ." "id:1,phase:2,pass,chain,logdata:\'%{MATCHED_VAR_NAME}=%{MATCHED_VAR}\'"\n'
        '    SecRule MATCHED_VARS "@streq 7" "t:none"\n'
    )
    assert seen.ids == [1]
    assert seen.matches[0].logdata == b"MATCHED_VARS:ARGS:id=7"


def test_skip_and_skip_after(run):
    seen = run(
        'SecAction "id:1,phase:1,pass,skipAfter:END"\n'
        'SecAction "id:2,phase:1,pass"\n'
        'SecAction "id:3,phase:2,pass,skip:1"\n'
        "SecMarker END\n"
        'SecAction "id:4,phase:1,pass"\n'
        'SecAction "id:5,phase:2,pass"\n'
        'SecAction "id:6,phase:2,pass"\n'
    )
    assert seen.ids == [1, 4, 3, 6]


def test_a_gate_follows_its_variable_even_when_it_is_set_late(run):
    rules = (
        'SecRule TX:level "@lt 2" "id:1,phase:1,pass,nolog,skipAfter:A"\nSecAction "id:2,phase:1,pass"\nSecMarker A\n'
        'SecAction "id:3,phase:1,pass,nolog,setvar:tx.level=%s"\n'
        'SecRule TX:level "@lt 2" "id:4,phase:1,pass,nolog,skipAfter:B"\nSecAction "id:5,phase:1,pass"\nSecMarker B\n'
        'SecRule TX:level "@lt 2" "id:6,phase:2,pass,nolog,skipAfter:C"\n'
        'SecRule ARGS "@streq hello" "id:7,phase:2,pass"\nSecMarker C\n'
    )
    assert run(rules % "1").ids == [2]
    assert run(rules % "2").ids == [2, 5, 7]


def test_multi_match_counts_each_changed_text(run):
    raw = GET.replace(b"hello", b"%2541%2541")
    seen = run(
        'SecRule ARGS:q "@rx A|%41" "id:1,phase:2,pass,multiMatch,t:none,t:urlDecode,t:lowercase,setvar:tx.n=+1"\n', raw
    )
    assert seen.tx[b"n"] == b"2"  # "%41%41" as it came, "AA" decoded; "aa" does not match


def test_removals_and_updates_at_load(run):
    rules = (
        "SecRule ARGS:q \"@streq hello\" \"id:1,phase:2,pass,tag:'a',msg:'one'\"\n"
        'SecRule ARGS "@streq hello" "id:2,phase:2,pass,tag:\'b\'"\n'
        'SecRule ARGS "@streq hello" "id:3,phase:2,pass,tag:\'c\'"\n'
    )
    assert run(rules + "SecRuleRemoveById 1 3-9\n").ids == [2]
    assert run(rules + "SecRuleRemoveByTag b\n").ids == [1, 3]
    assert run(rules + "SecRuleRemoveByMsg one\n").ids == [2, 3]
    assert run(rules + 'SecRuleUpdateTargetById 2 "!ARGS:q"\n').ids == [1, 3]
    assert run(rules + 'SecRuleUpdateTargetByTag c "!ARGS:/^q$/"\n').ids == [1, 2]
    seen = run(rules + 'SecRuleUpdateActionById 3 "deny,status:409"\n')
    assert (seen.outcome, seen.status, seen.rule_id) == (Outcome.BLOCK, 409, 3)


@pytest.mark.parametrize(
    ("control", "ids"),
    [
        ("ruleRemoveById=2", [3]),
        ("ruleRemoveById=2-9", []),
        ("ruleRemoveByTag=t", [3]),
        ("ruleRemoveByMsg=m", [2]),
        ("ruleRemoveTargetById=2;ARGS:q", [3]),
        ("ruleRemoveTargetById=2;ARGS:id", [2, 3]),
        ("ruleRemoveTargetByTag=t;ARGS", [3]),
        ("ruleRemoveTargetById=2-3;ARGS:/^q/", []),
        ("ruleEngine=Off", []),
    ],
)
@pytest.mark.parametrize("phase", [1, 2])
def test_controls(run, control, ids, phase):
    seen = run(
        f'SecAction "id:1,phase:{phase},pass,nolog,ctl:{control}"\n'
        'SecRule ARGS "@streq hello" "id:2,phase:2,pass,tag:\'t\'"\n'
        'SecRule ARGS:q "@streq hello" "id:3,phase:2,pass,msg:\'m\'"\n'
    )
    if control == "ruleEngine=Off" and phase == 2:
        ids = [2, 3]  # the phase that is running ends as it began; the next does not begin
    assert seen.ids == ids


def test_rule_engine_control_only_weakens(run):
    rules = 'SecAction "id:1,phase:1,pass,nolog,ctl:ruleEngine=%s"\nSecAction "id:2,phase:2,deny"\n'
    assert run(rules % "DetectionOnly").outcome is Outcome.ALLOW
    assert run(rules % "On", mode=Mode.MONITOR).outcome is Outcome.ALLOW


def test_monitor_goes_on_and_says_what_it_would_have_done(run):
    rules = 'SecAction "id:1,phase:1,deny,status:409"\nSecAction "id:2,phase:2,deny,status:410"\n'
    watched = run(rules, mode=Mode.MONITOR)
    assert (watched.outcome, watched.would, watched.rule_id, watched.ids) == (Outcome.ALLOW, "block", 1, [1, 2])
    blocked = run(rules)
    assert (blocked.outcome, blocked.status, blocked.ids) == (Outcome.BLOCK, 409, [1])


def test_allow_ends_the_request_but_not_the_logging_phase(run):
    seen = run('SecAction "id:1,phase:1,allow"\nSecAction "id:2,phase:2,deny"\nSecAction "id:3,phase:5,pass"\n')
    assert (seen.outcome, seen.ids) == (Outcome.ALLOW, [1, 3])
    phase = run('SecAction "id:1,phase:1,allow:phase"\nSecAction "id:2,phase:1,deny"\nSecAction "id:3,phase:2,deny"\n')
    assert (phase.outcome, phase.ids) == (Outcome.BLOCK, [1, 3])


def test_block_is_what_the_default_action_says(run):
    rules = 'SecDefaultAction "phase:2,log,%s"\nSecRule ARGS:q "@streq hello" "id:1,phase:2,block"\n'
    assert run(rules % "pass").outcome is Outcome.ALLOW
    denied = run(rules % "deny,status:418")
    assert (denied.outcome, denied.status) == (Outcome.BLOCK, 418)


def test_dynamic_arguments_follow_the_request(run):
    seen = run(
        "SecAction \"id:1,phase:1,pass,nolog,setvar:'tx.known=hello you'\"\n"
        'SecRule ARGS:q "@within %{tx.known}" "id:2,phase:2,pass"\n'
        'SecRule ARGS:q "!@within %{tx.unknown}" "id:3,phase:2,pass"\n'
        'SecRule ARGS:id "@ge %{tx.limit}" "id:4,phase:2,pass"\n'
    )
    assert seen.ids == [2, 3, 4]


def test_nolog_rules_decide_without_being_told(run):
    seen = run('SecAction "id:1,phase:2,deny,nolog"\n')
    assert (seen.ids, seen.rule_id, seen.outcome) == ([], 1, Outcome.BLOCK)


def test_persistent_collections_last_until_they_expire(tmp_path):
    file = tmp_path / "rules.conf"
    file.write_text(
        'SecAction "id:1,phase:1,pass,nolog,initcol:ip=%{REMOTE_ADDR},setvar:ip.count=+1,expirevar:ip.count=10"\n'
        'SecRule IP:count "@gt 2" "id:2,phase:1,deny"\n'
    )
    clock = [1000.0]
    decisions = []
    inspector = EngineInspector(
        Plan(load_ruleset(Sources((file,)))), EngineSettings(Mode.BLOCK), decisions.append, lambda: clock[0]
    )
    outcomes = [run_exchange(inspector, parse_request(GET), None).outcome for _ in range(3)]
    assert outcomes == [Outcome.ALLOW, Outcome.ALLOW, Outcome.BLOCK]
    clock[0] += 11
    assert run_exchange(inspector, parse_request(GET), None).outcome is Outcome.ALLOW


def test_every_finding_is_named_at_once(tmp_path):
    file = tmp_path / "broken.conf"
    file.write_text(
        'SecRule ARGS "@nothing x" "id:1,phase:2,pass"\n'
        'SecRule ARGS "@rx (" "id:2,phase:2,pass"\n'
        'SecRule ARGS "@pmFromFile none.data" "id:3,phase:2,pass"\n'
        'SecRule ARGS "@rx a" "id:4,phase:2,pass,t:lowercas"\n'
    )
    with pytest.raises(SecLangErrors) as caught:
        load_ruleset(Sources((file,)))
    assert [finding.line for finding in caught.value.findings] == [1, 2, 3, 4]
    assert "did you mean" in str(caught.value.findings[3])


def test_a_large_value_is_matched_in_slices_with_the_same_result(run, tmp_path):
    file = tmp_path / "rules.conf"
    file.write_text(
        'SecRule ARGS "@rx needle" "id:1,phase:2,pass,t:none,t:lowercase"\n'
        'SecRule ARGS "@rx n.edle" "id:2,phase:2,pass,multiMatch,t:none,t:urlDecodeUni,t:lowercase"\n'
    )
    decisions = []
    inspector = EngineInspector(Plan(load_ruleset(Sources((file,)))), EngineSettings(), decisions.append)
    inspection = inspector.open()
    ticks = iter(range(0, 10**12, 10**7))
    deadline = Deadline(lambda: next(ticks), 10**9)  # every look at the clock finds the slice over
    path = b"/?q=" + b"x" * 9000 + b"NEEDLE"
    steps = inspection.request_headers(RequestHead(b"GET", path, b"a", ()), deadline)
    pauses = 0
    while True:
        try:
            next(steps)
            pauses += 1
        except StopIteration:
            break
    assert pauses > 5
    inspection.close(None)
    assert [match.rule_id for match in decisions[0].matches] == [1, 2]


def test_the_own_rules_load():
    ruleset = load_ruleset(Sources((Path(__file__).parents[3] / "extproc" / "rules" / "own.conf",)))
    assert len(ruleset.by_id) >= 24
    assert not ruleset.notices


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        (b'{"q": "hello"}', [1]),
        (b"q=hello&x=1", [1]),
        (b"<a><b>hello</b></a>", [2]),
        (b'{"q": "hello"', [3]),  # looks like JSON and is not: no fault, shown raw
        (b"just hello", [3]),
    ],
)
@pytest.mark.parametrize("label", [b"", b"Content-Type: text/plain\r\n"])
def test_a_body_without_a_known_type_is_read_as_what_it_looks_like(tmp_path, body, ids, label):
    file = tmp_path / "rules.conf"
    file.write_text(
        'SecRule ARGS_POST "@streq hello" "id:1,phase:2,pass"\n'
        'SecRule XML:/* "@contains hello" "id:2,phase:2,pass"\n'
        'SecRule REQUEST_BODY "@rx hello" "id:3,phase:2,pass"\n'
        'SecRule REQBODY_ERROR "!@eq 0" "id:4,phase:2,pass"\n'
    )
    decisions = []
    ruleset = load_ruleset(Sources((file,)), BodySettings(is_type_guessed=True))
    inspector = EngineInspector(Plan(ruleset), EngineSettings(), decisions.append)
    run_exchange(inspector, parse_request(b"POST / HTTP/1.1\r\nHost: a\r\n" + label + b"\r\n" + body), None)
    seen = [match.rule_id for match in decisions[0].matches]
    assert set(ids) <= set(seen)
    assert 4 not in seen


def decide(tmp_path, raw: bytes, rules: str) -> list[int]:
    file = tmp_path / "rules.conf"
    file.write_text(rules)
    decisions = []
    ruleset = load_ruleset(Sources((file,)), BodySettings(is_type_guessed=True))
    run_exchange(EngineInspector(Plan(ruleset), EngineSettings(), decisions.append), parse_request(raw), None)
    return [match.rule_id for match in decisions[0].matches]


ATTACK_RULE = 'SecRule ARGS|REQUEST_BODY "@rx evil" "id:1,phase:2,pass"\n'


def test_what_lies_behind_the_last_argument_taken_apart_is_still_a_value(tmp_path):
    raw = b"GET /?" + b"&" * 1500 + b"q=%65vil HTTP/1.1\r\nHost: a\r\n\r\n"
    assert decide(tmp_path, raw, ATTACK_RULE) == [1]


def test_a_packed_form_is_read_as_sent_too(tmp_path):
    packed = gzip.compress(b"a=1")
    hidden = packed[:3] + b"\x10" + packed[4:10] + b"&q=evil&\x00" + packed[10:]  # FCOMMENT, RFC 1952 section 2.3.1
    raw = (
        b"POST / HTTP/1.1\r\nHost: a\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\nContent-Encoding: gzip\r\n\r\n"
    )
    assert gzip.decompress(hidden) == b"a=1"
    assert decide(tmp_path, raw + hidden, 'SecRule ARGS:q "@streq evil" "id:1,phase:2,pass"\n') == [1]


def test_lines_of_json_behind_the_first_are_seen(tmp_path):
    raw = b'POST / HTTP/1.1\r\nHost: a\r\n\r\n{"a": 1}\n{"q": "evil"}'
    rules = (
        'SecRule REQBODY_PROCESSOR "!@rx ." "id:1,phase:2,pass,chain"\n    SecRule REQUEST_BODY "@rx evil" "t:none"\n'
    )
    assert decide(tmp_path, raw, rules) == [1]


def test_each_text_and_attribute_of_xml_is_a_value(tmp_path):
    raw = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/xml\r\n\r\n<r><n>John</n><q w='bad'>evil</q></r>"
    rules = 'SecRule ARGS "@streq evil" "id:1,phase:2,pass"\nSecRule ARGS "@streq bad" "id:2,phase:2,pass"\n'
    assert decide(tmp_path, raw, rules) == [1, 2]


def test_findings_of_reading_settings_and_compiling_come_together(tmp_path):
    file = tmp_path / "broken.conf"
    file.write_text(
        'SecRule FOO "@rx a" "id:1,phase:2,pass"\nSecRule ARGS "@rx (" "id:2,phase:2,pass"\nSecRuleEngine Maybe\n'
    )
    with pytest.raises(SecLangErrors) as caught:
        load_ruleset(Sources((file,)))
    assert sorted(finding.line for finding in caught.value.findings) == [1, 2, 3]
