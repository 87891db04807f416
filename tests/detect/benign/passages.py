"""Texts of the benign collection: committed passages, filled in, joined and varied out of a seed."""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path

from tests.bench.traffic import WORDS

TEXTS = Path(__file__).parent / "texts"


@cache
def lines(name: str) -> tuple[str, ...]:
    """The passages of texts/NAME.txt, one a line; `\\n` stands for a line break."""
    text = (TEXTS / f"{name}.txt").read_text(encoding="utf-8")
    return tuple(line.replace("\\n", "\n") for line in text.splitlines())


@cache
def blocks(name: str) -> tuple[str, ...]:
    """The passages of texts/NAME.txt that are of many lines, between lines of `%%`."""
    text = (TEXTS / f"{name}.txt").read_text(encoding="utf-8")
    return tuple(block.strip("\n") for block in text.split("\n%%\n"))


def foreign(r: random.Random) -> str:
    """A sentence in one of fifty languages."""
    return r.choice(lines("languages")).partition("\t")[2]


def name(r: random.Random) -> str:
    """Of a person or a firm."""
    return r.choice(lines("names"))


def noun(r: random.Random) -> str:
    """An everyday word."""
    return r.choice(WORDS)


_NUMBER = re.compile(r"(?<![\w.&])[1-9][0-9]{0,3}(?![\w.])")


def vary(text: str, r: random.Random) -> str:
    """Other numbers, and now and then another word, so that no two texts are the same."""
    text = _NUMBER.sub(lambda found: str(r.randrange(1, 10 ** len(found[0]))) if r.random() < 0.5 else found[0], text)
    words = text.split(" ")
    for _ in range(1 + len(words) // 12):
        place = r.randrange(len(words))
        if words[place].isalpha() and words[place].islower() and len(words[place]) > 4:
            words[place] = noun(r)
    return " ".join(words)


def english(r: random.Random) -> str:
    """A line of English with quotes, signs and words that other languages use."""
    return vary(r.choice(lines("english")), r)


def documentation(r: random.Random) -> str:
    """A line of Markdown about software."""
    return vary(r.choice(lines("documentation")), r)


def forum(r: random.Random) -> str:
    """A post about SQL, shells or web pages: prose with pieces of code."""
    return vary(r.choice(lines("forum")), r)


def chat(r: random.Random) -> str:
    """What people ask a language model."""
    fill = {"english": english, "forum": forum, "documentation": documentation, "noun": noun, "name": name}
    return re.sub(r"\{(\w+)\}", lambda found: fill[found[1]](r), r.choice(lines("chat")))


def block(kind: str, r: random.Random) -> str:
    """A piece of `code`, `sql`, `html`, ...: valid before it was varied."""
    return vary(r.choice(blocks(kind)), r)


def paragraphs(r: random.Random) -> str:
    """Two to six lines of several kinds."""
    makers = (english, english, documentation, forum, foreign)
    return r.choice(("\n", "\n\n", " ", "\r\n")).join(r.choice(makers)(r) for _ in range(r.randrange(2, 7)))
