"""Bytes of a fuzzer taken apart: small numbers and texts, always enough of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Source:
    """Reads `data` from the front; zeros and empty texts once it is used up."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    @property
    def is_empty(self) -> bool:
        return self.at >= len(self.data)

    def byte(self) -> int:
        """0 to 255."""
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def pick(self, choices: Sequence[T]) -> T:
        """One of at most 256 choices."""
        return choices[self.byte() % len(choices)]

    def text(self) -> bytes:
        """A length byte, then up to that many bytes."""
        size = self.byte()
        self.at += size
        return self.data[self.at - size : self.at]

    def rest(self) -> bytes:
        """All that is left."""
        found = self.data[self.at :]
        self.at = len(self.data)
        return found
