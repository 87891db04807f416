"""`decode: nested`: which rules see the views of a value, once each, and that nothing changes without it."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest

from extproc.cli.wiring import load_inspector
from extproc.config import resolve
from extproc.detection.ladder import VIEWS_LIMIT
from extproc.engine.inspector import EngineInspector, EngineSettings
from extproc.engine.matching import LARGE_BYTES
from extproc.engine.plan import Plan
from extproc.model.message import RequestHead
from extproc.model.verdict import Decision, Mode
from extproc.replay.http1 import Request
from extproc.replay.run import run_exchange
from extproc.seclang.assemble import Sources, load_ruleset

ATTACK = ",tag:'attack-test'"
RULES = rf"""
SecRuleEngine On
SecRule ARGS "@rx evil" "id:1,phase:2,pass,log,t:none,t:lowercase,capture,msg:'%{{TX.0}}'{ATTACK},setvar:tx.score=+5"
SecRule ARGS "@pm wicked" "id:2,phase:2,pass,log,t:none{ATTACK}"
SecRule ARGS "@contains evil" "id:3,phase:2,pass,log,t:none"
SecRule ARGS "!@rx ^[^ ]*$" "id:4,phase:2,pass,log,t:none{ATTACK}"
SecRule ARGS "@rx evil" "id:5,phase:2,pass,log,t:none,ctl:ruleRemoveById=6{ATTACK}"
SecRule ARGS "@rx evil" "id:6,phase:2,pass,log,t:none{ATTACK},tag:'attack-protocol'"
SecRule ARGS "@streq evil" "id:7,phase:2,pass,log,t:none{ATTACK}"
SecRule ARGS "@rx evil" "id:8,phase:2,pass,log,t:none{ATTACK},chain"
    SecRule MATCHED_VAR "@rx evil(?:er)" "t:none"
SecRule ARGS:a "@rx evil" "id:9,phase:2,pass,log,t:none,t:base64Decode{ATTACK}"
SecRule TX:score "@gt 5" "id:10,phase:2,pass,log,t:none"
"""


def ask(query: bytes, has_views: bool = True, rules: str = RULES) -> Decision:
    told: list[Decision] = []
    plan = Plan(load_ruleset(Sources((), preamble=rules.encode())), has_views=has_views)
    inspector = EngineInspector(plan, EngineSettings(mode=Mode.BLOCK), told.append)
    run_exchange(inspector, Request(RequestHead(b"GET", b"/?" + query, authority=b"a", headers=()), b""), None)
    return told[0]


def ids(query: bytes, has_views: bool = True) -> set[int]:
    return {match.rule_id for match in ask(query, has_views).matches}


TWICE = b"%2565vil%2565r"
CASES = [
    # (query, rules without views, rules with)
    (b"q=evil", {1, 3, 5, 7}, {1, 3, 5, 7}),
    (b"q=quite+harmless", {4}, {4}),
    (TWICE.replace(b"%2565r", b"", 1).join((b"q=", b"")), set(), {1}),
    (b"q=" + TWICE, set(), {1, 8}),
    (b"q=%2577icked", set(), {2}),
    (b"a=" + b64encode(b"{evil one!}"), {9}, {1, 9}),
    (b"q=" + b64encode(b"{evil one!}"), set(), {1}),
    (b'q={"k":"\\u0065vil+things"}', {4}, {1, 4}),
    (b"q=%2541", set(), set()),
]


@pytest.mark.parametrize(("query", "plain", "nested"), CASES)
def test_rules_that_look_for_attacks_see_views(query: bytes, plain: set[int], nested: set[int]) -> None:
    assert ids(query, False) == plain
    assert ids(query) == nested


def test_a_rule_scores_once_for_a_value() -> None:
    """Seen in the value and in four views of it; rule 10 would tell of a second time."""
    query = b"q=Evil+%2565vil+%252565vil+%26%2365%3bvil"
    assert {1} <= ids(query)
    assert 10 not in ids(query)
    assert 10 in ids(b"q=%2565vil&r=%2565vil")


def test_a_match_says_how_it_came_to_light() -> None:
    match = next(match for match in ask(b"q=" + b64encode(b"{Evil one!}")).matches if match.rule_id == 1)
    assert (match.via, match.msg, match.variable, match.value) == (("base64",), b"evil", "ARGS:q", b"{evil one!}")
    assert ask(b"q=evil").matches[0].via == ()


def test_a_large_value_has_views_too() -> None:
    query = b"q=" + b"x" * LARGE_BYTES + b"%2565vil"
    assert ids(query, False) == set()
    assert ids(query) == {1}


def test_views_that_are_left_out_are_told() -> None:
    query = b"q=[" + b",".join(b'"word number %d"' % number for number in range(VIEWS_LIMIT + 1)) + b"]"
    assert ask(query, False).coverage_reason is None
    assert ask(query).coverage_reason == "detection-limit"
    assert ask(query.replace(b"word", b"x" * LARGE_BYTES, 1)).coverage_reason == "detection-limit"


@pytest.mark.parametrize(("flags", "expected"), [({}, []), ({"decode": "nested"}, [2])])
def test_the_setting_reaches_the_rules(tmp_path: Path, flags: dict[str, str], expected: list[int]) -> None:
    rules = tmp_path / "rules.conf"
    rules.write_text(RULES)
    told: list[Decision] = []
    inspector = load_inspector(
        resolve({"rules": [str(rules)], **flags}, {}, None), lambda decision, masking: told.append(decision)
    )
    head = RequestHead(b"GET", b"/?q=%2577icked", authority=b"a", headers=())
    run_exchange(inspector, Request(head, b""), None)
    assert [match.rule_id for match in told[0].matches] == expected
