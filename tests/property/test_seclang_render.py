"""parse ∘ render = same, and no bytes make the parser raise anything but findings."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from extproc.model.errors import SecLangErrors
from extproc.seclang.parser import parse, read
from extproc.seclang.syntax import Action, Directive, Marker, OperatorCall, Rule, Statement, Variable, render
from extproc.seclang.vocabulary import VARIABLES, Shape

text = st.one_of(
    st.binary(max_size=12),
    st.text("ab|,'\"\\/:%{}@!&#= \t<", max_size=12).map(str.encode),
)
filled = text.filter(lambda value: value.strip() == value != b"")
collections = st.sampled_from(sorted(name for name, shape in VARIABLES.items() if shape is not Shape.SINGLE))
plain_keys = filled.filter(lambda key: not (len(key) > 2 and key.startswith(b"/") and key.endswith(b"/")))

variables = st.one_of(
    st.builds(Variable, st.sampled_from(sorted(VARIABLES))),
    st.builds(Variable, collections, key=plain_keys, is_count=st.booleans()),
    st.builds(Variable, collections, key=plain_keys, is_exclusion=st.booleans()),
    st.builds(Variable, collections.filter(lambda name: name != "XML"), key_pattern=filled),
)
operators = st.builds(
    OperatorCall,
    st.sampled_from(["rx", "pm", "detectSQLi", "ipMatch"]),
    st.booleans(),
    text.filter(lambda a: a.lstrip() == a),
)
actions = st.one_of(
    st.sampled_from([Action("log"), Action("capture"), Action("t", b"none"), Action("multimatch"), Action("auditlog")]),
    st.builds(Action, st.sampled_from(["msg", "logdata", "tag", "ver"]), text),
    st.builds(Action, st.just("setvar"), filled.filter(lambda v: b"=" not in v).map(lambda v: b"tx." + v)),
)
here, line = st.just("-"), st.just(0)
targets = st.lists(variables, min_size=1, max_size=3).map(tuple)
links = st.builds(Rule, here, line, targets, operators, st.lists(actions).map(tuple))
rules = st.builds(
    lambda rule, number, later: replace(
        rule, actions=(Action("id", b"%d" % number), *rule.actions), links=tuple(later)
    ),
    links,
    st.integers(1, 10**6),
    st.lists(links, max_size=2),
)
listed_actions = st.lists(actions).map(lambda listed: (Action("id", b"1"), *listed))
sec_actions = st.builds(Rule, here, line, st.just(()), st.none(), listed_actions)
arguments = st.lists(text, min_size=1).map(tuple)
statements = st.one_of(
    rules,
    sec_actions,
    st.builds(Marker, here, line, text),
    st.builds(Directive, here, line, st.just("SecResponseBodyMimeType"), arguments),
)


def _unplaced(statement: Statement) -> Statement:
    if isinstance(statement, Rule):
        return replace(statement, line=0, links=tuple(replace(link, line=0) for link in statement.links))
    return replace(statement, line=0)


@given(st.lists(statements, max_size=3))
def test_what_is_rendered_is_parsed_to_the_same(listed: list[Statement]) -> None:
    try:
        source = b"".join(map(render, listed))
    except ValueError:
        assume(False)
    ids = [rule.actions[0].value for rule in listed if isinstance(rule, Rule)]
    assume(len(set(ids)) == len(ids))
    assume(not any(isinstance(one, Rule) and _only_exclusions(one) for one in listed))
    assert [_unplaced(statement) for statement in parse(source)] == listed


def _only_exclusions(rule: Rule) -> bool:
    parts = [part for part in (rule, *rule.links) if part.variables]
    return any(all(variable.is_exclusion for variable in part.variables) for part in parts)


WORDS = rb"""SecRule SecAction ARGS | ! & : / ' " @rx id:1 , chain \ setvar: tx.a = phase:2 t:none # %{"""
FRAGMENTS = [*WORDS.split(), b" ", b"\n", b"ctl:ruleRemoveTargetById=1;"]


@given(st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(FRAGMENTS), max_size=40).map(b"".join)))
def test_any_bytes_give_statements_or_findings(source: bytes) -> None:
    found, findings = read(source, "-")
    if findings:
        with pytest.raises(SecLangErrors):
            parse(source)
        return
    try:
        assert parse(source) == found
    except SecLangErrors as errors:
        # Only whole sets are searched for duplicate ids.
        duplicates = errors.findings
    else:
        duplicates = []
    assert all("is taken by" in finding.message for finding in duplicates)
