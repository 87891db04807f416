"""Step 4, @rx: a regular expression over the value, by google-re2, in time linear in its length.

ModSecurity reference manual, *rx*. Flags as libmodsecurity 3.0.15 sets them: dot matches all, multi-line;
one byte is one character, no UTF. A pattern that re2 cannot express (look-around, back-references) is run
by Python's `re` instead, which backtracks: such a pattern is announced at load and looks at long values
window by window (`FALLBACK_LIMIT_BYTES`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

from re2 import _re2

from extproc.operators.contract import Captures, CompileContext, Operator
from extproc.operators.pcre import translate

MAX_MEM_BYTES = 2 * 1024 * 1024
"""What one pattern may use, program and DFA cache together. Beyond it re2 gets slower, never wrong.

Hostile values fill the cache of every pattern: of a rule set's memory this is the share that others decide. With half
of it one pattern of the Core Rule Set (933120) takes thirteen times as long on prose.
"""

LARGE_PROGRAM_BYTES = 4 * MAX_MEM_BYTES
"""The same for a pattern whose program does not fit into the first."""

FALLBACK_LIMIT_BYTES = 1024
"""How much of a value a backtracking pattern sees at once; longer values in windows that overlap by half.

So padding does not hide an attack, and the work grows with the length only. What is matched must fit into
half a window. A window's edge counts as the end of the text: `$` and a negative look-ahead may match there
once too often.
"""

# re2's own objects, not its Python wrapper: half the time per call (0.45 µs against 1 µs on 15 bytes).
_RE2: Any = _re2.RE2
_UNANCHORED: Any = _RE2.Anchor.UNANCHORED

Test: TypeAlias = Callable[[bytes], Captures | None]


def options(max_mem_bytes: int) -> Any:
    """Options of every pattern: Latin-1, so that bytes 0x80 to 0xFF match; bounded memory; silent."""
    chosen = _RE2.Options()
    chosen.encoding = _RE2.Options.Encoding.LATIN1
    chosen.max_mem = max_mem_bytes
    chosen.log_errors = False
    return chosen


def compile_rx(argument: bytes, context: CompileContext) -> Operator:
    """@rx: `argument` is the pattern in PCRE spelling. Captures: group 0, then every group of the pattern.

    Operator.pattern is the pattern as re2 runs it, None for a pattern left to `re`.
    Raises ValueError when neither engine takes the pattern.
    """
    translation = translate(argument)
    if translation.needs_backtracking:
        return _fallback(argument, translation.pattern, translation.needs_backtracking, context)
    compiled = _compile(translation.pattern)
    can_be_empty = compiled.Match(_UNANCHORED, b"", 0, 0)[0][0] == 0
    if can_be_empty and translation.at_start is not translation.pattern:
        test = _line_tester(compiled, _compile(translation.at_start))
    else:
        test = _tester(compiled)
    return Operator("rx", argument, test, pattern=translation.pattern)


def _compile(pattern: bytes) -> Any:
    compiled = _RE2(pattern, options(MAX_MEM_BYTES))
    if not compiled.ok():
        compiled = _RE2(pattern, options(LARGE_PROGRAM_BYTES))
    if not compiled.ok():
        raise ValueError(f"re2 refuses the pattern: {compiled.error().decode('latin-1')}; mend or split it")
    return compiled


def _tester(compiled: Any) -> Test:
    """The hot path: one call into re2 when nothing matches."""
    search = compiled.Match
    unanchored = _UNANCHORED

    def test(value: bytes) -> Captures | None:
        spans = search(unanchored, value, 0, len(value))
        if spans[0][0] < 0:
            return None
        return tuple([value[start:end] if start >= 0 else b"" for start, end in spans])

    return test


def _line_tester(compiled: Any, at_start: Any) -> Test:
    """For a pattern with `^` that can match nothing: PCRE's `^` never stands behind the newline that ends a value.

    re2's does, and `!@rx ^[a-z]*$` would accept whatever ends with a newline. What re2 finds there is
    empty, at the very end, and the only match; it is real if `at_start`, with `\\A` for `^`, matches too.
    (`a\\n^$`, a match across that newline, is left as re2 sees it.)
    """
    search = compiled.Match
    search_at_start = at_start.Match

    def test(value: bytes) -> Captures | None:
        size = len(value)
        spans = search(_UNANCHORED, value, 0, size)
        start = spans[0][0]
        if start < 0:
            return None
        if start == size and search_at_start(_UNANCHORED, value, 0, size)[0][0] < 0:
            return None
        return tuple([value[start:end] if start >= 0 else b"" for start, end in spans])

    return test


def _fallback(argument: bytes, pattern: bytes, reason: str, context: CompileContext) -> Operator:
    """@rx by Python's `re`. `pattern` is re2's spelling but for what `reason` names."""
    # `\\z` is the only `\\` + `z`: a literal backslash is written `\\\\`, so pairs are skipped.
    spelled = re.sub(rb"\\(.)", lambda pair: b"\\Z" if pair[1] == b"z" else pair[0], pattern, flags=re.DOTALL)
    try:
        compiled = re.compile(spelled)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"neither re2 (it has {reason}) nor re takes the pattern: {error}; rewrite it") from error
    context.notice(
        f"@rx: the pattern has {reason}: it backtracks (slow on hostile values), always runs, and sees values "
        f"over {FALLBACK_LIMIT_BYTES} bytes in windows of that size; rewrite it without"
    )
    search = compiled.search

    def test(value: bytes) -> Captures | None:
        size = len(value)
        found = search(value, 0, FALLBACK_LIMIT_BYTES)
        start = 0
        while found is None and start + FALLBACK_LIMIT_BYTES < size:
            start += FALLBACK_LIMIT_BYTES // 2
            found = search(value, start, start + FALLBACK_LIMIT_BYTES)
        return None if found is None else (found[0], *found.groups(b""))

    return Operator("rx", argument, test)
