"""What a worker answers on its small HTTP ports besides health, and what it lets others read of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias


class Page(NamedTuple):
    """One answer, always 200."""

    content_type: str
    body: bytes


MakePage: TypeAlias = Callable[[str], Page]
"""From the request's Accept header. Runs in a thread, so it may take a while."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a worker holds while it serves: pages by path, and gauges by name, to which the server adds its own.

    `refused`: clients that were not let in, by why.
    """

    pages: dict[str, MakePage] = field(default_factory=dict)
    gauges: dict[str, Callable[[], int]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
