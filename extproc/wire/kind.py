"""The six events of an exchange, named as the oneof of ProcessingRequest names them."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What Envoy sends; an answer carries the same name, on the same side."""

    REQUEST_HEADERS = "request_headers"
    REQUEST_BODY = "request_body"
    REQUEST_TRAILERS = "request_trailers"
    RESPONSE_HEADERS = "response_headers"
    RESPONSE_BODY = "response_body"
    RESPONSE_TRAILERS = "response_trailers"
