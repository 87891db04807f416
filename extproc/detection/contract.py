"""What a detector is: a gate of literals, and a pure function from a text and its place to a finding."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias


class Place(Enum):
    """Where the value stood in the request; a detector may weigh it, the verdict moves the score by it."""

    ARGUMENT = "argument"
    """Query, form or multipart field, XML text, JSON leaf."""
    NAME = "name"
    """The name of an argument, a JSON key, a cookie's or a header's name."""
    PATH = "path"
    FILE_NAME = "file name"
    COOKIE = "cookie"
    HEADER = "header"
    """Of no known fixed format; user agent and Referer are told apart below."""
    USER_AGENT = "user agent"
    REFERER = "referer"
    BODY = "body"
    """A body as it came: of no known type, or raw XML with its DTD."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one detector proved of one text."""

    kind: str
    """The detector's class: `sql`, `script`, `command`, ..."""
    score: int
    """1 to 9. 7 to 9 complete and dangerous, 5 to 6 complete or nearly so, 3 to 4 a hint."""
    span: tuple[int, int]
    """Of the evidence, bytes of the text that the detector got: start, and the byte after the end."""
    context: str
    """The place that the value leaves, in words: `single quote`, `number`, `attribute`, `whole value`."""
    reason: str
    """One line made of what proved it: `closes ', or, 1 = 1, comment`. Holds no more of the text than that."""
    is_complete: bool = True
    """It parses to the end; what is not complete may be prose."""


Alternative: TypeAlias = tuple[frozenset[bytes], ...]
"""Of each set at least one literal must be in the text (lower case)."""

Gate: TypeAlias = tuple[Alternative, ...]
"""A text in which no alternative holds is none of the detector's: `detect` would return None. () means: always look."""


class Reading:
    """What the views and detectors of one value may still cost, and whether any of them left something out.

    Costs are counted in *steps*, each about a microsecond of work: the same value costs the same on every machine.
    """

    __slots__ = ("is_partly", "left")

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.is_partly = False

    def spend(self, steps: int) -> bool:
        """Take so many; False when there are no more, and what was to be done with them is left out."""
        self.left -= steps
        if self.left >= 0:
            return True
        self.is_partly = True
        return False

    def leave_out(self) -> None:
        """Some limit was passed: what lies behind it is not looked at."""
        self.is_partly = True


UNCOUNTED = Reading(1 << 60)
"""For whoever asks a detector of one text and does not care what it left out."""


class Detect(Protocol):
    """The text as a view of the decode ladder, in its own case. Linear, never raises; the strongest finding.

    Pure but for `reading`, which is told what it cost and whether something was left out.
    """

    def __call__(self, text: bytes, place: Place, reading: Reading = UNCOUNTED, /) -> Finding | None: ...


@dataclass(frozen=True, slots=True)
class Detector:
    """One class of attack. Each module of this package that holds a grammar offers one as `DETECTOR`."""

    kind: str
    gate: Gate
    detect: Detect
    limit_bytes: int
    """A longer text is looked at in windows of this size that overlap by a quarter; each must pass the gate itself."""
    disguise_gain: int = 0
    """Added to the score of a finding that only comes to light in a spelling that honest senders do not use: escaped
    twice, or overlong UTF-8."""
    reads_structures: bool = False
    """Asked of a text that is JSON from end to end as well, which the others see by its leaves and keys."""
