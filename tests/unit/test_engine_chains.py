"""Chains over names, by heart: the same variables are left, whatever was there before, and what holds is told."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from extproc.engine import chains
from extproc.engine.chains import chain_memo_of
from extproc.engine.inspector import EngineInspector, EngineSettings
from extproc.engine.plan import Plan
from extproc.engine.ruleset import Ruleset
from extproc.engine.transaction import Transaction
from extproc.model.message import Address, RequestHead
from extproc.model.verdict import Decision, Mode
from extproc.replay.http1 import Request
from extproc.replay.run import run_exchange
from extproc.seclang.assemble import Sources, load_ruleset

RULES = r"""
SecAction "id:1,phase:1,pass,nolog,setvar:tx.banned=/range/ /x-bad/,setvar:tx.header_name_fixed=/none/"
SecRule ARGS:other "@rx ^(.)" "id:2,phase:1,pass,nolog,capture,setvar:tx.banned=/x-%{tx.1}/,\
    setvar:tx.header_name_%{tx.1}=/o/"
SecRule REQUEST_HEADERS_NAMES "@rx ^x-?(.*)$" "id:3,phase:1,pass,capture,t:none,t:lowercase,\
    setvar:'tx.header_name_%{tx.0}=/%{tx.0}/',setvar:tx.last=%{tx.1},chain"
    SecRule TX:/^header_name_/ "@within %{tx.banned}" "setvar:tx.score=+5"
SecRule TX:/^header_name_/ "@rx ." "id:4,phase:1,pass,setvar:tx.seen=+1"
SecRule MATCHED_VARS "@unconditionalMatch" "id:5,phase:1,pass"
"""


def load(tmp_path: Path, rules: str) -> Ruleset:
    file = tmp_path / "rules.conf"
    file.write_text(rules)
    return load_ruleset(Sources((file,)))


def run(plan: Plan, names: list[bytes], path: bytes) -> tuple[list[tuple[object, ...]], dict[bytes, bytes]]:
    decisions: list[Decision] = []
    made: list[Transaction] = []

    def make(*arguments: Any) -> Transaction:
        made.append(Transaction(*arguments))
        return made[-1]

    inspector = EngineInspector(plan, EngineSettings(Mode.BLOCK), decisions.append, make_transaction=make)
    head = RequestHead(
        method=b"GET",
        path=path,
        authority=b"a",
        headers=((b"host", b"a"), *((name, b"1") for name in names)),
        client=Address("127.0.0.1", 1),
        server=Address("127.0.0.1", 80),
        is_last=True,
    )
    run_exchange(inspector, Request(head, b""), None)
    [decision] = decisions
    told: list[tuple[object, ...]] = [(match.rule_id, match.variable, match.value) for match in decision.matches]
    return told, made[0].tx


def test_by_heart_or_not_is_the_same(tmp_path: Path) -> None:
    ruleset = load(tmp_path, RULES)
    by_heart, anew = Plan(ruleset), Plan(ruleset, has_memo=False)
    source = random.Random(4)
    held = 0
    for _ in range(600):
        names = source.choices([b"x-a", b"x-b", b"x-bad", b"X-A", b"accept", b"x-"], k=source.randrange(4))
        path = source.choice([b"/", b"/?other=a", b"/?other=bad", b"/?other=q"])
        expected = run(anew, names, path)
        assert run(by_heart, names, path) == expected, (names, path)
        held += any(match[0] == 3 for match in expected[0])
    [memo] = [memo for memo in by_heart.chain_memos if memo is not None]
    assert memo._outcomes
    assert 0 < held < 600


@pytest.mark.parametrize(
    ("rule", "has_memo"),
    [
        ('SecRule ARGS_NAMES "@rx ." "id:1,phase:2,pass,chain"\nSecRule TX:x "@eq 1" ""', True),
        ('SecRule ARGS_NAMES "@rx ." "id:1,pass,phase:2,chain"\nSecRule TX:x "@eq %{tx.y}" "setvar:tx.%{tx.0}="', True),
        ('SecRule ARGS_NAMES "@rx ." "id:1,phase:2,pass"', False),
        ('SecRule ARGS "@rx ." "id:1,phase:2,pass,chain"\nSecRule TX:x "@eq 1" ""', False),
        ('SecRule ARGS_NAMES|ARGS "@rx ." "id:1,phase:2,pass,chain"\nSecRule TX:x "@eq 1" ""', False),
        ('SecRule &ARGS_NAMES "@gt 0" "id:1,phase:2,pass,chain"\nSecRule TX:x "@eq 1" ""', False),
        ('SecRule ARGS_NAMES "@rx ." "id:1,phase:2,pass,chain"\nSecRule ARGS:x "@eq 1" ""', False),
        ('SecRule ARGS_NAMES "@rx ." "id:1,phase:2,pass,chain"\nSecRule TX:x "@streq %{REMOTE_ADDR}" ""', False),
        ('SecRule ARGS_NAMES "@rx ." "id:1,phase:2,pass,setvar:ip.x=1,chain"\nSecRule TX:x "@eq 1" ""', False),
        ('SecRule ARGS_NAMES "@rx ." "id:1,phase:2,pass,setvar:tx.%{tx.0}=+1,chain"\nSecRule TX:x "@eq 1" ""', False),
        ('SecRule ARGS_NAMES "@rx ." "id:1,phase:2,pass,ctl:auditEngine=Off,chain"\nSecRule TX:x "@eq 1" ""', False),
    ],
)  # fmt: skip
def test_which_rules_are_learnt(tmp_path: Path, rule: str, has_memo: bool) -> None:
    [loaded] = load(tmp_path, rule + "\n").by_id.values()
    assert (chain_memo_of(loaded, lambda target: ()) is not None) is has_memo


def test_outcomes_and_names_are_kept_up_to_their_bounds(tmp_path: Path) -> None:
    plan = Plan(load(tmp_path, RULES))
    [memo] = [memo for memo in plan.chain_memos if memo is not None]
    longest = b"x-" + b"a" * (chains.NAMES_BYTES - 2)
    run(plan, [longest + b"a"], b"/")
    assert not memo._outcomes
    run(plan, [longest], b"/")
    assert len(memo._outcomes) == 1
    for number in range(chains.MEMO_ENTRIES - 1):
        run(plan, [b"x-%d" % number], b"/")
    assert len(memo._outcomes) == chains.MEMO_ENTRIES
    run(plan, [b"x-one-more"], b"/")
    assert len(memo._outcomes) == 1
