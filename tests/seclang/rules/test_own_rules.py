"""The own rules: what each must match, near misses, ordinary requests, and figures on the corpus."""

from __future__ import annotations

import json
import os
import shlex
from collections import Counter
from pathlib import Path

import pytest
import yaml
from own_cases import ROOT, TABLE, Engine, request, samples
from rules_page import PAGE, page

from extproc.model.verdict import Outcome
from extproc.replay.curl import request_of

CORPUS = Path(os.environ.get("CORPUS_DIR") or ROOT / ".." / "shared" / "corpus")
MAX_FALSE_ALARMS = 1
"""Of the 11,620 harmless values of the corpus."""

EVALUATIONS = {7100000, 7100608, 7109001, 7109002, 7109003}
"""Rules that start and compare the score: they match no text."""

SWITCHED = {7100609}
"""Rules that a policy must switch on."""

CASES = list(samples())
HARMLESS = yaml.safe_load(Path(__file__).with_name("harmless.yaml").read_text(encoding="utf-8"))
REQUESTS = [
    line
    for line in Path(__file__).with_name("harmless_requests.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
TEXTS = [(place, text) for text in HARMLESS["texts"] for place in ("query", "form", "json", "cookie")]


@pytest.mark.parametrize("sample", CASES, ids=[sample.title.encode("unicode_escape").decode() for sample in CASES])
def test_the_table(own, sample):
    decision = own.decide(sample.raw)
    ids = {match.rule_id for match in decision.matches}
    if sample.rule:
        assert sample.rule in ids
        assert (decision.verdict is Outcome.BLOCK) is sample.is_blocked
    else:
        assert not ids
        assert decision.verdict is Outcome.ALLOW


def test_every_rule_has_cases(own):
    assert {rule.id for rule in own.plan.rules} - EVALUATIONS - SWITCHED == set(TABLE)
    for rule, row in TABLE.items():
        cases = {kind: len(row.get(kind, ())) + len(row.get("raw", {}).get(kind, ())) for kind in ("match", "miss")}
        assert min(cases.values()) >= 1, rule


@pytest.mark.parametrize(("place", "text"), TEXTS)
def test_ordinary_texts_pass(own, place, text):
    decision = own.decide(request(place, text))
    assert (decision.verdict, [(match.rule_id, match.variable) for match in decision.matches]) == (Outcome.ALLOW, [])


def _word(word: str) -> bytes:
    """`$'...'` is a word in which `\\n` is a line break, as in bash."""
    return word.removeprefix("$").replace("\\n", "\n").encode() if word.startswith("$") else word.encode()


@pytest.mark.parametrize("command", REQUESTS)
def test_ordinary_requests_pass(own, command):
    words = [_word(word) for word in shlex.split(command.replace("$'", "'$"))]
    decision = own.decide(request_of(words))
    assert (decision.verdict, [(match.rule_id, match.variable) for match in decision.matches]) == (Outcome.ALLOW, [])


@pytest.fixture(scope="module")
def judged(own):
    """(class, total, blocked) of attacks, and the harmless values that were blocked."""
    if not (CORPUS / "attacks.jsonl").is_file():
        pytest.skip("no corpus: set CORPUS_DIR")
    total, blocked, alarms = Counter(), Counter(), []
    for name in ("attacks.jsonl", "benign.jsonl"):
        for line in (CORPUS / name).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            kind = row.get("class", "benign")
            total[kind] += 1
            decision = own.decide(request("query", row["value"]))
            if decision.verdict is Outcome.BLOCK:
                blocked[kind] += 1
                if kind == "benign":
                    alarms.append((row["value"], sorted({match.rule_id for match in decision.matches})))
    return total, blocked, alarms


LEAST_PERCENT = {"sqli": 99, "xss": 78, "ssi": 95, "crlf": 90, "nosql": 95, "lfi": 92, "cmdi": 82, "path-traversal": 75}
"""Held so that no change loses what is there; the bars of the product are higher."""


def test_the_corpus(judged, capsys):
    total, blocked, alarms = judged
    with capsys.disabled():
        print()
        for kind in total:
            print(f"own rules, {kind}: {blocked[kind]} of {total[kind]} ({100 * blocked[kind] / total[kind]:.1f} %)")
        for alarm in alarms:
            print("false alarm:", alarm)
    assert len(alarms) <= MAX_FALSE_ALARMS
    assert {kind for kind, percent in LEAST_PERCENT.items() if 100 * blocked[kind] < percent * total[kind]} == set()


def test_the_page_of_the_rules_is_current(own):
    assert PAGE.read_text(encoding="utf-8") == page(own), "run: python tests/seclang/rules/rules_page.py"


def test_graphql_introspection_is_a_switch(own):
    question = request("query", "{ __schema { types { name } } }").replace(b"q=", b"query=")
    assert own.decide(question).verdict is Outcome.ALLOW
    switched = Engine(b'SecAction "id:1,phase:1,pass,nolog,setvar:tx.graphql_introspection=0"')
    decision = switched.decide(question)
    assert [match.rule_id for match in decision.matches] == [7100609]
    assert decision.verdict is Outcome.BLOCK
