"""Variants of attacks that this project wrote, and their harmless twins, against the own rules by default."""

from __future__ import annotations

import pytest

from tests.detect.judges import JUDGES, Judge
from tests.detect.material import Value, variants
from tests.detect.placing import place

ATTACKS, TWINS = variants()
KINDS = sorted({value.kind for value in ATTACKS})


@pytest.fixture(scope="module")
def own() -> Judge:
    return JUDGES["own"]()


def _of(values: list[Value], kind: str) -> list[Value]:
    return [value for value in values if value.kind == kind]


@pytest.mark.parametrize("kind", KINDS)
def test_each_variant_is_caught(own: Judge, kind: str) -> None:
    assert [
        (value.place, value.text) for value in _of(ATTACKS, kind) if not own(place(value.text, value.place))[0]
    ] == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_twin_is_blocked(own: Judge, kind: str) -> None:
    assert [(value.place, value.text) for value in _of(TWINS, kind) if own(place(value.text, value.place))[0]] == []
