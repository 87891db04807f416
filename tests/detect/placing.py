"""A text and a place → the request that a program would send to put it there."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from urllib.parse import quote
from xml.sax.saxutils import escape

from tests.bench.traffic import FORM, HOST, JSON, Sent

AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
HEADERS = (
    ("host", HOST),
    ("user-agent", AGENT),
    ("accept", "text/html,application/json;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-GB,en;q=0.7"),
)

PLACES = (
    "query",
    "name",
    "form",
    "json",
    "json-body",
    "graphql",
    "xml",
    "xml-body",
    "text-body",
    "cookie",
    "path",
    "file",
    "multipart",
    "part in base64",
    "grpc",
    "form in ibm037",
    "json in utf-16",
    "header:NAME",
)
"""`xml` is a text node, `xml-body` the whole document; `json-body` the whole JSON; `graphql` the document; `multipart`
a field, `part in base64` one with that transfer encoding; `grpc` a text in a message in a message."""


def place(text: str, where: str) -> Sent:
    """The request. Raises KeyError for a place that is none of PLACES."""
    if where == "query":
        return Sent("GET", f"/p?a=1&q={quote(text, safe='')}", HEADERS)
    if where == "name":
        return Sent("GET", f"/p?{quote(text, safe='')}=1", HEADERS)
    if where == "path":
        return Sent("GET", text, HEADERS)
    if where == "cookie":
        return Sent("GET", "/p", (*HEADERS, ("cookie", f"theme=dark; q={quote(text, safe='')}")))
    if where.startswith("header:"):
        name = where.removeprefix("header:")
        kept = tuple(header for header in HEADERS if header[0] != name)
        return Sent("GET", "/p", (*kept, (name, text.encode().decode("latin-1"))))
    made: dict[str, Callable[[], tuple[str, str | bytes]]] = {
        "form": lambda: (FORM, f"a=1&q={quote(text, safe='')}"),
        "json": lambda: (JSON, json.dumps({"a": 1, "q": {"r": [text]}}, ensure_ascii=False)),
        "json-body": lambda: (JSON, text),
        "graphql": lambda: (JSON, json.dumps({"query": text}, ensure_ascii=False)),
        "xml": lambda: ("application/xml", f"<a><b>{escape(text)}</b></a>"),
        "xml-body": lambda: ("application/xml", text),
        "text-body": lambda: ("text/plain", text),
        "multipart": lambda: ("multipart/form-data; boundary=XyZ1", _field("", text.encode())),
        "part in base64": lambda: (
            "multipart/form-data; boundary=XyZ1",
            _field("Content-Transfer-Encoding: base64\r\n", b64encode(text.encode())),
        ),
        "grpc": lambda: ("application/grpc", _message(text.encode())),
        "form in ibm037": lambda: (
            f"{FORM}; charset=ibm037",
            "a=1&q=" + quote(text.encode("cp037", "replace"), safe=""),
        ),
        "json in utf-16": lambda: (f"{JSON}; charset=utf-16le", json.dumps({"q": text}).encode("utf-16-le")),
        "file": lambda: (
            "multipart/form-data; boundary=XyZ1",
            f'--XyZ1\r\nContent-Disposition: form-data; name="f"; filename="{text}"\r\n\r\nx\r\n--XyZ1--\r\n',
        ),
    }
    kind, body = made[where]()
    return post("/p", kind, body.encode() if isinstance(body, str) else body)


def _field(headers: str, content: bytes) -> bytes:
    head = f'--XyZ1\r\nContent-Disposition: form-data; name="q"\r\n{headers}\r\n'
    return head.encode() + content + b"\r\n--XyZ1--\r\n"


def _message(text: bytes) -> bytes:
    """One gRPC message: a number, then a message with a title and the text (protobuf.dev, *Encoding*)."""
    inner = _text(1, b"title") + _text(3, text)
    message = b"\x08\x07" + _text(2, inner)
    return b"\0" + len(message).to_bytes(4, "big") + message


def _text(number: int, value: bytes) -> bytes:
    size = len(value)
    return bytes((number << 3 | 2, size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14)) + value


def post(target: str, kind: str, body: bytes, method: str = "POST", more: tuple[tuple[str, str], ...] = ()) -> Sent:
    """A request with a body of that content type."""
    headers = (*HEADERS, *more, ("content-type", kind), ("content-length", str(len(body))))
    return Sent(method, target, headers, body)
