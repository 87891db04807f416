"""Lists of rule ids as directives and ctl write them: `942100`, `"942000-942999"`, `1,2 5-9`."""

from __future__ import annotations

import re

_PART = re.compile(rb"(\d{1,16})(?:-(\d{1,16}))?")


def parse_id_ranges(text: bytes) -> tuple[range, ...]:
    """Ranges (end exclusive) in the order written. Raises ValueError with a sentence for the user."""
    found = []
    parts = text.replace(b",", b" ").split()
    for part in parts:
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"{_text(part)} is not a rule id or a range of ids: write 942100 or 942000-942999")
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last < first:
            raise ValueError(f"the range {_text(part)} runs backwards: write {last}-{first}")
        found.append(range(first, last + 1))
    if not found:
        raise ValueError("no rule id given: write 942100 or 942000-942999")
    return tuple(found)


def _text(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")
