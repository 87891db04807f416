r"""LDAP injection: a bracket that closes the filter around the value, then a filter of the value's own.

A filter is `(attribute=value)`, joined by `&`, `|`, `!` before them (RFC 4515). A value that closes a bracket which it
has not opened, at once followed by a further filter, by a joining sign, or by the end behind a star or a NUL, leaves
its place. So does a star that ends the value's own text before the bracket.

A whole filter as the value is a search language by contract: a hint. Brackets that close what the text opened, smileys,
and lists such as `a) b (c = d)`, whose parts stand apart by blanks, are none.
"""

from __future__ import annotations

from extproc.detection.contract import UNCOUNTED, Detector, Finding, Place, Reading
from extproc.detection.pattern import find_here

LIMIT_BYTES = 2048

BEFORE_BYTES = 72
"""Of the text before the bracket that the expressions read; what is further ahead proves nothing."""

_ATTRIBUTE = rb"[a-z][a-z0-9-]{0,60}(?:;[a-z0-9-]{1,20})?(?::[a-z0-9.-]{0,60}:?)?[~<>:]?="
_FILTER = rb"\(*[|&!]?\(*\s?" + _ATTRIBUTE

_CLOSES = find_here(
    rb"[^()]{0,80}\)+\s?(?:\(+\s?[|&!]?\s?\(*\s?"
    + _ATTRIBUTE
    + rb"|[|&!]\s?\(*\s?"
    + _ATTRIBUTE
    + rb"|\(?[|&!]\s?\(\s?"
    + _ATTRIBUTE
    + rb"|\(\s?[|&!]\s?\)?\s*$|\(\s?[|&]\s?\(\s?[|&!]?\s*$)"
)
_STAR_CLOSES = find_here(rb"[^()]{0,80}\*\s?\)+(?:\s*(?:\x00|%00|\(|[|&!]|$)|\s*\)*\s*$)")
_NUL_CLOSES = find_here(rb"[^()\x00]{0,80}\)+(?:\x00|%00)")
_STAR_ONLY = find_here(rb"\s*\*\s?\(\s?\)?\s?[|&!]|\s*\*\s?\(\s?[|&!]\s?\(" + _ATTRIBUTE)
_EMPTY_FILTERS = find_here(rb"[^()]{0,80}\)?\(\s?[|&]\s?\)\s?\(*|[^()\n]{0,40}\)\(\s?[!|&]\(")
_STAR_JOINS = find_here(rb"\s*\w{0,40}\*?\s?[|&]\s?\(?" + _ATTRIBUTE + rb"\*")
_WHOLE = find_here(rb"\s*\(\s?[|&!]\s?\(" + _ATTRIBUTE)
_SMILEY = b":;8=-"

_COMPLETE, _OPEN = 7, 6


def detect(text: bytes, place: Place, reading: Reading = UNCOUNTED) -> Finding | None:
    """What closes the filter around it."""
    bracket = text.find(b")")
    opening = text.find(b"(")
    if bracket >= 0 and (opening < 0 or bracket < opening):
        if bracket and text[bracket - 1] in _SMILEY:
            return None
        # What stands before is the value's own text, however long.
        start = max(0, bracket - BEFORE_BYTES)
        spans = _CLOSES(text, start)
        if spans is not None:
            return _finding(_COMPLETE, spans[0], "filter", "closes ), then a filter of its own")
        spans = _NUL_CLOSES(text, start)
        if spans is not None:
            return _finding(_COMPLETE, spans[0], "filter", "closes ), then NUL, which ends the filter")
        spans = _STAR_CLOSES(text, start)
        if spans is not None:
            return _finding(_OPEN, spans[0], "filter", "a star, closes )")
        spans = _EMPTY_FILTERS(text, start)
        if spans is not None:
            return _finding(_OPEN, spans[0], "filter", "closes ), then an empty filter")
        return None
    spans = _STAR_ONLY(text, 0)
    if spans is not None:
        return _finding(_OPEN, spans[0], "filter", "a star, then a filter of its own")
    spans = _STAR_JOINS(text, 0)
    if spans is not None:
        return _finding(_OPEN, spans[0], "filter", "a joining sign, then an attribute that may be anything")
    spans = _WHOLE(text, 0)
    if spans is not None:
        return _finding(4, spans[0], "whole value", "a whole filter")
    return None


def _finding(score: int, span: tuple[int, int], context: str, reason: str) -> Finding:
    return Finding("ldap", score, span, context, reason)


_JOINS = frozenset((b"|", b"&", b"!", b"(", b"\x00", b"%00", b"*"))

DETECTOR = Detector(
    kind="ldap",
    gate=(
        (frozenset((b")",)), _JOINS),
        (frozenset((b"(",)), frozenset((b"|", b"&", b"!"))),
        (frozenset((b"*",)), frozenset((b"|", b"&"))),
    ),
    detect=detect,
    limit_bytes=LIMIT_BYTES,
)
