"""The corpus, and some thousands of inputs made from it: what once broke stays mended."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.fuzz_corpus import FOLDER, escape, inputs, unescape
from tests.fuzz.fuzz_mutator import mutate
from tests.fuzz.fuzz_targets import TARGETS

ROUNDS = {"transaction": 60, "seclang": 200, "conversation": 400}
DEFAULT_ROUNDS = 500


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_breaks_nothing(name: str) -> None:
    for data in inputs(name):
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_made_of_it_breaks_nothing(name: str) -> None:
    pool, source = inputs(name), random.Random(name)
    for _ in range(ROUNDS.get(name, DEFAULT_ROUNDS)):
        data = mutate(source.choice(pool), source.choice(pool), source)
        try:
            TARGETS[name](data)
        except Exception as error:
            raise AssertionError(f"line for corpus/{name}.txt: {escape(data)}") from error


def test_every_file_has_its_target() -> None:
    assert {file.stem for file in FOLDER.glob("*.txt")} == set(TARGETS)


@pytest.mark.parametrize("data", [b"", b"#a", b"\\", b"\xff\x00\n#", b"a'\""])
def test_lines_say_any_bytes(data: bytes) -> None:
    line = escape(data)
    assert "\n" not in line
    assert not line.startswith("#")
    assert unescape(line) == data
