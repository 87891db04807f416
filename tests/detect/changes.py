"""The same attack in another spelling: what a decoder behind us would undo, or a text around it."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from urllib.parse import quote

from tests.bench.traffic import WORDS

Change = Callable[[str, random.Random], str]

SENTENCE_BEFORE = "Good morning, please have a look at the following entry of my account. "
SENTENCE_AFTER = " Thank you very much, and have a nice day with your colleagues."
LONG_BYTES = 8192


def _each(text: str, spell: Callable[[str], str]) -> str:
    """Everything but letters, digits and blanks, spelled."""
    return "".join(char if char.isalnum() or char == " " else spell(char) for char in text)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _full_width(text: str) -> str:
    return "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text)


def _random_case(text: str, r: random.Random) -> str:
    return "".join(r.choice((char.lower(), char.upper())) if char.isascii() else char for char in text)


def _words(r: random.Random) -> str:
    return " ".join(r.choice(WORDS) for _ in range(LONG_BYTES // 5))[:LONG_BYTES]


def _quoted(text: str) -> str:
    return quote(text, safe="")


CHANGES: dict[str, Change] = {
    "percent twice": lambda text, r: _quoted(text),
    "percent three times": lambda text, r: _quoted(_quoted(text)),
    "entities": lambda text, r: _each(text, lambda char: f"&#x{ord(char):x};"),
    "\\u": lambda text, r: _each(text, lambda char: f"\\u{ord(char):04x}" if ord(char) < 0x10000 else char),
    "%u": lambda text, r: _each(text, lambda char: f"%u{ord(char):04x}" if ord(char) < 0x10000 else char),
    "full width": lambda text, r: _full_width(text),
    "Base64": lambda text, r: _base64(text),
    "URL Base64": lambda text, r: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "JSON in Base64": lambda text, r: _base64(json.dumps({"id": 7, "q": text})),
    "Base64 twice": lambda text, r: _base64(_base64(text)),
    "random case": _random_case,
    "JSON text": lambda text, r: json.dumps({"id": 7, "q": text}),
    "query string": lambda text, r: f"page=2&q={_quoted(text)}",
    "URL argument": lambda text, r: f"https://shop.example/list?page=2&q={_quoted(text)}",
    "tab for blank": lambda text, r: text.replace(" ", "\t"),
    "newline for blank": lambda text, r: text.replace(" ", "\n"),
    "vertical tab for blank": lambda text, r: text.replace(" ", "\v"),
    "sentence before": lambda text, r: SENTENCE_BEFORE + text,
    "sentence after": lambda text, r: text + SENTENCE_AFTER,
    "8 KB of one letter before": lambda text, r: "a" * LONG_BYTES + " " + text,
    "8 KB of words before": lambda text, r: _words(r) + " " + text,
}
"""Name → change. Case, blanks and long text are of the value itself, the rest is a way to carry it."""

HARMLESS = frozenset({("deserialisation", "random case")})
"""(class, change): what is left is no attack. Names of classes and Base64 are read in one case only."""

LONG = ("8 KB of one letter before", "8 KB of words before")
"""Those that may cost more: the payload stands far from where it would be put."""
