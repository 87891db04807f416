"""One value against many rules: transformation tree, prefilter, operators, and a memo of what came out.

A *value class* is the set of rules (a mask of their bits) that a variable must be tried against. Many
variables share a class: every ARGS without a rule of its own, say. The shape of a value (`shapes`) says
which of the rules and of their transformations (`steps`) can matter to it. What remains is scanned once per
distinct text, and only the rules that the prefilter names are run.

Operators are pure, so values may be matched ahead of rule order; actions run later, in order.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias, TypeVar

from extproc.detection.contract import Place
from extproc.detection.inspection import Panel, reading_of
from extproc.detection.ladder import View, hides_nothing, is_plain, ladder
from extproc.engine.ruleset import Rule
from extproc.engine.shapes import ByteWords, Shape, Shapes
from extproc.engine.steps import Step, tree_of
from extproc.model.deadline import Deadline
from extproc.operators.contract import Captures
from extproc.operators.detectors import Detected, Viewed

Fired: TypeAlias = tuple[int, bytes, Captures]
"""(index of the rule, the text its operator saw, captures); index LEFT_OUT says that a limit was passed."""

LEFT_OUT = -1
"""Stands for a rule in `Fired` when a detector did not look at the whole value."""

T = TypeVar("T")

Test: TypeAlias = Callable[[bytes], Captures | None]

LARGE_BYTES = 4096
"""A longer value is matched in slices."""

MEMO_BYTES = 512
"""No longer value is remembered."""

MEMO_VALUES = 4096
"""Values of one generation of a class's memo; two generations are kept."""

MEMO_CLASSES_VALUES = 40_000
"""Values of all memos of a plan; beyond it every memo starts anew."""

SHORT_BYTES = 16
"""Values shorter than this skip the rules that need more bytes."""


class Candidates(ByteWords, Protocol):
    """The prefilter: a lower-case text → mask of the rules that may match it. `held`: see `ByteWords`."""

    def candidates(self, text: bytes, held: int | None = None, /) -> int: ...


class EveryRule:
    """The prefilter switched off: every rule may match. For tests and comparisons."""

    byte_words: frozenset[int] = frozenset()

    def __init__(self, mask: int) -> None:
        self._mask = mask

    def held_by(self, values: Iterable[int], /) -> int:
        """Nothing is looked for."""
        return 0

    def candidates(self, text: bytes, held: int | None = None, /) -> int:
        """All rules."""
        return self._mask


def is_detection(rule: Rule) -> bool:
    """Does the rule ask a detector for the value as it was sent, which the ladder then takes down?"""
    return (
        rule.operator is not None
        and rule.operator.detector is not None
        and not (rule.is_negated or rule.transformations)
    )


NESTED_OPERATORS = frozenset(
    {"rx", "rxGlobal", "pm", "pmf", "pmFromFile", "contains", "containsWord", "strmatch", "detectSQLi", "detectXSS"}
)
"""What looks for something within a text: what it finds in a view of the value, the value holds."""

NESTED_TAG = "attack-"
"""Begins the tags of rules that look for attacks (Core Rule Set, CONTRIBUTING)."""

NOT_NESTED_TAG = "attack-protocol"
"""Of rules that ask how a request is made; a view was never sent."""


def is_nested(rule: Rule) -> bool:
    """May the rule look at the views of a value as well (`decode: nested`)? Not if it leaves something out or skips."""
    operator = rule.operator
    return (
        operator is not None
        and operator.name in NESTED_OPERATORS
        and not rule.is_negated
        and rule.jump < 0
        and not any(link.controls for link in (rule, *rule.chain))
        and any(tag.startswith(NESTED_TAG) for tag in rule.tags)
        and NOT_NESTED_TAG not in rule.tags
    )


class Detection:
    """The detectors of a class's rules, and the rules that want to know."""

    __slots__ = ("_panel", "_place", "_prefilter", "_rules", "mask")

    def __init__(
        self, rules: Sequence[Rule], place: Place, prefilter: Candidates, gates: Mapping[str, tuple[int, ...]]
    ) -> None:
        """`gates`: the masks of each detector's alternatives among the prefilter's bits."""
        by_kind: dict[str, list[Rule]] = {}
        for rule in rules:
            if rule.operator is not None and rule.operator.detector is not None:
                by_kind.setdefault(rule.operator.detector.kind, []).append(rule)
        detectors = [some[0].operator.detector for some in by_kind.values() if some[0].operator is not None]
        self._panel = Panel([(detector, gates[detector.kind]) for detector in detectors if detector is not None])
        self._rules = [[rule.index for rule in some] for some in by_kind.values()]
        self._place = place
        self._prefilter = prefilter
        self.mask = sum(1 << rule.index for rule in rules)

    def is_quiet(self, value: bytes, scanned: dict[bytes, int]) -> bool:
        """Is nothing to be found, as no detector would be asked of any view? `scanned` as in `ValueClass.match`."""
        if is_plain(value):
            return True
        low = value.lower()
        if not hides_nothing(value, low, self._place):
            return False
        held = scanned.get(low)
        if held is None:
            held = scanned[low] = self._prefilter.candidates(low)
        return not self._panel.chosen(held)

    def steps(self, value: bytes, scanned: dict[bytes, int] | None) -> Generator[None, None, list[Fired]]:
        """What is found in the value; one match a rule, however many views show it."""
        if is_plain(value):
            return []
        candidates = self._prefilter.candidates

        def held(text: bytes) -> int:
            if scanned is None or len(text) > LARGE_BYTES:
                return candidates(text)
            known = scanned.get(text)
            if known is None:
                known = scanned[text] = candidates(text)
            return known

        found, is_partly = yield from self._panel.steps(value, self._place, held)
        fired: list[Fired] = [(LEFT_OUT, b"", ())] if is_partly else []
        for evidence, rules in zip(found, self._rules, strict=True):
            if evidence is not None:
                captures = Detected.of(evidence)
                fired += [(index, evidence.text, captures) for index in rules]
        return fired

    def named(self, value: bytes) -> int:
        """The rules whose gate some view of the value passes, for `explain`."""
        if is_plain(value):
            return 0
        positions = {
            position
            for view in ladder(value, self._place)
            for position in self._panel.chosen(self._prefilter.candidates(view.text.lower()))
        }
        return sum(1 << index for position in positions for index in self._rules[position])


def rule_test(rule: Rule) -> Test:
    """The operator of a rule with its negation; a negated match captures nothing."""
    if rule.operator is None:
        return lambda value: ()
    test = rule.operator.test
    if not rule.is_negated:
        return test
    return lambda value: () if test(value) is None else None


class ValueClass:
    """The rules of one mask, ready to run against a value."""

    __slots__ = (
        "_by_steps",
        "_detection",
        "_memo_old",
        "_nested",
        "_place",
        "_prefilter",
        "_root",
        "_shapes",
        "_short",
        "_tests",
        "young",
    )

    def __init__(
        self,
        rules: Sequence[Rule],
        tests: Sequence[Test | None],
        prefilter: Candidates,
        shapes: Shapes,
        place: Place,
        gates: Mapping[str, tuple[int, ...]],
        has_views: bool = False,
    ) -> None:
        """`rules` are those of the class; `tests` is indexed by rule index; `gates` as in `Detection`.

        `has_views`: rules that are nested look at the views of the decode ladder as well.
        """
        detecting = [rule for rule in rules if is_detection(rule)]
        self._detection = Detection(detecting, place, prefilter, gates) if detecting else None
        rules = [rule for rule in rules if not is_detection(rule)] if detecting else rules
        self._tests = tests
        self._prefilter = prefilter
        self._shapes = shapes
        self._root = tree_of(rules, shapes)
        nested = [rule for rule in rules if is_nested(rule)] if has_views else []
        self._nested = tree_of(nested, shapes) if nested else None
        self._place = place
        self._by_steps = {
            rule.index: rule.operator.steps
            for rule in rules
            if rule.operator is not None and rule.operator.steps is not None and not rule.is_negated
        }
        self._short = [
            sum(1 << rule.index for rule in rules if rule.is_negated or _min_bytes(rule) <= length)
            for length in range(SHORT_BYTES)
        ]
        self.young: dict[bytes, tuple[Fired, ...]] = {}
        self._memo_old: dict[bytes, tuple[Fired, ...]] = {}

    # `young` is read by whoever is in a hurry; only `remember` and `forget` write it.

    def recall(self, value: bytes) -> tuple[Fired, ...] | None:
        """What came out the last time; None if that is not known."""
        found = self.young.get(value)
        if found is not None or not self._memo_old:
            return found
        found = self._memo_old.get(value)
        if found is not None:
            self.remember(value, found)
        return found

    def remember(self, value: bytes, fired: tuple[Fired, ...]) -> None:
        """Keep a result. The older generation goes when the younger is full."""
        if len(self.young) >= MEMO_VALUES:
            self._memo_old = self.young
            self.young = {}
        self.young[value] = fired

    def forget(self) -> None:
        """Drop the memo."""
        self.young, self._memo_old = {}, {}

    def match(self, value: bytes, scanned: dict[bytes, int]) -> tuple[Fired, ...]:
        """Every rule of the class that matches. `scanned` keeps the prefilter's answers of a transaction."""
        shapes, root = self._shapes, self._root
        residual = value.translate(shapes.fold, shapes.quiet)
        shape = shapes.known.get(residual) or shapes.find(residual)
        mask, _, steps = shape.programs.get(root) or root.program(shape, shapes)
        fired: list[Fired] = []
        if mask:
            self._try(mask, value, shape, scanned, fired)
        if self._detection is not None and not self._detection.is_quiet(value, scanned):
            fired += run(self._detection.steps(value, scanned))
        if steps:
            self._walk(steps, value, shape, scanned, fired)
        if self._nested is not None and not is_plain(value):
            reading = reading_of(value)
            for view in ladder(value, self._place, reading):
                if view.via:
                    self._match_view(self._nested, view, scanned, fired)
            if reading.is_partly:
                fired.append((LEFT_OUT, b"", ()))
        return tuple(fired)

    def _match_view(self, root: Step, view: View, scanned: dict[bytes, int], fired: list[Fired]) -> None:
        """The nested rules that match a view, but for those that have fired: a rule scores once per value."""
        if view.is_structure:
            return  # its parts are views
        shape = self._shapes.of_transformed(view.text)
        mask, _, steps = shape.programs.get(root) or root.program(shape, self._shapes)
        seen = {index for index, _, _ in fired}
        found: list[Fired] = []
        if mask:
            self._try(mask, view.text, shape, scanned, found)
        if steps:
            self._walk(steps, view.text, shape, scanned, found)
        for index, text, captures in found:
            if index not in seen:
                seen.add(index)
                fired.append((index, text, Viewed.of(captures, view.via)))

    def _walk(
        self, steps: tuple[Step, ...], source: bytes, shape: Shape, scanned: dict[bytes, int], fired: list[Fired]
    ) -> None:
        shapes = self._shapes
        for step in steps:
            text = step.apply(source)
            if text == source:
                text, shape_of_text = source, shape
                mask, _, following = shape.programs.get(step) or step.program(shape, shapes)
            else:
                gate = step.gate
                if gate is not None and len(text.translate(None, gate)) == len(text):
                    continue
                shape_of_text = shapes.of_transformed(text)
                _, mask, following = shape_of_text.programs.get(step) or step.program(shape_of_text, shapes)
            if mask:
                self._try(mask, text, shape_of_text, scanned, fired)
            if following:
                self._walk(following, text, shape_of_text, scanned, fired)

    def _try(self, mask: int, text: bytes, shape: Shape, scanned: dict[bytes, int], fired: list[Fired]) -> None:
        """The operators of those rules of the mask that the prefilter names."""
        if len(text) < SHORT_BYTES:
            mask &= self._short[len(text)]
            if not mask:
                return
        low = text.lower()
        named = scanned.get(low)
        if named is None:
            named = scanned[low] = self._prefilter.candidates(low, shape.held)
        todo = named & mask
        tests = self._tests
        while todo:
            bit = todo & -todo
            todo ^= bit
            index = bit.bit_length() - 1
            captures = tests[index](text)  # type: ignore[misc]
            if captures is not None:
                fired.append((index, text, captures))

    def match_in_slices(self, value: bytes, deadline: Deadline) -> Generator[None, None, tuple[Fired, ...]]:
        """The same for a large value: yields whenever the slice is over."""
        shapes = self._shapes
        fired: list[Fired] = []
        if self._detection is not None:
            fired += yield from paced(self._detection.steps(value, None), deadline)
        # (steps that are left, their text, its shape, what the prefilter named in it)
        stack: list[tuple[list[Step], bytes, Shape, int]] = [([self._root], value, shapes.of(value), -1)]
        while stack:
            steps, source, shape, named = stack[-1]
            if not steps:
                stack.pop()
                continue
            step = steps.pop(0)
            text = source if step is self._root else step.apply(source)
            if deadline.is_slice_over():
                yield
            if text == source:
                text = source
                mask, _, following = shape.programs.get(step) or step.program(shape, shapes)
            else:
                shape, named = shapes.of_transformed(text), -1
                _, mask, following = shape.programs.get(step) or step.program(shape, shapes)
            if named < 0 and (mask or following):
                named = self._prefilter.candidates(text.lower(), shape.held)
                if deadline.is_slice_over():
                    yield
            todo = named & mask
            while todo:
                bit = todo & -todo
                todo ^= bit
                index = bit.bit_length() - 1
                by_steps = self._by_steps.get(index)
                if by_steps is None:
                    captures = self._tests[index](text)  # type: ignore[misc]
                else:
                    captures = yield from paced(by_steps(text), deadline)
                if captures is not None:
                    fired.append((index, text, captures))
                if deadline.is_slice_over():
                    yield
            stack.append((list(following), text, shape, named))
        if self._nested is not None:
            scanned: dict[bytes, int] = {}
            reading = reading_of(value)
            for view in ladder(value, self._place, reading):
                if view.via:
                    self._match_view(self._nested, view, scanned, fired)
                    scanned.clear()
                    if deadline.is_slice_over():
                        yield
            if reading.is_partly:
                fired.append((LEFT_OUT, b"", ()))
        return tuple(fired)

    def account(self, value: bytes) -> tuple[int, int, int]:
        """(rules of the class, those of them that the prefilter names, those whose operator runs), as masks.

        What `match` does, told and not done: for `explain`, never while a request waits.
        """
        shapes = self._shapes
        detecting = self._detection
        named = run = detecting.named(value) if detecting is not None else 0
        stack: list[tuple[Step, bytes]] = [(self._root, value)]
        while stack:
            step, source = stack.pop()
            text = source if step is self._root else step.apply(source)
            shape = shapes.of_transformed(text)
            same, changed, following = step.program(shape, shapes)
            mask = same if text == source else changed
            todo = self._prefilter.candidates(text.lower(), shape.held) & mask
            named |= todo
            run |= todo & self._short[len(text)] if len(text) < SHORT_BYTES else todo
            stack += [(child, text) for child in following]
        return self._root.every_rule() | (detecting.mask if detecting is not None else 0), named, run


def paced(steps: Generator[None, None, T], deadline: Deadline) -> Generator[None, None, T]:
    """`steps`, interrupted when the slice is over instead of after each."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        if deadline.is_slice_over():
            yield


def run(steps: Generator[None, None, T]) -> T:
    """`steps` to their end, without a pause."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            outcome: T = end.value
            return outcome


def _min_bytes(rule: Rule) -> int:
    return rule.operator.min_bytes if rule.operator is not None else 0
