"""@detectXSS: is a value a fragment of HTML that runs code where it is put?

As the operator of that name in ModSecurity (reference manual, *detectXSS*; there it is libinjection): the value is read
as text, and as the value of an attribute without quotes and with each kind of them. `xss_grammar` holds how HTML is
read, `xss_names` what in it runs code. Why it is one expression: docs/decisions/0014.
"""

from __future__ import annotations

from typing import Any

from re2 import _re2

from extproc.operators.contract import Captures, CompileContext, Operator
from extproc.operators.rx import LARGE_PROGRAM_BYTES, options
from extproc.operators.xss_grammar import RUNS_CODE

WORDS = frozenset((b"<", b"="))
"""Without one of these there is neither a tag nor an attribute with a value."""

MIN_BYTES = 3
"""The shortest are comments with a back quote: ``<!` ``."""

_EXPRESSION: Any = _re2.RE2(RUNS_CODE, options(LARGE_PROGRAM_BYTES))
_AT_START: Any = _re2.RE2.Anchor.ANCHOR_START


def detect_xss(value: bytes) -> Captures | None:
    """The operator: group 0 is the value, as in libmodsecurity."""
    if b"<" not in value and b"=" not in value:
        return None
    return None if _EXPRESSION.Match(_AT_START, value, 0, len(value))[0][0] < 0 else (value,)


def compile_detect_xss(argument: bytes, context: CompileContext) -> Operator:
    """@detectXSS. An argument has no effect, as in ModSecurity."""
    if argument:
        context.notice("@detectXSS takes no argument; what is written after it has no effect")
    return Operator("detectXSS", argument, detect_xss, words=WORDS, min_bytes=MIN_BYTES)
