"""Settings and a policy together: what is loaded, what is said at the start, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from extproc.cli.wiring import load_inspector
from extproc.config import Config, resolve
from extproc.events.masking import Masking
from extproc.model.errors import ConfigError, PolicyErrors
from extproc.model.files import FilesRead
from extproc.model.message import RequestHead
from extproc.model.verdict import Decision, Outcome
from extproc.replay.http1 import Request
from extproc.replay.run import run_exchange

RULES = 'SecRuleEngine On\nSecRule ARGS "@contains attack" "id:1001,phase:2,deny,log,msg:\'%{MATCHED_VAR}\'"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "r.conf").write_text(RULES)
    (tmp_path / "s.conf").write_text(RULES.replace("attack", "next").replace("1001", "1002"))
    return tmp_path


def config(folder: Path, policy: str, **flags: object) -> Config:
    (folder / "waf.yaml").write_text("schema: extproc.policy/1\n" + policy)
    given = {"rules": [str(folder / "r.conf")], "policy": str(folder / "waf.yaml"), "mode": "block", **flags}
    return resolve(given, {})


def published(config: Config, path: bytes) -> tuple[Decision, Masking]:
    told: list[tuple[Decision, Masking]] = []
    inspector = load_inspector(config, lambda decision, masking: told.append((decision, masking)))
    run_exchange(inspector, Request(RequestHead(b"GET", path, b"x", ()), b""), None)
    return told[-1]


def test_rules_policy_shadow_and_masking_come_together(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = "defaults: {mode: monitor}\npolicies: {a: {match: {path: /a}, mode: block}}\nshadow_rules: s.conf\n"
    found = config(folder, policy + "masking: {names: kundennummer}\n")
    decision, masking = published(found, b"/a?q=attack+next")
    assert (decision.verdict, decision.policies) == (Outcome.BLOCK, ("defaults", "a"))
    assert decision.shadow is not None
    assert decision.shadow.rule_ids == (1002,)
    assert masking.is_secret_variable("ARGS:Kundennummer")
    said = capsys.readouterr().err
    assert "policy defaults: mode monitor" in said
    assert "policy a: mode block" in said
    assert "shadow rules: 1 run beside" in said


def test_shadow_rules_without_a_policy(folder: Path) -> None:
    found = resolve({"rules": [str(folder / "r.conf")], "shadow": [str(folder / "s.conf")], "mode": "block"}, {})
    decision, _ = published(found, b"/?q=next")
    assert decision.shadow is not None
    assert (decision.verdict, decision.shadow.would, decision.policies) == (Outcome.ALLOW, Outcome.BLOCK, ())


def test_another_rule_set_for_one_policy(folder: Path) -> None:
    found = config(folder, "policies: {a: {match: {path: /a}, profile: own}}\n")
    assert published(found, b"/a?q=attack")[0].verdict is Outcome.ALLOW
    assert published(found, b"/a?q=%3Cscript%3Ealert(1)%3C/script%3E")[0].verdict is Outcome.BLOCK
    assert published(found, b"/b?q=attack")[0].verdict is Outcome.BLOCK


def test_profiles_of_the_core_rule_set(folder: Path) -> None:
    (folder / "crs" / "rules").mkdir(parents=True)
    (folder / "crs" / "crs-setup.conf").write_text("# none\n")
    (folder / "crs" / "rules" / "a.conf").write_text(RULES)
    policy = "policies: {c: {match: {path: /c}, profile: crs}, o: {match: {path: /o}, profile: own}}\n"
    found = config(folder, policy, rules=[], crs=str(folder / "crs"))
    decisions = {path: published(found, path + b"?q=attack")[0] for path in (b"/", b"/c", b"/o")}
    assert {path: decision.verdict for path, decision in decisions.items()} == {
        b"/": Outcome.BLOCK,
        b"/c": Outcome.BLOCK,
        b"/o": Outcome.ALLOW,
    }
    assert decisions[b"/"].ruleset == decisions[b"/c"].ruleset != decisions[b"/o"].ruleset


QUIET_AND_NOISY = "".join(
    f'SecRule ARGS "@contains {word}" "id:{number},phase:2,deny,t:none"\n'
    for word, number in (("quiet", 942140), ("noisy", 942100), ("unheard", 942999), ("method", 911100))
)


def test_the_own_rules_beside_the_quiet_ones_of_the_core_rule_set(folder: Path) -> None:
    (folder / "crs" / "rules").mkdir(parents=True)
    (folder / "crs" / "crs-setup.conf").write_text("# none\n")
    (folder / "crs" / "rules" / "a.conf").write_text(QUIET_AND_NOISY)
    found = config(folder, "", rules=[], crs=str(folder / "crs"), profile="own+crs")
    texts = {b"quiet": True, b"unheard": True, b"noisy": False, b"method": False, b"'+or+1=1--": True}
    for text, is_blocked in texts.items():
        decision = published(found, b"/?q=" + text)[0]
        assert (decision.verdict is Outcome.BLOCK) is is_blocked, text
    alone = config(folder, "policies: {o: {match: {path: /o}, profile: own+crs}}\n", rules=[], crs=str(folder / "crs"))
    assert published(alone, b"/?q=noisy")[0].verdict is Outcome.BLOCK
    assert published(alone, b"/o?q=noisy")[0].verdict is Outcome.ALLOW
    assert published(alone, b"/o?q='+or+1=1--")[0].verdict is Outcome.BLOCK


def test_every_file_is_known_to_whoever_watches(folder: Path) -> None:
    (folder / "bad.txt").write_text("192.0.2.1\n")
    (folder / "p.txt").write_text("${incident}")
    files = FilesRead()
    policy = "defaults: {ip: {deny: ['file:bad.txt']}, block: {plain: p.txt}}\nshadow_rules: s.conf\n"
    load_inspector(config(folder, policy), lambda decision, masking: None, files)
    names = {Path(name).name for _, name in files.looks}
    assert {"waf.yaml", "bad.txt", "p.txt", "s.conf", "r.conf"} <= names


def test_a_route_that_names_no_policy(folder: Path) -> None:
    route = {"name": "shop", "prefix": "/shop", "policy": "chekout"}
    with pytest.raises(ConfigError, match="did you mean checkout"):
        load_inspector(config(folder, "policies: {checkout: {}}\n", routes=[route]), lambda *_: None)
    alone = resolve({"rules": [str(folder / "r.conf")], "routes": [route]}, {})
    with pytest.raises(ConfigError, match="name a file with --policy"):
        load_inspector(alone, lambda *_: None)


REFUSED = [
    ("defaults: {exclusions: [{rules: 9, owner: a, reason: b}]}\n", "no rule has the id 9; the nearest is 1001"),
    ("defaults: {profile: crs}\n", "needs --crs DIR"),
    ("defaults: {profile: own+crs}\n", "needs --crs DIR"),
    ("defaults: {body: {limit: 1MiB}}\n", "raise --body-limit"),
]


@pytest.mark.parametrize(("policy", "words"), REFUSED)
def test_what_stops_the_start(folder: Path, policy: str, words: str) -> None:
    with pytest.raises(PolicyErrors, match=words):
        load_inspector(config(folder, policy), lambda *_: None)


def test_a_shadow_rule_may_be_excluded_too(folder: Path) -> None:
    policy = "defaults: {exclusions: [{rules: 1002, owner: a, reason: b}]}\nshadow_rules: s.conf\n"
    decision, _ = published(config(folder, policy), b"/?q=next")
    assert decision.shadow is not None
    assert decision.shadow.would is Outcome.ALLOW
