"""Limits of the detectors, at the edge: what the last one still shows, and what one more hides or makes too much."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from extproc.detection import graphql, header, markup_xml, script, ssrf, template
from extproc.detection.contract import Detector, Place, Reading
from extproc.engine.inspector import EngineInspector, EngineSettings
from extproc.engine.plan import Plan
from extproc.model.deadline import Deadline
from extproc.model.message import RequestHead
from extproc.model.verdict import Decision, Mode, Outcome
from extproc.replay.run import drive
from extproc.seclang.assemble import Sources, load_ruleset

BLOCKED = 5
"""The least score that is denied by default."""


def score(detector: Detector, text: bytes) -> int:
    """Of an argument."""
    finding = detector.detect(text, Place.ARGUMENT)
    return 0 if finding is None else finding.score


def nested(depth: int) -> bytes:
    """A document of so many selections in selections."""
    return b"{ a " * depth + b"}" * depth


def aliases(count: int) -> bytes:
    """One field under so many names, and nothing else too often."""
    return b"{ " + b" ".join(b"a%d: b" % number for number in range(count)) + b" }"


def lookup(folds: int) -> bytes:
    """`j` wrapped so often, and the rest of a lookup that loads."""
    return b"${" + b"${lower:" * folds + b"j" + b"}" * folds + b"ndi:ldap://a/b}"


def is_partly(detector: Detector, text: bytes) -> bool:
    """Did it leave something out? Without a limit to the work."""
    reading = Reading(1 << 40)
    detector.detect(text, Place.ARGUMENT, reading)
    return reading.is_partly


TOLD = frozenset(
    ("tags", "attributes", "expressions", "bytes of an expression", "declarations", "addresses", "tokens", "fragments")
)
"""Limits behind which something is not looked at; behind the others the text proves nothing, or too much."""

HANDLER = b"<x onclick=a()>"
FETCHED = b'<!ENTITY b SYSTEM "c">'

CASES: list[tuple[str, Detector, bytes, bytes]] = [
    ("tags", script.DETECTOR, b"<b>" * (script.TAGS_LIMIT - 1) + HANDLER, b"<b>" * script.TAGS_LIMIT + HANDLER),
    (
        "attributes",
        script.DETECTOR,
        b"<p " + b"a=b " * (script.ATTRIBUTES_LIMIT - 1) + b"onclick=c()>",
        b"<p " + b"a=b " * script.ATTRIBUTES_LIMIT + b"onclick=c()>",
    ),
    (
        "expressions",
        template.DETECTOR,
        b"{{a}}" * (template.EXPRESSIONS_LIMIT - 1) + b"{{7*7}}",
        b"{{a}}" * template.EXPRESSIONS_LIMIT + b"{{7*7}}",
    ),
    (
        "bytes of an expression",
        template.DETECTOR,
        b"{{" + b"a." * ((template.EXPRESSION_LIMIT_BYTES - 9) // 2) + b"__class__}}",
        b"{{" + b"a." * (template.EXPRESSION_LIMIT_BYTES // 2) + b"__class__}}",
    ),
    (
        "declarations",
        markup_xml.DETECTOR,
        b'<!ENTITY a "b">' * (markup_xml.DECLARATIONS_LIMIT - 1) + FETCHED,
        b'<!ENTITY a "b">' * markup_xml.DECLARATIONS_LIMIT + FETCHED,
    ),
    (
        "bytes of a host",
        ssrf.DETECTOR,
        b"http://" + b"a" * (ssrf.HOST_LIMIT_BYTES - len(".localhost")) + b".localhost/",
        b"http://" + b"a" * (ssrf.HOST_LIMIT_BYTES + 1 - len(".localhost")) + b".localhost/",
    ),
    (
        "addresses",
        ssrf.DETECTOR,
        b"a" + b" http://b/" * (ssrf.ADDRESSES_LIMIT - 1) + b" http://0x7f000001/",
        b"a" + b" http://b/" * ssrf.ADDRESSES_LIMIT + b" http://0x7f000001/",
    ),
    (
        "bytes before a header",
        header.DETECTOR,
        b"a. " * (header.NEAR_BYTES // 3) + b"\r\nLocation: /b",
        b"a. " * (header.NEAR_BYTES // 3 + 4) + b"\r\nLocation: /b",
    ),
    ("depth", graphql.DETECTOR, nested(graphql.DEPTH_LIMIT + 1), nested(graphql.DEPTH_LIMIT)),
    ("aliases", graphql.DETECTOR, aliases(graphql.ALIASES_LIMIT + 1), aliases(graphql.ALIASES_LIMIT)),
    (
        "repeats",
        graphql.DETECTOR,
        b"{ " + b"a " * (graphql.REPEATS_LIMIT + 1) + b"}",
        b"{ " + b"a " * graphql.REPEATS_LIMIT + b"}",
    ),
    (
        "directives",
        graphql.DETECTOR,
        b"{ a " + b"@b " * (graphql.DIRECTIVES_LIMIT + 1) + b"}",
        b"{ a " + b"@b " * graphql.DIRECTIVES_LIMIT + b"}",
    ),
    (
        "tokens",
        graphql.DETECTOR,
        b"{ a(b: [" + b"1 " * (graphql.TOKENS_LIMIT - 200) + b"]) " + nested(graphql.DEPTH_LIMIT) + b"}",
        b"{ a(b: [" + b"1 " * graphql.TOKENS_LIMIT + b"]) " + nested(graphql.DEPTH_LIMIT) + b"}",
    ),
    (
        "fragments",
        graphql.DETECTOR,
        _circle := b"query { a } "
        + b"".join(b"fragment f%d on A { b%d } " % (number, number) for number in range(graphql.FRAGMENTS_LIMIT - 1))
        + b"fragment g on A { ...g }",
        _circle.replace(b"query { a } ", b"query { a } fragment h on A { b } "),
    ),
]


@pytest.mark.parametrize(("name", "detector", "found", "passed"), CASES, ids=[case[0] for case in CASES])
def test_a_limit_holds_at_its_edge(name: str, detector: Detector, found: bytes, passed: bytes) -> None:
    assert score(detector, found) >= BLOCKED
    assert score(detector, passed) < BLOCKED
    if name in TOLD:
        assert not is_partly(detector, found)
        assert is_partly(detector, passed)


def test_lookups_are_put_together_as_often_as_the_limit_says() -> None:
    assert score(template.DETECTOR, lookup(template.FOLDS_LIMIT)) > score(
        template.DETECTOR, lookup(template.FOLDS_LIMIT + 1)
    )


RULES = b"""
SecRuleEngine On
SecRule ARGS "@detectScript" "id:1,phase:2,deny,status:403"
"""


@pytest.mark.parametrize(("tags", "coverage"), [(script.TAGS_LIMIT, "inspected"), (script.TAGS_LIMIT + 1, "partly")])
def test_a_limit_within_a_detector_is_told_in_event_and_verdict(tags: int, coverage: str) -> None:
    told: list[Decision] = []
    plan = Plan(load_ruleset(Sources((), preamble=RULES)))
    inspection = EngineInspector(plan, EngineSettings(mode=Mode.BLOCK), told.append).open()
    # `base` wakes the detector; links without a host load from the site itself.
    path = b"/?q=" + quote(b"<base href=a>" + b"<b>" * (tags - 1)).encode()
    head = RequestHead(method=b"GET", path=path, authority=b"shop.example", headers=(), is_last=True)
    verdict = drive(inspection.request_headers(head, Deadline(lambda: 0, 10**9)))
    inspection.close(None)
    assert verdict.outcome is Outcome.ALLOW
    assert (verdict.coverage.value, told[0].coverage.value) == (coverage, coverage)
    assert told[0].coverage_reason == (None if coverage == "inspected" else "detection-limit")
