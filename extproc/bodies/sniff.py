"""Which processor reads a body: by its label, and by its looks."""

from __future__ import annotations

import re

SNIFF_BYTES = 1024
"""How much of the beginning `sniff` looks at."""

BINARY_SHARE = 16
"""One control character in so many bytes makes a body binary."""

_CONTROLS = bytes(byte for byte in range(0x20) if byte not in b"\t\n\v\f\r\x1b")

_JSON_TYPE = re.compile(rb"(?:application|text)/(?:[a-z0-9!#$&^_.-]+\+)?(?:x-)?json")
_XML_TYPE = re.compile(rb"(?:application|text)/(?:[a-z0-9!#$&^_.+-]+\+)?xml|[a-z]+/[a-z0-9!#$&^_.-]+\+xml")

_GRPC_TYPE = re.compile(rb"application/(?:grpc(?:-web|-web-text)?(?:\+proto|\+json)?|connect\+(?:proto|json))")
_PROTOBUF_TYPE = re.compile(rb"application/(?:x-protobuf|protobuf|x-google-protobuf|vnd\.google\.protobuf|proto)")

_JSON = re.compile(
    rb'\{\s*(?:"|\}\s*$)|\[\s*(?:[\[{"\]]|-?[0-9]+(?:[.eE][0-9.eE+-]*)?\s*[,\]]|(?:true|false|null)\s*[,\]])'
)
_XML = re.compile(rb"<(?:\?xml\b|!DOCTYPE\b|!--|[A-Za-z_][\w.:-]*(?:\s+[\w.:-]+\s*=|\s*/?>))")
_MULTIPART = re.compile(rb"--[^\r\n]+\r?\n(?:[^\r\n]+\r?\n)*?content-disposition\s*:", re.IGNORECASE)
_FORM = re.compile(rb"[\w.\[\]%+*$~@:-]{1,128}=(?!=*$)[^\s<>{}\"]*")


def processor_for(content_type: bytes, body: bytes) -> str:
    """The name of the processor that the label asks for, "" if none; `body` breaks no tie today.

    URLENCODED and MULTIPART by prefix, as libmodsecurity does itself; XML and JSON as the rules of its
    recommended configuration do, with every `+xml` and `+json`; GRPC and PROTOBUF are ours. Letter case and
    parameters do not matter.
    """
    kind = content_type.split(b";", 1)[0].strip().lower()
    if kind.startswith(b"application/x-www-form-urlencoded"):
        return "URLENCODED"
    if kind.startswith(b"multipart/form-data"):
        return "MULTIPART"
    if _JSON_TYPE.fullmatch(kind):
        return "JSON"
    if _XML_TYPE.fullmatch(kind):
        return "XML"
    if _GRPC_TYPE.fullmatch(kind):
        return "GRPC"
    if _PROTOBUF_TYPE.fullmatch(kind):
        return "PROTOBUF"
    return ""


def is_binary(body: bytes) -> bool:
    """Is it no text? Of text in any encoding few bytes at the beginning are control characters; UTF-16 has NULs, and
    a mark or every other byte readable."""
    head = body[:SNIFF_BYTES]
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if controls * BINARY_SHARE <= len(head):
        return False
    return head[:2] not in (b"\xff\xfe", b"\xfe\xff") and controls - head.count(0) > 0


def sniff(body: bytes) -> str:
    """The processor for what the body looks like, whatever its label; "" if it looks like none.

    A guess from the first SNIFF_BYTES, wrong at times: for rules that would rather read too much.
    """
    head = body[:SNIFF_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip()
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        head = head[2:].replace(b"\x00", b"")
    if _JSON.match(head):
        return "JSON"
    if _XML.match(head):
        return "XML"
    if _MULTIPART.match(head):
        return "MULTIPART"
    if _FORM.match(head):
        return "URLENCODED"
    return ""
