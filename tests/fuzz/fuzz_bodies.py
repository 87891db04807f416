"""Targets: bodies and their labels. No exception, limits kept, readers that must agree do."""

from __future__ import annotations

from extproc.bodies import json_body as json_module
from extproc.bodies.boundary import find_boundary
from extproc.bodies.charset import CODECS, codecs_of, read_by_charset, read_pairs
from extproc.bodies.contract import BodySteps, Limits, ParsedBody
from extproc.bodies.cookies import parse_cookies
from extproc.bodies.decompress import DECODERS, decompress
from extproc.bodies.disposition import PARAMETERS_LIMIT, parse_disposition
from extproc.bodies.registry import PROCESSORS
from extproc.bodies.sniff import processor_for, sniff
from extproc.bodies.urlencoded import count_arguments, parse_arguments
from tests.fuzz.fuzz_source import Source

SMALL = Limits(
    arguments=6,
    json_depth=5,
    json_names_bytes=200,
    multipart_parts=4,
    part_headers=4,
    xml_depth=5,
    xml_nodes=16,
    decompressed_bytes=400,
    decompression_ratio=10,
    encodings=2,
    protobuf_depth=4,
    protobuf_fields=60,
    protobuf_twice_bytes=100,
    grpc_messages=5,
)


def finish(steps: BodySteps) -> ParsedBody:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            parsed: ParsedBody = end.value
            return parsed


def check(name: str, body: bytes, content_type: bytes) -> ParsedBody:
    parsed = finish(PROCESSORS[name](body, content_type, SMALL))
    assert parsed.processor == name
    assert len(parsed.args) <= SMALL.arguments
    assert len(parsed.files) <= SMALL.multipart_parts * SMALL.part_headers * PARAMETERS_LIMIT
    assert len(parsed.xml_attributes) <= SMALL.xml_nodes
    assert all(type(part) is bytes for pair in parsed.args for part in pair)
    assert all(type(text) is bytes for text in (*parsed.xml_text, *parsed.xml_attributes, parsed.error))
    assert not parsed.partly or parsed.error or parsed.partly == "protobuf-unreadable", "a limit is an error too"
    assert all(number in (0, 1, 2) for number in parsed.flags.values())
    unpacked = SMALL.decompressed_bytes if name == "GRPC" else 0
    assert sum(len(value) for _, value in parsed.args) <= 4 * (len(body) + unpacked) + 20
    return parsed


def urlencoded(data: bytes) -> None:
    pairs, invalid = parse_arguments(data, limit=SMALL.arguments)
    assert 0 <= invalid <= data.count(b"%")
    assert check("URLENCODED", data, b"").args == pairs
    whole, _ = parse_arguments(data, limit=10**6)
    assert pairs == whole[: len(pairs)]
    assert len(whole) <= count_arguments(data)


def cookies(data: bytes) -> None:
    found = parse_cookies(data, 5)
    assert len(found) <= 5
    assert sum(len(name) + len(value) for name, value in found) <= len(data)
    assert data.count(b";") >= 5 or parse_cookies(data) == found


def json_body(data: bytes) -> None:
    whole = check("JSON", data, b"application/json")
    kept = json_module.WHOLE_BYTES
    json_module.WHOLE_BYTES = -1  # the reader of large bodies
    try:
        assert check("JSON", data, b"application/json") == whole
    finally:
        json_module.WHOLE_BYTES = kept


TYPES = (
    b"multipart/form-data; boundary=XX",
    b'multipart/form-data; boundary="XX"',
    b"multipart/form-data; boundary=XX; boundary=YY",
    b"multipart/form-data",
    b"multipart/mixed; boundary=X",
)


def multipart(data: bytes) -> None:
    source = Source(data)
    content_type = source.pick(TYPES)
    body = source.rest()
    parsed = check("MULTIPART", body, content_type)
    assert sum(file.size for file in parsed.files) <= len(body)


def xml_body(data: bytes) -> None:
    parsed = check("XML", data, b"text/xml")
    assert len(parsed.xml_leaves) <= 2 * SMALL.xml_nodes


CHARSETS = (*sorted(CODECS), "utf-8", "x", "utf-7; charset=ibm037")


def charset(data: bytes) -> None:
    """A body of each kind as another charset says it: never an exception, the limits hold once more."""
    source = Source(data)
    name, label = source.pick(("URLENCODED", "JSON", "XML", "MULTIPART")), source.pick(CHARSETS)
    content_type = f"a/b; charset={label}; boundary=XX".encode()
    body = source.rest()
    parsed = finish(PROCESSORS[name](body, content_type, SMALL))
    found = finish(read_by_charset(body, content_type, parsed, SMALL))
    assert all(type(part) is bytes for pair in found.args for part in pair)
    codecs = len({codec for one in label.split("; charset=") for codec in codecs_of(one) or ()})
    assert len(found.args) <= codecs * (3 * SMALL.arguments + 2 * SMALL.xml_nodes + 1)
    assert len(read_pairs(parsed.args, content_type)) == codecs * len(parsed.args)


GRPC_TYPES = (b"application/grpc", b"application/grpc+json", b"application/grpc-web-text", b"application/connect+proto")


def grpc(data: bytes) -> None:
    source = Source(data)
    content_type = source.pick(GRPC_TYPES)
    check("GRPC", source.rest(), content_type)


def protobuf(data: bytes) -> None:
    parsed = check("PROTOBUF", data, b"")
    framed = check("GRPC", b"\0" + len(data).to_bytes(4, "big") + data, b"application/grpc")
    assert [value for _, value in framed.args] == [value for _, value in parsed.args]
    assert framed.partly == parsed.partly


ENCODINGS = (*sorted(DECODERS), b"gzip, br", b"identity", b"x", b"deflate,gzip", b"GZIP ", b",")


def decompression(data: bytes) -> None:
    source = Source(data)
    encoding = source.pick(ENCODINGS)
    body = source.rest()
    found = decompress(body, encoding, SMALL)
    assert len(found.body) <= max(SMALL.decompressed_bytes, len(body))
    assert found.error is None or found.error.startswith("encoding-")
    assert found.partly in (None, "decompressed-limit", "decompression-ratio")
    assert decompress(body, encoding, SMALL) == found


def labels(data: bytes) -> None:
    """Content-Type, Content-Disposition and the look of a body."""
    source = Source(data)
    header, body = source.text(), source.rest()
    assert processor_for(header, body) in ("", *PROCESSORS)
    assert sniff(body) in ("", *PROCESSORS)
    boundary = find_boundary(header)
    assert len(boundary.value) <= len(header)
    parse_disposition(header)
    parse_disposition(body)
