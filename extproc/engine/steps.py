"""The transformations that the rules of a class ask for, as a tree: a step shared by ten rules runs once.

For a value of a known shape much of the tree falls away: a step that can change nothing is not taken (its rules look
at the text as it is), and neither is one behind which no rule is left that could match.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from extproc.engine.ruleset import Rule
from extproc.engine.shapes import QUIET, Shape, Shapes
from extproc.transformations.contract import Transformation

Program: TypeAlias = tuple[int, int, tuple["Step", ...]]
"""(rules to try on the text, the same if the step itself has changed it, steps to go on with)."""

_NUL = 0


class Step:
    """One transformation behind others. `mask`: rules that look at its text, `multi`: multiMatch rules passing by."""

    __slots__ = ("_adds", "_children", "_is_always_taken", "_spared_by", "_triggers", "apply", "gate", "mask", "multi")

    def __init__(self, transformation: Transformation, quiet: frozenset[int]) -> None:
        self.apply: Callable[[bytes], bytes] = transformation.apply
        self.mask = 0
        self.multi = 0
        self.gate: bytes | None = None
        triggers = transformation.triggers
        self._triggers: frozenset[int] = triggers or frozenset()
        self._is_always_taken = triggers is None or bool(triggers & quiet)
        # Small letters and digits are not told of in `adds`; a few of them may not be quiet.
        self._adds = None if transformation.adds is None else transformation.adds | (QUIET - quiet)
        self._spared_by = transformation.spared_by
        self._children: dict[str, Step] = {}

    def follow(self, transformation: Transformation, quiet: frozenset[int]) -> Step:
        """The step of that transformation behind this one."""
        step = self._children.get(transformation.name)
        if step is None:
            step = self._children[transformation.name] = Step(transformation, quiet)
        return step

    def program(self, shape: Shape, shapes: Shapes) -> Program:
        """What to do with a text of that shape that has come here; kept in the shape."""
        mask, steps = self.mask, []
        stack = list(reversed(self._children.values()))
        while stack:
            child = stack.pop()
            if not child._may_change(shape.bytes):
                mask |= child.mask
                stack.extend(reversed(child._children.values()))
            elif child._may_lead_to_a_match(shape.bytes, shapes):
                steps.append(child)
        program = shape.programs[self] = (mask & shape.allowed, (mask | self.multi) & shape.allowed, tuple(steps))
        return program

    def close(self, shapes: Shapes) -> None:
        """All rules are in the tree: work out the gates of the steps behind.

        `gate`: without one of these bytes in what a decoding step made, no rule behind can match; None: not known.
        """
        for child in self._children.values():
            if child._adds is None:
                needed = child._needed_bytes(shapes)
                child.gate = bytes(sorted(needed)) if needed is not None else None
            child.close(shapes)

    def _needed_bytes(self, shapes: Shapes) -> frozenset[int] | None:
        """Bytes of which one must be in the text of this step for a rule here or behind; None if that is not known."""
        needed = shapes.needed_by(self.mask | self.multi)
        for child in self._children.values():
            behind = child._needed_bytes(shapes)
            if needed is None or behind is None:
                return None
            if child._adds is None or not child._adds.isdisjoint(behind):
                # The child could bring such a byte in, unless it does nothing.
                if child._is_always_taken:
                    return None
                behind |= child._triggers
            needed |= behind
        return needed

    def every_rule(self) -> int:
        """The rules here and behind."""
        mask = self.mask | self.multi
        for child in self._children.values():
            mask |= child.every_rule()
        return mask

    def _may_change(self, values: frozenset[int]) -> bool:
        """May a text with these bytes, and quiet ones, be changed?"""
        return self._is_triggered(values) and (self._spared_by.isdisjoint(values) or _NUL in values)

    def _is_triggered(self, values: frozenset[int]) -> bool:
        return self._is_always_taken or not self._triggers.isdisjoint(values)

    def _may_lead_to_a_match(self, values: frozenset[int], shapes: Shapes) -> bool:
        """The same of the rules here and behind. `values`: no others are in the text, perhaps fewer."""
        if self._is_triggered(values):
            if self._adds is None:
                return bool(self.every_rule())
            values = values | self._adds
        if (self.mask | self.multi) & shapes.allowed(values):
            return True
        return any(child._may_lead_to_a_match(values, shapes) for child in self._children.values())


def tree_of(rules: Sequence[Rule], shapes: Shapes) -> Step:
    """The first step, which changes nothing."""
    quiet = shapes.quiet_set
    root = Step(Transformation("none", bytes, frozenset()), quiet)
    for rule in rules:
        bit = 1 << rule.index
        if rule.is_multi_match or not rule.transformations:
            root.mask |= bit
        step = root
        for position, transformation in enumerate(rule.transformations):
            step = step.follow(transformation, quiet)
            if rule.is_multi_match:
                step.multi |= bit
            elif position == len(rule.transformations) - 1:
                step.mask |= bit
    root.close(shapes)
    return root
