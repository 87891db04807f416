"""What a blocked client reads: the incident id, never the rule; in the format that it asked for."""

from __future__ import annotations

import html
import json
import re
from http import HTTPStatus

from extproc.model.answer import PLACEHOLDERS, Templates

PROBLEM = b"application/problem+json"
HTML = b"text/html"
PLAIN = b"text/plain"

MAX_ACCEPT_ITEMS = 32
"""Items of an Accept header that are looked at; a browser sends eight."""

# Asked for → given. What accepts anything (curl, fetch) gets what it sent, JSON or else plain text.
_GIVEN = {
    b"application/problem+json": PROBLEM,
    b"application/json": PROBLEM,
    b"application/*": PROBLEM,
    b"text/html": HTML,
    b"application/xhtml+xml": HTML,
    b"text/plain": PLAIN,
    b"text/*": PLAIN,
}
_ANYTHING = b"*/*"
_JSON = re.compile(rb"application/(?:json|[a-z0-9.+-]{1,80}\+json)\s*(?:;|\Z)", re.IGNORECASE)

_BUILT_IN = Templates(
    html=b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="robots" content="noindex">
<title>${status} ${title}</title>
<style>
:root{color-scheme:light dark;font:1.1rem/1.5 system-ui,sans-serif}
main{max-width:36rem;margin:15vh auto;padding:0 1.5rem}
code{font-size:1.15em;user-select:all;overflow-wrap:anywhere}
</style>
</head>
<body>
<main>
<h1>${title}</h1>
<p>This request was refused for the safety of this site.</p>
<p>If you think that this is a mistake, tell whoever runs the site this number:</p>
<p><code>${incident}</code></p>
</main>
</body>
</html>
""",
    problem=b'{"type": "about:blank", "title": "${title}", "status": ${status}, "incident": "${incident}"}',  # RFC 9457
    plain=b"${status} ${title}\nThis request was refused. Incident: ${incident}\n",
)


def choose_format(accept: bytes, content_type: bytes = b"") -> bytes:
    """Accept header value (lines joined by commas) → media type. RFC 9110, section 12.5.1: highest q, then first.

    `content_type` of the request decides where anything is accepted, or nothing is said.
    """
    fallback = PROBLEM if _JSON.match(content_type) else PLAIN
    best, best_quality = fallback, 0.0
    for item in accept.lower().split(b",", MAX_ACCEPT_ITEMS)[:MAX_ACCEPT_ITEMS]:
        media, *parameters = item.split(b";")
        media = media.strip()
        given = fallback if media == _ANYTHING else PROBLEM if _JSON.match(media) else _GIVEN.get(media)
        if given is None:
            continue
        quality = _quality(parameters)
        if quality > best_quality:
            best, best_quality = given, quality
    return best


def render(media: bytes, status: int, incident: str, templates: Templates | None = None) -> bytes:
    """The page. `media` is one of the three formats; `templates` are a policy's own."""
    own = templates or _BUILT_IN
    title = _title(status)
    if media == PROBLEM:
        template = own.problem or _BUILT_IN.problem
        incident, title = json.dumps(incident)[1:-1], json.dumps(title)[1:-1]
    elif media == HTML:
        template = own.html or _BUILT_IN.html
        incident, title = html.escape(incident), html.escape(title)
    else:
        template = own.plain or _BUILT_IN.plain
    values = {b"${incident}": incident.encode(), b"${status}": b"%d" % status, b"${title}": title.encode()}
    return _PLACEHOLDER.sub(lambda found: values[found[0]], template or b"")


_PLACEHOLDER = re.compile(rb"\$\{(?:" + "|".join(PLACEHOLDERS).encode() + rb")\}")


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
