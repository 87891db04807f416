"""The trace that a request is part of: its `traceparent` header, read strictly (W3C Trace Context, section 3.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from extproc.model.message import Headers

NAME = b"traceparent"

_FORM = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class TraceParent:
    """`trace_id` has 32 lower-case hexadecimal digits, `span_id`, the caller's, 16."""

    trace_id: str
    span_id: str
    is_sampled: bool


def trace_parent(headers: Headers) -> TraceParent | None:
    """None without the header, with two of them, or when it is not as the text wants it."""
    found: bytes | None = None
    for name, value in headers:
        if name == NAME:
            if found is not None:
                return None
            found = value
    if found is None:
        return None
    parts = _FORM.fullmatch(found)
    if parts is None:
        return None
    version, trace_id, span_id, flags, more = parts.groups()
    # Version 255 is forbidden; 0 ends behind the flags, later ones may go on. All zeros is no id.
    if version == b"ff" or (version == b"00" and more) or not trace_id.strip(b"0") or not span_id.strip(b"0"):
        return None
    return TraceParent(trace_id.decode(), span_id.decode(), bool(int(flags, 16) & _SAMPLED))
