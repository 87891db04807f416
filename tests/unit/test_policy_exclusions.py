"""An exclusion of a policy does what ctl:ruleRemoveTargetById does, on the own rules and attacks of several kinds."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from extproc.engine.inspector import EngineInspector, EngineSettings
from extproc.engine.plan import Plan
from extproc.engine.ruleset import BodySettings
from extproc.model.message import RequestHead
from extproc.model.verdict import Decision, Mode
from extproc.policy.bind import Base, Binder
from extproc.policy.load import load_policy
from extproc.replay.http1 import Request
from extproc.replay.run import run_exchange
from extproc.seclang.assemble import Sources, load_ruleset

OWN = Path(__file__).parents[2] / "extproc" / "rules" / "own.conf"

ATTACKS = [
    b"' OR 1=1--",
    b"1 UNION SELECT password FROM users",
    b"<script>alert(1)</script>",
    b"../../../../etc/passwd",
    b"; cat /etc/passwd",
    b"${jndi:ldap://x/a}",
    b"{{7*7}}",
    b"php://filter/convert",
]
FORM = (b"content-type", b"application/x-www-form-urlencoded")

Run = Callable[[Request], Decision]


def requests() -> list[Request]:
    """Each attack as an argument of the query, of the form, as a cookie, and beside a harmless twin."""
    found = []
    for attack in ATTACKS:
        escaped = b"".join(b"%%%02x" % byte for byte in attack)
        found += [
            Request(RequestHead(b"GET", b"/x?q=" + escaped, b"h", ((b"user-agent", b"m"),)), b""),
            Request(RequestHead(b"GET", b"/x?q=a&p=" + escaped, b"h", ()), b""),
            Request(RequestHead(b"POST", b"/x", b"h", (FORM,), is_last=False), b"q=" + escaped),
            Request(RequestHead(b"GET", b"/x", b"h", ((b"cookie", b"q=" + escaped),)), b""),
        ]
    return found


def runner(plan: Plan, binder: Binder | None) -> Run:
    decisions: list[Decision] = []
    treat = binder.treat if binder is not None else None
    inspector = EngineInspector(plan, EngineSettings(Mode.BLOCK), decisions.append, clock=time.time, treat=treat)

    def run(request: Request) -> Decision:
        run_exchange(inspector, request, None)
        return decisions[-1]

    return run


def plan_of(before: bytes = b"") -> Plan:
    return Plan(load_ruleset(Sources((OWN,), preamble=before), BodySettings(is_type_guessed=True)))


EXCLUSIONS = [
    # (SecLang, the same in a policy)
    ("ctl:ruleRemoveTargetById=7100200;ARGS:q", "rules: 7100200, variables: 'ARGS:q'"),
    ("ctl:ruleRemoveTargetById=7100200-7100699;ARGS", "rules: 7100200-7100699, variables: ARGS"),
    ("ctl:ruleRemoveTargetByTag=attack-xss;ARGS:p", "tags: attack-xss, variables: 'ARGS:p'"),
    (
        "ctl:ruleRemoveTargetById=7100000-7109999;REQUEST_COOKIES:q",
        "rules: 7100000-7109999, variables: 'REQUEST_COOKIES:q'",
    ),
    ("ctl:ruleRemoveById=7100300", "rules: 7100300"),
    ("ctl:ruleRemoveByTag=attack-sqli", "tags: attack-sqli"),
]


@pytest.mark.parametrize(("seclang", "policy"), EXCLUSIONS)
def test_a_policy_says_what_ctl_says(tmp_path: Path, seclang: str, policy: str) -> None:
    file = tmp_path / "waf.yaml"
    file.write_text(f"schema: extproc.policy/1\ndefaults: {{exclusions: [{{{policy}, owner: a, reason: b}}]}}\n")
    plan = plan_of()
    governed = runner(plan, Binder(load_policy(file), Base({"": plan}, Mode.BLOCK, False, 131_072, 500)))
    controlled = runner(plan_of(f'SecAction "id:5,phase:1,pass,nolog,{seclang}"\n'.encode()), None)
    free = runner(plan_of(), None)
    changed = 0
    for request in requests():
        one, other, plain = governed(request), controlled(request), free(request)
        told = [(found.verdict, found.score, [match.rule_id for match in found.matches]) for found in (one, other)]
        assert told[0] == told[1], request
        changed += one.verdict is not plain.verdict or len(one.matches) != len(plain.matches)
    assert changed
