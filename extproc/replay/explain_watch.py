"""A transaction that is looked on: the engine's own code runs, and what it did is written down beside it."""

from __future__ import annotations

from dataclasses import dataclass, field

from extproc.actions.setvar import Assignment, parse_number
from extproc.detection.ladder import View, ladder
from extproc.engine.collection import PersistentStore
from extproc.engine.inspector import EngineInspector, EngineSettings
from extproc.engine.plan import Plan, Segment, Variant, place_of
from extproc.engine.ruleset import Rule, Target
from extproc.engine.transaction import Found, Interruption, Transaction, Work
from extproc.engine.treatment import Treat
from extproc.engine.variables import CHANGING, Pairs
from extproc.model.deadline import Deadline
from extproc.model.message import RequestHead
from extproc.model.phase import Phase
from extproc.model.verdict import Decision, Mode, Verdict
from extproc.operators.contract import Captures
from extproc.operators.detectors import Detected, Viewed
from extproc.replay.http1 import Request
from extproc.replay.run import run_exchange

MAX_APPLIED = 20_000
"""Matches of links written down per request; a hostile request with more is explained by the first of them."""


@dataclass(frozen=True, slots=True)
class Step:
    """One transformation that changed the text, and what it made of it."""

    name: str
    text: bytes


@dataclass(frozen=True, slots=True)
class Applied:
    """One match of one link: where, what was sent, how it was decoded, what the operator saw.

    `sent` is None when no value of the request became `text` (it was worked out by another rule).
    """

    link: Rule
    collection: str
    key: bytes | None
    sent: bytes | None
    steps: tuple[Step, ...]
    text: bytes
    captures: Captures
    argument: bytes
    is_count: bool = False

    @property
    def span(self) -> tuple[int, int] | None:
        """Where the matched part stands in `text`; None if the operator captured nothing."""
        if isinstance(self.captures, Detected):
            return self.captures.evidence.finding.span
        part = self.captures[0] if self.captures else b""
        start = self.text.find(part) if part else -1
        return (start, start + len(part)) if start >= 0 else None


@dataclass(frozen=True, slots=True)
class Change:
    """A score in TX that a rule added to (`setvar:tx.anomaly_score=+5`), before and after."""

    name: bytes
    before: bytes
    after: bytes

    @property
    def gain(self) -> int:
        """What the score grew by."""
        return parse_number(self.after) - parse_number(self.before)


@dataclass(slots=True)
class Firing:
    """One rule whose first link matched. `is_complete`: so did the rest of its chain."""

    rule: Rule
    applied: list[Applied] = field(default_factory=list)
    scores: list[Change] = field(default_factory=list)
    links: int = 0
    interruption: Interruption | None = None

    @property
    def is_complete(self) -> bool:
        return self.links > len(self.rule.chain)


@dataclass(frozen=True, slots=True)
class SegmentRun:
    """Which rules a stretch of a phase met, and with which values."""

    phase: Phase
    rules: int
    variant: Variant
    values: tuple[Pairs, ...]


class WatchedTransaction(Transaction):
    """Adds notes to what Transaction does and changes nothing of it."""

    def __init__(
        self, plan: Plan, head: RequestHead, mode: Mode, store: PersistentStore, incident: str, started: float
    ) -> None:
        super().__init__(plan, head, mode, store, incident, started)
        self.firings: list[Firing] = []
        self.runs: list[SegmentRun] = []
        self.deciding: Firing | None = None
        self._room = MAX_APPLIED
        self._current: Firing | None = None

    def _run_segment(self, segment: Segment, deadline: Deadline) -> Work:
        variant = segment.variant(self.tx, self._resume, self._removed | self._blinded)
        values = tuple(list(self.values(plan.collection)) for plan in variant.collections)
        self.runs.append(SegmentRun(self.phase, segment.end - segment.start, variant, values))
        yield from super()._run_segment(segment, deadline)

    def _execute(self, rule: Rule, found: list[Found]) -> bool:
        firing = self._current = Firing(rule)
        self.firings.append(firing)
        before = dict(self.tx)
        is_complete = super()._execute(rule, found)
        self._current = None
        firing.scores = [
            Change(name, before.get(name, b"0"), self.tx[name])
            for name in _scores_added_to(rule, self)
            if self.tx.get(name, b"0") != before.get(name, b"0")
        ]
        return is_complete

    def _apply(self, link: Rule, found: list[Found]) -> None:
        firing = self._current
        if firing is not None:
            firing.links += 1
            argument = self._argument(link)
            for item in found[: self._room]:
                firing.applied.append(self._trace(link, item, argument))
            self._room -= min(len(found), self._room)
        super()._apply(link, found)

    def _interrupt(self, interruption: Interruption) -> None:
        if self._current is not None:
            self._current.interruption = interruption
            if self.would is None:
                self.deciding = self._current
        super()._interrupt(interruption)

    def _argument(self, link: Rule) -> bytes:
        if link.dynamic_argument is not None:
            return link.dynamic_argument.expand(self.lookup)
        return link.operator.argument if link.operator is not None else b""

    def _trace(self, link: Rule, found: Found, argument: bytes) -> Applied:
        """Which value became the text that the operator saw: the one of that name which does when transformed."""
        collection, key, text, captures = found
        if _is_count(link, collection, key):
            return Applied(link, collection, key, None, (), text, captures, argument, is_count=True)
        pairs = self.values(collection) if collection else []
        if collection in CHANGING and collection == "TX" and key is not None:
            pairs = [(key, self.tx.get(key, b""))]
        for name, value in pairs:
            if name == key:
                place = place_of(collection, key and key.lower())
                if isinstance(captures, Detected):
                    evidence = captures.evidence
                    steps = _views(evidence.via, evidence.text, list(ladder(value, place)))
                elif isinstance(captures, Viewed):
                    steps = _steps_of_view(link, captures.via, text, list(ladder(value, place)))
                else:
                    steps = _steps(link, value, text)
                if steps is not None:
                    return Applied(link, collection, key, value, steps, text, captures, argument)
        return Applied(link, collection, key, None, (), text, captures, argument)


def _scores_added_to(rule: Rule, transaction: Transaction) -> list[bytes]:
    """Names of TX variables; a setting such as `tx.critical_anomaly_score=5` is none of them."""
    names = (
        setvar.key.expand(transaction.lookup).lower()
        for link in (rule, *rule.chain)
        for setvar in link.setvars
        if setvar.collection == "TX" and setvar.assignment in (Assignment.ADD, Assignment.SUBTRACT)
    )
    return list(dict.fromkeys(name for name in names if b"score" in name))


def _is_count(link: Rule, collection: str, key: bytes | None) -> bool:
    def names(target: Target) -> bool:
        return target.collection == collection and (target.key == key or target.covers(key))

    named = [target for target in link.targets if names(target)]
    return bool(named) and all(target.is_count for target in named)


def _steps(link: Rule, value: bytes, wanted: bytes) -> tuple[Step, ...] | None:
    """The transformations that changed something on the way from `value` to `wanted`; None if they do not lead there.

    With multiMatch the operator looks after every step, so the way may end early (manual, *multiMatch*).
    """
    steps: list[Step] = []
    text = value
    if link.is_multi_match and text == wanted:
        return ()
    for transformation in link.transformations:
        after = transformation.apply(text)
        if after != text:
            steps.append(Step(transformation.name, after))
            text = after
        if link.is_multi_match and text == wanted:
            return tuple(steps)
    return tuple(steps) if text == wanted else None


def _views(via: tuple[str, ...], text: bytes, views: list[View]) -> tuple[Step, ...] | None:
    """The decodings of the ladder that led to the text that way; None if they do not.

    What a structure was taken apart into is shown by the part that the way goes on with.
    """
    if not any(view.text == text and view.via == via for view in views):
        return None
    texts = {view.via: view.text for view in reversed(views)} | {via: text}
    ways = [via[:length] for length in range(1, len(via) + 1)]
    return tuple(Step(way[-1], texts[way]) for way in ways if way in texts)


def _steps_of_view(link: Rule, via: tuple[str, ...], wanted: bytes, views: list[View]) -> tuple[Step, ...] | None:
    """The decodings that led to a view, then the rule's transformations from there; None if they do not."""
    for view in views:
        steps = _steps(link, view.text, wanted) if view.via == via else None
        if steps is not None:
            return (*(_views(via, view.text, views) or ()), *steps)
    return None


@dataclass(frozen=True, slots=True)
class Watched:
    """One request through the rules: what was decided, and the transaction with its notes."""

    verdict: Verdict
    decision: Decision
    transaction: WatchedTransaction


def watch(plan: Plan, mode: Mode, request: Request, treat: Treat | None = None) -> Watched:
    """Run the request as a worker would. `plan` must be fresh: what a plan remembers is not done again."""
    made: list[WatchedTransaction] = []

    def make(
        plan: Plan, head: RequestHead, mode: Mode, store: PersistentStore, incident: str, started: float
    ) -> WatchedTransaction:
        made.append(WatchedTransaction(plan, head, mode, store, incident, started))
        return made[-1]

    decisions: list[Decision] = []
    inspector = EngineInspector(plan, EngineSettings(mode=mode), decisions.append, make_transaction=make, treat=treat)
    verdict = run_exchange(inspector, request, None)
    return Watched(verdict, decisions[-1], made[-1])
