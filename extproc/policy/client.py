"""Who is the client? The peer, unless it is a proxy that the policy trusts: then whom that proxy names."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from extproc.model.message import Headers
from extproc.policy.model import AddressTest

MAX_HOPS = 32
"""Entries of X-Forwarded-For that are looked at, from the right; a longer chain ends there."""


def client_of(peer: str, headers: Headers, trusted: Sequence[AddressTest]) -> str:
    """The address of the client. X-Forwarded-For is read from the right as long as each hop is trusted.

    An entry that is no address ends the walk: what stands left of it nobody vouches for. RFC 7239, section 7.5, says
    why the leftmost entry alone proves nothing.
    """
    client = peer
    if not _is_trusted(client, trusted):
        return client
    lines = [value for name, value in headers if name == b"x-forwarded-for"]
    entries = b",".join(lines).rsplit(b",", MAX_HOPS)[-MAX_HOPS:] if lines else []
    for entry in reversed(entries):
        host = _host(entry)
        if not host:
            break
        client = host
        if not _is_trusted(client, trusted):
            break
    return client


def _is_trusted(host: str, trusted: Sequence[AddressTest]) -> bool:
    written = host.encode("latin-1", "replace")
    return any(test(written) is not None for test in trusted)


def _host(entry: bytes) -> str:
    """`1.2.3.4`, `1.2.3.4:80`, `[::1]:80`, `"[::1]"` → the address; "" for what is none."""
    text = entry.decode("latin-1").strip(' \t"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except (OSError, ValueError):
        return ""
    return text
