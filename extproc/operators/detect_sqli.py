"""@detectSQLi: is a value a fragment of SQL that changes the query it is put into?

As the operator of that name in ModSecurity (reference manual, *detectSQLi*; there it is libinjection): the value is
read as it is, inside single and inside double quotes, each time in the way of ANSI SQL and, where that makes a
difference, of MySQL. Tokens are folded to a fingerprint of at most five kinds, and a grammar over fingerprints decides.

`sqli_guard` lets most values go at once, the others are read: `sqli_tokens` → `sqli_folding` → `sqli_grammar`.
`sqli_words` holds the reserved words.
"""

from __future__ import annotations

import re
import string
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import chain, islice

from extproc.operators.contract import Captures, CompileContext, Operator
from extproc.operators.sqli_folding import fold, fold_steps
from extproc.operators.sqli_grammar import CONDITIONS, Evidence, is_injection
from extproc.operators.sqli_guard import is_harmless
from extproc.operators.sqli_tokens import ANSI, MYSQL, Dialect, Token, end_of_string, tokenize

MIN_BYTES = 2
"""The shortest injection is ``{` ``, a name in braces that MySQL never sees the end of."""

NEEDED_BYTES = frozenset(range(256)) - frozenset(string.ascii_letters.encode() + string.digits.encode())
"""A single word or number is no injection."""

_READ_DIFFERENTLY = re.compile(rb"#|--(?![\x00\x09-\x0d \xa0]|\Z)")
"""What ANSI SQL and MySQL disagree about: `#`, and `--` before anything but a space."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A way to read a value: as it stands inside `quote` (empty: as it is), whose string ends at `start`."""

    quote: bytes
    start: int
    dialect: Dialect

    def tokens(self, value: bytes) -> Iterator[Token]:
        """The tokens, the string that is closed among them."""
        rest = tokenize(value, self.start, self.dialect)
        return chain((("s", value[: self.start]),), rest) if self.quote else rest

    def judge(self, value: bytes, fingerprint: str, texts: list[bytes]) -> bytes | None:
        """The fingerprint if what was read is an injection."""
        condition = CONDITIONS.get(fingerprint)
        if condition is None:
            return fingerprint.encode() if is_injection(fingerprint) else None

        def count(most: int) -> int:
            return sum(1 for _ in islice(self.tokens(value), most))

        return fingerprint.encode() if condition(Evidence(value, texts, count, self.quote)) else None


_AS_IT_IS = (Reading(b"", 0, ANSI), Reading(b"", 0, MYSQL))


def readings(value: bytes) -> Iterator[Reading]:
    """The ways of reading the value that may differ, in the order of libinjection."""
    is_read_differently = _READ_DIFFERENTLY.search(value) is not None
    yield _AS_IT_IS[0]
    if is_read_differently:
        yield _AS_IT_IS[1]
    if b"'" in value and (start := end_of_string(value, b"'")) < len(value):
        yield Reading(b"'", start, ANSI)
        if is_read_differently:
            yield Reading(b"'", start, MYSQL)
    if b'"' in value and (start := end_of_string(value, b'"')) < len(value):
        yield Reading(b'"', start, MYSQL)


def find_injection(value: bytes) -> bytes | None:
    """The fingerprint of the first way of reading `value` that makes it an injection, else None."""
    for reading in readings(value):
        found = reading.judge(value, *fold(reading.tokens(value)))
        if found is not None:
            return found
    return None


def detect_sqli(value: bytes) -> Captures | None:
    """The operator: group 0 is the fingerprint."""
    if is_harmless(value):
        return None
    found = find_injection(value)
    return None if found is None else (found,)


def detect_sqli_steps(value: bytes) -> Generator[None, None, Captures | None]:
    """The same, that stops after some tokens."""
    if is_harmless(value):
        return None
    for reading in readings(value):
        yield
        fingerprint, texts = yield from fold_steps(reading.tokens(value))
        found = reading.judge(value, fingerprint, texts)
        if found is not None:
            return (found,)
    return None


def compile_detect_sqli(argument: bytes, context: CompileContext) -> Operator:
    """@detectSQLi. An argument has no effect, as in ModSecurity."""
    if argument:
        context.notice("@detectSQLi takes no argument; what is written after it has no effect")
    return Operator(
        "detectSQLi", argument, detect_sqli, min_bytes=MIN_BYTES, needed_bytes=NEEDED_BYTES, steps=detect_sqli_steps
    )
