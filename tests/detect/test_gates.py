"""Gates on all the material: no text of which a detector finds something is shut out by its gate."""

from __future__ import annotations

from contextlib import suppress

import pytest

from extproc.detection.contract import Detector, Place
from extproc.detection.ladder import ladder
from extproc.operators.contract import Operator
from extproc.operators.registry import OPERATORS
from tests.detect.material import Value, corpus, variants


class Quiet:
    """A compile context that nobody listens to."""

    def notice(self, text: str) -> None:
        """Says nothing."""

    def read_file(self, name: bytes) -> bytes:
        """Has no files."""
        raise FileNotFoundError(name)


def _detectors() -> list[Detector]:
    compiled: list[Operator] = [make(b"", Quiet()) for name, make in OPERATORS.items() if name.startswith("detect")]
    return [operator.detector for operator in compiled if operator.detector is not None]


def _values() -> list[Value]:
    attacks, twins = variants()
    with suppress(FileNotFoundError):  # the corpus is no part of the repository
        attacks = attacks + corpus()[0][::3]
    return attacks + twins


@pytest.mark.parametrize("detector", _detectors(), ids=lambda detector: detector.kind)
def test_a_gate_shuts_out_no_finding(detector: Detector) -> None:
    shut_out = []
    for value in _values():
        for view in ladder(value.text.encode(), Place.ARGUMENT):
            low = view.text.lower()
            is_open = not detector.gate or any(
                all(any(literal in low for literal in literals) for literals in alternative)
                for alternative in detector.gate
            )
            if not is_open and detector.detect(view.text, view.place) is not None:
                shut_out.append(view.text)
    assert not shut_out
