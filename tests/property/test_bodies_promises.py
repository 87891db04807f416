"""What body parsers promise for any bytes: no exception, limits kept, both JSON readers alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.bodies import json_body as json_module
from extproc.bodies.contract import BodySteps, Limits, ParsedBody
from extproc.bodies.cookies import parse_cookies
from extproc.bodies.decompress import DECODERS, decompress
from extproc.bodies.json_body import json_body
from extproc.bodies.registry import PROCESSORS
from extproc.bodies.sniff import processor_for, sniff
from extproc.bodies.urlencoded import parse_arguments

SMALL = Limits(
    arguments=5,
    json_depth=4,
    json_names_bytes=200,
    multipart_parts=4,
    part_headers=4,
    xml_depth=4,
    xml_nodes=12,
    decompressed_bytes=300,
    protobuf_depth=4,
    protobuf_fields=60,
    grpc_messages=4,
)
WORDS: dict[str, list[bytes]] = {
    "URLENCODED": [b"a", b"=", b"&", b"%", b"%4", b"%41", b"+", b"\x00", b"\xff"],
    "JSON": [b"{", b"}", b"[", b"]", b":", b",", b'"a"', b'"', b"\\u00e9", b"\\ud800", b"1e9", b"true", b"\xff", b"\n"],
    "MULTIPART": [
        *(b"--XX", b"--", b"\r\n", b"\n", b"\r\n\r\n", b"Content-Disposition: form-data; ", b'name="a"', b"; "),
        *(b"filename=", b"filename*=a''%41", b"'", b'"', b"\\", b" x", b"\x00", b": ", b"v"),
        b"Content-Type: multipart/mixed; boundary=X",
    ],
    "XML": [
        *(b"<a>", b"</a>", b"<a b='c'", b"/>", b"x", b"<![CDATA[", b"]]>", b"<!DOCTYPE a [", b"<!ENTITY e 'v'>", b"]>"),
        *(b"&e;", b"&lt;", b"\xff", b"<?xml version='1.0' encoding='", b"utf-16", b"zlib", b"gb2312", b"'?>", b"\x00"),
    ],
    "GRPC": [
        b"\0\0\0\0\3",
        b"\1\0\0\0\x09",
        b"\x80\0\0\0\2",
        b"\x0a",
        b"\x12",
        b"\3",
        b"abc",
        b"\x08\x01",
        b"\x0b",
        b"\x0c",
    ],
    "PROTOBUF": [
        b"\x0a",
        b"\x12",
        b"\0",
        b"\1",
        b"\3",
        b"\x0a!",
        b"abc",
        b"\x08\x01",
        b"\x0b",
        b"\x0c",
        b"\xff",
        b"\r1234",
    ],
}
TYPES = [
    *(b"", b"multipart/form-data", b"multipart/form-data; boundary=XX", b'multipart/form-data; boundary="XX'),
    *(b"a; BOUNDARY = XX; boundary=XX", b"multipart/form-data boundary='X"),
]


def finish(steps: BodySteps) -> ParsedBody:
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


def bodies(name: str) -> st.SearchStrategy[bytes]:
    return st.one_of(st.binary(max_size=80), st.lists(st.sampled_from(WORDS[name]), max_size=25).map(b"".join))


@pytest.mark.parametrize("name", PROCESSORS)
@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_any_body_is_parsed_within_the_limits(name: str, data: st.DataObject) -> None:
    body = data.draw(bodies(name))
    content_type = data.draw(st.one_of(st.sampled_from(TYPES), st.binary(max_size=60)))
    parsed = finish(PROCESSORS[name](body, content_type, SMALL))
    assert parsed.processor == name
    assert len(parsed.args) <= SMALL.arguments
    assert all(type(part) is bytes for pair in parsed.args for part in pair)
    assert len(parsed.xml_attributes) <= SMALL.xml_nodes
    assert not parsed.partly or parsed.error or parsed.partly == "protobuf-unreadable"
    assert all(number in (0, 1, 2) for number in parsed.flags.values())
    assert sum(len(value) for _, value in parsed.args) <= 4 * len(body) + 20


@given(body=bodies("JSON"))
@settings(max_examples=500, deadline=None)
def test_both_json_readers_give_the_same(body: bytes) -> None:
    whole = finish(json_body(body, b"", SMALL))
    with patch.object(json_module, "WHOLE_BYTES", -1):
        assert finish(json_body(body, b"", SMALL)) == whole


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, min_size=1) | st.dictionaries(st.text("ab.é", max_size=3), inner, min_size=1),
    max_leaves=20,
)


def leaves(value: object, name: str = "json") -> list[tuple[str, str]]:
    """The naive, recursive reading of the same rules."""
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in leaves(item, f"{name}.{key or 'empty-key'}")]
    if isinstance(value, list):
        return [leaf for index, item in enumerate(value) for leaf in leaves(item, f"{name}.array_{index}")]
    return [(name, "" if value is None else str(value).lower() if isinstance(value, bool) else str(value))]


@given(value=JSON_VALUES, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
@settings(max_examples=300, deadline=None)
def test_json_leaves_match_a_naive_reading(value: object, ascii_only: bool, indent: int | None) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    parsed = finish(json_body(body, b"", Limits(arguments=10**6, json_depth=10**3)))
    assert parsed.error == b""
    assert [(name.decode(), text.decode()) for name, text in parsed.args] == leaves(value)


@given(text=st.one_of(bodies("URLENCODED"), st.binary()), limit=st.integers(1, 6))
@settings(max_examples=300, deadline=None)
def test_queries_and_cookies_take_any_bytes(text: bytes, limit: int) -> None:
    pairs, invalid = parse_arguments(text, limit=limit)
    assert len(pairs) <= limit
    assert 0 <= invalid <= text.count(b"%")
    assert finish(PROCESSORS["URLENCODED"](text, b"", Limits(arguments=limit))).args == pairs
    cookies = parse_cookies(text, limit)
    assert len(cookies) <= limit
    assert sum(len(name) + len(value) for name, value in cookies) <= len(text)


@pytest.mark.parametrize("name", DECODERS)
@given(body=st.binary(max_size=200), cut=st.integers(0, 40))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_decompressed_within_the_limit(name: bytes, body: bytes, cut: int) -> None:
    magic: dict[bytes, bytes] = {b"gzip": b"\x1f\x8b\x08\x00" + bytes(6), b"zstd": b"\x28\xb5\x2f\xfd"}
    for sent in (body, magic.get(name, b"\x78\x9c") + body[cut:]):
        assert len(decompress(sent, name, SMALL).body) <= max(SMALL.decompressed_bytes, len(sent))


@given(header=st.binary(max_size=60), body=st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_label_and_any_look_gives_a_known_processor(header: bytes, body: bytes) -> None:
    choose: list[Callable[[], str]] = [lambda: processor_for(header, body), lambda: sniff(body)]
    assert all(choice() in ("", *PROCESSORS) for choice in choose)
