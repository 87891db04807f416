"""Step 4, @detectSQL, @detectPath, ...: the detectors with a grammar (`extproc/detection/`) as operators.

A rule that asks for one without transformations gets the whole ladder: the engine takes each value down it once for all
such rules (`engine/matching.py`). A match captures what proved it, the reason, and the score: `%{TX.0}`, `%{TX.1}`,
`%{TX.2}`.
"""

from __future__ import annotations

from extproc.detection.contract import Detector, Place
from extproc.detection.inspection import STRONGEST, Evidence, Panel
from extproc.operators.contract import Captures, Compile, CompileContext, Operator


class Detected(tuple[bytes, ...]):
    """Captures of a detector: (what proved it, reason, score), and the evidence whole."""

    evidence: Evidence

    @classmethod
    def of(cls, evidence: Evidence) -> Detected:
        """The captures that stand for `evidence`."""
        finding = evidence.finding
        captures = cls((evidence.part, finding.reason.encode(), b"%d" % finding.score))
        captures.evidence = evidence
        return captures


class Viewed(tuple[bytes, ...]):
    """Captures of an ordinary operator in a view of the value; `via`: the decodings that led there, outermost first."""

    via: tuple[str, ...]

    @classmethod
    def of(cls, captures: Captures, via: tuple[str, ...]) -> Viewed:
        """The captures, and where they were made."""
        viewed = cls(captures)
        viewed.via = via
        return viewed


def detector_operator(name: str, detector: Detector) -> Compile:
    """The operator of a detector. Its argument is the least score that matches; without one the threshold of the
    transaction counts (`TX:detection_threshold`)."""
    panel = Panel([(detector, ())])

    def test(value: bytes) -> Captures | None:
        steps = panel.steps(value, Place.ARGUMENT, lambda text: 0)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                evidence: Evidence | None = end.value[0][0]
                return None if evidence is None else Detected.of(evidence)

    def compile_detector(argument: bytes, context: CompileContext) -> Operator:
        if argument and (not argument.isdigit() or not 1 <= int(argument) <= STRONGEST):
            raise ValueError(f"takes nothing or the least score that matches, 1 to {STRONGEST}")
        return Operator(name, argument, test, detector=detector, least_score=int(argument or 0))

    return compile_detector
