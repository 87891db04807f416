"""@detectXSS: is a value a fragment of HTML that runs code where it is put?

As the operator of that name in ModSecurity (reference manual, *detectXSS*; there it is libinjection): the value is read
as text, and as the value of an attribute without quotes and with each kind of them (`xss_html`).
"""

from __future__ import annotations

from extproc.operators.contract import Captures, CompileContext, Operator
from extproc.operators.xss_html import Place, runs_code
from extproc.operators.xss_names import ATTRIBUTE_BEGINNINGS, ATTRIBUTES, NAME_ATTRIBUTES, URL_ATTRIBUTES

WORDS = frozenset((b"<", b"="))
"""Without one of these there is neither a tag nor an attribute with a value."""

MIN_BYTES = 3
"""The shortest are comments with a back quote: ``<!` ``."""

_LEFT_SIDES = bytes(0x20 if byte in b"\x00\x09\x0a\x0b\x0c\x0d />" else byte for byte in bytes(range(256)).upper())
"""Translation: upper case, and a space for what stands between attributes."""

_NAMES = ATTRIBUTES | URL_ATTRIBUTES | NAME_ATTRIBUTES
_BEGINNINGS = (b"ON", *ATTRIBUTE_BEGINNINGS)


def may_assign(value: bytes) -> bool:
    """Does anything before a `=` look like the name of an attribute that runs code?

    Without a tag nothing else can. A quote in a name may hide one, so it counts.
    """
    for left in value.translate(_LEFT_SIDES).split(b"=")[:-1]:
        words = left.rsplit(None, 1)
        if words:
            name = words[-1]
            if name in _NAMES or name.startswith(_BEGINNINGS) or b"'" in name or b'"' in name or b"`" in name:
                return True
    return False


def detect_xss(value: bytes) -> Captures | None:
    """The operator: group 0 is the value."""
    has_tag = b"<" in value
    if not has_tag and (b"=" not in value or not may_assign(value)):
        return None
    seen: set[int] = set()
    if (
        (has_tag and runs_code(value, Place.TEXT, seen))
        or runs_code(value, Place.UNQUOTED, seen)
        or (b"'" in value and runs_code(value, Place.SINGLE, seen))
        or (b'"' in value and runs_code(value, Place.DOUBLE, seen))
        or (b"`" in value and runs_code(value, Place.BACK, seen))
    ):
        return (value,)
    return None


def compile_detect_xss(argument: bytes, context: CompileContext) -> Operator:
    """@detectXSS. An argument has no effect, as in ModSecurity."""
    if argument:
        context.notice("@detectXSS takes no argument; what is written after it has no effect")
    return Operator("detectXSS", argument, detect_xss, words=WORDS, min_bytes=MIN_BYTES)
