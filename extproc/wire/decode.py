"""ProcessingRequest → model: raw_value first, pseudo-headers apart, attributes as hints that may be odd."""

from __future__ import annotations

import socket
from typing import Any, NamedTuple, TypeAlias

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from extproc._pb.envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from extproc.model.errors import WireError
from extproc.model.message import Address, Headers, RequestHead, ResponseHead
from extproc.wire.kind import Kind

Message: TypeAlias = Any
"""A generated ProcessingRequest; generated classes carry no types."""

ATTRIBUTES = "envoy.filters.http.ext_proc"
"""Under this key Envoy sends `request_attributes`, whatever the filter is named."""

WINDOW_FIELDS = frozenset({12, 13})
"""flow_control_init and client_window_update of Envoy 1.40: a message of these alone is no event."""

FROM_APP = "via_upstream"
"""`response.code_details` of an answer that is the app's own; any other word names a local reply of Envoy's."""

MAX_REQUEST_ID_CHARS = 128
"""A request id longer than that is cut; Envoy's own have 36."""

MAX_ORIGINS = 4096
"""Client connections (by route) of which the attributes are remembered; then all are forgotten."""

MAX_ORIGIN_BYTES = 512
"""Longer attributes are read anew each time."""


class _Origin(NamedTuple):
    """Where a request comes from and where it goes, of Envoy's attributes."""

    client: Address
    server: Address
    protocol: bytes
    route: str
    request_id: str


_origins: dict[bytes, _Origin] = {}

_KINDS = {kind.value: kind for kind in Kind}
_PSEUDO = frozenset({":method", ":path", ":authority", ":scheme", ":status", ":protocol"})
_UNKNOWN = Address()


def parse(data: bytes) -> Message:
    """Bytes of one gRPC message → ProcessingRequest. Raises WireError(`malformed-message`)."""
    try:
        return pb.ProcessingRequest.FromString(data)
    except DecodeError:
        raise WireError("malformed-message") from None


def kind_of(message: Message) -> Kind | None:
    """Which event `message` is; None if it only carries window updates. Raises WireError(`empty-message`)."""
    name = message.WhichOneof("request")
    if name is not None:
        return _KINDS[name]
    unknown = UnknownFieldSet(message)
    numbers = {unknown[index].field_number for index in range(len(unknown))}
    if numbers and numbers <= WINDOW_FIELDS and not message.ListFields():
        return None
    raise WireError("empty-message")


def body_modes(message: Message) -> tuple[int, int] | None:
    """(request, response) body mode that Envoy declares, numbered as BodySendMode; None if it says nothing."""
    if not message.HasField("protocol_config"):
        return None
    config = message.protocol_config
    return config.request_body_mode, config.response_body_mode


def request_head(message: Message, policy: str = "") -> RequestHead:
    """The head of a `request_headers` message. Raises WireError(`duplicate-pseudo-header`)."""
    part = message.request_headers
    pseudo, headers = _split(part.headers.headers)
    origin = _origin(message)
    return RequestHead(
        method=pseudo.get(":method", b""),
        path=pseudo.get(":path", b""),
        authority=pseudo.get(":authority", b""),
        headers=headers,
        scheme=pseudo.get(":scheme", b"http"),
        protocol=origin.protocol,
        client=origin.client,
        server=origin.server,
        request_id=(origin.request_id or _first(headers, b"x-request-id"))[:MAX_REQUEST_ID_CHARS],
        route=origin.route,
        policy=policy,
        is_last=part.end_of_stream,
    )


def response_head(message: Message) -> ResponseHead:
    """The head of a `response_headers` message; a status that is no number reads 0."""
    part = message.response_headers
    pseudo, headers = _split(part.headers.headers)
    status = pseudo.get(":status", b"")
    return ResponseHead(
        status=int(status) if len(status) == 3 and status.isdigit() else 0,
        headers=headers,
        is_last=part.end_of_stream,
        is_local=_attributes(message).get("response.code_details", FROM_APP) != FROM_APP,
    )


def body(part: Message) -> tuple[bytes, bool]:
    """(bytes as sent, is it the last) of an HttpBody."""
    return part.body, part.end_of_stream or part.end_of_stream_without_message


def trailers(part: Message) -> Headers:
    """The lines of an HttpTrailers in wire order."""
    return tuple((line.key.encode().lower(), line.raw_value or line.value.encode()) for line in part.trailers.headers)


def _split(lines: Any) -> tuple[dict[str, bytes], Headers]:
    """Pseudo-headers by name, and the rest in wire order. `raw_value` wins over `value`."""
    pseudo: dict[str, bytes] = {}
    headers = []
    for line in lines:
        key = line.key
        value = line.raw_value or line.value.encode()
        if key in _PSEUDO:
            if key in pseudo:  # Envoy cannot hold two; the app would see one of them and we the other
                raise WireError("duplicate-pseudo-header")
            pseudo[key] = value
        else:
            headers.append((key.encode().lower(), value))
    return pseudo, tuple(headers)


def _attributes(message: Message) -> dict[str, str]:
    """Those of Envoy's attributes that are text; absent, numeric and nested ones are left out."""
    attributes = message.attributes
    if ATTRIBUTES not in attributes:
        return {}
    return {name: value.string_value for name, value in attributes[ATTRIBUTES].fields.items() if value.string_value}


def _origin(message: Message) -> _Origin:
    """What the attributes say. All requests of a connection on a route have the same ones, so it is remembered."""
    attributes = message.attributes
    written: bytes = attributes[ATTRIBUTES].SerializeToString() if ATTRIBUTES in attributes else b""
    origin = _origins.get(written)
    if origin is None:
        text = _attributes(message)
        protocol = text.get("request.protocol")
        origin = _Origin(
            client=_address(text.get("source.address", "")),
            server=_address(text.get("destination.address", "")),
            protocol=protocol.encode() if protocol else b"HTTP/1.1",
            route=text.get("xds.route_name", ""),
            request_id=text.get("request.id", ""),
        )
        if not origin.request_id and len(written) <= MAX_ORIGIN_BYTES:  # with an id it would not come again
            if len(_origins) >= MAX_ORIGINS:
                _origins.clear()
            _origins[written] = origin
    return origin


def _first(headers: Headers, name: bytes) -> str:
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return ""


def _address(text: str) -> Address:
    """`1.2.3.4:80`, `1.2.3.4:0`, `[::1]:80`, `::1` → Address; unknown if it holds no IP (a unix socket, a word)."""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, ""
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host.partition("%")[0])
    except (OSError, ValueError):
        return _UNKNOWN
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
    return Address(host, number if number <= 65_535 else 0)
