"""HTTP upgrades: Envoy would hold the handshake back for a body that never comes (envoyproxy/envoy#47081).

So a handshake is either let through with body mode NONE, or refused. NONE is given only to what cannot carry a
body of its own, a GET with a whole handshake, and only on paths that the operator named: else a client could
switch off the inspection of its body by a header.
"""

from __future__ import annotations

from enum import Enum, auto

from extproc.model.message import RequestHead

AMBIGUOUS = (b"..", b"\\", b"%25", b"%2e", b"%2f", b"%3b", b"%5c", b"%00", b";")
"""A path with one of these may mean another path to the app; nothing is let through unseen on it."""


class Upgrade(Enum):
    """What a request head asks for."""

    NONE = auto()
    GRANTED = auto()
    REFUSED = auto()


def judge(head: RequestHead, prefixes: tuple[bytes, ...], is_declared: bool = False) -> Upgrade:
    """`prefixes` are whole path segments: `/ws` covers `/ws` and `/ws/a`, not `/wsx`.

    `is_declared`: the route is a stream, wherever it is.
    """
    offered = tokens = b""
    for name, value in head.headers:
        if name == b"upgrade":
            offered = value
        elif name == b"connection":
            tokens += value.lower() + b","
    if head.method != b"CONNECT" and not offered:
        return Upgrade.NONE
    is_handshake = (
        head.method == b"GET" and not head.is_last and b"upgrade" in (part.strip() for part in tokens.split(b","))
    )
    is_listed = not is_ambiguous(head.path) and (is_declared or _is_listed(head.path, prefixes))
    return Upgrade.GRANTED if is_handshake and is_listed else Upgrade.REFUSED


def is_ambiguous(target: bytes) -> bool:
    """May the path mean another one to the app than to Envoy's routes?"""
    path = target.partition(b"?")[0].lower()
    return any(mark in path for mark in AMBIGUOUS)


def _is_listed(target: bytes, prefixes: tuple[bytes, ...]) -> bool:
    path = target.partition(b"?")[0]
    return any(path == prefix or path.startswith(prefix.rstrip(b"/") + b"/") for prefix in prefixes)
