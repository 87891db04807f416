"""What explain tells: the live engine's decision, each text's way, scores, what was spared, exclusions that cure."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from extproc.engine.inspector import EngineInspector, EngineSettings
from extproc.engine.plan import Plan
from extproc.events.masking import Masking
from extproc.model.verdict import Mode, Outcome
from extproc.replay.explain import MAX_EXCLUSIONS, explain
from extproc.replay.explain_record import MAX_VARIABLES, to_record
from extproc.replay.explain_text import MAX_SHOWN_CHARS, lay_out, shown
from extproc.replay.explain_watch import watch
from extproc.replay.http1 import parse_request
from extproc.replay.run import run_exchange
from extproc.seclang.assemble import Sources, load_ruleset

RULES = r"""
SecAction "id:1,phase:1,pass,nolog,t:none,setvar:tx.inbound_anomaly_score=0,setvar:tx.threshold=5"
SecRule ARGS|REQUEST_COOKIES|REQUEST_HEADERS:Referer "@rx union\s+select" \
    "id:10,phase:2,pass,t:none,t:urlDecodeUni,t:lowercase,t:compressWhitespace,capture,\
    msg:'SQL',logdata:'%{TX.0}',severity:CRITICAL,setvar:tx.inbound_anomaly_score=+5"
SecRule ARGS "@contains evil" \
    "id:11,phase:2,pass,t:none,t:removeWhitespace,t:base64Decode,multiMatch,msg:'evil',setvar:tx.inbound_anomaly_score=+2"
SecRule REQUEST_METHOD "@streq POST" "id:12,phase:2,pass,t:none,chain,msg:'posted'"
    SecRule ARGS "@streq chained" "t:none,setvar:tx.inbound_anomaly_score=+3"
SecRule &ARGS "@gt 3" "id:13,phase:2,pass,t:none,msg:'many',setvar:tx.inbound_anomaly_score=+1"
SecRule REQUEST_HEADERS:User-Agent "@streq scanner" "id:14,phase:1,deny,status:406,t:none,msg:'scanner'"
SecRule REQUEST_URI "@beginsWith /free" "id:15,phase:1,pass,nolog,t:none,ctl:ruleEngine=DetectionOnly"
SecRule TX:inbound_anomaly_score "@ge %{tx.threshold}" "id:20,phase:2,deny,status:403,nolog,t:none"
"""


@pytest.fixture
def maker(tmp_path):
    def make_maker(rules: str = RULES):
        file = tmp_path / "rules.conf"
        file.write_text(rules, encoding="latin-1")

        def make(before: bytes) -> Plan:
            return Plan(load_ruleset(Sources((file,), preamble=before)))

        return make

    return make_maker


def request(target: str, head: str = "", body: str = "", method: str = ""):
    kind = "Content-Type: application/x-www-form-urlencoded\r\n" if body else ""
    method = method or ("POST" if body else "GET")
    return parse_request(f"{method} {target} HTTP/1.1\r\nHost: h\r\n{kind}{head}\r\n{body}".encode("latin-1"))


def record(make, asked, mode=Mode.BLOCK, masking=None):
    return to_record(explain(make, mode, asked), masking or Masking(), "--mode")


def match_of(told, rule):
    [match] = [match for match in told["matches"] if match["id"] == rule]
    return match


REQUESTS = {
    "clean": request("/p?q=hello"),
    "sql": request("/p?q=1+UNION%20%20Select+2"),
    "twice": request("/p?q=union+select&r=union+select"),
    "form": request("/p", body="a=chained"),
    "scanner": request("/p?q=union+select", "User-Agent: scanner\r\n"),
    "free": request("/free?q=union+select"),
    "many": request("/p?a=1&b=2&c=3&d=evil"),
    "base64": request("/p?a=ZX%20ZpbA=="),
    "cookie": request("/p", "Cookie: a=union select\r\n"),
}


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("mode", Mode)
def test_the_decision_is_the_live_engines(maker, name, mode):
    asked, make = REQUESTS[name], maker()
    decisions = []
    run_exchange(EngineInspector(make(b""), EngineSettings(mode=mode), decisions.append), asked, None)
    looked = watch(make(b""), mode, asked).decision
    same = {"time": 0.0, "incident": "", "duration_us": 0}
    assert dataclasses.replace(looked, **same) == dataclasses.replace(decisions[0], **same)


def test_each_transformation_that_changes_the_text_is_told(maker):
    told = record(maker(), REQUESTS["sql"])
    match = match_of(told, 10)
    [variable] = match["variables"]
    # The arguments of a URL are decoded once before any transformation (manual, *ARGS*).
    assert variable["variable"] == "ARGS:q"
    assert variable["sent"] == "1 UNION  Select 2"
    assert variable["steps"] == [
        {"transformation": "lowercase", "text": "1 union  select 2"},
        {"transformation": "compressWhitespace", "text": "1 union select 2"},
    ]
    assert variable["matched"] == {"text": "union select", "start": 2, "end": 14}
    assert (variable["operator"], variable["argument"]) == ("@rx", r"union\s+select")
    assert variable["text"][2:14] == "union select"
    assert match["msg"] == "SQL"
    assert (match["line"], match["phase"], match["severity"]) == (3, 2, "CRITICAL")
    assert match["file"].endswith("rules.conf")
    assert match["score"] == [{"variable": "TX:inbound_anomaly_score", "before": "0", "after": "5", "gain": 5}]


def test_multi_match_stops_where_the_operator_matched(maker):
    told = record(maker(), REQUESTS["base64"])
    [variable] = match_of(told, 11)["variables"]
    assert variable["sent"] == "ZX ZpbA=="
    assert variable["steps"] == [
        {"transformation": "removeWhitespace", "text": "ZXZpbA=="},
        {"transformation": "base64Decode", "text": "evil"},
    ]
    first, second = match_of(record(maker(), request("/p?a=e+v+evil")), 11)["variables"]
    assert (first["sent"], first["steps"], first["text"]) == ("e v evil", [], "e v evil")
    assert [step["text"] for step in second["steps"]] == ["evevil"]
    assert (second["sent"], second["text"]) == ("e v evil", "evevil")


def test_what_decided_and_why(maker):
    told = record(maker(), REQUESTS["sql"])
    assert (told["verdict"], told["status"], told["score"]) == ("block", 403, 5)
    assert told["decided_by"]["id"] == 20
    assert "TX:inbound_anomaly_score is 5, the rule asks for @ge 5" in told["why"]
    assert "mode block: what the rules deny is blocked (--mode)" in told["why"]
    assert told["thresholds"] == [
        {"rule": 20, "variable": "TX:inbound_anomaly_score", "value": "5", "operator": "@ge", "argument": "5"}
    ]


def test_of_several_denials_the_first_decides(maker):
    rules = 'SecAction "id:5,phase:1,deny,status:401,log"\nSecAction "id:6,phase:2,deny,status:402,log"\n'
    for mode in (Mode.BLOCK, Mode.MONITOR):
        told = record(maker(rules), request("/p"), mode)
        assert told["decided_by"]["id"] == 5
        assert told["why"][0].endswith("asks for status 401")


def test_a_score_below_the_threshold_is_told(maker):
    told = record(maker(), REQUESTS["many"])
    assert (told["verdict"], told["would"], told["decided_by"], told["score"]) == ("allow", "allow", None, 3)
    assert "no rule denies" in told["why"]
    assert "TX:inbound_anomaly_score is 3, rule 20 asks for @ge 5" in told["why"]
    assert [match["variables"][0]["variable"] for match in told["matches"]] == ["ARGS:d", "&ARGS"]


@pytest.mark.parametrize(
    ("mode", "name", "verdict", "would", "why"),
    [
        (Mode.BLOCK, "scanner", "block", "block", "mode block: what the rules deny is blocked (--mode)"),
        (Mode.MONITOR, "scanner", "allow", "block", "mode monitor: nothing is blocked, only reported (--mode)"),
        (Mode.OFF, "scanner", "allow", "allow", "mode off: nothing is inspected (--mode)"),
        (Mode.BLOCK, "free", "allow", "block", "ctl:ruleEngine"),
    ],
)
def test_the_setting_that_made_it_block_or_not(maker, mode, name, verdict, would, why):
    told = record(maker(), REQUESTS[name], mode)
    assert (told["verdict"], told["would"]) == (verdict, would)
    assert why in told["why"][-1]


def test_a_weaker_rule_engine_is_named(maker):
    told = record(maker("SecRuleEngine DetectionOnly\n" + RULES), REQUESTS["sql"])
    assert (told["verdict"], told["would"]) == ("allow", "block")
    assert "SecRuleEngine of the rules is weaker than block" in told["why"][-1]


def test_a_body_beyond_the_limit_is_the_engines_own_refusal(maker):
    told = record(maker("SecRequestBodyLimit 10\n" + RULES), request("/p", body="a=12345678901"))
    assert (told["verdict"], told["status"], told["decided_by"]) == ("block", 413, None)
    assert told["why"][0] == "no rule: the engine itself refuses with status 413"


def test_what_only_sets_up_or_adds_up_is_counted_not_told(maker):
    rules = (
        'SecAction "id:2,phase:1,pass,nolog,setvar:tx.critical_score=5"\n'
        + RULES
        + 'SecRule TX:inbound_anomaly_score "@ge 1" "id:21,phase:2,pass,nolog,setvar:tx.blocking_anomaly_score=+5"\n'
        + 'SecAction "id:22,phase:5,pass,nolog,setvar:tx.anomaly_score=+5"\n'
    )
    told = record(maker(rules), REQUESTS["sql"], Mode.MONITOR)
    assert [match["id"] for match in told["matches"]] == [10, 20]
    assert [one["id"] for one in told["silent"]] == [2, 1, 21, 22]
    assert [one["rule"] for one in told["exclusions"]] == [10]


def test_rules_of_phase_5_are_told_and_need_no_cure(maker):
    told = record(maker(RULES + "SecAction \"id:22,phase:5,pass,log,msg:'end'\"\n"), REQUESTS["sql"])
    assert [match["id"] for match in told["matches"]] == [10, 20, 22]
    assert [one["rule"] for one in told["exclusions"]] == [10]


def test_a_rule_that_controls_the_engine_is_one_line(maker):
    text = lay_out(record(maker(), REQUESTS["free"]))
    assert re.search(r"^rule 15 \(.*rules\.conf:\d+\): ctl:ruleengine=DetectionOnly$", text, re.MULTILINE)


# The prefilter's account


@pytest.mark.parametrize("name", REQUESTS)
def test_the_account_counts_the_operators_that_ran(maker, name):
    make, called = maker(), set()

    def make_counting(before):
        ruleset = make(before).ruleset
        for rules in ruleset.phases.values():
            for rule in rules:
                if rule.operator is not None:
                    rule.operator = dataclasses.replace(rule.operator, test=_noting(rule, rule.operator.test, called))
        return Plan(ruleset, has_memo=False)

    account = explain(make_counting, Mode.MONITOR, REQUESTS[name]).account
    called.clear()
    transaction = watch(make_counting(b""), Mode.MONITOR, REQUESTS[name]).transaction
    by_values = {(rule, text) for rule, text in called if rule != 20}
    assert account.run <= account.named <= account.pairs
    assert {rule for rule, _ in by_values} == _rules_run(transaction)
    assert account.values > 0


def _noting(rule, test, called):
    def noting(text):
        called.add((rule.id, text))
        return test(text)

    return noting


def _rules_run(transaction):
    run = 0
    for segment in transaction.runs:
        for collection, found in zip(segment.variant.collections, segment.values, strict=True):
            for key, value in found:
                value_class, _ = collection.info(key)
                if value_class is not None:
                    run |= value_class.account(value)[2]
        run |= segment.variant.direct
    rules = transaction.plan.rules
    ids = {rule.id for rule in rules if run >> rule.index & 1 and rule.operator is not None}
    starters = {firing.rule.id for firing in transaction.firings}
    # Links of a chain have no id of their own; what ran of them ran because their starter matched.
    return ids | {rule for rule in starters if rule == 12}


def test_the_account_of_a_known_request(maker):
    account = record(maker(), request("/p?q=hello"))["prefilter"]
    # ARGS:q meets rules 10 and 11, REQUEST_METHOD rule 12, REQUEST_URI rule 15; no User-Agent, no cookie.
    assert (account["values"], account["pairs"]) == (3, 4)
    assert account["run"] == 0
    assert account["spared"] == 4
    assert account["rules_direct"] == 3
    named = record(maker(), request("/p?q=evil"))["prefilter"]
    assert (named["named"], named["run"], named["spared"]) == (1, 1, 3)
    # Both words are there, but no text so short matches: the operator is not even called.
    rule = 'SecRule ARGS "@rx abcd.{3}efgh" "id:9,phase:2,pass,t:none"\n'
    short = record(maker(rule), request("/p?q=abcdefgh"))["prefilter"]
    assert (short["named"], short["run"]) == (1, 0)


def test_rules_behind_a_skip_on_a_setting_are_told(maker):
    rules = (
        'SecAction "id:1,phase:1,pass,nolog,setvar:tx.level=1"\n'
        'SecRule TX:level "@lt 2" "id:2,phase:2,pass,nolog,skipAfter:END"\n'
        'SecRule ARGS "@rx x" "id:3,phase:2,pass"\n'
        'SecRule ARGS "@rx y" "id:4,phase:2,pass"\n'
        "SecMarker END\n"
    )
    assert record(maker(rules), request("/?q=xy"))["prefilter"]["rules_gated"] == 3


# Exclusions


@pytest.mark.parametrize(
    ("name", "rule", "control"),
    [
        ("sql", 10, "ctl:ruleRemoveTargetById=10;ARGS:q"),
        ("cookie", 10, "ctl:ruleRemoveTargetById=10;REQUEST_COOKIES:a"),
        ("scanner", 14, "ctl:ruleRemoveTargetById=14;REQUEST_HEADERS:user-agent"),
        ("form", 12, "ctl:ruleRemoveTargetById=12;ARGS:a"),
        ("many", 13, "ctl:ruleRemoveTargetById=13;ARGS"),
        ("base64", 11, "ctl:ruleRemoveTargetById=11;ARGS:a"),
    ],
)
def test_the_narrowest_exclusion_cures_and_is_proved(maker, name, rule, control):
    make = maker()
    told = record(make, REQUESTS[name])
    [exclusion] = match_of(told, rule)["exclusions"]
    assert exclusion["proved"] is True
    number = re.search(r"id:(1\d{4}),", exclusion["seclang"])[1]
    line = f'SecRule REQUEST_FILENAME "@streq /p" "id:{number},phase:1,pass,nolog,t:none,{control}"'
    assert exclusion["seclang"] == line
    assert told["cured"] == "allow"
    # By hand, as a user would: the line in front of the rules.
    again = explain(lambda before: make(exclusion["seclang"].encode() + b"\n" + before), Mode.BLOCK, REQUESTS[name])
    assert rule not in [firing.rule.id for firing in again.told if firing.is_complete]


def test_an_exclusion_holds_on_its_path_and_variable_only(maker):
    make = maker()
    line = record(make, REQUESTS["sql"])["exclusions"][0]["seclang"].encode() + b"\n"
    for other in (request("/other?q=union+select"), request("/p?other=union+select")):
        assert explain(lambda before: make(line + before), Mode.BLOCK, other).decision.verdict is Outcome.BLOCK


def test_what_a_first_block_hid_is_cured_too(maker):
    told = record(maker(), REQUESTS["scanner"])
    assert [(one["rule"], one["proved"]) for one in told["exclusions"]] == [(14, True), (10, True)]
    assert told["cured"] == "allow"


def test_the_rule_that_only_adds_up_gets_no_exclusion(maker):
    assert match_of(record(maker(), REQUESTS["sql"]), 20)["exclusions"] == []


def test_a_rule_without_a_variable_of_the_request_is_removed_on_the_path(maker):
    told = record(maker("SecAction \"id:5,phase:2,deny,log,msg:'closed'\"\n"), request("/p"))
    [exclusion] = told["exclusions"]
    assert (exclusion["variable"], exclusion["proved"]) == (None, True)
    assert "ctl:ruleRemoveById=5" in exclusion["seclang"]


def test_a_rule_in_front_of_every_exclusion_is_not_claimed_to_be_cured(maker, tmp_path):
    # Exclusions go after the preamble that stands first: a rule in there runs before them.
    make = maker()
    first = b'SecRule ARGS "@contains union" "id:3,phase:1,deny,t:none,msg:\'first\'"\n'
    told = record(lambda before: make(first + before), request("/p?q=union"))
    assert [one["proved"] for one in told["exclusions"]] == [False]
    assert told["cured"] == "block"


ODD_TARGETS = """
    /p?a'b=evil /p?a%22b=evil /p?a,b=evil /p?a|b=evil /p?a;b=evil /p?/x/=evil /p?a%20b=evil /p?a%0ab=evil /p?%ff=evil
    /p?%25%7bx%7d=evil /p?a\\b=evil /p?a[0][x]=evil /p?$ne=evil /a%22b?q=evil /a'b?q=evil /a\\?q=evil
    /a%25%7btx.x%7d?q=evil /%ff%00?q=evil /a%20b?q=evil
"""


@pytest.mark.parametrize("target", ODD_TARGETS.split())
def test_odd_names_and_paths_are_excluded_too(maker, target):
    told = record(maker(), request(target))
    assert [one["proved"] for one in told["exclusions"]] == [True]
    assert told["exclusions"][0]["variable"].startswith("ARGS:")


@pytest.mark.parametrize(
    ("fields", "proposed"), [(MAX_EXCLUSIONS, MAX_EXCLUSIONS), (MAX_EXCLUSIONS + 1, MAX_EXCLUSIONS)]
)
def test_exclusions_are_bounded(maker, fields, proposed):
    rules = RULES.replace('SecRule &ARGS "@gt 3"', 'SecRule &ARGS "@gt 999"')
    told = record(maker(rules), request("/p?" + "&".join(f"a{n}=evil" for n in range(fields))))
    assert len(told["exclusions"]) == proposed
    match = match_of(told, 11)
    assert len(match["variables"]) == MAX_VARIABLES
    assert match["variables_left_out"] == fields - MAX_VARIABLES


# Masking and layout


SECRETS = [
    ("/p?password=hunter22-evil", "", ""),
    ("/p", "Cookie: sid=hunter22 evil union select\r\n", ""),
    ("/p", "", "token=hunter22-union+select"),
    ("/p?q=password%3Dhunter22+union+select", "", ""),
    ("/p?q=cGFzc3dvcmQ9aHVudGVyMjIgdW5pb24gc2VsZWN0IGV2aWw=", "", ""),
    ("/p", "Referer: http://a/?api_key=hunter22&x=union select\r\n", ""),
    ("/p?q=union+select&pin=hunter22", "", ""),
]


@pytest.mark.parametrize(("target", "head", "body"), SECRETS)
def test_secrets_are_masked_unless_asked_for(maker, target, head, body):
    asked = request(target, head, body)
    masked = record(maker(), asked)
    texts = [json.dumps(masked), lay_out(masked)]
    hidden = ("hunter22", "aHVudGVyMjI", "HUNTER22")
    assert not [text for text in texts if any(one in text for one in hidden)]
    assert "[masked]" in texts[0]
    opened = lay_out(record(maker(), asked, masking=Masking(is_enabled=False)))
    assert "hunter22" in opened
    assert "[masked]" not in opened


HIDING = {
    "a short value of a secret field": (
        "/p?pin=xyz",
        'SecRule ARGS "@streq xyz" "id:90,phase:2,pass,msg:\'m\'"',
        "xyz",
    ),
    "another spelling of a text with a secret": (
        "/p?q=password%3Dhunter22",
        'SecRule ARGS "@contains 687" "id:90,phase:2,pass,t:none,t:hexEncode,msg:\'m\'"',
        b"hunter22".hex(),
    ),
    "a part of a secret": (
        "/p?q=password%3Dhunter22",
        'SecRule ARGS "@rx unter2" "id:90,phase:2,pass,t:none,msg:\'m\'"',
        '"unter2"',
    ),
}


@pytest.mark.parametrize("name", HIDING)
def test_what_would_show_a_secret_in_parts_is_hidden(maker, name):
    target, rule, secret = HIDING[name]
    told = record(maker(rule + "\n"), request(target))["matches"]
    values = [[one["sent"], one["steps"], one["text"], one["matched"]] for one in told[0]["variables"]]
    assert secret not in json.dumps(values)
    opened = record(maker(rule + "\n"), request(target), masking=Masking(is_enabled=False))
    assert secret in json.dumps(opened["matches"])


def test_lines_for_people_say_the_same(maker):
    text = lay_out(record(maker(), REQUESTS["sql"]))
    assert text.startswith("BLOCK 403: GET h/p?q=1+UNION%20%20Select+2\n")
    for line in (
        "  TX:inbound_anomaly_score is 5, the rule asks for @ge 5",
        "rule 10 SQL",
        '    sent                  "1 UNION  Select 2"',
        '    t:lowercase           "1 union  select 2"',
        '    matched               "union select" at 2..14',
        "  score TX:inbound_anomaly_score +5 (0 → 5)",
        "        proved: run again with the exclusions, the rule is silent there",
        "with all 1 exclusions tried here the rules say: allow",
    ):
        assert line in text.split("\n")


def test_a_request_cannot_paint_the_terminal(maker):
    rules = RULES + 'SecRule ARGS "@rx \\x1b" "id:99,phase:2,pass,msg:\'%{MATCHED_VAR_NAME} %{MATCHED_VAR}\'"\n'
    rules += 'SecRule ARGS "!@contains \x1b[1m" "id:98,phase:2,pass,msg:\'m\'"\n'
    asked = request("/p\x1b[2J?%1b]0;x%07=%1b[31m%0aevil%e2%80%ae", "X: \x1b[1m\r\n")
    text = lay_out(record(maker(rules), asked, masking=Masking(is_enabled=False)))
    assert all(char == "\n" or char.isprintable() for char in text)
    assert "\\x1b[31m\\nevil" in text


@pytest.mark.parametrize(("length", "is_whole"), [(MAX_SHOWN_CHARS, True), (MAX_SHOWN_CHARS + 1, False)])
def test_long_texts_are_cut(length, is_whole):
    assert shown("x" * length).endswith('x"' if is_whole else '…"')
    assert len(shown("x" * length)) <= MAX_SHOWN_CHARS + 3
