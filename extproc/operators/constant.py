"""Step 4, @unconditionalMatch and @noMatch, and operators that answer as if nothing were found or are refused."""

from __future__ import annotations

from extproc.operators.contract import Captures, Compile, CompileContext, Operator

NOTHING: frozenset[bytes] = frozenset()
"""`words` of an operator that never matches: no value holds any of none."""


def compile_unconditional_match(argument: bytes, context: CompileContext) -> Operator:
    """@unconditionalMatch: matches whatever the value is."""
    return Operator("unconditionalMatch", argument, _always)


def compile_no_match(argument: bytes, context: CompileContext) -> Operator:
    """@noMatch: never matches."""
    return Operator("noMatch", argument, _never, NOTHING)


def _always(value: bytes) -> Captures | None:
    return (value,)


def _never(value: bytes) -> Captures | None:
    return None


def without_effect(name: str, reason: str) -> Compile:
    """An operator that rule sets in use contain: accepted, never matches, and said so at load."""

    def compile_without_effect(argument: bytes, context: CompileContext) -> Operator:
        context.notice(f"@{name} never matches here: {reason}")
        return Operator(name, argument, _never, NOTHING)

    return compile_without_effect


def refused(name: str, reason: str) -> Compile:
    """An operator that cannot be had: a rule with it does not load, for it would protect nobody."""

    def compile_refused(argument: bytes, context: CompileContext) -> Operator:
        raise ValueError(f"@{name} is not supported: {reason}")

    return compile_refused
