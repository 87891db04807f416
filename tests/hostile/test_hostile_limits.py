"""The engine's own limits at their edges: what is kept per transaction, per rule set and between requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hostile_requests import FORM, get, post

from extproc.actions.setvar import Assignment
from extproc.engine import matching, plan, shapes, transaction, txblock
from extproc.engine.collection import PersistentStore, assign
from extproc.engine.inspector import EngineInspector, EngineSettings
from extproc.engine.plan import Plan
from extproc.engine.transaction import MAX_MATCHES, MAX_MATCHES_PER_RULE, TX_BYTES, TX_VARIABLES, Transaction
from extproc.model.errors import SecLangErrors
from extproc.model.message import ResponseHead
from extproc.model.verdict import Decision, Mode
from extproc.replay.http1 import Request
from extproc.replay.run import Answer, run_exchange
from extproc.seclang import assemble, compile
from extproc.seclang.assemble import Sources, load_ruleset


class Run:
    """Rules, and the last transaction and decision of what went through them."""

    def __init__(self, rules: str) -> None:
        self.decisions: list[Decision] = []
        self.made: list[Transaction] = []
        self.ruleset = load_ruleset(Sources((), preamble=b"SecRuleEngine On\n" + rules.encode()))
        self.plan = Plan(self.ruleset)
        self.inspector = EngineInspector(
            self.plan, EngineSettings(Mode.BLOCK), self.decisions.append, make_transaction=self.make
        )

    def make(self, *arguments: Any) -> Transaction:
        self.made.append(Transaction(*arguments))
        return self.made[-1]

    def send(self, request: Request) -> Decision:
        run_exchange(self.inspector, request, None)
        return self.decisions[-1]

    @property
    def tx(self) -> Transaction:
        return self.made[-1]


def form(*pairs: bytes) -> Request:
    return post(FORM, b"&".join(pairs))


@pytest.mark.parametrize("size", [TX_BYTES - 1, TX_BYTES, TX_BYTES + 1])
def test_longest_value_that_is_stored(size: int) -> None:
    run = Run('SecRule ARGS:q "@rx ^a+" "id:1,phase:2,pass,capture,setvar:\'tx.kept=%{MATCHED_VAR}\'"\n')
    run.send(form(b"q=" + b"a" * size))
    assert run.tx.tx[b"0"] == run.tx.tx[b"kept"] == b"a" * min(size, TX_BYTES)


def test_variables_of_a_transaction() -> None:
    rules = "".join(
        f'SecRule ARGS "@rx ." "id:{number},phase:2,pass,nolog,setvar:\'tx.{number}-%{{MATCHED_VAR}}=1\'"\n'
        for number in (1, 2, 3)
    )
    rules += "SecAction \"id:9,phase:2,pass,setvar:'tx.1-0=changed',setvar:tx.new=1\"\n"
    run = Run(rules)
    run.send(form(*(b"a=%d" % number for number in range(999))))
    assert len(run.tx.tx) == TX_VARIABLES
    assert run.tx.tx[b"1-0"] == b"changed", "what exists can still be set"
    assert b"new" not in run.tx.tx


def test_matches_that_are_told() -> None:
    rules = "".join(f'SecRule ARGS "@rx ." "id:{number},phase:2,pass,log"\n' for number in range(1, 31))
    rules += 'SecRule ARGS "@rx ." "id:99,phase:2,pass,nolog,setvar:tx.count=+1"\n'
    run = Run(rules)
    for arguments, expected in (
        (MAX_MATCHES_PER_RULE - 1, MAX_MATCHES),
        (MAX_MATCHES_PER_RULE, MAX_MATCHES),
        (MAX_MATCHES_PER_RULE + 1, MAX_MATCHES),
        (1, 30),
    ):
        decision = run.send(form(*[b"a=b"] * arguments))
        assert len(decision.matches) == expected
        told = sum(match.rule_id == 1 for match in decision.matches)
        assert told == min(arguments, MAX_MATCHES_PER_RULE)
        assert run.tx.tx[b"count"] == b"%d" % arguments, "rules still see every match"


def test_persistent_records() -> None:
    store = PersistentStore(lambda: 0.0, timeout_seconds=60, max_records=3)
    for key in (b"a", b"b", b"c", b"a", b"d"):
        assign(store.record("IP", key).variables, b"seen", Assignment.ADD, b"1")
    assert len(store) == 3
    assert store.record("IP", b"a").variables == {b"seen": b"2"}
    assert store.record("IP", b"b").variables == {}, "the one not used for longest has gone"


def test_variables_of_a_record() -> None:
    run = Run(
        'SecAction "id:1,phase:1,pass,nolog,initcol:ip=%{REMOTE_ADDR}"\n'
        'SecRule ARGS_GET "@rx ." "id:2,phase:1,pass,nolog,setvar:\'ip.%{MATCHED_VAR}=1\'"\n'
    )
    limit = transaction.MAX_VARIABLES
    run.send(get(b"/?" + b"&".join(b"a=%d" % number for number in range(limit + 1))))
    names = [key for key, _ in run.tx.persistent("IP")]
    assert names == [b"%d" % number for number in range(limit)]


def test_size_of_a_data_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "words.data").write_bytes(b"evil\n")
    rules = tmp_path / "rules.conf"
    rules.write_text('SecRule ARGS "@pmFromFile words.data" "id:1,phase:2,deny"\n')
    monkeypatch.setattr(assemble, "MAX_DATA_FILE_BYTES", 5)
    load_ruleset(Sources((rules,)))
    monkeypatch.setattr(assemble, "MAX_DATA_FILE_BYTES", 4)
    with pytest.raises(SecLangErrors, match="larger than 4 bytes"):
        load_ruleset(Sources((rules,)))


def test_operators_kept_for_arguments_with_macros(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile, "DYNAMIC_OPERATORS", 4)
    run = Run('SecRule ARGS:q "@rx ^%{ARGS.p}$" "id:1,phase:2,pass,log"\n')
    [rule] = run.ruleset.by_id.values()
    for number in [*range(10), *range(10)]:
        assert len(run.send(form(b"q=%d" % number, b"p=%d" % number)).matches) == 1
        assert len(run.send(form(b"q=x", b"p=%d" % number)).matches) == 0
        assert len(rule.dynamic._known) <= 4  # type: ignore[union-attr]
    # What is no pattern matches nothing, and is no fault.
    assert run.send(form(b"q=x", b"p=(")).matches == ()


def test_settings_of_gates_that_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "MAX_VARIANTS", 4)
    run = Run(
        'SecRule ARGS_GET:level "@rx ^\\d+$" "id:1,phase:1,pass,nolog,setvar:\'tx.level=%{MATCHED_VAR}\'"\n'
        'SecRule TX:LEVEL "@lt 10" "id:2,phase:2,pass,nolog,skipAfter:END"\n'
        'SecRule ARGS_GET:q "@rx ." "id:3,phase:2,pass,log"\nSecMarker END\n'
    )
    for level in [*range(20), *range(20)]:
        told = [match.rule_id for match in run.send(get(b"/?q=a&level=%d" % level)).matches]
        assert told == ([3] if level >= 10 else []), level


@pytest.mark.parametrize("values", [10, 11, 100])
def test_remembered_values(monkeypatch: pytest.MonkeyPatch, values: int) -> None:
    monkeypatch.setattr(matching, "MEMO_VALUES", 5)
    monkeypatch.setattr(plan, "MEMO_CLASSES_VALUES", 60)
    monkeypatch.setattr(shapes, "RESIDUALS", 4)
    monkeypatch.setattr(plan, "MAX_KEYS", 4)
    monkeypatch.setattr(plan, "SEEN_ONCE", 4 * values)
    run = Run('SecRule ARGS_GET "@rx [13579]$" "id:1,phase:1,pass,log,t:urlDecodeUni"\n')
    for _ in range(3):
        for number in range(values):
            for _ in range(2):  # a value that came once is only marked
                assert len(run.send(get(b"/?k%d=%d" % (number, number))).matches) == number % 2
    assert any(value_class.young for value_class in run.plan._classes.values())
    for value_class in run.plan._classes.values():
        assert len(value_class.young) <= 5
        assert len(value_class._memo_old) <= 5


def test_outcomes_of_tx_rules_that_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(txblock, "MEMO_ENTRIES", 4)
    run = Run(
        'SecRule ARGS_GET:n "@rx ^\\d+$" "id:1,phase:1,pass,nolog,setvar:\'tx.n=%{MATCHED_VAR}\'"\n'
        + "".join(
            f'SecRule TX:n "@ge {step}" "id:{step},phase:1,pass,nolog,setvar:tx.sum=+1"\n' for step in (10, 20, 30, 40)
        )
        + 'SecRule TX:sum "@ge 3" "id:99,phase:1,pass,log"\n'
    )
    for number in [*range(0, 60, 3)] * 2:
        decision = run.send(get(b"/?n=%d" % number))
        assert run.tx.tx.get(b"sum", b"0") == b"%d" % sum(number >= step for step in (10, 20, 30, 40))
        assert len(decision.matches) == (number >= 30)


@pytest.mark.parametrize("excess", [0, 1])
def test_size_of_a_response_body(excess: int) -> None:
    rules = (
        b"SecRuleEngine On\nSecResponseBodyAccess On\nSecResponseBodyLimit 1000\n"
        b'SecRule RESPONSE_BODY "@rx end$" "id:1,phase:4,pass,log"\n'
    )
    decisions: list[Decision] = []
    settings = EngineSettings(Mode.BLOCK, inspect_response=True)
    inspector = EngineInspector(Plan(load_ruleset(Sources((), preamble=rules))), settings, decisions.append)
    head = ResponseHead(200, ((b"content-type", b"text/plain"),))
    run_exchange(inspector, get(), Answer(head, b"a" * (997 + excess) + b"end"))
    assert [match.rule_id for match in decisions[-1].matches] == ([] if excess else [1])
    assert decisions[-1].coverage_reason == ("response-body-limit" if excess else None)
