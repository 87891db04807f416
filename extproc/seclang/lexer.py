"""Rule text → logical lines → words: comments, continuations and the three kinds of quoting.

    line  = comment | word*            a backslash at the end of a line joins the next one to it
    word  = "..." | '...' | bare       inside quotes a backslash keeps the quote: \\"
    bare  = no blanks but in :'...'    (ARGS:'a b' is one word)

Only `\\"` (or `\\'`) loses its backslash; every other pair stays as written, because patterns live
in quotes. This is libmodsecurity 3; Apache's reader, under ModSecurity 2, also halves `\\\\`.
Comments do not continue (as in libmodsecurity 3): a rule after `# text \\` is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_LINE_BYTES = 262_144
"""Longest logical line. The longest of the Core Rule Set has about 10 KB."""


class Line(NamedTuple):
    """One directive with its arguments, continuations joined. `number` counts from 1 and is its first."""

    number: int
    text: bytes
    is_continued: bool


class Word(NamedTuple):
    """`text` without quotes; `quote` is the quote it stood in, empty for a bare word."""

    text: bytes
    quote: bytes = b""


class LexError(ValueError):
    """A line that cannot be cut into words; the text says what is wrong and how to mend it."""


_BOM = b"\xef\xbb\xbf"
_WORD = re.compile(
    rb"""\s*(?:
        "([^"\\]*+(?:\\.[^"\\]*+)*+)"(?!\S)
      | '([^'\\]*+(?:\\.[^'\\]*+)*+)'(?!\S)
      | ([^\s"'](?: :'[^'\\]*+(?:\\.[^'\\]*+)*+' | \S )*+)
    )""",
    re.VERBOSE | re.DOTALL,
)
_QUOTED = re.compile(rb"""\s*(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"|'[^'\\]*+(?:\\.[^'\\]*+)*+')""", re.DOTALL)


def logical_lines(source: bytes) -> Iterator[Line]:
    """The lines of a file that say something, in order; comments and blank lines are left out."""
    number = first = 0
    parts: list[bytes] = []
    for raw in source.removeprefix(_BOM).split(b"\n"):
        number += 1
        text = raw[:-1] if raw.endswith(b"\r") else raw
        if not parts:
            stripped = text.strip()
            if not stripped or stripped.startswith(b"#"):
                continue
            first = number
        if text.endswith(b"\\"):
            parts.append(text[:-1])
            continue
        parts.append(text)
        joined = b"".join(parts).strip()
        if joined:
            yield Line(first, joined, len(parts) > 1)
        parts = []
    joined = b"".join(parts).strip()
    if joined:
        yield Line(first, joined, True)


def words(line: Line) -> list[Word]:
    """The words of a line. Raises LexError for a missing quote, or text that is glued to one."""
    text, found, position = line.text, [], 0
    if len(text) > MAX_LINE_BYTES:
        raise LexError(f"line of {len(text)} bytes, at most {MAX_LINE_BYTES} are read: split the rule")
    while position < len(text):
        match = _WORD.match(text, position)
        if match is None:
            raise LexError(_why(text, position))
        double, single, bare = match.groups()
        position = match.end()
        if double is not None:
            found.append(Word(double.replace(b'\\"', b'"'), b'"'))
        elif single is not None:
            found.append(Word(single.replace(b"\\'", b"'"), b"'"))
        elif bare.startswith(b"#"):
            if line.is_continued:
                raise LexError("a comment inside a continued directive: move it to a line of its own above")
            break
        elif bare == b"\\":
            raise LexError("a backslash with blanks after it does not continue the line: remove the blanks")
        else:
            found.append(Word(bare))
    return found


def _why(text: bytes, position: int) -> str:
    quote = text[position:].lstrip()[:1].decode("ascii")
    match = _QUOTED.match(text, position)
    if match is None:
        return f"missing closing {quote}: end the word with it, or end the line with a backslash to go on"
    rest = text[match.end() : match.end() + 20].decode("utf-8", "backslashreplace")
    return f"text glued to a closing {quote} ({rest!r}): add a blank, or write \\{quote} for a quote inside quotes"
