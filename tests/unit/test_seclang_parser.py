"""SecLang text → statements, and what is said about text that is wrong."""

import os
from collections import Counter
from pathlib import Path

import pytest

from extproc.model.errors import SecLangErrors
from extproc.seclang.actions import MAX_RULE_ID, Control, SetVar, control, phase, rule_id, set_var, severity
from extproc.seclang.parser import MAX_CHAIN_LINKS, parse, read
from extproc.seclang.syntax import Action, Directive, Marker, OperatorCall, Rule, Variable, render, render_variable

ROOT = Path(__file__).parents[2]
CRS = Path(os.environ.get("CRS_DIR", ROOT.parent / "shared" / "crs"))


def one_rule(text: bytes) -> Rule:
    (statement,) = parse(text)
    assert isinstance(statement, Rule)
    return statement


def findings(text: bytes) -> list[str]:
    """`line: message` of every finding."""
    try:
        parse(text)
    except SecLangErrors as errors:
        return [f"{finding.line}: {finding.message}" for finding in errors.findings]
    return []


VARIABLES = [
    (b"ARGS", [Variable("ARGS")]),
    (b"args|Request_Uri", [Variable("ARGS"), Variable("REQUEST_URI")]),
    (b"ARGS,REQUEST_URI", [Variable("ARGS"), Variable("REQUEST_URI")]),
    (b"&ARGS:id", [Variable("ARGS", b"id", is_count=True)]),
    (b"ARGS|!ARGS:Id", [Variable("ARGS"), Variable("ARGS", b"Id", is_exclusion=True)]),
    (b"ARGS:/a|b/|TX:x", [Variable("ARGS", key_pattern=b"a|b"), Variable("TX", b"x")]),
    (b"ARGS:/a\\/b/", [Variable("ARGS", key_pattern=b"a\\/b")]),
    (b"ARGS:/a/b/", [Variable("ARGS", key_pattern=b"a/b")]),
    (b"ARGS:/^a,b$/|TX:x", [Variable("ARGS", key_pattern=b"^a,b$"), Variable("TX", b"x")]),
    (b"ARGS:'a b|c'", [Variable("ARGS", b"a b|c")]),
    (b"ARGS:'it\\'s'", [Variable("ARGS", b"it's")]),
    (b"ARGS:'/a|b/'", [Variable("ARGS", key_pattern=b"a|b")]),
    (b"ARGS:'/a'", [Variable("ARGS", b"/a")]),
    (b"XML:/*|XML://@*", [Variable("XML", b"/*"), Variable("XML", b"//@*")]),
    (b"XML:/a/b/|ARGS", [Variable("XML", b"/a/b/"), Variable("ARGS")]),
    (b"REQUEST_HEADERS:X-A.b*c", [Variable("REQUEST_HEADERS", b"X-A.b*c")]),
    (b'"ARGS | !ARGS:a"', [Variable("ARGS"), Variable("ARGS", b"a", is_exclusion=True)]),
    (b'"ARGS:/a b/"', [Variable("ARGS", key_pattern=b"a b")]),
]


@pytest.mark.parametrize(("text", "expected"), VARIABLES)
def test_variables(text: bytes, expected: list[Variable]) -> None:
    assert one_rule(b"SecRule " + text + b' "@rx a" "id:1"').variables == tuple(expected)


OPERATORS = [
    (b'"@rx a b"', OperatorCall("rx", False, b"a b")),
    (b'"@streq   a "', OperatorCall("streq", False, b"a ")),
    (b'"!@within %{tx.a}"', OperatorCall("within", True, b"%{tx.a}")),
    (b'"! @eq 0"', OperatorCall("eq", True, b"0")),
    (b'"!foo"', OperatorCall("rx", True, b"foo")),
    (b'" foo"', OperatorCall("rx", False, b" foo")),
    (b"foo", OperatorCall("rx", False, b"foo")),
    (b'"@detectSQLi"', OperatorCall("detectSQLi", False, b"")),
    (b'"@rx\ta"', OperatorCall("rx", False, b"a")),
    (b'"\\@rx"', OperatorCall("rx", False, b"\\@rx")),
    (b'"@rx \\""', OperatorCall("rx", False, b'"')),
    (b'"@rx \\\\"', OperatorCall("rx", False, b"\\\\")),
    (b'""', OperatorCall("rx", False, b"")),
]


@pytest.mark.parametrize(("text", "expected"), OPERATORS)
def test_operators(text: bytes, expected: OperatorCall) -> None:
    assert one_rule(b"SecRule ARGS " + text + b' "id:1"').operator == expected


ACTIONS = [
    (b'"id:1,pass"', [("id", b"1"), ("pass", None)]),
    (b"id:1,pass", [("id", b"1"), ("pass", None)]),
    (b"'id:1,pass'", [("id", b"1"), ("pass", None)]),
    (b'" id : 1 ,\tpass "', [("id", b"1"), ("pass", None)]),
    (b"\"id:'1',msg:'a, b:c'\"", [("id", b"1"), ("msg", b"a, b:c")]),
    (b"\"id:1,msg:'it\\'s \\\"x\\\"'\"", [("id", b"1"), ("msg", b"it's \"x\"")]),
    (b'"id:1,msg:it\'s fine,t:none"', [("id", b"1"), ("msg", b"it's fine"), ("t", b"none")]),
    (b"\"ID:1,multiMatch,t:cmdLine,msg:''\"", [("id", b"1"), ("multimatch", None), ("t", b"cmdLine"), ("msg", b"")]),
    (b'"id:1,setvar:tx.a=%{tx.b}:c"', [("id", b"1"), ("setvar", b"tx.a=%{tx.b}:c")]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), ACTIONS)
def test_actions(text: bytes, expected: list[tuple[str, bytes | None]]) -> None:
    assert one_rule(b"SecAction " + text).actions == tuple(Action(*row) for row in expected)


def test_statements_with_their_places() -> None:
    text = b'\nsecruleengine on\nSECMARKER "END X"\n\nSecRule ARGS \\\n  "a" \\\n  "id:1"\n'
    engine, marker, rule = parse(text, "a.conf")
    assert engine == Directive("a.conf", 2, "SecRuleEngine", (b"on",))
    assert marker == Marker("a.conf", 3, b"END X")
    assert isinstance(rule, Rule)
    assert (rule.file, rule.line) == ("a.conf", 5)


def test_chains_are_joined_on_the_starter() -> None:
    text = b'SecRule ARGS a "id:1,chain,deny"\nSecRule TX:a b "chain,t:none"\n# c\nSecRule TX:b c\nSecAction "id:2"'
    first, second = parse(text)
    assert isinstance(first, Rule)
    assert first.actions == (Action("id", b"1"), Action("deny"))
    assert [(link.line, link.actions, link.links) for link in first.links] == [
        (2, (Action("t", b"none"),), ()),
        (4, (), ()),
    ]
    assert isinstance(second, Rule)
    assert second.links == ()


def test_apache_blocks_that_always_hold_are_transparent() -> None:
    assert len(parse(b"<IfModule security2_module>\n SecRuleEngine On\n</IfModule>")) == 1


R = b'SecRule ARGS "@rx a" '
FINDINGS = [
    (b"SecRulEngine On", ["1: unknown directive SecRulEngine (did you mean SecRuleEngine?)"]),
    (b"Listen 80", ["1: unknown directive Listen"]),
    (b"SecRule ARGS", ["1: SecRule takes 2 to 3 arguments, here are 1"]),
    (b"SecMarker", ["1: SecMarker takes 1 argument, here are 0"]),
    (b"SecMarker A B", ["1: SecMarker takes 1 argument, here are 2"]),
    (R + b'"id:1,deni"', ["1: unknown action deni (did you mean deny?)"]),
    (R + b'"id:1,msg:a, b c:d"', ["1: expected an action at ' b c:d'"]),
    (R + b"\"id:1,msg:'it's'\"", ["1: msg: missing closing '"]),
    (R + b"\"id:1,msg:'a\"", ["1: msg: missing closing '"]),
    (R + b'"id:1,pass:x"', ["1: pass takes no value"]),
    (R + b'"id:1,msg"', ["1: msg needs a value"]),
    (R + b'"id:1,pass,"', ["1: an action is missing before or after a comma"]),
    (R + b'"id:1,,pass"', ["1: an action is missing before or after a comma"]),
    (R, ["1: the rule has no id"]),
    (b'SecAction "pass"', ["1: the rule has no id"]),
    (R + b'"id:abc"', ["1: id:abc is not a whole number from 1 to 9007199254740991"]),
    (R + b'"id:0"', ["1: id:0 is not a whole number"]),
    (R + b'"id:-1"', ["1: id:-1 is not a whole number"]),
    (R + b'"id:1,id:2"', ["1: a second id in one rule"]),
    (R + b'"id:1,phase:1,phase:2"', ["1: a second phase in one rule"]),
    (R + b'"id:1"\n' + R + b'"id:1"', ["2: id 1 is taken by the rule at -:1"]),
    (R + b'"id:1,phase:6"', ["1: unknown phase 6: use 1 to 5"]),
    (R + b'"id:1,severity:8"', ["1: unknown severity 8: use 0 to 7"]),
    (R + b'"id:1,severity:critcal"', ["1: unknown severity critcal (did you mean CRITICAL?)"]),
    (R + b'"id:1,status:99"', ["1: status:99 is not a whole number from 100 to 599"]),
    (R + b'"id:1,allow:foo"', ["1: allow:foo: write allow, allow:phase or allow:request"]),
    (R + b'"id:1,skip:0"', ["1: skip:0 is not a whole number"]),
    (R + b'"id:1,initcol:ip"', ["1: initcol:ip cannot be read"]),
    (R + b'"id:1,setvar:a"', ["1: setvar:a cannot be read"]),
    (R + b'"id:1,setvar:args.a=1"', ["1: setvar cannot change ARGS"]),
    (R + b'"id:1,setvar:!tx.a=1"', ["1: setvar:!tx.a=1 unsets and assigns at once"]),
    (R + b'"id:1,ctl:ruleEngin=On"', ["1: unknown ctl ruleEngin (did you mean ruleEngine?)"]),
    (R + b'"id:1,ctl:ruleEngine=Maybe"', ["1: ctl:ruleEngine=Maybe: the value is one of"]),
    (R + b'"id:1,ctl:ruleRemoveById=a"', ["1: a is not a rule id or a range of ids"]),
    (R + b'"id:1,ctl:ruleRemoveById=9-1"', ["1: the range 9-1 runs backwards"]),
    (R + b'"id:1,ctl:ruleRemoveTargetById=1"', ["1: ctl:ruleRemoveTargetById=1 names no target"]),
    (R + b'"id:1,ctl:ruleRemoveTargetByTag=a;ARG:x"', ["1: ctl:ruleRemoveTargetByTag: unknown variable ARG"]),
    (R + b'"id:1,ctl:requestBodyAccess"', ["1: ctl:requestBodyAccess needs a value"]),
    (R + b'"id:1,chain"', ["1: chain without a next rule (the file ends first)"]),
    (R + b'"id:1,chain"\nSecMarker A\n', ["1: chain without a next rule (SecMarker at line 2 comes first)"]),
    (R + b'"id:1,chain"\n' + R + b'"id:2"', ["2: id stands on the first rule of a chain (line 1)"]),
    (R + b'"id:1,chain"\n' + R + b'"phase:2"', ["2: phase stands on the first rule"]),
    (R + b'"id:1,chain"\n' + R + b'"deny"', ["2: deny stands on the first rule"]),
    (R + b'"id:1,chain"\n' + R + b'"skipAfter:A"', ["2: skipAfter stands on the first rule"]),
    (b'SecRule ARG "a" "id:1"', ["1: unknown variable ARG (did you mean ARGS?)"]),
    (b'SecRule REQUEST_URI:a "a" "id:1"', ["1: REQUEST_URI is a single value and takes no selector"]),
    (b'SecRule REQUEST_URI:/a/ "a" "id:1"', ["1: REQUEST_URI is a single value and takes no selector"]),
    (b'SecRule ARGS:a,b "a" "id:1"', ["1: unknown variable B (quote a selector that holds a comma: ARGS:'a,b')"]),
    (b'SecRule ARGS: "a" "id:1"', ["1: ARGS has an empty selector"]),
    (b"SecRule ARGS:/a \"a\" \"id:1\"", ["1: missing closing / in the selector of ARGS"]),
    (b"SecRule ARGS:'a \"a\" \"id:1\"", ["1: missing closing ' in the selector of ARGS"]),
    (b'SecRule ARGS| "a" "id:1"', ["1: expected a variable at ''"]),
    (b'SecRule "ARGS TX" "a" "id:1"', ["1: expected | between variables at 'TX'"]),
    (b'SecRule !&ARGS "a" "id:1"', ["1: ARGS is counted (&) and excluded (!) at once"]),
    (b'SecRule !ARGS:a "a" "id:1"', ["1: every target is an exclusion"]),
    (b'SecRule ARGS "@ a" "id:1"', ["1: an operator name is missing after @"]),
    (b'SecRule ARGS "a "id:1"', ['1: text glued to a closing "']),
    (b'SecRule ARGS "a\nb" "id:1"\nSecRuleEngineX On', ['1: missing closing "', "3: unknown directive SecRuleEngineX"]),
    (b'SecRule ARGS "a\nSecAction "id:1"', ['1: missing closing "']),
    (b'SecRule ARGS "a" "id:1,chain\nSecRule ARGS b', ['1: missing closing "']),
    (b"<Location /a>", ["1: <Location /a> is a block of Apache"]),
    (b"SecRuleRemoveById a", ["1: SecRuleRemoveById: a is not a rule id or a range of ids"]),
    (b"SecRuleUpdateTargetById 1 !ARG:a", ["1: SecRuleUpdateTargetById: unknown variable ARG"]),
    (b"SecRuleUpdateActionById 1 id:2", ["1: SecRuleUpdateActionById cannot change id"]),
    (b"SecRuleUpdateActionById 1 denie", ["1: SecRuleUpdateActionById: unknown action denie"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), FINDINGS)
def test_findings(text: bytes, expected: list[str]) -> None:
    found = findings(text)
    assert len(found) == len(expected), found
    for message, start in zip(found, expected, strict=True):
        assert message.startswith(start)


def test_one_mistake_does_not_hide_the_next() -> None:
    text = b'SecRule ARG "a" "id:x,denie,phase:9"\nSecFoo\nSecRule TX:a "a" "id:2,chain"\nSecMarker\n'
    found = findings(text)
    assert [message.split(":")[0] for message in found] == ["1", "1", "1", "1", "2", "3", "4"]


def test_a_rule_with_a_mistake_does_not_break_its_chain() -> None:
    found = findings(R + b'"id:1,chain,foo"\n' + R + b'"t:none"\n')
    assert len(found) == 1


def test_the_longest_chain() -> None:
    def chain(links: int) -> bytes:
        return R + b'"id:1,chain"\n' + (R + b'"chain"\n') * (links - 1) + R

    assert len(one_rule(chain(MAX_CHAIN_LINKS)).links) == MAX_CHAIN_LINKS
    assert any("a chain of more than" in message for message in findings(chain(MAX_CHAIN_LINKS + 1)))


def test_the_largest_id() -> None:
    assert rule_id(b"%d" % MAX_RULE_ID) == MAX_RULE_ID
    with pytest.raises(ValueError, match="not a whole number"):
        rule_id(b"%d" % (MAX_RULE_ID + 1))


SETVARS = [
    (b"tx.a=1", SetVar("TX", b"a", "=", b"1")),
    (b"TX.a=+%{tx.b}", SetVar("TX", b"a", "+", b"%{tx.b}")),
    (b"ip.a=-5", SetVar("IP", b"a", "-", b"5")),
    (b"!tx.a", SetVar("TX", b"a", "!", b"")),
    (b"tx.a", SetVar("TX", b"a", "=", b"1")),
    (b"tx.a=", SetVar("TX", b"a", "=", b"")),
    (b"tx.%{rule.id}-x=a=b", SetVar("TX", b"%{rule.id}-x", "=", b"a=b")),
    (b"tx:a=1", SetVar("TX", b"a", "=", b"1")),
]


@pytest.mark.parametrize(("value", "expected"), SETVARS)
def test_set_var(value: bytes, expected: SetVar) -> None:
    assert set_var(value) == expected


CONTROLS = [
    (b"ruleEngine=DetectionOnly", Control("ruleEngine", b"DetectionOnly")),
    (b"ruleremovebyid=1-5", Control("ruleRemoveById", b"1-5")),
    (b"ruleRemoveByTag=attack-.*", Control("ruleRemoveByTag", b"attack-.*")),
    (
        b"ruleRemoveTargetById=1;ARGS:/a|b/",
        Control("ruleRemoveTargetById", b"1", (Variable("ARGS", key_pattern=b"a|b"),)),
    ),
    (b"ruleRemoveTargetByTag=x;ARGS", Control("ruleRemoveTargetByTag", b"x", (Variable("ARGS"),))),
    (b"auditLogParts=+E", Control("auditLogParts", b"+E")),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), CONTROLS)
def test_control(value: bytes, expected: Control) -> None:
    assert control(value) == expected


def test_phases_and_severities() -> None:
    assert [phase(text) for text in (b"1", b"5", b"request", b"Response", b"logging")] == [1, 5, 2, 4, 5]
    assert [severity(text) for text in (b"0", b"2", b"critical", b"DEBUG")] == [
        "EMERGENCY",
        "CRITICAL",
        "CRITICAL",
        "DEBUG",
    ]


RENDERED = [
    (Variable("ARGS"), b"ARGS"),
    (Variable("ARGS", b"a", is_count=True), b"&ARGS:a"),
    (Variable("ARGS", b"a|b c", is_exclusion=True), b"!ARGS:'a|b c'"),
    (Variable("ARGS", b"/"), b"ARGS:'/'"),
    (Variable("ARGS", b"it's"), b"ARGS:'it\\'s'"),
    (Variable("ARGS", key_pattern=b"^a"), b"ARGS:/^a/"),
    (Variable("ARGS", key_pattern=b"a|b"), b"ARGS:'/a|b/'"),
    (Variable("XML", b"//@*"), b"XML://@*"),
]


@pytest.mark.parametrize(("variable", "text"), RENDERED)
def test_variables_are_written_as_they_are_read(variable: Variable, text: bytes) -> None:
    assert render_variable(variable) == text
    assert one_rule(b'SecRule "TX|' + text + b'" a "id:1"').variables == (Variable("TX"), variable)


UNWRITABLE = [
    Directive("-", 0, "SecWebAppId", (b"a\nb",)),
    Directive("-", 0, "SecWebAppId", (b'a \\"',)),
    Marker("-", 0, b"a \\"),
]


@pytest.mark.parametrize("statement", UNWRITABLE)
def test_what_cannot_be_written_is_an_error(statement: Directive | Marker) -> None:
    with pytest.raises(ValueError, match="cannot be written in SecLang"):
        render(statement)


@pytest.mark.crs
def test_the_core_rule_set_is_read_whole_and_back() -> None:
    if not CRS.is_dir():
        pytest.skip("no Core Rule Set: set CRS_DIR")
    kinds: Counter[str] = Counter()
    for path in [CRS / "crs-setup.conf.example", *sorted((CRS / "rules").glob("*.conf"))]:
        source = path.read_bytes()
        statements, found = read(source, path.name)
        assert [str(finding) for finding in found] == []
        rules = sum(1 + len(one.links) for one in statements if isinstance(one, Rule))
        lines = [line.split()[0].lower() for line in source.splitlines() if line.strip()]
        assert rules == sum(word in (b"secrule", b"secaction") for word in lines)
        again, found = read(b"".join(render(statement) for statement in statements), path.name)
        assert found == []
        assert [render(one) for one in again] == [render(one) for one in statements]
        kinds.update(type(one).__name__ for one in statements)
    assert kinds["Rule"] > 500
