"""Policy files: what is read, and every mistake at once with its line and how to mend it."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from extproc.cli.main import main
from extproc.model.errors import PolicyErrors
from extproc.model.files import FilesRead
from extproc.policy import definition
from extproc.policy import load as load_module
from extproc.policy.definition import json_schema
from extproc.policy.document import MAX_DEPTH
from extproc.policy.known_rules import RuleNames
from extproc.policy.load import MAX_FILE_BYTES, MAX_TEMPLATE_BYTES, expired, is_policy, load_policy, require_rules
from extproc.policy.model import Policy
from extproc.seclang.assemble import Sources, load_ruleset
from extproc.wire import encode

HEAD = "schema: extproc.policy/1\n"

FULL = """
defaults:
  mode: monitor
  trusted_proxies: [10.0.0.0/8]
  ip: {deny: [192.0.2.7, "2001:db8::/32", "file:bad.txt"], allow: [198.51.100.1]}
policies:
  checkout:
    match: [{route: checkout}, {host: "*.Shop.example", path: /pay/**}]
    mode: block
    profile: own
    paranoia: 2
    thresholds: {inbound: 10, outbound: 8}
    body: {limit: 64KiB, beyond: inspect-prefix}
    time: {limit: 100ms, beyond: allow}
    response: no
    rate_limit: {requests: 100, per: 1m, by: client}
    block: {status: 429, html: page.html, problem: page.json, plain: page.txt}
    fields: {"ARGS:comment": markdown}
    exclusions:
    - rules: [942100, 942200-942299]
      tags: attack-sqli
      variables: [ARGS:Note, "ARGS:/^items/"]
      path: /api/**
      method: POST
      owner: shop team
      reason: notes hold SQL words
      expires: 2026-12-31
shadow_rules: next.conf
masking: {names: kundennummer, looks: ["KD-[0-9]{6}"]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bad.txt").write_text("# bad ones\n203.0.113.0/24\n\n2001:db8:1::1  # one\n")
    (tmp_path / "page.html").write_text("<p>${incident} ${status} ${title}</p>")
    (tmp_path / "page.json").write_text('{"incident": "${incident}", "status": ${status}}')
    (tmp_path / "page.txt").write_text("refused: ${incident}\n")
    (tmp_path / "next.conf").write_text("SecRuleEngine On\n")
    return tmp_path


def write(folder: Path, text: str | bytes) -> Path:
    file = folder / "waf.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def load(folder: Path, text: str) -> Policy:
    return load_policy(write(folder, HEAD + text))


def findings(folder: Path, text: str) -> list[str]:
    with pytest.raises(PolicyErrors) as refusal:
        load(folder, text)
    return refusal.value.findings


def test_every_key_is_read(folder: Path) -> None:
    files = FilesRead()
    policy = load_policy(write(folder, HEAD + FULL), files)
    defaults, checkout = policy.scopes
    assert (defaults.name, defaults.given["mode"].value, defaults.given["ip.deny"].value.count) == (
        "defaults",
        "monitor",
        4,
    )
    said = {key: given.value for key, given in checkout.given.items()}
    assert (said["mode"], said["profile"], said["paranoia"], said["response"]) == ("block", "own", 2, False)
    assert (said["thresholds.inbound"], said["thresholds.outbound"]) == (10, 8)
    assert (said["body.limit"], said["body.beyond"], said["time.limit"], said["time.beyond"]) == (
        65_536,
        "inspect-prefix",
        100,
        "allow",
    )
    assert (said["block.status"], said["block.plain"]) == (429, b"refused: ${incident}\n")
    assert said["fields.ARGS:comment"] == "markdown"
    limit = said["rate_limit"]
    assert (limit.requests, limit.per_ms, limit.burst, limit.by_client) == (100, 60_000, 100, True)
    [exclusion] = policy.exclusions
    assert exclusion.rules == ((942100, 942100), (942200, 942299))
    assert exclusion.tags == ("attack-sqli",)
    assert [(target.collection, target.key) for target in exclusion.variables] == [("ARGS", b"note"), ("ARGS", None)]
    assert exclusion.variables[1].covers(b"items.1")
    assert exclusion.methods == (b"POST",)
    assert (exclusion.owner, exclusion.reason, exclusion.expires) == (
        "shop team",
        "notes hold SQL words",
        date(2026, 12, 31),
    )
    assert exclusion.place == f"{folder / 'waf.yaml'}:21"
    assert checkout.matches[1].hosts[0].text == "*.shop.example"
    assert policy.shadow_rules == (folder / "next.conf",)
    assert policy.secret_names == {"kundennummer"}
    read = [Path(name).name for _, name in files.looks]
    assert read == ["waf.yaml", "bad.txt", "page.html", "page.json", "page.txt"]


def test_the_schema_takes_what_the_loader_takes(folder: Path) -> None:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    tree = yaml.load(HEAD + FULL.replace("2026-12-31", '"2026-12-31"'), Loader=yaml.SafeLoader)
    assert [error.message for error in Draft202012Validator(schema).iter_errors(tree)] == []
    wrong = yaml.safe_load(HEAD + "default: {}\npolicies: {a: {mode: blok, paranoia: 9, exclusions: [{rules: 1}]}}\n")
    assert len(list(Draft202012Validator(schema).iter_errors(wrong))) >= 4


REFUSED: list[tuple[str, int, str]] = [
    ("default: {}\n", 2, "did you mean defaults?"),
    ("defaults: {mod: block}\n", 2, "did you mean mode?"),
    ("defaults: {mode: blok}\n", 2, "did you mean block?"),
    ("defaults: {mode: [block]}\n", 2, "must be a single value, not a list"),
    ("defaults: {paranoia: 5}\n", 2, "must be between 1 and 4, not 5"),
    ("defaults: {paranoia: two}\n", 2, "must be a whole number"),
    ("defaults: {response: maybe}\n", 2, "must be true or false"),
    ("defaults: {body: {limit: 1GB}}\n", 2, "must be a size"),
    ("defaults: {body: {limit: 1023}}\n", 2, "must be between 1024"),
    ("defaults: {time: {limit: 9ms}}\n", 2, "must be between 10"),
    ("defaults: []\n", 2, "must hold `name: value` lines"),
    ("defaults:\n  mode: off\n  mode: block\n", 4, "written twice in defaults, first in line 3"),
    ("policies: {a b: {}}\n", 2, "a name in policies must be"),
    ("policies: {defaults: {}}\n", 2, "cannot be called defaults"),
    ("policies: {a: {match: {}}}\n", 2, "match holds nothing"),
    ("policies: {a: {match: {path: api}}}\n", 2, "must be a path such as"),
    ("policies: {a: {match: {path: /a/../b}}}\n", 2, "resolved"),
    ("policies: {a: {match: {path: /a/**/b}}}\n", 2, "at its end only"),
    ("policies: {a: {match: {host: 'a.example:80'}}}\n", 2, "without a port"),
    ("defaults: {ip: {deny: [192.0.2.0/33]}}\n", 2, "no address or CIDR block '192.0.2.0/33'"),
    ("defaults: {ip: {deny: [192.0.2.1/24]}}\n", 2, "bits are set behind its length"),
    ("defaults: {ip: {deny: ['2001:db8::/129']}}\n", 2, "no address or CIDR block"),
    ("defaults: {ip: {deny: ['file:none.txt']}}\n", 2, "none.txt cannot be read: No such file"),
    ("defaults: {ip: {deny: 192.0.2.1}}\n", 2, "must be a list"),
    ("defaults: {exclusions: [{rules: 1, owner: a}]}\n", 2, "needs reason"),
    ("defaults: {exclusions: [{owner: a, reason: b}]}\n", 2, "needs rules or tags"),
    ("defaults: {exclusions: [{rules: 5-4, owner: a, reason: b}]}\n", 2, "from the smaller to the larger"),
    ("defaults: {exclusions: [{rules: x, owner: a, reason: b}]}\n", 2, "must be a rule id"),
    ("defaults: {exclusions: [{rules: 1, variables: 'ARG:x', owner: a, reason: b}]}\n", 2, "did you mean ARGS"),
    ("defaults: {exclusions: [{rules: 1, variables: 'TX:x', owner: a, reason: b}]}\n", 2, "a variable of the request"),
    ("defaults: {exclusions: [{rules: 1, variables: 'ARGS:/(/', owner: a, reason: b}]}\n", 2, "regular expression"),
    ("defaults: {exclusions: [{rules: 1, expires: 2026-02-30, owner: a, reason: b}]}\n", 2, "no day of the calendar"),
    ("defaults: {exclusions: [{rules: 1, expires: soon, owner: a, reason: b}]}\n", 2, "must be a date"),
    ("defaults: {exclusions: [{rules: 1, method: post, owner: a, reason: b}]}\n", 2, "in capitals"),
    ("defaults: {block: {status: 200}}\n", 2, "must be an error status"),
    ("defaults: {block: {html: none.html}}\n", 2, "cannot be read"),
    ("defaults: {rate_limit: {requests: 5}}\n", 2, "needs per"),
    ("shadow_rules: none.conf\n", 2, "is no file"),
    ("masking: {looks: ['x*']}\n", 2, "would blot out everything"),
    ("masking: {looks: ['(']}\n", 2, "no regular expression"),
    ("a: [\n", 3, "not valid YAML"),
    ("defaults: &a {mode: *a}\n", 2, "must be a single value, not a mapping"),
]


@pytest.mark.parametrize(("text", "line", "words"), REFUSED)
def test_what_is_refused(folder: Path, text: str, line: int, words: str) -> None:
    told = findings(folder, text)
    assert any(one.startswith(f"{folder / 'waf.yaml'}:{line}: ") and words in one for one in told), told


def test_all_findings_come_at_once(folder: Path) -> None:
    told = findings(folder, "defaults:\n  mode: blok\n  paranoia: 9\n  what: 1\npolicies:\n  a: {response: x}\n")
    assert [int(one.split(":")[1]) for one in told] == [3, 4, 5, 7]


def test_a_typo_in_a_list_is_told_with_the_line_of_that_file(folder: Path) -> None:
    (folder / "bad.txt").write_text("192.0.2.1\n# fine\n192.0.2.256\n")
    [told] = findings(folder, "defaults: {ip: {deny: ['file:bad.txt']}}\n")
    assert told.startswith(f"{folder / 'bad.txt'}:3: no address or CIDR block '192.0.2.256'")


OVERLAPS: list[tuple[str, str, list[int]]] = [
    ("the same twice", "- {rules: 1, owner: a, reason: b}\n  - {rules: 1, owner: c, reason: d}\n", [5]),
    ("an id in a range", "- {rules: 5, owner: a, reason: b}\n  - {rules: 1-9, owner: a, reason: b}\n", [4]),
    (
        "a path below a path",
        "- {rules: 1, path: /a/**, owner: a, reason: b}\n  - {rules: 1, path: /a/b, owner: a, reason: b}\n",
        [5],
    ),
    (
        "a variable of a collection",
        "- {rules: 1, variables: ARGS, owner: a, reason: b}\n  - {rules: 1, variables: ARGS:q, owner: a, reason: b}\n",
        [5],
    ),
    ("other rules", "- {rules: 1, owner: a, reason: b}\n  - {rules: 2, owner: a, reason: b}\n", []),
    (
        "other variables",
        "- {rules: 1, variables: ARGS:q, owner: a, reason: b}\n"
        "  - {rules: 1, variables: ARGS:p, owner: a, reason: b}\n",
        [],
    ),
    (
        "other methods",
        "- {rules: 1, method: GET, owner: a, reason: b}\n  - {rules: 1, method: POST, owner: a, reason: b}\n",
        [],
    ),
    (
        "other paths",
        "- {rules: 1, path: /a/**, owner: a, reason: b}\n  - {rules: 1, path: /ab, owner: a, reason: b}\n",
        [],
    ),
    (
        "wide in one way, narrow in another",
        "- {rules: 1, path: /a, owner: a, reason: b}\n  - {rules: 1, variables: ARGS:q, owner: a, reason: b}\n",
        [],
    ),
]


@pytest.mark.parametrize(("name", "text", "lines"), OVERLAPS)
def test_overlapping_exclusions(folder: Path, name: str, text: str, lines: list[int]) -> None:
    whole = "defaults:\n  exclusions:\n  " + text
    if not lines:
        assert len(load(folder, whole).exclusions) == 2
        return
    told = findings(folder, whole)
    assert [int(one.split(":")[1]) for one in told] == lines
    assert all("overlaps" in one for one in told)


def test_an_exclusion_of_a_policy_that_defaults_cover(folder: Path) -> None:
    one = "exclusions: [{rules: 1, owner: a, reason: b}]"
    [told] = findings(folder, f"defaults: {{{one}}}\npolicies: {{a: {{{one}}}}}\n")
    assert told.startswith(f"{folder / 'waf.yaml'}:3:")


def test_rules_that_do_not_exist(folder: Path, tmp_path: Path) -> None:
    rules = tmp_path / "r.conf"
    rules.write_text('SecRule ARGS "@rx a" "id:1001,phase:2,deny,tag:\'attack-sqli\'"\n')
    ruleset = load_ruleset(Sources((rules,)))
    names = RuleNames(rule for some in ruleset.phases.values() for rule in some)
    text = (
        "defaults:\n  exclusions:\n"
        "  - {rules: [1001, 990-1001], tags: attack-sqli, owner: a, reason: b}\n"
        "  - {rules: 1002, variables: ARGS:a, owner: a, reason: b}\n"
        "  - {rules: 2000-2999, variables: ARGS:b, owner: a, reason: b}\n"
        "  - {tags: attack-sql, variables: ARGS:c, owner: a, reason: b}\n"
    )
    with pytest.raises(PolicyErrors) as refusal:
        require_rules(load(folder, text), names.unknown)
    told = refusal.value.findings
    assert [int(one.split(":")[1]) for one in told] == [5, 6, 7]
    assert "the nearest is 1001" in told[0]
    assert "did you mean attack-sqli?" in told[2]


def test_an_expired_exclusion_is_a_notice(folder: Path) -> None:
    policy = load(folder, "defaults: {exclusions: [{rules: 1, expires: 2026-03-01, owner: shop, reason: b}]}\n")
    last_second = 1_772_409_599.0  # 2026-03-01T23:59:59Z
    assert expired(policy, last_second) == []
    [notice] = expired(policy, last_second + 1)
    assert "expired on 2026-03-01" in notice
    assert "ask shop" in notice


TEMPLATES: list[tuple[str, bytes, str]] = [
    ("html", b"<p>nothing</p>", "does not show ${incident}"),
    ("html", b"<p>${incident} ${rule}</p>", "never the rule"),
    ("html", b"\xff ${incident}", "is not UTF-8"),
    ("problem", b"${incident}", "is no JSON"),
    ("problem", b'["${incident}"]', "is an object"),
    ("plain", b"${title}" * 200 + b"${incident}" * 5, "too large once its placeholders are filled in"),
    ("plain", b"x" * (MAX_TEMPLATE_BYTES - 10) + b"${incident}", f"larger than {MAX_TEMPLATE_BYTES} bytes"),
]


@pytest.mark.parametrize(("kind", "data", "words"), TEMPLATES)
def test_templates_are_checked_when_loaded(folder: Path, kind: str, data: bytes, words: str) -> None:
    (folder / "t").write_bytes(data)
    assert any(words in one for one in findings(folder, f"defaults: {{block: {{{kind}: t}}}}\n"))


def test_what_the_loader_takes_envoy_sends() -> None:
    assert load_module.MAX_FILLED_BYTES == encode.MAX_PAGE_BYTES
    assert {status for status in encode.STATUSES if status >= 400} == definition.STATUSES


def test_the_largest_template(folder: Path) -> None:
    (folder / "t").write_bytes(b"${incident}".ljust(MAX_TEMPLATE_BYTES))
    assert load(folder, "defaults: {block: {plain: t}}\n").scopes


def test_a_hundred_thousand_addresses(folder: Path) -> None:
    lines = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(90_000)] + [
        f"2001:db8:{n:x}::/48" for n in range(10_000)
    ]
    (folder / "bad.txt").write_text("\n".join(lines))
    policy = load(folder, "defaults: {ip: {deny: ['file:bad.txt']}}\n")
    found = policy.scopes[0].given["ip.deny"].value
    assert found.count == definition.MAX_ADDRESSES
    inside = (b"10.0.0.0", b"10.1.95.143", b"2001:db8:270f:1::9", b"::ffff:10.0.0.7")
    outside = (b"10.1.95.144", b"2001:db8:2710::", b"11.0.0.0", b"", b"unix", b"10.0.0.1:80")
    assert [value for value in inside if found.test(value) is None] == []
    assert [value for value in outside if found.test(value) is not None] == []
    (folder / "bad.txt").write_text("\n".join([*lines, "11.0.0.1"]))
    [told] = findings(folder, "defaults: {ip: {deny: ['file:bad.txt']}}\n")
    assert "more than 100000 addresses" in told


LIMITS: list[tuple[str, Any]] = [
    ("policies", lambda n: "policies:\n" + "".join(f"  p{i}: {{}}\n" for i in range(n))),
    (
        "exclusions",
        lambda n: (
            "defaults:\n  exclusions:\n" + "".join(f"  - {{rules: {i + 1}, owner: a, reason: b}}\n" for i in range(n))
        ),
    ),
    (
        "path",
        lambda n: "policies: {a: {match: {path: [" + ", ".join(f"/{i}" for i in range(n)) + "]}}}\n",
    ),
]


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("policies", definition.MAX_POLICIES),
        ("exclusions", definition.MAX_EXCLUSIONS),
        ("path", definition.MAX_LISTED),
    ],
)
def test_at_the_edge_of_a_limit(folder: Path, name: str, most: int) -> None:
    make = dict(LIMITS)[name]
    assert load(folder, make(most)).scopes
    assert any(f"more than {most}" in one for one in findings(folder, make(most + 1)))


def test_aliases_that_stand_for_too_much(folder: Path) -> None:
    # 30 lists of 20,000 addresses each, one of them written
    addresses = ", ".join(f"10.{n >> 8 & 255}.{n & 255}.1" for n in range(20_000))
    policies = "\n".join(f"  p{n}: {{ip: {{deny: *x}}}}" for n in range(30))
    text = f"defaults: {{ip: {{deny: &x [{addresses}]}}}}\npolicies:\n{policies}\n"
    told = findings(folder, text)
    assert any("more than 400000 values" in one for one in told)


def test_too_many_exclusions_in_all(folder: Path) -> None:
    one = "[" + ", ".join(f"{{rules: {n}, owner: a, reason: b}}" for n in range(1, 1001)) + "]"
    policies = "\n".join(f"  p{n}: {{exclusions: *e}}" for n in range(5))
    assert any(
        "6000 exclusions are more than 5000" in told
        for told in findings(folder, f"defaults: {{exclusions: &e {one}}}\npolicies:\n{policies}\n")
    )


def test_a_file_that_is_too_large(folder: Path) -> None:
    file = write(folder, (HEAD + "#").encode().ljust(MAX_FILE_BYTES, b"x"))
    assert load_policy(file).scopes == ()
    write(folder, (HEAD + "#").encode().ljust(MAX_FILE_BYTES + 1, b"x"))
    with pytest.raises(PolicyErrors, match="larger than"):
        load_policy(file)


DEEP = b"schema: extproc.policy/1\nx: "


def test_at_the_edge_of_depth(folder: Path) -> None:
    for depth, words in ((MAX_DEPTH - 1, "x is no key"), (MAX_DEPTH, f"more than {MAX_DEPTH} levels deep")):
        with pytest.raises(PolicyErrors, match=words):
            load_policy(write(folder, DEEP + b"[" * depth + b"]" * depth))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe\x00",
        b"schema: extproc.policy/2\n",
        b"- a\n",
        DEEP + b"[" * 1_000_000,
        DEEP + b"{a: " * 1_000_000,
        DEEP + b"*nobody\n",
        DEEP + b"a\n---\nb: c\n",
    ],
)
def test_what_is_no_policy_at_all(folder: Path, data: bytes) -> None:
    with pytest.raises(PolicyErrors):
        load_policy(write(folder, data))


def test_a_policy_is_told_from_a_configuration(folder: Path) -> None:
    assert is_policy(write(folder, "# ours\nschema: extproc.policy/1\n"))
    assert not is_policy(write(folder, "mode: block\n"))


def test_check_names_all_findings(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(folder, HEAD + FULL)
    assert main(["check", str(file)]) == 0
    assert "2 scopes, 1 exclusions: fine" in capsys.readouterr().out
    write(folder, HEAD + "defaults:\n  mode: blok\n  paranoia: 9\n")
    assert main(["check", str(file)]) == 2
    assert capsys.readouterr().err.count("waf.yaml:") == 2


def test_show_says_where_each_value_came_from(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(folder, HEAD + FULL)
    argv = ["policy", "show", "--policy", str(file), "--host", "a.shop.example", "--path", "/pay/1", "--mode", "block"]
    assert main([*argv, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["policies"] == ["defaults", "checkout"]
    origins = {row["key"]: (row["value"], row["origin"]) for row in shown["values"]}
    assert origins["mode"] == ("block", f"{file}:10 (checkout)")
    assert origins["ip.deny"] == ("4 entries", f"{file}:6 (defaults)")
    assert origins["paranoia"] == ("2", f"{file}:12 (checkout)")
    assert main([*argv[:-2]]) == 0
    assert f"default of --mode, weaker than block of {file}:10 (checkout)" in capsys.readouterr().out
    assert main([*argv, "--name", "none"]) == 2


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"].endswith("2020-12/schema")
