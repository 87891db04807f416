"""The Cookie header: (name, value) pairs as REQUEST_COOKIES has them, nothing decoded."""

from __future__ import annotations

COOKIES_LIMIT = 1000
"""Cookies told apart in one header; what is behind them stays in the value of the last."""


def parse_cookies(header: bytes, limit: int = COOKIES_LIMIT) -> list[tuple[bytes, bytes]]:
    """Pairs in order, duplicates kept. Quotes, inner trailing blanks and further `=` stay in the value.

    As libmodsecurity 3.0.15, but a value without a name (`=x`) is kept under the empty name:
    browsers send it and applications read it. No pair is lost to `limit`: the last one holds
    the rest of the header, so rules still see it.
    """
    pairs = []
    for piece in header.rstrip().split(b";", limit - 1):
        name, _, value = piece.lstrip().partition(b"=")
        if name or value:
            pairs.append((name, value))
    return pairs
