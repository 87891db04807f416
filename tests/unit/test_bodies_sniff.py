"""Which processor reads a body: by its label and by its looks."""

from __future__ import annotations

import pytest

from extproc.bodies.registry import PROCESSORS
from extproc.bodies.sniff import SNIFF_BYTES, processor_for, sniff

LABELS = [
    (b"application/x-www-form-urlencoded", "URLENCODED"),
    (b"application/x-www-form-urlencoded;charset=utf-8", "URLENCODED"),
    (b"Application/X-WWW-Form-URLEncoded", "URLENCODED"),
    (b"application/x-www-form-urlencodedX", "URLENCODED"),
    (b"multipart/form-data; boundary=x", "MULTIPART"),
    (b"MULTIPART/FORM-DATA", "MULTIPART"),
    (b"multipart/mixed; boundary=x", ""),
    (b"application/json", "JSON"),
    (b" Application/JSON ; charset=utf-8", "JSON"),
    (b"application/vnd.api+json", "JSON"),
    (b"application/json-patch+json", "JSON"),
    (b"text/json", "JSON"),
    (b"application/jsonx", ""),
    (b"application/json,text/plain", ""),
    (b"application/xml", "XML"),
    (b"text/xml; charset=utf-8", "XML"),
    (b"application/soap+xml", "XML"),
    (b"image/svg+xml", "XML"),
    (b"application/xmlx", ""),
    (b"text/plain", ""),
    (b"application/octet-stream", ""),
    (b"", ""),
    (b"\xff/\x00", ""),
]

LOOKS = [
    (b'{"a":1}', "JSON"),
    (b' \r\n{ "a"', "JSON"),
    (b"{}", "JSON"),
    (b"[]", "JSON"),
    (b"[1, 2]", "JSON"),
    (b'[{"a":1}]', "JSON"),
    (b"[true]", "JSON"),
    (b'\xef\xbb\xbf{"a":1}', "JSON"),
    ('{"a":1}'.encode("utf-16"), "JSON"),
    (b"[draft] the title", ""),
    (b"{{ template }}", ""),
    (b"{not json}", ""),
    (b"<?xml version='1.0'?><a/>", "XML"),
    (b"<!DOCTYPE a>", "XML"),
    (b"<a>", "XML"),
    (b"<soap:Envelope xmlns:soap='x'>", "XML"),
    (b"<3 you", ""),
    (b"a < b", ""),
    (b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nv", "MULTIPART"),
    (b"--x\nContent-Type: a\ncontent-disposition: form-data", "MULTIPART"),
    (b"-- \nkind regards", ""),
    (b"a=1&b=2", "URLENCODED"),
    (b"key[0]=x", "URLENCODED"),
    (b"q=<script>", "URLENCODED"),
    (b"YWJjZA==", ""),
    (b"hello world", ""),
    (b"hello world = 3", ""),
    (b"", ""),
    (bytes(range(256)), ""),
]


@pytest.mark.parametrize(("label", "expected"), LABELS)
def test_by_label(label: bytes, expected: str) -> None:
    assert processor_for(label, b"") == expected
    assert expected in ("", *PROCESSORS)


@pytest.mark.parametrize(("body", "expected"), LOOKS)
def test_by_looks(body: bytes, expected: str) -> None:
    assert sniff(body) == expected


def test_only_the_beginning_is_looked_at() -> None:
    assert sniff(b" " * (SNIFF_BYTES - 2) + b"{}") == "JSON"
    assert sniff(b" " * SNIFF_BYTES + b"{}") == ""
