"""HTTP messages as the engine sees them: bytes, in wire order, nothing merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Header: TypeAlias = tuple[bytes, bytes]
"""(name in lower case as Envoy sends it, value as sent)."""

Headers: TypeAlias = tuple[Header, ...]


@dataclass(frozen=True, slots=True)
class Address:
    """One end of a connection; `host` is an IP without brackets, empty when unknown."""

    host: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True)
class RequestHead:
    """Request line and headers. `path` is `:path` as sent: path, `?` and query in one.

    `headers` holds no pseudo-header; `authority` is `:authority` (the Host of HTTP/1).
    `is_last` is Envoy's end_of_stream: neither body nor trailers follow.
    """

    method: bytes
    path: bytes
    authority: bytes
    headers: Headers
    scheme: bytes = b"http"
    protocol: bytes = b"HTTP/1.1"
    client: Address = Address()
    server: Address = Address()
    request_id: str = ""
    route: str = ""
    policy: str = ""
    is_last: bool = True


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """Status and headers of an answer; `is_local` if Envoy gave it and not the app."""

    status: int
    headers: Headers
    protocol: bytes = b"HTTP/1.1"
    is_last: bool = False
    is_local: bool = False
