"""Verdict → ProcessingResponse, as bytes.

What Envoy does with a field decides how it is set here: `raw_value` alone (a `value` arrives empty), no
append_action (not honoured), always a status (without one a block goes out as 200), nothing from field 11 on.
The last two are held by the proto files, where those fields are reserved.

Most answers differ in their incident id alone, so an answer is remembered as the bytes around it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from extproc._pb.envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from extproc._pb.envoy.type.v3 import http_status_pb2
from extproc.model.phase import Phase
from extproc.model.route import Modes
from extproc.model.verdict import Verdict
from extproc.wire import page
from extproc.wire.kind import Kind

NAMESPACE = "waf"
"""Of the dynamic metadata; the filter must list it under `receiving_namespaces`."""

MAX_PAGE_BYTES = 8192
"""Body of an immediate response; a longer one is left out. Envoy answers gRPC clients with it in a header."""

DEFAULT_STATUS = 403
"""Of a block whose own status Envoy would turn into 200 or refuse."""

DETAILS = {phase: f"waf_block_{phase.name.lower()}" for phase in Phase}
"""RESPONSE_CODE_DETAILS of a block: fixed words, so that nothing of a request gets into the access log."""

STATUSES = frozenset(code for code in http_status_pb2.StatusCode.values() if code >= 200)
"""What HttpStatus may carry; 100 and 101 arrive as 200."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})
BODILESS = frozenset({204, 205, 304})
"""RFC 9110: an answer with one of these has no content. Envoy would send a content-length all the same."""

MAX_KNOWN = 512
"""Answers that are remembered; then all are forgotten."""

MIN_INCIDENT_CHARS = 16
"""Of an incident whose answer is remembered; ours have as many."""

_STAND_INS = ("0189", "9810")
"""Repeated: incident ids that are none, as those are written in base32."""

_GRPC_STATUS = {401: 16, 404: 12, 429: 8, 503: 14, 504: 4}
_PERMISSION_DENIED = 7
_HEADERS = frozenset({Kind.REQUEST_HEADERS, Kind.RESPONSE_HEADERS})


_known: dict[tuple[object, ...], tuple[bytes, ...]] = {}


def go_on(kind: Kind, verdict: Verdict | None, override: Modes | None = None, is_upgrade: bool = False) -> bytes:
    """CONTINUE in answer to `kind`; no metadata when there is no verdict (a local reply of Envoy's).

    `override` asks Envoy for another processing mode; every field of it is spelled out, as those that the filter
    allows (`allowed_override_modes`) are compared field by field.
    """
    if verdict is None or override is not None or is_upgrade:
        return _go_on(kind, verdict, override, is_upgrade)
    return _with_incident((kind, *_told(verdict)), verdict, lambda anyone: _go_on(kind, anyone, None, False))


def block(verdict: Verdict, accept: bytes = b"", content_type: bytes = b"") -> bytes:
    """The immediate response. `accept` and `content_type` are header values of the request."""
    is_grpc = content_type.lower().startswith(b"application/grpc")
    media = page.PLAIN if is_grpc else page.choose_format(accept, content_type)
    if verdict.templates is not None or verdict.location:
        return _block(verdict, media, is_grpc)
    key = (media, is_grpc, verdict.status, *_told(verdict))
    return _with_incident(key, verdict, lambda anyone: _block(anyone, media, is_grpc))


def _told(verdict: Verdict) -> tuple[object, ...]:
    """What `_describe` tells of a verdict, but for the incident, of which the length matters."""
    return (
        verdict.outcome,
        verdict.phase,
        verdict.rule_id,
        len(verdict.incident),
        verdict.coverage,
        verdict.score,
        verdict.ruleset,
        verdict.shadow,
    )


def _with_incident(key: tuple[object, ...], verdict: Verdict, make: Callable[[Verdict], bytes]) -> bytes:
    """`make(verdict)`. What is made under `key` is the same for all verdicts but for the incident."""
    incident = verdict.incident
    if len(incident) < MIN_INCIDENT_CHARS or not (incident.isascii() and incident.isalnum()):
        return make(verdict)  # a stand-in so short is everywhere; what is no letter or digit, pages write otherwise
    pieces = _known.get(key)
    if pieces is None:
        pieces = _around(verdict, make, _STAND_INS[0])
        if pieces != _around(verdict, make, _STAND_INS[1]):
            return make(verdict)  # the stand-in stands elsewhere as well
        if len(_known) >= MAX_KNOWN:
            _known.clear()
        _known[key] = pieces
    return incident.encode().join(pieces)


def _around(verdict: Verdict, make: Callable[[Verdict], bytes], stand_in: str) -> tuple[bytes, ...]:
    length = len(verdict.incident)
    incident = (stand_in * length)[:length]
    return tuple(make(replace(verdict, incident=incident)).split(incident.encode()))


def _go_on(kind: Kind, verdict: Verdict | None, override: Modes | None, is_upgrade: bool) -> bytes:
    answer = pb.ProcessingResponse()
    getattr(answer, kind).SetInParent()
    if verdict is not None:
        _describe(answer, verdict, is_upgrade)
    if override is not None:
        for field, value in override._asdict().items():
            setattr(answer.mode_override, field, value)
    return answer.SerializeToString()  # type: ignore[no-any-return]


def _block(verdict: Verdict, media: bytes, is_grpc: bool) -> bytes:
    answer = pb.ProcessingResponse()
    reply = answer.immediate_response
    status = verdict.status if verdict.status in STATUSES else DEFAULT_STATUS
    is_redirect = _is_safe_location(verdict.location)
    if is_redirect:
        status = status if status in REDIRECTS else 302
    elif status in REDIRECTS:
        status = DEFAULT_STATUS
    reply.status.code = status
    reply.details = DETAILS[verdict.phase]
    reply.grpc_status.status = _GRPC_STATUS.get(status, _PERMISSION_DENIED)
    content = b"" if status in BODILESS else page.render(media, status, verdict.incident, verdict.templates)
    if is_grpc:  # Envoy makes the body the grpc-message, which is one line of text
        content = b" ".join(content.split())
    reply.body = content if len(content) <= MAX_PAGE_BYTES else b""
    headers = reply.headers.set_headers
    _set(headers, "content-type", media + b"; charset=utf-8" if media != page.PROBLEM else media)
    _set(headers, "cache-control", b"no-store")
    _set(headers, "x-waf-incident", verdict.incident.encode())
    if is_redirect:
        _set(headers, "location", verdict.location)
    if status == 503:
        _set(headers, "retry-after", b"1")
    _describe(answer, verdict, is_upgrade=False)
    return answer.SerializeToString()  # type: ignore[no-any-return]


def _describe(answer: Any, verdict: Verdict, is_upgrade: bool) -> None:
    fields = answer.dynamic_metadata.fields[NAMESPACE].struct_value.fields
    fields["verdict"].string_value = verdict.outcome
    fields["phase"].number_value = verdict.phase
    fields["rule"].number_value = verdict.rule_id
    fields["incident"].string_value = verdict.incident
    fields["coverage"].string_value = verdict.coverage
    fields["score"].number_value = verdict.score
    fields["ruleset"].string_value = verdict.ruleset
    if verdict.shadow:
        fields["shadow"].string_value = verdict.shadow
    if is_upgrade:
        fields["upgrade"].bool_value = True


def _set(headers: Any, name: str, value: bytes) -> None:
    line = headers.add().header
    line.key = name
    line.raw_value = value


def _is_safe_location(location: bytes) -> bool:
    """Control bytes would make the whole mutation invalid, and the block a 500."""
    return bool(location) and all(0x20 < byte < 0x7F for byte in location)
