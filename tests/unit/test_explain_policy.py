"""`extproc explain --policy`: a request is explained as the policy treats it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from extproc.cli.main import main

RULES = """SecRuleEngine On
SecRule ARGS "@contains attack" "id:1001,phase:2,deny,log,msg:'an attack'"
"""

POLICY = """schema: extproc.policy/1
policies:
  notes: {match: {path: /notes/**}, exclusions: [{rules: 1001, variables: ARGS:q, owner: a, reason: b}]}
  quiet: {match: {route: quiet}, mode: monitor}
  old:
    match: {path: /old/**}
    exclusions: [{rules: 1001, variables: ARGS:q, owner: a, reason: b, expires: 2025-01-01}]
  named: {mode: monitor}
  own: {match: {path: /own}, profile: own}
  denied: {match: {path: /denied}, ip: {deny: [0.0.0.0/0]}}
"""


def explained(folder: Path, capsys: pytest.CaptureFixture[str], path: str, *flags: str) -> dict[str, Any]:
    (folder / "r.conf").write_text(RULES)
    (folder / "waf.yaml").write_text(POLICY)
    argv = ["explain", "--rules", str(folder / "r.conf"), "--policy", str(folder / "waf.yaml"), "--json", *flags]
    assert main([*argv, "--", "curl", f"http://shop.example{path}"]) == 0
    return dict(json.loads(capsys.readouterr().out))


CASES: list[tuple[str, tuple[str, ...], str, str, list[str], str]] = [
    # (path, flags, verdict, would, policies, words of why)
    ("/?q=attack", (), "block", "block", [], "rule 1001"),
    ("/notes/x?q=attack", (), "allow", "allow", ["notes"], "policies that hold: notes"),
    ("/notes/x?p=attack", (), "block", "block", ["notes"], "rule 1001"),
    ("/?q=attack", ("--route", "quiet"), "allow", "block", ["quiet"], "mode monitor"),
    ("/?q=attack", ("--policy-name", "named"), "allow", "block", ["named"], "by the policy"),
    ("/old/x?q=attack", (), "allow", "block", ["old"], "this exclusion is expired"),
    ("/own?q=attack", (), "allow", "allow", ["own"], "no rule denies"),
    ("/own?q=%27%20OR%201%3D1--", (), "block", "block", ["own"], "rule 71"),
    ("/denied?q=x", (), "block", "block", ["denied"], "ip.deny refuses the client"),
]


@pytest.mark.parametrize(("path", "flags", "verdict", "would", "policies", "words"), CASES)
def test_a_request_is_explained_as_the_policy_treats_it(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    path: str,
    flags: tuple[str, ...],
    verdict: str,
    would: str,
    policies: list[str],
    words: str,
) -> None:
    record = explained(tmp_path, capsys, path, *flags)
    assert (record["verdict"], record["would"], record["policies"]) == (verdict, would, policies)
    assert any(words in reason for reason in record["why"]), record["why"]


def test_what_the_policy_calls_a_secret_is_masked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "attack-0815" in json.dumps(explained(tmp_path, capsys, "/?kundennummer=attack-0815"))
    (tmp_path / "waf.yaml").write_text(POLICY + "masking: {names: kundennummer}\n")
    argv = ["explain", "--rules", str(tmp_path / "r.conf"), "--policy", str(tmp_path / "waf.yaml"), "--json"]
    assert main([*argv, "--", "curl", "http://shop.example/?kundennummer=attack-0815"]) == 0
    assert "attack-0815" not in capsys.readouterr().out
