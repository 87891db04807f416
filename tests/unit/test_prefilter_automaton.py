"""The automaton finds what a naive search finds."""

from __future__ import annotations

import os
import random

import pytest

from extproc.prefilter.automaton import Automaton

# Words, text, positions of the words that occur.
CASES: list[tuple[list[bytes], bytes, set[int]]] = [
    ([], b"", set()),
    ([], b"abc", set()),
    ([b"abc"], b"", set()),
    ([b"abc"], b"ab", set()),
    ([b"abc"], b"abc", {0}),
    ([b"he", b"she", b"hers", b"his"], b"ushers", {0, 1, 2}),  # one inside of another, overlapping
    ([b"aa", b"aaa"], b"aaaa", {0, 1}),
    ([b"'"], b"a'b", {0}),
    ([b"'", b'"', b"\x00", b"\xff"], b"\xff'\x00", {0, 2, 3}),
    ([b"x'", b"'", b"'y"], b"x'y", {0, 1, 2}),
    ([b"\xc3\xa9", b"\xa9"], b"caf\xc3\xa9", {0, 1}),
    ([b"ABC", b"abc"], b"abc", {1}),  # compared as they are
]


@pytest.mark.parametrize(("words", "text", "expected"), CASES, ids=lambda value: None)
def test_find(words: list[bytes], text: bytes, expected: set[int]) -> None:
    assert Automaton(words).find(text) == expected
    padding = b"~" * 200
    assert Automaton(words).find(padding + text + padding) == expected


@pytest.mark.parametrize("size", [20, 199, 200, 201, 70_000])
def test_find_at_the_ends_of_short_and_long_texts(size: int) -> None:
    automaton = Automaton([b"<", b">", b"<script", b"/a>", b"no"])
    assert automaton.find((b"<script" + b"." * size)[: size - 3] + b"/a>") == {0, 1, 2, 3}


@pytest.mark.parametrize("byte", range(256))
def test_each_byte_is_found(byte: int) -> None:
    one = bytes((byte,))
    automaton = Automaton([b"~~" + one + b"~", one])
    assert automaton.find(b"~~" + one + b"~") == {0, 1}
    assert automaton.find(b"..." + one) == {1}


@pytest.mark.parametrize("words", [[b""], [b"a", b"bc", b"a"], [b"a", b"bc", b"bc"]])
def test_words_are_distinct_and_not_empty(words: list[bytes]) -> None:
    with pytest.raises(ValueError, match="leave"):
        Automaton(words)


def test_a_hundred_thousand_words() -> None:
    words = [b"word-%06d-" % n for n in range(100_000)]
    automaton = Automaton(words)
    assert automaton.find(b"a word-000000- and word-099999- and word-100000-") == {0, 99_999}


def test_a_fork_keeps_it() -> None:
    rng = random.Random(5)
    words = sorted({bytes(rng.choices(b"abc<>", k=rng.randint(1, 4))) for _ in range(100)})
    text = bytes(rng.choices(b"abc<>", k=300))
    automaton = Automaton(words)
    expected = {n for n, word in enumerate(words) if word in text}
    child = os.fork()
    if child == 0:
        os._exit(0 if automaton.find(text) == expected else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert automaton.find(text) == expected
