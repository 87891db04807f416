"""What istio-agent does for its Envoy: it hands out the workload's certificate and the mesh's root over SDS.

istiod names the secrets `default` and `ROOTCA` of a cluster `sds-grpc` everywhere; without them Envoy waits
for ever. The two messages are written by hand, so that no package of Envoy's messages is needed beside our own.
Source: envoy.service.discovery.v3, envoy.extensions.transport_sockets.tls.v3.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc

SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
METHOD = "StreamSecrets"
SERVICE = "envoy.service.secret.v3.SecretDiscoveryService"
RESOURCE_NAMES, RESPONSE_NONCE = 3, 5
"""Fields of DiscoveryRequest."""


class SecretService:
    """Serves on a Unix socket at `path` until `stop`."""

    def __init__(self, path: Path, chain: bytes, key: bytes, root: bytes) -> None:
        inline = {"chain": _field(2, chain), "key": _field(2, key), "root": _field(2, root)}
        certificate = _field(1, inline["chain"]) + _field(2, inline["key"])
        self._secrets = {
            b"default": _field(1, b"default") + _field(2, certificate),
            b"ROOTCA": _field(1, b"ROOTCA") + _field(4, _field(1, inline["root"])),
        }
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
        handler = grpc.stream_stream_rpc_method_handler(self._stream)
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler})])
        self._server.add_insecure_port(f"unix:{path}")
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def _stream(self, requests: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
        for request in requests:
            fields = list(_fields(request))
            if any(number == RESPONSE_NONCE and value for number, value in fields):
                continue  # an answer to ours
            wanted = [value for number, value in fields if number == RESOURCE_NAMES]
            resources = b"".join(
                _field(2, _field(1, SECRET.encode()) + _field(2, self._secrets[name])) for name in wanted
            )
            yield _field(1, b"1") + resources + _field(4, SECRET.encode()) + _field(5, b"1")


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of a message; DiscoveryRequest has no others."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while place < len(message):
        tag, length = varint(), varint()
        if tag & 7 != 2:
            raise ValueError(f"field {tag >> 3} is not what a discovery request has")
        yield tag >> 3, message[place : place + length]
        place += length
