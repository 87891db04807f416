"""Random texts that a pattern is likely to match, made from the tree of the pattern itself."""

from __future__ import annotations

import random
import re
from re import _constants as sre
from typing import Any

MORE_REPEATS = 3
"""An open repetition is generated up to this many times beyond its minimum."""


class Generator:
    """Random texts that a pattern is likely to match, from its tree."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def text(self, items: Any) -> bytes:
        return b"".join(self.item(operation, argument) for operation, argument in items)

    def item(self, operation: Any, argument: Any) -> bytes:
        rng = self.rng
        if operation is sre.LITERAL:
            return bytes((argument,))
        if operation is sre.NOT_LITERAL:
            return bytes((rng.choice([b for b in range(256) if b != argument]),))
        if operation is sre.ANY:
            return bytes((rng.randrange(256),))
        if operation is sre.IN:
            return self.member(argument)
        if operation is sre.SUBPATTERN:
            return self.text(argument[3])
        if operation is sre.BRANCH:
            return self.text(rng.choice(argument[1]))
        if operation in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            low, high, item = argument
            high = min(int(high), low + MORE_REPEATS)
            return b"".join(self.text(item) for _ in range(rng.choice((low, rng.randint(low, high)))))
        assert operation is sre.AT, operation
        return rng.choice((b"", b"", b"\n", b" "))

    def member(self, items: Any) -> bytes:
        pattern = _class_source(items)
        return bytes((self.rng.choice([b for b in range(256) if pattern.match(bytes((b,)))]),))


def _class_source(items: Any) -> re.Pattern[bytes]:
    names = {sre.CATEGORY_DIGIT: b"\\d", sre.CATEGORY_SPACE: b"\\s", sre.CATEGORY_WORD: b"\\w"}
    out = b"["
    for operation, argument in items:
        if operation is sre.NEGATE:
            out += b"^"
        elif operation is sre.LITERAL:
            out += b"\\x%02x" % argument
        elif operation is sre.RANGE:
            out += b"\\x%02x-\\x%02x" % argument
        else:
            out += names[argument]
    return re.compile(out + b"]")


def swap_case(text: bytes, rng: random.Random) -> bytes:
    return bytes(b ^ 0x20 if bytes((b,)).isalpha() and rng.random() < 0.5 else b for b in text)
