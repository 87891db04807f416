"""Gates (rules that only skip, on a number in TX) resolved ahead skip exactly what they would skip one by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from extproc.engine.inspector import EngineInspector, EngineSettings
from extproc.engine.plan import Plan
from extproc.model.message import RequestHead
from extproc.model.verdict import Decision, Mode
from extproc.replay.http1 import Request
from extproc.replay.run import run_exchange
from extproc.seclang.assemble import Sources, load_ruleset

LEVEL = 'SecAction "id:1,phase:1,pass,nolog,setvar:tx.level=1"\n'


def gate(rule_id: int, marker: str, level: int = 2) -> str:
    return f'SecRule TX:LEVEL "@lt {level}" "id:{rule_id},phase:1,pass,nolog,skipAfter:{marker}"\n'


def arg(rule_id: int, actions: str = "") -> str:
    return f'SecRule ARGS:q "@streq a" "id:{rule_id},phase:1,pass,log{"," + actions if actions else ""}"\n'


def numbers(rule_id: int) -> str:
    """A rule that sets the gates' variable: the phase is cut behind it."""
    return f'SecRule TX:LEVEL "@eq 9" "id:{rule_id},phase:1,pass,nolog,setvar:tx.level=9"\n'


CASES = {
    "what is behind a gate does not run": (LEVEL + gate(2, "END") + arg(10) + "SecMarker END\n" + arg(11), [11]),
    "an open gate lets it run": (LEVEL + gate(2, "END", 1) + arg(10) + "SecMarker END\n" + arg(11), [10, 11]),
    "a gate skips beyond a place where the phase is cut": (
        LEVEL
        + gate(2, "END")
        + arg(10)
        + numbers(3)
        + arg(11)
        + "SecMarker END\n"
        + gate(4, "FAR")
        + arg(12)
        # a further gate, so that the setting before it cuts
        + "SecMarker FAR\n"
        + arg(13),
        [13],
    ),
    "a gate that was skipped does not skip": (
        LEVEL
        + gate(2, "END")
        + numbers(3)
        + gate(4, "FAR")
        + "SecMarker END\n"
        + arg(10)
        + "SecMarker FAR\n"
        + arg(11),
        [10, 11],
    ),
    "a gate behind a jump that is taken does not skip": (
        LEVEL + arg(10, "skipAfter:NEAR") + gate(2, "FAR") + "SecMarker NEAR\n" + arg(11) + "SecMarker FAR\n" + arg(12),
        [10, 11, 12],
    ),
    "a gate that a rule takes out does not skip": (
        LEVEL + arg(10, "ctl:ruleRemoveById=2") + gate(2, "END") + arg(11) + "SecMarker END\n" + arg(12),
        [10, 11, 12],
    ),
    "a gate of which a rule takes the variable away does not skip": (
        LEVEL + arg(10, "ctl:ruleRemoveTargetById=2;TX:level") + gate(2, "END") + arg(11) + "SecMarker END\n" + arg(12),
        [10, 11, 12],
    ),
    "a gate that a chain which does not hold would take out skips": (
        LEVEL
        + 'SecRule ARGS:q "@streq a" "id:10,phase:1,pass,log,chain"\nSecRule ARGS:q "@streq b" "ctl:ruleRemoveById=2"\n'
        + gate(2, "END")
        + arg(11)
        + "SecMarker END\n"
        + arg(12),
        [12],
    ),
    "a gate behind a jump that is not taken skips": (
        LEVEL
        + 'SecRule ARGS:q "@streq b" "id:10,phase:1,pass,log,skipAfter:NEAR"\n'
        + gate(2, "FAR")
        + "SecMarker NEAR\n"
        + arg(11)
        + "SecMarker FAR\n"
        + arg(12),
        [12],
    ),
}


@pytest.mark.parametrize(("rules", "expected"), CASES.values(), ids=CASES)
def test_gates(tmp_path: Path, rules: str, expected: list[int]) -> None:
    file = tmp_path / "rules.conf"
    file.write_text(rules)
    decisions: list[Decision] = []
    plan = Plan(load_ruleset(Sources((file,))))
    inspector = EngineInspector(plan, EngineSettings(Mode.BLOCK), decisions.append)
    head = RequestHead(method=b"GET", path=b"/?q=a", authority=b"", headers=())
    for _ in range(2):  # the second time from what was remembered
        run_exchange(inspector, Request(head, b""), None)
        assert [match.rule_id for match in decisions[-1].matches] == expected


PHASE_FIVE = (
    'SecAction "id:20,phase:5,pass,log,setvar:tx.late=1"\n'
    'SecRule TX:LATE "@lt 1" "id:21,phase:5,pass,nolog,skipAfter:OUT"\n'
    'SecAction "id:22,phase:5,pass,log"\nSecMarker OUT\nSecAction "id:23,phase:5,pass,log"\n'
)


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (arg(10, "allow").replace("pass,", ""), [10, 20, 22, 23]),
        (arg(10, "allow:request").replace("pass,", ""), [10, 20, 22, 23]),
        (arg(10, "allow:phase").replace("pass,", ""), [10, 20, 22, 23]),
        (arg(10, "deny").replace("pass,", ""), [10, 20, 22, 23]),
    ],
)
def test_what_was_decided_does_not_cut_the_logging_phase_short(tmp_path: Path, first: str, expected: list[int]) -> None:
    test_gates(tmp_path, first + PHASE_FIVE, expected)


def test_an_escaped_question_mark_belongs_to_the_path(tmp_path: Path) -> None:
    file = tmp_path / "rules.conf"
    file.write_text('SecRule REQUEST_FILENAME|REQUEST_BASENAME "@contains evil" "id:1,phase:1,pass,log"\n')
    decisions: list[Decision] = []
    plan = Plan(load_ruleset(Sources((file,))))
    inspector = EngineInspector(plan, EngineSettings(Mode.BLOCK), decisions.append)
    for path, variables in {
        b"/x%3fevil": ["REQUEST_FILENAME", "REQUEST_BASENAME"],
        b"/x?evil": [],
        b"/x%3f/a?evil": [],
    }.items():
        head = RequestHead(method=b"GET", path=path, authority=b"", headers=())
        run_exchange(inspector, Request(head, b""), None)
        assert [match.variable for match in decisions[-1].matches] == variables
