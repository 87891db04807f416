"""Step 4, @verifyCC @verifyCPF @verifySSN @verifySVNR: numbers of cards and persons that check out.

ModSecurity reference manual, the operators of these names. The argument is a pattern; what it finds is
checked, and the search goes on one byte behind the start of what did not check out.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import re2

from extproc.operators.contract import Captures, Compile, CompileContext, Operator
from extproc.operators.rx import MAX_MEM_BYTES, compile_rx, options

CANDIDATES_LIMIT = 4096
"""Findings of the pattern that are checked per value; the work stays bounded on a text of digits only."""

ASCII_ZERO = 0x30


def is_card_number(digits: list[int]) -> bool:
    """The Luhn sum (ISO/IEC 7812-1, annex B) ends in 0."""
    doubled = [digit * 2 - 9 if digit > 4 else digit * 2 for digit in digits[-2::-2]]
    return bool(digits) and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def is_cpf(digits: list[int]) -> bool:
    """Brazil's tax number: nine digits and two check digits modulo 11, not all the same. More digits are ignored."""
    if len(digits) < 11 or len(set(digits[:11])) == 1:
        return False
    for size in (9, 10):
        rest = sum(digit * (size + 1 - index) for index, digit in enumerate(digits[:size])) % 11
        if digits[size] != (0 if rest < 2 else 11 - rest):
            return False
    return True


def is_ssn(digits: list[int]) -> bool:
    """A social security number of the USA: nine digits, no part all zeros, area below 740 and not 666.

    As libmodsecurity does: the areas of before 2011; one digit nine times or counted up is none either.
    """
    if len(digits) != 9:
        return False
    steps = {after - before for before, after in pairwise(digits)}
    if steps in ({0}, {1}):
        return False
    area = digits[0] * 100 + digits[1] * 10 + digits[2]
    return 0 < area < 740 and area != 666 and any(digits[3:5]) and any(digits[5:])


def is_svnr(digits: list[int]) -> bool:
    """Austria's insurance number: ten digits, the fourth checks the others modulo 11, not all the same.

    As libmodsecurity does: a remainder of 10, never issued, counts as 0; more digits are ignored.
    """
    if len(digits) < 10 or len(set(digits[:10])) == 1:
        return False
    weights = (3, 7, 9, 0, 5, 8, 4, 2, 1, 6)
    return sum(weight * digit for weight, digit in zip(weights, digits, strict=False)) % 11 % 10 == digits[3]


def _verification(name: str, is_valid: Callable[[list[int]], bool]) -> Compile:
    def compile_verification(argument: bytes, context: CompileContext) -> Operator:
        if not argument:
            raise ValueError(f"@{name} needs a pattern that finds the numbers to check")
        pattern = compile_rx(argument, context).pattern
        if pattern is None:
            raise ValueError(f"@{name} needs a pattern without look-around and back-references")
        compiled = re2.compile(pattern, options(MAX_MEM_BYTES))

        def test(value: bytes) -> Captures | None:
            start = 0
            for _ in range(CANDIDATES_LIMIT):
                found = compiled.search(value, start)
                if found is None:
                    return None
                text = found[0]
                if is_valid([byte - ASCII_ZERO for byte in text if 0 <= byte - ASCII_ZERO <= 9]):
                    return (text,)
                start = found.start() + 1
            return None

        return Operator(name, argument, test)

    return compile_verification


compile_verify_cc = _verification("verifyCC", is_card_number)
compile_verify_cpf = _verification("verifyCPF", is_cpf)
compile_verify_ssn = _verification("verifySSN", is_ssn)
compile_verify_svnr = _verification("verifySVNR", is_svnr)
