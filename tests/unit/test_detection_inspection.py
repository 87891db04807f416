"""A panel of detectors: gates, windows of long texts, the strongest view, the score in its place."""

from __future__ import annotations

import pytest

from extproc.detection.contract import UNCOUNTED, Detector, Finding, Place, Reading
from extproc.detection.inspection import (
    CALL_BYTES_A_STEP,
    CALL_STEPS,
    LONG_BYTES,
    STEPS_LIMIT,
    SURE,
    WINDOWS_LIMIT,
    Panel,
    weighed,
)
from extproc.detection.ladder import VIEW_BYTES_A_STEP, VIEW_STEPS
from extproc.engine.matching import run

SIZE = 64


def finds_bang(text: bytes, place: Place, reading: Reading = UNCOUNTED) -> Finding | None:
    """A detector that is plain to see through: `!` is 4, `!!` is 7."""
    at = text.find(b"!")
    if at < 0:
        return None
    score = 7 if b"!!" in text else 4
    return Finding("bang", score, (at, at + 1), "whole value", "a bang", score == 7)


BANG = Detector("bang", ((frozenset({b"!"}),),), finds_bang, limit_bytes=SIZE)


def held(text: bytes) -> int:
    return 1 if b"!" in text else 0


def judge(value: bytes, place: Place = Place.ARGUMENT):
    found, is_partly = run(Panel([(BANG, (1,))]).steps(value, place, held))
    return found[0], is_partly


@pytest.mark.parametrize("before", [0, 1, SIZE - 2, SIZE - 1, SIZE, 3 * SIZE // 4, 10 * SIZE + 5])
def test_a_long_text_hides_nothing(before):
    evidence, is_partly = judge(b"x y " * (before // 4) + b"z" * (before % 4) + b"!!" + b" and so on" * 20)
    assert evidence is not None
    assert evidence.finding.score == 7
    assert evidence.finding.span == (before, before + 1)
    assert evidence.part == b"!"
    assert not is_partly


def test_windows_beyond_the_limit_are_told():
    step = SIZE - SIZE // 4
    text = b"! x" * (step * WINDOWS_LIMIT)
    assert judge(text[: step * WINDOWS_LIMIT + SIZE // 4])[1] is False
    assert judge(text[: step * WINDOWS_LIMIT + SIZE // 4 + 1])[1] is True


def greedy(text: bytes, place: Place, reading: Reading = UNCOUNTED) -> Finding | None:
    """A detector that takes `steps` from what is left, and finds something only if it gets them."""
    return Finding("greedy", 7, (0, 1), "", "") if reading.spend(int(text.split()[1])) else None


@pytest.mark.parametrize(("more", "is_partly"), [(0, False), (1, True)])
@pytest.mark.parametrize("size", [100, LONG_BYTES, LONG_BYTES + 1, 3 * LONG_BYTES])
def test_a_value_may_cost_so_much(size: int, more: int, is_partly: bool):
    fixed = VIEW_STEPS + size // VIEW_BYTES_A_STEP + CALL_STEPS + size // CALL_BYTES_A_STEP
    left = STEPS_LIMIT + max(0, size - LONG_BYTES) - fixed
    value = (b"take %d steps " % (left + more)).ljust(size, b".")
    found, told = run(Panel([(Detector("greedy", (), greedy, 1 << 20), ())]).steps(value, Place.ARGUMENT, held))
    assert told is is_partly
    assert (found[0] is None) is is_partly


def test_the_strongest_view_counts():
    evidence, _ = judge(b"one ! %21%21")
    assert (evidence.finding.score, evidence.via) == (7, ("percent",))


def test_a_closed_gate_asks_nobody():
    assert judge(b"no bang at all") == (None, False)


FINDINGS = [
    (4, False, (), Place.ARGUMENT, 0, 4),
    (4, False, (), Place.COOKIE, 0, 3),
    (4, False, (), Place.USER_AGENT, 0, 3),
    (7, True, (), Place.COOKIE, 0, 7),
    (4, False, ("percent",), Place.ARGUMENT, 2, 4),
    (4, False, ("percent", "percent"), Place.ARGUMENT, 2, 6),
    (3, False, ("overlong",), Place.ARGUMENT, 2, 5),
    (5, False, ("overlong",), Place.ARGUMENT, 2, SURE),
    (8, True, ("overlong",), Place.ARGUMENT, 2, 8),
    (3, False, ("overlong",), Place.ARGUMENT, 0, 3),
]


@pytest.mark.parametrize(("score", "is_complete", "via", "origin", "gain", "weight"), FINDINGS)
def test_place_and_disguise_move_a_score(score, is_complete, via, origin, gain, weight):
    detector = Detector("bang", (), finds_bang, SIZE, disguise_gain=gain)
    assert weighed(Finding("bang", score, (0, 1), "", "", is_complete), detector, via, origin) == weight
