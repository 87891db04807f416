"""Step 4, @eq @ne @ge @gt @le @lt: numbers.

ModSecurity reference manual, the operators of these names. A text counts as the whole number it begins
with, after white space and a sign; without one it is 0. Numbers stop at 64 bits, both ways.
libmodsecurity 3.0.15 reads @eq with 32 bits and takes what does not fit for 0 (`@eq 0` matches 4294967296)
while the others use 64 bits; we read all with 64.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

from extproc.operators.contract import Captures, Compile, CompileContext, Operator

LARGEST = 2**63 - 1
SAFE_DIGITS = 18
"""So many decimal digits always fit into 64 bits; int() never sees a long text, which it would read in squared time."""

_LEADING_INTEGER = re.compile(rb"[\t-\r ]*([+-]?)0*([0-9]+)")


def parse_integer(text: bytes) -> int:
    """The number at the start of `text` as C's atoll() sees it, 0 if there is none."""
    if len(text) <= SAFE_DIGITS and text.isdigit():
        return int(text)
    found = _LEADING_INTEGER.match(text)
    if found is None:
        return 0
    sign, digits = found.groups()
    size = min(int(digits), LARGEST) if len(digits) <= SAFE_DIGITS + 1 else LARGEST
    return -size if sign == b"-" else size


def _comparison(name: str, compare: Callable[[int, int], bool]) -> Compile:
    def compile_comparison(argument: bytes, context: CompileContext) -> Operator:
        limit = parse_integer(argument)

        def test(value: bytes) -> Captures | None:
            return (value,) if compare(parse_integer(value), limit) else None

        return Operator(name, argument, test)

    return compile_comparison


compile_eq = _comparison("eq", operator.eq)
compile_ne = _comparison("ne", operator.ne)
compile_ge = _comparison("ge", operator.ge)
compile_gt = _comparison("gt", operator.gt)
compile_le = _comparison("le", operator.le)
compile_lt = _comparison("lt", operator.lt)
