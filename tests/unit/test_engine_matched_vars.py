"""`ctl:ruleRemoveTarget...;MATCHED_VARS`: what the rule matched, and only that, is taken from the rules named."""

from __future__ import annotations

from pathlib import Path

import pytest

from extproc.engine.inspector import EngineInspector, EngineSettings
from extproc.engine.plan import Plan
from extproc.model.verdict import Decision, Mode
from extproc.replay.http1 import parse_request
from extproc.replay.run import run_exchange
from extproc.seclang.assemble import Sources, load_ruleset

RULES = b"""
SecRuleEngine On
SecRule ARGS|REQUEST_COOKIES "@rx ^ok" "id:1,phase:2,pass,nolog,ctl:ruleRemoveTargetById=2;MATCHED_VARS"
SecRule ARGS|REQUEST_COOKIES|REQUEST_URI_RAW "@contains bad" "id:2,phase:2,deny,log"
SecRule ARGS "@contains bad" "id:3,phase:2,pass,log"
"""


def matched(tmp_path: Path, target: bytes, cookie: bytes = b"") -> list[tuple[int, str]]:
    """(rule, variable) of each match."""
    file = tmp_path / "rules.conf"
    file.write_bytes(RULES)
    decisions: list[Decision] = []
    inspector = EngineInspector(
        Plan(load_ruleset(Sources((file,)))), EngineSettings(mode=Mode.MONITOR), decisions.append
    )
    raw = b"GET " + target + b" HTTP/1.1\r\nHost: a\r\nCookie: " + cookie + b"\r\n\r\n"
    run_exchange(inspector, parse_request(raw), None)
    return [(match.rule_id, match.variable) for match in decisions[0].matches]


@pytest.mark.parametrize(
    ("target", "cookie", "expected"),
    [
        (b"/p?a=ok+%62ad", b"", [(3, "ARGS:a")]),
        (b"/p?A=ok+%62ad", b"", [(3, "ARGS:A")]),
        (b"/p?a=%62ad", b"", [(2, "ARGS:a"), (3, "ARGS:a")]),
        (b"/p?a=ok+%62ad&b=%62ad", b"", [(2, "ARGS:b"), (3, "ARGS:a"), (3, "ARGS:b")]),
        (b"/p", b"c=ok bad", []),
        (b"/p", b"c=ok bad; d=bad", [(2, "REQUEST_COOKIES:d")]),
        (b"/p?a=ok+bad", b"", [(2, "REQUEST_URI_RAW"), (3, "ARGS:a")]),
    ],
)
def test_only_what_the_rule_matched_is_left_out(
    tmp_path: Path, target: bytes, cookie: bytes, expected: list[tuple[int, str]]
) -> None:
    assert matched(tmp_path, target, cookie) == expected
