"""Rules are asked before they serve: what the shipped ones answer, what is told, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from extproc.cli.rehearsal import PAIRS, Rehearsed, compare, rehearse
from extproc.engine.inspector import EngineInspector, EngineSettings
from extproc.engine.plan import Plan
from extproc.engine.transaction import Transaction
from extproc.model.errors import RulesetRefused
from extproc.model.verdict import Mode
from extproc.seclang.assemble import Sources, load_ruleset

ALL = frozenset(PAIRS)
GOOD = Rehearsed(Mode.BLOCK, 100, ALL, frozenset())
OWN = Path(__file__).parents[2] / "extproc" / "rules" / "own.conf"


def of(rules: str | Path, mode: Mode = Mode.BLOCK) -> EngineInspector:
    sources = Sources((rules,)) if isinstance(rules, Path) else Sources((), preamble=rules.encode())
    return EngineInspector(Plan(load_ruleset(sources)), EngineSettings(mode), lambda decision: pytest.fail("published"))


@pytest.mark.parametrize("mode", [Mode.BLOCK, Mode.MONITOR])
def test_the_shipped_rules_tell_attacks_from_twins(mode: Mode) -> None:
    outcome = rehearse(of(OWN, mode))
    assert (outcome.caught, outcome.denied, outcome.faults) == (ALL, frozenset(), ())
    assert compare(outcome, None) == f"rehearsal: {len(ALL)} of {len(ALL)} attacks caught, 0 harmless twins denied"


def test_the_rehearsal_leaves_no_record_behind() -> None:
    rules = 'SecAction "id:1,phase:1,pass,nolog,initcol:ip=%{REMOTE_ADDR},setvar:ip.seen=+1"\n'
    rules += 'SecRule IP:seen "@gt 1" "id:2,phase:1,deny"'
    inspector = of(rules)
    rehearse(inspector)
    assert len(rehearse(inspector).denied) == len(PAIRS), "within a rehearsal records are kept"
    assert len(rehearse(inspector).caught) == len(PAIRS) - 1, "but each one begins without any"


REFUSED = {
    "no rules": (Rehearsed(Mode.BLOCK, 0, frozenset(), frozenset()), GOOD, "no rules at all"),
    "denies all": (replace(GOOD, denied=ALL), GOOD, "denies every harmless request"),
    "catches nothing": (replace(GOOD, caught=frozenset()), GOOD, "catches none of the rehearsal's attacks"),
    "half was caught": (
        replace(GOOD, caught=frozenset()),
        replace(GOOD, caught=frozenset(list(PAIRS)[: len(PAIRS) // 2])),
        "catches none",
    ),
    "breaks": (replace(GOOD, faults=("SQL in a form: KeyError: 1",)), GOOD, "breaks on SQL in a form: KeyError: 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_nobody_can_mean_is_refused(name: str) -> None:
    now, before, why = REFUSED[name]
    with pytest.raises(RulesetRefused, match=why):
        compare(now, before)
    assert compare(now, None).startswith("rehearsal: "), "at the start there is nothing better"


TAKEN = {
    "fewer": (replace(GOOD, caught=ALL - {"JNDI lookup"}), GOOD, "no longer caught: JNDI lookup"),
    "one twin": (replace(GOOD, denied=frozenset({"SQL in JSON"})), GOOD, "1 harmless twins denied (SQL in JSON)"),
    "all but one twin": (replace(GOOD, denied=ALL - {"PHP code"}), GOOD, "and 7 more"),
    "it denied all before": (replace(GOOD, denied=ALL), replace(GOOD, denied=ALL), "12 harmless twins denied"),
    "few were caught before": (
        replace(GOOD, caught=frozenset()),
        replace(GOOD, caught=frozenset(list(PAIRS)[:5])),
        "0 of 12 attacks",
    ),
    "switched off": (Rehearsed(Mode.OFF, 9, frozenset(), frozenset()), GOOD, "mode off, nothing is looked at"),
    "it broke before": (replace(GOOD, faults=("x",)), replace(GOOD, faults=("x",)), "broke on x"),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_may_be_meant_is_told(name: str) -> None:
    now, before, told = TAKEN[name]
    assert told in compare(now, before)


@pytest.mark.plain
def test_an_engine_that_breaks_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(self: Transaction, phase: object, deadline: object) -> object:
        raise KeyError("a fault")
        yield

    monkeypatch.setattr(Transaction, "run", run)
    outcome = rehearse(of(OWN))
    assert len(outcome.faults) == 2 * len(PAIRS)
    assert "KeyError: 'a fault'" in outcome.faults[0]
