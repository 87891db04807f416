"""What a blocked client reads: the incident id, never the rule; in the format that it asked for."""

from __future__ import annotations

import html
import json
from http import HTTPStatus

PROBLEM = b"application/problem+json"
HTML = b"text/html"
PLAIN = b"text/plain"

MAX_ACCEPT_ITEMS = 32
"""Items of an Accept header that are looked at; a browser sends eight."""

# Asked for → given. What accepts anything (curl, fetch) gets plain text.
_GIVEN = {
    b"application/problem+json": PROBLEM,
    b"application/json": PROBLEM,
    b"application/*": PROBLEM,
    b"text/html": HTML,
    b"application/xhtml+xml": HTML,
    b"text/plain": PLAIN,
    b"text/*": PLAIN,
    b"*/*": PLAIN,
}


def choose_format(accept: bytes) -> bytes:
    """Accept header value (lines joined by commas) → media type. RFC 9110, section 12.5.1: highest q, then first."""
    best, best_quality = PLAIN, 0.0
    for item in accept.lower().split(b",", MAX_ACCEPT_ITEMS)[:MAX_ACCEPT_ITEMS]:
        media, *parameters = item.split(b";")
        given = _GIVEN.get(media.strip())
        if given is None:
            continue
        quality = _quality(parameters)
        if quality > best_quality:
            best, best_quality = given, quality
    return best


def render(media: bytes, status: int, incident: str) -> bytes:
    """The page. `media` is one of the three formats."""
    title = _title(status)
    if media == PROBLEM:  # RFC 9457
        return json.dumps({"type": "about:blank", "title": title, "status": status, "incident": incident}).encode()
    if media == HTML:
        shown = html.escape(incident)
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{status} {title}</title></head>'
            f"<body><h1>{title}</h1><p>This request was refused.</p>"
            f"<p>Incident: <code>{shown}</code></p></body></html>\n"
        ).encode()
    return f"{status} {title}\nThis request was refused. Incident: {incident}\n".encode()


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Refused"


def _quality(parameters: list[bytes]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"q":
            try:
                return min(float(value), 1.0)
            except ValueError:
                return 0.0
    return 1.0
