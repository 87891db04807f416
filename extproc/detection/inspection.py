"""One value through ladder, gates and detectors: the strongest finding of each class, and how it came to light."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from extproc.detection.contract import Detector, Finding, Place, Reading
from extproc.detection.ladder import ladder

WINDOWS_LIMIT = 64
"""Windows of one view that a detector reads; what lies behind them makes the event `partly`."""

STEPS_LIMIT = 6000
"""What looking at one value may cost in steps (`contract.Reading`); the rest is not looked at: `partly`."""

LONG_BYTES = 8192
"""From what size on a value may cost more, a step for each further byte."""

CALL_STEPS, CALL_BYTES_A_STEP = 2, 60
"""What it costs to ask a detector of a text, apart from what it reads piece by piece."""

LEAST_SCORE = 3
"""A weaker finding is none."""

SURE = 6
"""No disguise makes a finding stronger than this."""

ALONE = 5
"""What many findings count that are all of a value; behind a sentence nothing may follow them."""

STRONGEST = 9

Held: TypeAlias = Callable[[bytes], int]
"""A text in lower case → the bits of the clauses that hold in it (the one automaton)."""


CHOICES = 1024
"""Remembered answers of a panel's gates; more start anew."""


def reading_of(value: bytes) -> Reading:
    """What looking into a value may cost: a long one more."""
    return Reading(STEPS_LIMIT + max(0, len(value) - LONG_BYTES))


@dataclass(frozen=True, slots=True)
class Evidence:
    """A finding, the view it was made in, and the decodings that led to that view, outermost first."""

    finding: Finding
    text: bytes
    via: tuple[str, ...]
    place: Place

    @property
    def part(self) -> bytes:
        """What proved it."""
        start, end = self.finding.span
        return self.text[start:end]


PanelSteps: TypeAlias = Generator[None, None, tuple[list[Evidence | None], bool]]
"""Yields between views and windows → (the strongest finding by detector, was something left out?)."""

_QUIET = frozenset({Place.COOKIE, Place.USER_AGENT, Place.REFERER})
"""Where odd text is usual: a finding that is not complete counts one less."""


class Panel:
    """Some detectors with the bits of their gates, ready to be asked. Immutable but for a bounded cache."""

    __slots__ = ("_any", "_chosen", "_open", "detectors")

    def __init__(self, detectors: Sequence[tuple[Detector, tuple[int, ...]]]) -> None:
        """`detectors`: each with the masks of its gate's alternatives; () means it is always asked."""
        self.detectors = tuple(detector for detector, _ in detectors)
        self._any = 0
        for _, masks in detectors:
            for mask in masks:
                self._any |= mask
        self._open = tuple(masks for _, masks in detectors)
        self._chosen: dict[int, tuple[int, ...]] = {}

    def chosen(self, held: int) -> tuple[int, ...]:
        """Positions of the detectors of which some alternative holds."""
        held &= self._any
        chosen = self._chosen.get(held)
        if chosen is None:
            if len(self._chosen) >= CHOICES:
                self._chosen.clear()
            chosen = self._chosen[held] = tuple(
                position
                for position, masks in enumerate(self._open)
                if not masks or any(held & mask == mask for mask in masks)
            )
        return chosen

    def steps(self, value: bytes, place: Place, held: Held) -> PanelSteps:
        """Take the value down the ladder and ask the detectors whose gates open."""
        found: list[Evidence | None] = [None] * len(self.detectors)
        reading = reading_of(value)
        for view in ladder(value, place, reading):
            text = view.text
            windows: dict[tuple[int, int], int] = {}
            for position in self.chosen(held(text.lower())):
                detector = self.detectors[position]
                if view.is_structure and not detector.reads_structures:
                    continue
                if len(text) > detector.limit_bytes:
                    finding = yield from self._in_windows(position, text, view.place, held, reading, windows)
                elif reading.spend(CALL_STEPS + len(text) // CALL_BYTES_A_STEP):
                    finding = detector.detect(text, view.place, reading)
                else:
                    break
                if finding is None:
                    continue
                score = weighed(finding, detector, view.via, place)
                if score == ALONE and view.via[-1:] == ("sentence",) and finding.span[1] < len(text.rstrip()):
                    score -= 1  # the sentence may go on behind it
                best = found[position]
                if score >= LEAST_SCORE and (best is None or score > best.finding.score):
                    if score != finding.score:
                        finding = Finding(
                            finding.kind, score, finding.span, finding.context, finding.reason, finding.is_complete
                        )
                    found[position] = Evidence(finding, text, view.via, view.place)
            yield
        return found, reading.is_partly

    def _in_windows(
        self,
        position: int,
        text: bytes,
        place: Place,
        held: Held,
        reading: Reading,
        windows: dict[tuple[int, int], int],
    ) -> Generator[None, None, Finding | None]:
        """`windows`: what is held in each of the view's windows, by start and size, for all its detectors."""
        detector = self.detectors[position]
        size = detector.limit_bytes
        best: Finding | None = None
        read = 0
        for start in range(0, len(text) - size // 4, size - size // 4):
            window = text[start : start + size]
            bits = windows.get((start, size))
            if bits is None:
                bits = windows[(start, size)] = held(window.lower())
            if position not in self.chosen(bits):
                continue
            if read == WINDOWS_LIMIT or not reading.spend(CALL_STEPS + len(window) // CALL_BYTES_A_STEP):
                reading.leave_out()
                return best
            read += 1
            finding = detector.detect(window, place, reading)
            if finding is not None and (best is None or finding.score > best.score):
                span = (finding.span[0] + start, finding.span[1] + start)
                best = Finding(finding.kind, finding.score, span, finding.context, finding.reason, finding.is_complete)
            yield
        return best


def weighed(finding: Finding, detector: Detector, via: tuple[str, ...], origin: Place) -> int:
    """The score, 1 to 9, of a finding made by that way in a value that stood there."""
    score = finding.score
    if detector.disguise_gain and finding.score < SURE and ("overlong" in via or via.count("percent") > 1):
        score = min(SURE, score + detector.disguise_gain)
    if origin in _QUIET and not finding.is_complete:
        score -= 1
    return max(1, min(STRONGEST, score))
