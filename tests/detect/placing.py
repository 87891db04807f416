"""A text and a place → the request that a program would send to put it there."""

from __future__ import annotations

import json
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
    "header:NAME",
)
"""`xml` is a text node, `xml-body` the whole document; `json-body` the whole JSON; `graphql` the document."""


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
    kind, body = {
        "form": lambda: (FORM, f"a=1&q={quote(text, safe='')}"),
        "json": lambda: (JSON, json.dumps({"a": 1, "q": {"r": [text]}}, ensure_ascii=False)),
        "json-body": lambda: (JSON, text),
        "graphql": lambda: (JSON, json.dumps({"query": text}, ensure_ascii=False)),
        "xml": lambda: ("application/xml", f"<a><b>{escape(text)}</b></a>"),
        "xml-body": lambda: ("application/xml", text),
        "text-body": lambda: ("text/plain", text),
        "file": lambda: (
            "multipart/form-data; boundary=XyZ1",
            f'--XyZ1\r\nContent-Disposition: form-data; name="f"; filename="{text}"\r\n\r\nx\r\n--XyZ1--\r\n',
        ),
    }[where]()
    return post("/p", kind, body.encode())


def post(target: str, kind: str, body: bytes, method: str = "POST", more: tuple[tuple[str, str], ...] = ()) -> Sent:
    """A request with a body of that content type."""
    headers = (*HEADERS, *more, ("content-type", kind), ("content-length", str(len(body))))
    return Sent(method, target, headers, body)
