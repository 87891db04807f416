"""One value against many rules: transformation tree, prefilter, operators, and a memo of what came out.

A *value class* is the set of rules (a mask of their bits) that a variable must be tried against. Many
variables share a class: every ARGS without a rule of its own, say. For a class the transformation chains
of its rules form a tree, so that a step shared by ten rules runs once; a value that holds none of a
step's trigger bytes skips the step altogether. What remains is scanned once per distinct text, and only
the rules that the prefilter names are run.

Operators are pure, so values may be matched ahead of rule order; actions run later, in order.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Protocol, TypeAlias, TypeVar

from extproc.detection.contract import Place
from extproc.detection.inspection import Panel
from extproc.detection.ladder import is_plain, ladder
from extproc.engine.ruleset import Rule
from extproc.model.deadline import Deadline
from extproc.operators.contract import Captures
from extproc.operators.detectors import Detected

Fired: TypeAlias = tuple[int, bytes, Captures]
"""(index of the rule, the text its operator saw, captures); index LEFT_OUT says that a limit was passed."""

LEFT_OUT = -1
"""Stands for a rule in `Fired` when a detector did not look at the whole value."""

T = TypeVar("T")

Test: TypeAlias = Callable[[bytes], Captures | None]

Entry: TypeAlias = tuple[int, Callable[[bytes], bytes], int, int]
"""(slot of the source text, transformation, rules of this text, rules only if the step changed it)."""

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

RESIDUALS = 2048
"""Remembered residuals (the trigger bytes of a value) of a class."""


class Candidates(Protocol):
    """The prefilter: a lower-case text → mask of the rules that may match it."""

    def candidates(self, text: bytes, /) -> int: ...


class EveryRule:
    """The prefilter switched off: every rule may match. For tests and comparisons."""

    def __init__(self, mask: int) -> None:
        self._mask = mask

    def candidates(self, text: bytes, /) -> int:
        """All rules."""
        return self._mask


def is_detection(rule: Rule) -> bool:
    """Does the rule ask a detector for the value as it was sent, which the ladder then takes down?"""
    return (
        rule.operator is not None
        and rule.operator.detector is not None
        and not (rule.is_negated or rule.transformations)
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
        "_always",
        "_by_residual",
        "_by_signature",
        "_detection",
        "_memo_old",
        "_nodes",
        "_plain",
        "_prefilter",
        "_root",
        "_short",
        "_signature_of",
        "_tests",
        "_transformations",
        "young",
    )

    def __init__(
        self,
        rules: Sequence[Rule],
        tests: Sequence[Test | None],
        prefilter: Candidates,
        place: Place,
        gates: Mapping[str, tuple[int, ...]],
    ) -> None:
        """`rules` are those of the class; `tests` is indexed by rule index; `gates` as in `Detection`."""
        detecting = [rule for rule in rules if is_detection(rule)]
        self._detection = Detection(detecting, place, prefilter, gates) if detecting else None
        rules = [rule for rule in rules if not is_detection(rule)] if detecting else rules
        self._tests = tests
        self._prefilter = prefilter
        self._root = 0
        # nodes: (parent node or -1, number of the transformation, mask, mask of multiMatch rules)
        self._nodes: list[list[int]] = []
        self._transformations: list[Callable[[bytes], bytes]] = []
        numbers: dict[str, int] = {}
        triggers: list[frozenset[int] | None] = []
        known: dict[tuple[int, int], int] = {}
        for rule in rules:
            bit = 1 << rule.index
            if rule.is_multi_match or not rule.transformations:
                self._root |= bit
            node = -1
            for position, transformation in enumerate(rule.transformations):
                number = numbers.get(transformation.name)
                if number is None:
                    number = numbers[transformation.name] = len(self._transformations)
                    self._transformations.append(transformation.apply)
                    triggers.append(transformation.triggers)
                child = known.get((node, number))
                if child is None:
                    child = known[(node, number)] = len(self._nodes)
                    self._nodes.append([node, number, 0, 0])
                node = child
                if rule.is_multi_match:
                    self._nodes[node][3] |= bit
                elif position == len(rule.transformations) - 1:
                    self._nodes[node][2] |= bit
        self._signature_of = [0] * 256
        self._always = 0
        for number, some in enumerate(triggers):
            if some is None:
                self._always |= 1 << number
                continue
            for byte in some:
                self._signature_of[byte] |= 1 << number
        self._plain = bytes(byte for byte in range(256) if not self._signature_of[byte])
        self._short = [
            sum(1 << rule.index for rule in rules if rule.is_negated or _min_bytes(rule) <= length)
            for length in range(SHORT_BYTES)
        ]
        self._by_signature: dict[int, tuple[int, list[Entry]]] = {}
        self._by_residual: dict[bytes, tuple[int, list[Entry]]] = {}
        self.young: dict[bytes, tuple[Fired, ...]] = {}
        self._memo_old: dict[bytes, tuple[Fired, ...]] = {}

    def program(self, value: bytes) -> tuple[int, list[Entry]]:
        """The part of the tree that can change this value: (rules of the raw text, entries)."""
        residual = value.translate(None, self._plain)
        program = self._by_residual.get(residual)
        if program is not None:
            return program
        signature = self._always
        for byte in set(residual):
            signature |= self._signature_of[byte]
        program = self._by_signature.get(signature)
        if program is None:
            program = self._by_signature[signature] = self._prune(signature)
        if len(residual) <= SHORT_BYTES:
            if len(self._by_residual) >= RESIDUALS:
                self._by_residual.clear()
            self._by_residual[residual] = program
        return program

    def _prune(self, signature: int) -> tuple[int, list[Entry]]:
        root, entries, slots = self._root, [], {-1: 0}
        for number, (parent, transformation, mask, multi) in enumerate(self._nodes):
            slot = slots[parent]
            if slot == 0 and not signature >> transformation & 1:
                slots[number] = 0
                root |= mask
                continue
            entries.append((slot, self._transformations[transformation], mask, multi))
            slots[number] = len(entries)
        return root, entries

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
        mask, entries = self.program(value)
        tests = self._tests
        low = value.lower()
        candidates = scanned.get(low)
        if candidates is None:
            candidates = scanned[low] = self._prefilter.candidates(low)
        todo = candidates & mask
        if len(value) < SHORT_BYTES:
            todo &= self._short[len(value)]
        fired: list[Fired] = []
        while todo:
            bit = todo & -todo
            todo ^= bit
            index = bit.bit_length() - 1
            captures = tests[index](value)  # type: ignore[misc]
            if captures is not None:
                fired.append((index, value, captures))
        if self._detection is not None:
            fired += run(self._detection.steps(value, scanned))
        if not entries:
            return tuple(fired)
        texts, masks = [value], [candidates]
        for slot, transform, mask, multi in entries:
            source = texts[slot]
            text = transform(source)
            texts.append(text)
            if text == source:
                candidates = masks[slot]
            else:
                mask |= multi
                low = text.lower()
                known = scanned.get(low)
                if known is None:
                    known = scanned[low] = self._prefilter.candidates(low)
                candidates = known
            masks.append(candidates)
            todo = candidates & mask
            if todo and len(text) < SHORT_BYTES:
                todo &= self._short[len(text)]
            while todo:
                bit = todo & -todo
                todo ^= bit
                index = bit.bit_length() - 1
                captures = tests[index](text)  # type: ignore[misc]
                if captures is not None:
                    fired.append((index, text, captures))
        return tuple(fired)

    def match_in_slices(self, value: bytes, deadline: Deadline) -> Generator[None, None, tuple[Fired, ...]]:
        """The same for a large value: yields whenever the slice is over."""
        mask, entries = self.program(value)
        candidates = self._prefilter.candidates(value.lower())
        texts, masks, fired = [value], [candidates], []
        if self._detection is not None:
            steps = self._detection.steps(value, None)
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    fired += end.value
                    break
                if deadline.is_slice_over():
                    yield
        todo = candidates & mask
        step = 0
        while True:
            while todo:
                bit = todo & -todo
                todo ^= bit
                index = bit.bit_length() - 1
                captures = self._tests[index](texts[-1])  # type: ignore[misc]
                if captures is not None:
                    fired.append((index, texts[-1], captures))
                if deadline.is_slice_over():
                    yield
            if step == len(entries):
                return tuple(fired)
            slot, transform, mask, multi = entries[step]
            step += 1
            text = transform(texts[slot])
            if text == texts[slot]:
                candidates = masks[slot]
                text = texts[slot]
            else:
                if deadline.is_slice_over():
                    yield
                candidates = self._prefilter.candidates(text.lower())
                mask |= multi
            texts.append(text)
            masks.append(candidates)
            todo = candidates & mask
            if deadline.is_slice_over():
                yield

    def account(self, value: bytes) -> tuple[int, int, int]:
        """(rules of the class, those of them that the prefilter names, those whose operator runs), as masks.

        What `match` does, told and not done: for `explain`, never while a request waits.
        """
        root, entries = self.program(value)
        steps: list[tuple[int, Callable[[bytes], bytes] | None, int, int]] = [(0, None, root, 0), *entries]
        texts: list[bytes] = []
        detecting = self._detection
        detected = detecting.named(value) if detecting is not None else 0
        applicable = self._root | (detecting.mask if detecting is not None else 0)
        for _, _, mask, multi in self._nodes:
            applicable |= mask | multi
        named = run = 0
        for slot, transform, mask, multi in steps:
            text = value if transform is None else transform(texts[slot])
            if transform is not None and text != texts[slot]:
                mask |= multi
            texts.append(text)
            todo = self._prefilter.candidates(text.lower()) & mask
            named |= todo
            run |= todo & self._short[len(text)] if len(text) < SHORT_BYTES else todo
        return applicable, named | detected, run | detected


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
