"""Targets: what runs rules, and what reads them. Faults only as findings; the prefilter's promises kept."""

from __future__ import annotations

import re
import warnings
from functools import cache

from extproc.engine.inspector import EngineInspector, EngineSettings
from extproc.engine.plan import Plan
from extproc.events.line import human
from extproc.events.record import encode
from extproc.model.errors import ConfigError, SecLangErrors
from extproc.model.verdict import Decision, Mode, Outcome
from extproc.operators.contract import Operator
from extproc.operators.pcre import translate
from extproc.operators.registry import OPERATORS
from extproc.operators.rx import compile_rx
from extproc.prefilter.literals import required_clauses, required_min_bytes
from extproc.replay.curl import request_of
from extproc.replay.http1 import dechunk, parse_request
from extproc.replay.run import run_exchange
from extproc.seclang.assemble import Sources, load_ruleset
from extproc.seclang.parser import parse, read
from extproc.seclang.syntax import render
from extproc.transformations.registry import TRANSFORMATIONS
from tests.fuzz.fuzz_source import Source

BY_NAME = sorted(TRANSFORMATIONS)
MAX_CHAIN = 4


def says_something(error: Exception) -> None:
    """A refusal tells why."""
    assert str(error), "refused without a word"


class Silent:
    """A CompileContext that has no files."""

    def read_file(self, name: bytes) -> bytes:
        raise FileNotFoundError(name)

    def notice(self, text: str) -> None:
        """Nobody listens."""


def transformations(data: bytes) -> None:
    """All of them on the text, then a chain of some."""
    source = Source(data)
    chain = [source.pick(BY_NAME) for _ in range(source.byte() % MAX_CHAIN)]
    text = source.rest()
    for name in BY_NAME:
        transformation = TRANSFORMATIONS[name]
        changed = transformation.apply(text)
        assert type(changed) is bytes
        assert changed is text or changed != text, f"{name}: an unchanged value is the same object"
        if transformation.triggers is not None and changed is not text:
            assert not transformation.triggers.isdisjoint(text), f"{name}: changed without a trigger"
    for name in chain:
        text = TRANSFORMATIONS[name].apply(text)


def keeps_promise(operator: Operator, value: bytes) -> bool:
    """Whether it matches; where it does, what the prefilter relies on holds."""
    captures = operator.test(value)
    if captures is None:
        return False
    assert all(type(group) is bytes for group in captures)
    assert len(value) >= operator.min_bytes
    if operator.words is not None:
        lowered = value.lower()
        assert any(word in lowered for word in operator.words), "matched without any of its words"
    return True


def compiled(name: str, argument: bytes = b"") -> Operator:
    return OPERATORS[name](argument, Silent())


DETECT_SQLI = compiled("detectsqli")
DETECT_XSS = compiled("detectxss")


def detect_sqli(data: bytes) -> None:
    keeps_promise(DETECT_SQLI, data)


def detect_xss(data: bytes) -> None:
    keeps_promise(DETECT_XSS, data)


ARGUED = sorted(set(OPERATORS) - {"detectsqli", "detectxss", "rx"})


def operators(data: bytes) -> None:
    """Any operator with any argument is refused by a sentence, or keeps its promise."""
    source = Source(data)
    name, argument, value = source.pick(ARGUED), source.text(), source.rest()
    try:
        operator = OPERATORS[name](argument, Silent())
    except (ValueError, FileNotFoundError) as error:
        says_something(error)
        return
    keeps_promise(operator, value)
    keeps_promise(operator, argument)


MAX_PATTERN_BYTES = 48
MAX_VALUE_BYTES = 10
"""Python's `re` backtracks, and it is asked for its opinion."""

NESTED = re.compile(rb"[*+}?]\)*[*+{?]|\)[*+{?]")
"""Repeats of repeats and of groups: they make `re` slow, and the engines differ on empty turns of a loop."""


def rx(data: bytes) -> None:
    source = Source(data)
    pattern, value = source.text()[:MAX_PATTERN_BYTES], source.rest()[:MAX_VALUE_BYTES]
    try:
        translation = translate(pattern)
        operator = compile_rx(pattern, Silent())
    except ValueError as error:
        says_something(error)
        return
    if operator.pattern is None:
        return  # left to `re`, which is the other opinion here
    clauses = required_clauses(operator.pattern)
    min_bytes = required_min_bytes(operator.pattern)
    is_match = operator.test(value) is not None
    if is_match:
        lowered = value.lower()
        assert len(value) >= min_bytes
        assert all(any(text in lowered for text in clause) for clause in clauses), "matched without its literals"
    if NESTED.search(pattern) or b"\\z" in translation.pattern or b"^" in translation.pattern:
        return  # `^` behind the last newline: see rx.py
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            other = re.compile(translation.pattern).search(value) is not None
        except re.error:
            return  # two groups of one name
    assert other is is_match, f"re2 says {is_match}, re says {other}"


TRIAL = parse_request(b"POST /a?q=1&b=%27 HTTP/1.1\r\nHost: a\r\nCookie: c=1\r\n\r\nx=1&y=2")


def seclang(data: bytes) -> None:
    """Statements or findings; what compiles also runs; what is rendered is read again."""
    found, findings = read(data, "-")
    assert all(str(finding) for finding in findings)
    if findings:
        return
    lowered = data.lower()
    if b"file" in lowered or b"include" in lowered or b"import" in lowered:
        return  # would read files of this machine
    for statement in found:
        try:
            text = render(statement)
        except ValueError:
            continue
        again = parse(text)
        assert [render(one) for one in again] == [text]
    try:
        ruleset = load_ruleset(Sources((), preamble=data))
    except SecLangErrors as errors:
        says_something(errors)
        return
    decisions: list[Decision] = []
    run_exchange(EngineInspector(Plan(ruleset), EngineSettings(Mode.BLOCK), decisions.append), TRIAL, None)
    assert len(decisions) == 1


def http1(data: bytes) -> None:
    for is_framed in (False, True):
        request = parse_request(data, is_framed)
        assert len(request.body) <= len(data)
        assert all(type(part) is bytes for line in request.head.headers for part in line)
    assert len(dechunk(data)) <= len(data)


def curl(data: bytes) -> None:
    """Words split at NUL."""
    words = data.split(b"\0")
    if any(mark in word for word in words for mark in (b"@", b"<")):
        return  # would read files of this machine
    try:
        text = request_of(words)
    except ConfigError as error:
        says_something(error)
        return
    parse_request(text)


RULES = rb"""
SecRuleEngine On
SecRequestBodyAccess On
SecAction "id:1,phase:1,pass,nolog,setvar:tx.inbound_anomaly_score=0"
SecRule ARGS|ARGS_NAMES|REQUEST_COOKIES|REQUEST_HEADERS|FILES|FILES_NAMES "@rx (?i)(union)\s+select" \
    "id:2,phase:2,pass,capture,t:none,t:urlDecodeUni,t:htmlEntityDecode,multiMatch,msg:'%{TX.1}',logdata:'%{MATCHED_VAR}',\
    setvar:tx.inbound_anomaly_score=+5,setvar:tx.%{MATCHED_VAR_NAME}=%{TX.0}"
SecRule REQUEST_URI|REQUEST_BODY|XML:/*|XML://@* "@detectSQLi" "id:3,phase:2,pass,msg:'sql',\
    setvar:tx.inbound_anomaly_score=+5"
SecRule REQUEST_URI_RAW|ARGS "@detectXSS" "id:4,phase:2,pass,t:jsDecode,t:removeNulls,msg:'xss',\
    logdata:'%{MATCHED_VAR}',setvar:tx.inbound_anomaly_score=+5"
SecRule REQUEST_FILENAME|REQUEST_BASENAME "@pm /etc/ .php" "id:5,phase:1,pass,t:normalizePath,t:lowercase,\
    ctl:ruleRemoveTargetById=2;ARGS:a,chain"
    SecRule &ARGS "@gt 1" "setvar:tx.inbound_anomaly_score=+2"
SecRule MULTIPART_STRICT_ERROR|REQBODY_ERROR "!@eq 0" "id:6,phase:2,deny,status:400,msg:'%{REQBODY_ERROR_MSG}'"
SecRule TX:inbound_anomaly_score "@ge 5" "id:9,phase:2,deny,status:403,nolog"
"""


@cache
def plans() -> tuple[Plan, Plan]:
    """With what it remembers, and without."""
    ruleset = load_ruleset(Sources((), preamble=RULES))
    return Plan(ruleset), Plan(ruleset, has_memo=False)


def transaction(data: bytes) -> None:
    """Any request: one event, valid, and the same decision with and without memory."""
    request = parse_request(data)
    told = []
    for plan in plans():
        decisions: list[Decision] = []
        verdict = run_exchange(EngineInspector(plan, EngineSettings(Mode.BLOCK), decisions.append), request, None)
        [decision] = decisions
        assert verdict.outcome in (Outcome.ALLOW, Outcome.BLOCK)
        assert decision.verdict is verdict.outcome
        told.append((verdict.outcome, verdict.status, decision.score, decision.matches, decision.coverage_reason))
    assert told[0] == told[1]
    if decision.matches:
        encode(decision)
        human(decision)
