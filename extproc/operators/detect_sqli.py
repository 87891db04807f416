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
from collections.abc import Iterator
from itertools import chain

from extproc.operators.contract import Captures, CompileContext, Operator
from extproc.operators.sqli_folding import fold
from extproc.operators.sqli_grammar import CONDITIONS, Evidence, is_injection
from extproc.operators.sqli_guard import is_harmless
from extproc.operators.sqli_tokens import ANSI, MYSQL, Dialect, Token, end_of_string, tokenize

MIN_BYTES = 2
"""The shortest injection is ``{` ``, a name in braces that MySQL never sees the end of."""

NEEDED_BYTES = frozenset(range(256)) - frozenset(string.ascii_letters.encode() + string.digits.encode())
"""A single word or number is no injection."""

_READ_DIFFERENTLY = re.compile(rb"#|--(?![\x00\x09-\x0d \xa0]|\Z)")
"""What ANSI SQL and MySQL disagree about: `#`, and `--` before anything but a space."""


def _fingerprint_in(value: bytes, quote: bytes, dialect: Dialect) -> bytes | None:
    """The fingerprint if `value` is an injection when it stands inside `quote` (empty: as it is)."""
    if quote:
        start = end_of_string(value, quote)
        if start == len(value):
            return None
        tokens: Iterator[Token] = chain((("s", value[:start]),), tokenize(value, start, dialect))
    else:
        start = 0
        tokens = tokenize(value, 0, dialect)
    fingerprint, texts = fold(tokens)
    if fingerprint in CONDITIONS:

        def count() -> int:
            return (start > 0) + sum(1 for _ in tokenize(value, start, dialect))

        evidence = Evidence(value, texts, count, quote)
        return fingerprint.encode() if CONDITIONS[fingerprint](evidence) else None
    return fingerprint.encode() if is_injection(fingerprint) else None


def find_injection(value: bytes) -> bytes | None:
    """The fingerprint of the first way of reading `value` that makes it an injection, else None."""
    is_read_differently = _READ_DIFFERENTLY.search(value) is not None
    found = _fingerprint_in(value, b"", ANSI)
    if found is None and is_read_differently:
        found = _fingerprint_in(value, b"", MYSQL)
    if found is None and b"'" in value:
        found = _fingerprint_in(value, b"'", ANSI)
        if found is None and is_read_differently:
            found = _fingerprint_in(value, b"'", MYSQL)
    if found is None and b'"' in value:
        found = _fingerprint_in(value, b'"', MYSQL)
    return found


def detect_sqli(value: bytes) -> Captures | None:
    """The operator: group 0 is the fingerprint."""
    if is_harmless(value):
        return None
    found = find_injection(value)
    return None if found is None else (found,)


def compile_detect_sqli(argument: bytes, context: CompileContext) -> Operator:
    """@detectSQLi. An argument has no effect, as in ModSecurity."""
    if argument:
        context.notice("@detectSQLi takes no argument; what is written after it has no effect")
    return Operator("detectSQLi", argument, detect_sqli, min_bytes=MIN_BYTES, needed_bytes=NEEDED_BYTES)
