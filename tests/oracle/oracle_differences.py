"""Every known difference between our engine and libmodsecurity 3.0.15 on the Core Rule Set: reason, and who is right.

A difference that none of these explains fails the test. docs/decisions tells them to people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from oracle_engines import Told

from extproc.engine.ruleset import Rule, Ruleset

FOLLOWING = frozenset({949110, 949111, 959100, 959101, 980041, 980042, 980043, 980044, 980045})
"""Rules on the score alone: they differ wherever another rule does."""


class Right(StrEnum):
    """Who is right."""

    OURS = "extproc"
    THEIRS = "libmodsecurity"
    BOTH = "either may be"


@dataclass(frozen=True, slots=True)
class Case:
    """One rule that one side alone reports: `place` as in PLACES, the value, and the rule of that id."""

    place: str
    value: bytes
    rule: Rule
    is_ours: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """`covers` says whether a case is of this kind."""

    name: str
    reason: str
    right: Right
    covers: Callable[[Case], bool]


def _looks_at(rule: Rule, collection: str) -> bool:
    return any(target.collection == collection for link in (rule, *rule.chain) for target in link.targets)


def _operators(rule: Rule) -> set[str]:
    return {link.operator.name for link in (rule, *rule.chain) if link.operator is not None}


DIFFERENCES = (
    Difference(
        "sec-action-log",
        "libmodsecurity reports no SecAction, even one that says `log` (980170, the summary of the scores); "
        "the manual has no such exception.",
        Right.OURS,
        lambda case: case.is_ours and case.rule.operator is None and case.rule.dynamic is None,
    ),
    Difference(
        "request-body",
        "REQUEST_BODY: the manual says that it exists for forms, or when forced; libmodsecurity fills it for every "
        "body. Rules that count characters (920272, 920273) then see the syntax of JSON, XML and multipart, and "
        "tests of the rule set's own expect that they do not.",
        Right.OURS,
        lambda case: (
            not case.is_ours and case.place in ("json", "xml", "multipart") and _looks_at(case.rule, "REQUEST_BODY")
        ),
    ),
    Difference(
        "malformed-xml",
        "A malformed document: libmodsecurity shows the rules what its parser made of it, we add the rest as it "
        "stands, for a lenient application may read it.",
        Right.OURS,
        lambda case: case.is_ours and case.place == "xml" and b"]]>" in case.value,
    ),
    Difference(
        "phrase-in-phrase",
        "@pm and @pmFromFile: where a phrase begins inside another that is not completed, libmodsecurity misses it "
        "(`/var/apache/log`).",
        Right.OURS,
        lambda case: case.is_ours and bool(_operators(case.rule) & {"pm", "pmFromFile"}),
    ),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule told by one side alone, and what explains it (None: nothing does)."""

    case: Case
    difference: Difference | None

    def __str__(self) -> str:
        side = "ours" if self.case.is_ours else "theirs"
        return f"{self.case.rule.id} {side} only, {self.case.place}: {self.case.value[:120]!r}"


def compare(ruleset: Ruleset, place: str, value: bytes, ours: Told, theirs: Told) -> Iterator[Finding]:
    """The rules that one side alone reports. Rules on the score are told only where nothing else differs."""
    different = ours.ids ^ theirs.ids
    telling = different - FOLLOWING or different
    for rule_id in sorted(telling):
        rule = ruleset.by_id[rule_id]
        case = Case(place, value, rule, rule_id in ours.ids)
        yield Finding(case, next((one for one in DIFFERENCES if one.covers(case)), None))
