"""No value makes one operator or one transformation blow up: each of the Core Rule Set's, on values made against it.

The bounds are about ten times what was measured (docs/LIMITS.md).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from re import _constants as sre
from re import _parser
from typing import Any

import pytest
from hostile_requests import BODY_BYTES, PUNCTUATION, fill, noise
from hostile_run import CRS, load_crs
from pattern_texts import Generator

from extproc.engine.ruleset import Ruleset
from extproc.operators.contract import Operator
from extproc.prefilter.candidates import Prefilter
from extproc.transformations.contract import Transformation

BOUNDS_MS = {8192: 150, BODY_BYTES: 1600}
"""Size of the value → CPU time of one call, milliseconds."""

LOOPS = 6
"""Loop bodies of a pattern that are tried."""

pytestmark = [
    pytest.mark.crs,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not (CRS / "rules").is_dir(), reason="no Core Rule Set at CRS_DIR or ../shared/crs"),
]

UNITS = (
    *(bytes((byte,)) for byte in b"a0 '\"`<>(/\\&%#-;=.\x00\n"),
    *(b"a ", b"1'", b"1;", b"&#", b"/*", b"*/", b"/**/", b"--", b"<a ", b"<a on", b"&lt;", b"&#60;"),
    *(b"\\u003c", b"\\x3c", b"%3c", b"%u003c", b"../", b"//", b"a..", b"${", b"$(", b"union select "),
    *(b"\xc0\xaf", b"\xe4", "ä".encode(), b"\xed\xa0\x80"),
)
"""Repeated, they keep transformations, the detectors and the prefilter busy."""


@pytest.fixture(scope="module")
def ruleset() -> Ruleset:
    return load_crs(4)


def values(size: int) -> Iterator[bytes]:
    for unit in UNITS:
        yield fill(unit, size)
    yield noise(size, 2)
    yield noise(size, 3, PUNCTUATION)


def operators(ruleset: Ruleset) -> list[Operator]:
    found: dict[tuple[str, bytes], Operator] = {}
    for rule in ruleset.by_id.values():
        for link in (rule, *rule.chain):
            if link.operator is not None:
                found.setdefault((link.operator.name, link.operator.argument), link.operator)
    return list(found.values())


def loop_bodies(items: Any) -> Iterator[Any]:
    """What stands under an open repetition, at any depth."""
    for operation, argument in items:
        if operation in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            if argument[1] is sre.MAXREPEAT:
                yield argument[2]
            yield from loop_bodies(argument[2])
        elif operation is sre.SUBPATTERN:
            yield from loop_bodies(argument[3])
        elif operation is sre.BRANCH:
            for branch in argument[1]:
                yield from loop_bodies(branch)


def values_against(pattern: bytes, size: int) -> Iterator[bytes]:
    """A text of the pattern, and the bodies of its loops, again and again, ended by what does not belong there."""
    rng = random.Random(size)
    generator = Generator(rng)
    tree = _parser.parse(pattern.replace(b"\\z", b"\\Z"))
    yield fill(generator.text(tree)[:200] or b"x", size, end=b"\x01")
    bodies = list(loop_bodies(tree))
    for body in rng.sample(bodies, min(LOOPS, len(bodies))):
        yield fill(generator.text(body)[:200] or b"x", size, end=b"\x01")


def cpu_ms(call: Callable[[bytes], object], value: bytes, bound_ms: float) -> float:
    """Measured again if it seems too much: a slow moment of the machine is no blow-up."""
    took = 0.0
    for _ in range(3):
        begun = time.thread_time_ns()
        call(value)
        took = (time.thread_time_ns() - begun) / 1e6
        if took <= bound_ms / 2:
            break
    return took


def report(what: str, size: int, dearest: list[tuple[float, str, bytes]]) -> None:
    dearest.sort(reverse=True)
    bound = BOUNDS_MS[size]
    print(f"\n{what}, {size} bytes: dearest call {dearest[0][0]:.1f} / {bound} ms")
    for took, name, value in dearest[:8]:
        print(f"  {took:7.1f} ms  {name}  {value[:24]!r}...")
    took, name, value = dearest[0]
    assert took <= bound, (name, value[:100])


@pytest.mark.parametrize("size", BOUNDS_MS)
def test_operators(ruleset: Ruleset, size: int) -> None:
    dearest = []
    for operator in operators(ruleset):
        mine = [*values(size), *(values_against(operator.pattern, size) if operator.pattern else ())]
        name = f"@{operator.name} {operator.argument[:40].decode('latin-1')}"
        for value in mine:
            dearest.append((cpu_ms(operator.test, value, BOUNDS_MS[size]), name, value[:64]))
    report("operators", size, dearest)


@pytest.mark.parametrize("size", BOUNDS_MS)
def test_transformations_and_prefilter(ruleset: Ruleset, size: int) -> None:
    known: dict[str, Transformation] = {
        transformation.name: transformation
        for rule in ruleset.by_id.values()
        for link in (rule, *rule.chain)
        for transformation in link.transformations
    }
    calls: dict[str, Callable[[bytes], object]] = {f"t:{name}": one.apply for name, one in known.items()}
    prefilter = Prefilter([(rule.index, rule.clauses) for rule in ruleset.by_id.values()])
    calls["prefilter"] = lambda value: prefilter.candidates(value.lower(), prefilter.held_by(set(value)))
    dearest = [
        (cpu_ms(call, value, BOUNDS_MS[size]), name, value[:64])
        for name, call in calls.items()
        for value in values(size)
    ]
    report("transformations and prefilter", size, dearest)
