"""Sizes and times as people write them: `128KiB`, `0.5s`."""

from __future__ import annotations

import re

_SIZE = re.compile(r"(\d{1,15})\s*(B|KiB|MiB|GiB)?")
_SIZE_UNITS = {None: 1, "B": 1, "KiB": 1024, "MiB": 1024 * 1024, "GiB": 1024 * 1024 * 1024}
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*(ms|s|m|h)?")
_DURATION_UNITS_MS = {None: 1, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}


def parse_size(text: str) -> int:
    """`131072`, `128KiB`, `1 MiB` → bytes. Raises ValueError with a sentence that mends it."""
    written = _SIZE.fullmatch(text.strip())
    if written is None:
        raise ValueError(f"must be a size such as 131072, 128KiB or 1MiB, not {text!r}")
    return int(written[1]) * _SIZE_UNITS[written[2]]


def parse_duration_ms(text: str) -> int:
    """`500`, `500ms`, `0.5s`, `1m`, `1h` → milliseconds. Raises ValueError with a sentence that mends it."""
    written = _DURATION.fullmatch(text.strip())
    if written is None:
        raise ValueError(f"must be a time such as 500, 500ms or 0.5s, not {text!r}")
    return round(float(written[1]) * _DURATION_UNITS_MS[written[2]])
