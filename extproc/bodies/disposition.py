"""Content-Disposition of a multipart part: field names and file names, and how sound they are (RFC 7578 §4.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from extproc.bodies.urlencoded import decode

PARAMETERS_LIMIT = 32
"""Parameters read of one header; more make it invalid."""

_NAME = re.compile(rb"[^\s=;]*+")
_BLANK = re.compile(rb"\s*+")
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_SINGLE = re.compile(rb"'([^']*+)'")
_BARE = re.compile(rb"[^;]*+")
_ESCAPE = re.compile(rb'\\(["\\])')


@dataclass(slots=True)
class Disposition:
    """`names` and `filenames` in order, all that are given; a sound header has one name and at most one file name.

    `is_file`: a plain `filename` that is not empty is there. One given by `filename*` alone is a file
    to some applications and a field to others (RFC 7578 forbids it), so it makes the header invalid.
    """

    names: list[bytes] = field(default_factory=list)
    filenames: list[bytes] = field(default_factory=list)
    is_file: bool = False
    is_invalid: bool = False
    has_invalid_quoting: bool = False


def parse_disposition(value: bytes) -> Disposition:
    """What stands behind `Content-Disposition:`. Invalid is what libmodsecurity 3.0.15 refuses."""
    found = Disposition()
    kind, semicolon, _ = value.partition(b";")
    position = len(kind)
    found.is_invalid = kind.strip() != b"form-data" or not semicolon
    plain_names = extended_names = 0
    for _ in range(PARAMETERS_LIMIT):
        position = _skip(value, position)
        if position >= len(value):
            break
        if value[position : position + 1] == b";":
            position = _skip(value, position + 1)
            if position >= len(value):
                break
        else:
            found.is_invalid = True
        position, name, text = _parameter(value, position, found)
        word = name.lower()
        if word == b"name":
            found.names.append(text)
        elif word == b"filename":
            plain_names += 1
            if text:
                found.is_file = True
                found.filenames.append(text)
        elif word == b"filename*":
            extended_names += 1
            charset, quote, rest = text.partition(b"'")
            encoded = rest.partition(b"'")[2] if quote else b""
            found.is_invalid = found.is_invalid or not encoded or not charset
            found.filenames.append(decode((encoded or text).replace(b"+", b"%2B"))[0])
        else:
            found.is_invalid = True
        if name != word:
            found.is_invalid = True
    else:
        found.is_invalid = True
    if plain_names > 1 or extended_names > 1 or (extended_names and not plain_names):
        found.is_invalid = True
    return found


def _skip(value: bytes, position: int) -> int:
    match = _BLANK.match(value, position)
    return match.end() if match else position


def _parameter(value: bytes, position: int, found: Disposition) -> tuple[int, bytes, bytes]:
    """`name = value` from `position`: (position behind it, name, value). Notes in `found` what is wrong."""
    match = _NAME.match(value, position)
    name = match[0] if match else b""
    position = _skip(value, position + len(name))
    if value[position : position + 1] != b"=":
        found.is_invalid = True
        return position, name, b""
    position = _skip(value, position + 1)
    first = value[position : position + 1]
    if first == b'"':
        quoted = _QUOTED.match(value, position)
        if quoted:
            end = quoted.end()
            if value[end : end + 1] not in (b"", b";") and not value[end : end + 1].isspace():
                found.has_invalid_quoting = True
            return end, name, _ESCAPE.sub(rb"\1", quoted[1])
        found.has_invalid_quoting = found.is_invalid = True
        return len(value), name, value[position + 1 :]
    if first == b"'":
        found.has_invalid_quoting = True
        single = _SINGLE.match(value, position)
        if single:
            return single.end(), name, single[1]
    bare = _BARE.match(value, position)
    text = bare[0].rstrip() if bare else b""
    if not name.endswith(b"*") and b"'" in text:
        found.has_invalid_quoting = True
    if not text or b'"' in text or b" " in text or b"\t" in text:
        found.is_invalid = True
    return position + (len(bare[0]) if bare else 0), name, text
