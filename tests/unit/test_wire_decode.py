"""Envoy's messages → model: raw_value first, pseudo-headers apart, odd attributes tolerated."""

from __future__ import annotations

from typing import Any

import pytest

from extproc._pb.envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from extproc.model.errors import WireError
from extproc.model.message import Address
from extproc.wire import decode
from extproc.wire.kind import Kind


def head(*lines: tuple[str, bytes], **attributes: Any) -> Any:
    message = pb.ProcessingRequest()
    message.request_headers.SetInParent()
    for key, raw_value in lines:
        message.request_headers.headers.headers.add(key=key, raw_value=raw_value)
    for name, value in attributes.items():
        field = message.attributes[decode.ATTRIBUTES].fields[name.replace("__", ".")]
        if isinstance(value, str):
            field.string_value = value
        else:
            field.number_value = value
    return message


def test_pseudo_headers_are_apart_and_the_rest_keeps_its_order() -> None:
    message = head(
        (":authority", b"a.example"),
        ("b", b"1"),
        (":path", b"/x?y=\xff"),
        ("A", b"2"),
        (":method", b"PUT"),
        ("b", b"3"),
        (":scheme", b"https"),
    )
    read = decode.request_head(message, policy="strict")
    assert (read.method, read.path, read.authority, read.scheme) == (b"PUT", b"/x?y=\xff", b"a.example", b"https")
    assert read.headers == ((b"b", b"1"), (b"a", b"2"), (b"b", b"3"))
    assert read.policy == "strict"
    assert not read.is_last


@pytest.mark.parametrize(
    ("value", "raw_value", "read"),
    [
        ("text", b"", b"text"),
        ("", b"raw\xff", b"raw\xff"),
        ("text", b"raw", b"raw"),
        ("", b"", b""),
        ("ü", b"", b"\xc3\xbc"),
    ],
)
def test_raw_value_wins(value: str, raw_value: bytes, read: bytes) -> None:
    message = pb.ProcessingRequest()
    message.request_headers.headers.headers.add(key="x", value=value, raw_value=raw_value)
    message.request_trailers.trailers.headers.add(key="X", value=value, raw_value=raw_value)
    assert decode.trailers(message.request_trailers) == ((b"x", read),)
    message.request_headers.headers.headers.add(key="x", value=value, raw_value=raw_value)
    assert decode.request_head(message).headers == ((b"x", read),)


def test_two_pseudo_headers_of_one_name_are_refused() -> None:
    with pytest.raises(WireError, match="duplicate-pseudo-header"):
        decode.request_head(head((":path", b"/a"), (":path", b"/b")))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.1.2.3:4567", Address("10.1.2.3", 4567)),
        ("10.1.2.3:0", Address("10.1.2.3", 0)),
        ("10.1.2.3", Address("10.1.2.3", 0)),
        ("[2001:db8::1]:443", Address("2001:db8::1", 443)),
        ("[::1]", Address("::1", 0)),
        ("::1", Address("::1", 0)),
        ("2001:db8::1:80", Address("2001:db8::1:80", 0)),
        ("[fe80::1%eth0]:80", Address("fe80::1%eth0", 80)),
        ("10.1.2.3:65535", Address("10.1.2.3", 65535)),
        ("10.1.2.3:65536", Address("10.1.2.3", 0)),
        ("10.1.2.3:123456", Address("10.1.2.3", 0)),
        ("10.1.2.3:x", Address("10.1.2.3", 0)),
        ("", Address()),
        ("CelMap value", Address()),
        ("@/run/x.sock", Address()),
        ("/run/x.sock", Address()),
        ("10.1.2.300:1", Address()),
        ("evil\x00:1", Address()),
        (":::", Address()),
    ],
)
def test_client_is_an_address_or_unknown(text: str, address: Address) -> None:
    read = decode.request_head(head(("x-forwarded-for", b"203.0.113.9"), source__address=text))
    assert read.client == address


def test_attributes_of_any_type_are_tolerated() -> None:
    message = head(source__address=38796.0, request__id=5.0, xds__route_name="r", request__protocol="HTTP/2")
    message.attributes[decode.ATTRIBUTES].fields["request.headers"].struct_value.SetInParent()
    read = decode.request_head(message)
    assert (read.client, read.request_id, read.route, read.protocol) == (Address(), "", "r", b"HTTP/2")


def test_of_remembered_attributes_no_request_gets_those_of_another() -> None:
    own = {"source__address": "192.0.2.1:1", "xds__route_name": "r"}
    for _ in range(2):
        for client in ("192.0.2.1", "192.0.2.2"):
            for number in ("1", "2"):
                line = ("x-request-id", number.encode())
                read = decode.request_head(head(line, **{**own, "source__address": f"{client}:1"}))
                assert (read.client.host, read.request_id, read.route) == (client, number, "r")
                named = decode.request_head(head(line, request__id="a" + number, source__address=f"{client}:1"))
                assert (named.client.host, named.request_id, named.route) == (client, "a" + number, "")


def test_remembered_attributes_are_bounded() -> None:
    for port in range(decode.MAX_ORIGINS + 1):
        assert decode.request_head(head(source__address=f"192.0.2.1:{port}")).client.port == port
        assert len(decode._origins) <= decode.MAX_ORIGINS
    before = len(decode._origins)
    for size in (decode.MAX_ORIGIN_BYTES, 1):
        decode.request_head(head(xds__route_name="r" * size))
    assert len(decode._origins) == before + 1  # of the short one


def test_attributes_of_another_filter_do_not_count() -> None:
    message = head()
    message.attributes["other"].fields["source.address"].string_value = "10.0.0.1:1"
    assert decode.request_head(message).client == Address()


@pytest.mark.parametrize(("length", "kept"), [(127, 127), (128, 128), (129, 128)])
def test_request_id_is_cut_at_its_limit(length: int, kept: int) -> None:
    assert len(decode.request_head(head(request__id="a" * length)).request_id) == kept
    assert len(decode.request_head(head(("x-request-id", b"\xff" * length))).request_id) == kept


@pytest.mark.parametrize(
    ("text", "status"), [(b"200", 200), (b"", 0), (b"abc", 0), (b"20", 0), (b"2000", 0), (b"\xb2\xb2\xb2", 0)]
)
def test_response_status(text: bytes, status: int) -> None:
    message = pb.ProcessingRequest()
    message.response_headers.headers.headers.add(key=":status", raw_value=text)
    message.response_headers.headers.headers.add(key="a", raw_value=b"b")
    read = decode.response_head(message)
    assert (read.status, read.headers) == (status, ((b"a", b"b"),))


@pytest.mark.parametrize("kind", list(Kind))
def test_kind_is_the_name_of_the_oneof(kind: Kind) -> None:
    message = pb.ProcessingRequest()
    getattr(message, kind).SetInParent()
    assert decode.kind_of(decode.parse(message.SerializeToString())) is kind


WINDOWS = bytes([12 << 3 | 2, 0, 13 << 3, 5])


@pytest.mark.parametrize("data", [WINDOWS, bytes([13 << 3, 5]), bytes([12 << 3 | 2, 0])])
def test_window_updates_alone_are_no_event(data: bytes) -> None:
    assert decode.kind_of(decode.parse(data)) is None


@pytest.mark.parametrize(
    "data", [b"", bytes([14 << 3, 5]), WINDOWS + bytes([14 << 3, 5]), WINDOWS + bytes([10 << 3, 1])]
)
def test_no_event_is_refused(data: bytes) -> None:
    with pytest.raises(WireError, match="empty-message"):
        decode.kind_of(decode.parse(data))


@pytest.mark.parametrize("data", [b"\xff", b"\x12\x05ab", b"\x12\x04\x0a\x02\x0a\xff"])
def test_malformed_bytes_are_a_wire_error(data: bytes) -> None:
    with pytest.raises(WireError, match="malformed-message"):
        decode.parse(data)


@pytest.mark.parametrize(
    ("flags", "is_last"),
    [({}, False), ({"end_of_stream": True}, True), ({"end_of_stream_without_message": True}, True)],
)
def test_body_and_its_end(flags: dict[str, bool], is_last: bool) -> None:
    assert decode.body(pb.HttpBody(body=b"\x00\xff", **flags)) == (b"\x00\xff", is_last)


def test_body_modes() -> None:
    message = pb.ProcessingRequest()
    assert decode.body_modes(message) is None
    message.protocol_config.response_body_mode = 1
    assert decode.body_modes(message) == (0, 1)
