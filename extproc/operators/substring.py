"""Step 4, @contains @containsWord @strmatch @streq @beginsWith @endsWith @within: plain text, case and all.

ModSecurity reference manual, the operators of these names. An empty argument (a macro without a value) is
part of every text, as in libmodsecurity; @streq and @within then match the empty value only.
"""

from __future__ import annotations

import string

from extproc.operators.contract import Captures, CompileContext, Operator

_LETTERS = frozenset(string.ascii_letters.encode())


def _words(argument: bytes) -> frozenset[bytes] | None:
    """An argument that must occur in the value whole is a literal; the empty one proves nothing."""
    return frozenset([argument.lower()]) if argument else None


def compile_contains(argument: bytes, context: CompileContext) -> Operator:
    """@contains: the argument somewhere in the value."""
    return _contains("contains", argument)


def compile_strmatch(argument: bytes, context: CompileContext) -> Operator:
    """@strmatch: in libmodsecurity 3 the same as @contains."""
    return _contains("strmatch", argument)


def _contains(name: str, argument: bytes) -> Operator:
    captures = (argument,)

    def test(value: bytes) -> Captures | None:
        return captures if value.find(argument) >= 0 else None  # `in` takes three times as long

    return Operator(name, argument, test, _words(argument), min_bytes=len(argument))


def compile_contains_word(argument: bytes, context: CompileContext) -> Operator:
    """@containsWord: the argument with no ASCII letter right before or behind it.

    Digits and `_` end a word, as in libmodsecurity.
    """
    captures = (argument,)
    size = len(argument)

    def test(value: bytes) -> Captures | None:
        start = value.find(argument)
        while start >= 0:
            end = start + size
            is_open_before = start == 0 or value[start - 1] not in _LETTERS
            if is_open_before and (end == len(value) or value[end] not in _LETTERS):
                return captures
            start = value.find(argument, start + 1)
        return None

    def test_empty(value: bytes) -> Captures | None:
        return captures

    return Operator("containsWord", argument, test if argument else test_empty, _words(argument), min_bytes=size)


def compile_streq(argument: bytes, context: CompileContext) -> Operator:
    """@streq: the value is the argument."""
    captures = (argument,)

    def test(value: bytes) -> Captures | None:
        return captures if value == argument else None

    return Operator("streq", argument, test, _words(argument), min_bytes=len(argument))


def compile_begins_with(argument: bytes, context: CompileContext) -> Operator:
    """@beginsWith: the value starts with the argument."""
    captures = (argument,)

    def test(value: bytes) -> Captures | None:
        return captures if value.startswith(argument) else None

    return Operator("beginsWith", argument, test, _words(argument), min_bytes=len(argument))


def compile_ends_with(argument: bytes, context: CompileContext) -> Operator:
    """@endsWith: the value ends with the argument."""
    captures = (argument,)

    def test(value: bytes) -> Captures | None:
        return captures if value.endswith(argument) else None

    return Operator("endsWith", argument, test, _words(argument), min_bytes=len(argument))


def compile_within(argument: bytes, context: CompileContext) -> Operator:
    """@within: the value is a part of the argument; delimiters are up to the rule (`|GET|` in `|GET|POST|`)."""

    def test(value: bytes) -> Captures | None:
        return (value,) if argument.find(value) >= 0 else None

    return Operator("within", argument, test)
