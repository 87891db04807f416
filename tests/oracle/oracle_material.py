"""What both engines are given: rules, values, and the places of a request in which a value is put.

The Core Rule Set and the corpus stay where they are (CRS_DIR, CORPUS_DIR, else beside the repository):
they are read at run time and never copied.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote_from_bytes

ROOT = Path(__file__).parents[2]
CRS = Path(os.environ.get("CRS_DIR", ROOT.parent / "shared" / "crs"))
CORPUS = Path(os.environ.get("CORPUS_DIR", ROOT.parent / "shared" / "corpus"))

FORM = b"application/x-www-form-urlencoded"

HEADERS = (
    (b"host", b"shop.example.com"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    (b"accept", b"text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"),
)
"""A client against whom no rule has anything."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as both engines get it."""

    path: bytes
    method: bytes = b"GET"
    headers: tuple[tuple[bytes, bytes], ...] = field(default=HEADERS)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Value:
    """One line of the corpus; `kind` is the attack's class, or `benign`."""

    kind: str
    text: bytes


def corpus(share: float = 1.0, salt: str = "") -> Iterator[Value]:
    """Values of the corpus in file order; `share` of them (0 to 1), chosen by a hash of the value and `salt`."""
    for name in ("attacks.jsonl", "benign.jsonl"):
        with (CORPUS / name).open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                text = row["value"].encode("utf-8", "surrogatepass")
                digest = hashlib.blake2b(salt.encode() + text, digest_size=4).digest()
                if int.from_bytes(digest, "big") < share * 2**32:
                    yield Value(row.get("class", "benign"), text)


def _escaped(value: bytes) -> bytes:
    return quote_from_bytes(value, safe="").encode("ascii")


def _post(content_type: bytes, body: bytes) -> Sent:
    length = b"%d" % len(body)
    return Sent(b"/", b"POST", (*HEADERS, (b"content-type", content_type), (b"content-length", length)), body)


def _header_safe(value: bytes) -> bytes:
    """Without what no HTTP parser lets through in a header, and without blanks around it."""
    return value.translate(None, b"\r\n\0").strip()


def _json(value: bytes) -> Sent:
    text = value.decode("utf-8", "surrogatepass")
    return _post(b"application/json", json.dumps({"q": text}).encode())


def _xml(value: bytes) -> Sent:
    text = value.decode("utf-8", "surrogatepass")
    # XML 1.0 has no control characters; elsewhere they are tried too.
    text = "".join(c for c in text if c in "\t\n\r" or (c >= " " and not "\ud800" <= c <= "\udfff" and c < "\ufffe"))
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return _post(b"text/xml", f"<?xml version='1.0'?><a><b>{text}</b></a>".encode())


def _multipart(value: bytes) -> Sent:
    head = b'--b0undary\r\nContent-Disposition: form-data; name="q"\r\n\r\n'
    return _post(b"multipart/form-data; boundary=b0undary", head + value + b"\r\n--b0undary--\r\n")


PLACES: dict[str, Callable[[bytes], Sent]] = {
    "query": lambda value: Sent(b"/?q=" + _escaped(value)),
    "form": lambda value: _post(FORM, b"q=" + _escaped(value)),
    "json": _json,
    "xml": _xml,
    "multipart": _multipart,
    "header": lambda value: Sent(b"/", headers=(*HEADERS, (b"x-note", _header_safe(value)))),
    "agent": lambda value: Sent(b"/", headers=(HEADERS[0], (b"user-agent", _header_safe(value)), HEADERS[2])),
    "cookie": lambda value: Sent(b"/", headers=(*HEADERS, (b"cookie", b"q=" + _header_safe(value)))),
    "name": lambda value: Sent(b"/?" + _escaped(value) + b"=1"),
    "path": lambda value: Sent(b"/" + _escaped(value)),
}
"""Where a value can stand."""
