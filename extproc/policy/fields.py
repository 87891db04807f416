"""Kinds of fields: what is expected in a field, and the score that a finding of the own detectors needs there.

Kinds of prose ask for more than the threshold (5 by default): a sentence about an attack scores 5, the attack itself 6
and more; 8 and 9 are complete and dangerous in any place. Kinds of data ask for less: what stands in a number's place
and is none, is no prose, and a hint is enough (docs/decisions/0052, 0087).
"""

from __future__ import annotations

from extproc.engine.transaction import DEFAULT_THRESHOLD

KINDS = {"text": 6, "markdown": 6, "token": 6, "prompt": 7, "code": 8, "number": 3, "enum": 3, "id": 3}
"""Kind → least score. `token`: secrets of any letters; `id`: a fixed form such as a UUID, a date, an address."""


def least_score(kind: str) -> int:
    """`""` is a field of which nothing is said."""
    return KINDS.get(kind, DEFAULT_THRESHOLD)
