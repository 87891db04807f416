"""The boundary parameter of a multipart Content-Type, and what is unusual about it (RFC 2046 §5.1.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PARAMETER = re.compile(rb"boundary(\s*)=(\s*)", re.IGNORECASE)
_CHARACTERS = re.compile(rb"[0-9A-Za-z'()+_,\-./:=? ]*[0-9A-Za-z'()+_,\-./:=?]")


@dataclass(frozen=True, slots=True)
class Boundary:
    """`value` is empty if there is none to work with; `error` as libmodsecurity words it; `flags` to be set to 1."""

    value: bytes
    error: bytes = b""
    flags: tuple[str, ...] = ()


def find_boundary(content_type: bytes) -> Boundary:
    """The boundary, read leniently and judged strictly: a value comes back beside an error where one can be guessed.

    Unlike libmodsecurity, other parameters may stand before it (`; charset=utf-8; boundary=x` is
    sound by RFC 2045 §5.1).
    """
    found = _PARAMETER.search(content_type)
    if not found:
        return Boundary(b"", b"Boundary not found in C-T.")
    flags = []
    error = b""
    before = content_type[: found.start()]
    if len(_PARAMETER.findall(content_type)) > 1:
        error = b"Multiple boundary parameters in C-T."
    elif not found[0].startswith(b"boundary"):
        error = b"Invalid boundary in C-T (case sensitivity)."
    elif not before.rstrip().endswith(b";"):
        if b";" in before or b"," in before or not before[-1:].isspace():
            error = b"Invalid boundary in C-T (malformed)."
        else:
            flags.append("MULTIPART_MISSING_SEMICOLON")
    if found[1] or found[2]:
        flags.append("MULTIPART_BOUNDARY_WHITESPACE")
    raw = content_type[found.end() :]
    if raw.startswith(b'"'):
        value, quote, behind = raw[1:].partition(b'"')
        if not quote or (behind and not behind.startswith(b";")):
            error = error or b"Invalid boundary in C-T (quote)."
        else:
            flags.append("MULTIPART_BOUNDARY_QUOTED")
        value = value.rstrip() if not quote else value
    else:
        value = raw.partition(b";")[0]
        if b'"' in value or value != value.rstrip():
            error = error or b"Invalid boundary in C-T (characters)."
        value = value.rstrip()
    if not value:
        error = error or b"Invalid boundary in C-T (empty)."
    elif not _CHARACTERS.fullmatch(value):
        error = error or b"Invalid boundary in C-T (characters)."
    return Boundary(value, error, tuple(flags))
