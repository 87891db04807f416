r"""Header and mail injection: a line break, then a line that a protocol reads as its own.

What is an injection:

- a header of HTTP that changes the answer or the next request, with a value of its kind (`Set-Cookie: a=b`,
  `Location: /x`, `Content-Length: 0`), near the value's start; a status or request line of HTTP;
- a header of mail with an address or a MIME type (`Bcc: a@b`), right behind a first line that is a name or an address:
  what a form's subject and sender fields hold. Mail pasted into a text has its headers at its beginning, or blank lines
  and sentences before them: none;
- commands of mail and data servers after a line break (`RCPT TO:<`, `. LOGOUT`, `FLUSHALL`).

Characters whose low byte is a line break (U+560D, U+560A) count as one: old servers cut them so.
"""

from __future__ import annotations

from extproc.detection.contract import UNCOUNTED, Detector, Finding, Place, Reading
from extproc.detection.pattern import find, find_here

LIMIT_BYTES = 4096

NEAR_BYTES = 400
"""How far behind the start a header of HTTP is looked for."""

_BREAK = rb"(?:[\r\n]|\xe5\x98\x8a|\xe5\x98\x8d|\xc4\x8a|\xc4\x8d|\xe2\x80\xa8|\xc2\x85)"
_AFTER = _BREAK + rb"[\s\x00]*(?:%?0[ad]|[^0-9a-z\s\"'<>`]){0,4}[ \t]*"

_HTTP_HEADER = find_here(
    rb"(?:.{0,400}?)"
    + _AFTER
    + rb"(?:set-cookie2?\s*:\s*[^\s=;]{1,80}=|location\s*:\s*(?:[a-z]{2,8}:)?/|content-type\s*:\s*[a-z]+/[a-z]|"
    rb"content-length\s*:\s*[0-9]+\s*(?:[\r\n]|$)"
    rb"|content-disposition\s*:\s*[a-z-]+\s*;|content-encoding\s*:\s*(?:gzip|deflate|br|identity)"
    rb"|transfer-encoding\s*:\s*(?:chunked|identity)|x-forwarded-[a-z]+\s*:\s*\S|x-[a-z-]{2,40}\s*:\s*[^\s]"
    rb"|access-control-[a-z-]+\s*:\s*\S|refresh\s*:\s*[0-9]+\s*;|link\s*:\s*<|status\s*:\s*[1-5][0-9]{2}\b"
    rb"|www-authenticate\s*:\s*\S|authorization\s*:\s*(?:basic|bearer)\b"
    rb"|content-security-policy\s*:\s*\S|clear-site-data\s*:\s*[\"*]|strict-transport-security\s*:"
    rb"|host\s*:\s*[a-z0-9-]+\.[a-z0-9.-]+\s*(?:[\r\n]|$)|connection\s*:\s*(?:close|keep-alive|upgrade)"
    rb"|cookie\s*:\s*\S+=|cache-control\s*:\s*[a-z]|last-modified\s*:\s*[a-z]{3},"
    rb"|http/[12](?:\.[01])?\s+[1-5][0-9]{2}\b|(?:get|post|put|delete|head|options|trace|connect"
    rb"|patch)\s+\S+\s+http/[12])"
)
_FIRST_LINE_HEADER = find_here(
    rb"\s*(?:>\s*)*(?:from|to|subject|date|cc|sent|von|an|betreff|de|para|re|fwd?|return-path|received"
    rb"|delivered-to|x-[a-z-]+|location|host|content)[ \t]*:.{0,400}$"
    rb"|\s*(?:get|post|put|delete|patch|head|options)\s+/\S*(?:\s+http/[12](?:\.[01])?)?\s*$"
    rb"|\s*http/[12](?:\.[01])?\s+[1-5][0-9]{2}\b[^\r\n]{0,40}$|\s*--[^\r\n]*$"
)
_MAIL_HEADER = find_here(
    rb"([^\r\n]{0,120}?)"
    + _AFTER
    + rb"(?:(?:b?cc|to|reply-to|return-path|sender|from|errors-to|disposition-notification-to)"
    rb"\s*:\s*[^\r\n]{0,80}?(?:\S+@\S+|%[0-9a-f]{2}@|<[^>]+>)"
    rb"|mime-version\s*:\s*1|content-type\s*:\s*(?:multipart|text|message|application)/"
    rb"|content-transfer-encoding\s*:\s*(?:base64|quoted|7bit|8bit)|subject\s*:\s*[^\r\n]+|x-mailer\s*:)"
)
_LATER = find(
    rb"[^\s\r\n](?:\r\n|\r|\n)[ \t]?(?:%?0[ad]){0,2}(?:set-cookie\s*:\s*[^\s=;]{1,80}=|bcc\s*:\s*[^\r\n]{0,80}?\S@\S"
    rb"|mime-version\s*:\s*1|content-transfer-encoding\s*:\s*(?:base64|quoted)"
    rb"|content-type\s*:\s*(?:multipart|message)/)"
)
_HEADER_LINE = find_here(
    rb"[\s>]*(?:[a-z][a-z0-9-]{1,40}\s*:|--|```|http/|(?:get|post|put|head|delete|patch)\s|[$#*-]\s|//"
    rb"|\s*$)"
)
"""A line of a message, or of code and lists: what follows belongs to it."""
_COMMAND = find(
    rb"[\r\n]\.?[\r\n]*\s*(?:mail\s+from\s*:\s*<?|rcpt\s+to\s*:\s*<?|ehlo\s+\S|helo\s+\S|starttls\b"
    rb"|vrfy\s+\S+\s*[\r\n]|quit\s*(?:[\r\n]|$)"
    rb"|data\s*[\r\n]+\s*(?:from|to|subject)|auth\s+(?:login|plain)|[a-z]?[0-9]{1,4}\s+(?:login|logout"
    rb"|select|capability|create|delete|fetch|list|append|rename|copy|store|search)\b"
    rb"|(?:user|pass|retr|dele|stat|uidl|top)\s+[0-9a-z@.]+\s*[\r\n]"
    rb"|flushall\b|config\s+set\s+\S|slaveof\s+\S|replicaof\s+\S|module\s+load\s+\S"
    rb"|eval\s+[\"'][^\r\n]{1,200}\s[0-9]|\*[0-9]{1,3}\r?\n\$[0-9]|(?:set|add"
    rb"|replace)\s+\S+\s+[0-9]+\s+[0-9]+\s+[0-9]+\s*[\r\n]|save\s*[\r\n]+\s*quit)"
)
_SHORT = find_here(
    rb"\s*(?:[\"'<]?[^\s\"'<>@,;]{1,80}@[^\s\"'<>,;]{1,120}[\"'>]?|\"?[^\"<>@]{0,60}\"?\s*<[^\s<>]{3,120}>"
    rb"|[^\r\n.!?]{0,60})[\s,;]*$"
)

_SPLITS, _MAIL, _COMMANDS = 6, 6, 6


def detect(text: bytes, place: Place, reading: Reading = UNCOUNTED) -> Finding | None:
    """Of HTTP first, then of mail, then commands."""
    head = text[: NEAR_BYTES * 3]
    spans = _HTTP_HEADER(head, 0)
    if spans is not None and _FIRST_LINE_HEADER(head.lstrip().splitlines()[0] if head.strip() else b"", 0) is None:
        return Finding(
            "header", _SPLITS, spans[0], "line of a header", "a line break, then a header or a first line of HTTP"
        )
    spans = _MAIL_HEADER(head, 0)
    if spans is not None:
        first = head[spans[1][0] : spans[1][1]]
        if _SHORT(first, 0) is not None and (not first.strip() or _FIRST_LINE_HEADER(first, 0) is None):
            return Finding("header", _MAIL, spans[0], "line of a mail", "a line break, then a header of mail")
    spans = _LATER(text, 0)
    if spans is not None and _HEADER_LINE(text[: spans[0][0]].rpartition(b"\n")[2], 0) is None:
        return Finding("header", _MAIL, spans[0], "line of a header", "a line break, then a header that no text has")
    spans = _COMMAND(text, 0)
    if spans is not None:
        return Finding("header", _COMMANDS, spans[0], "line of a protocol", "a line break, then a command of a server")
    return None


_BREAKS = frozenset(
    (b"\r", b"\n", b"\xe5\x98\x8a", b"\xe5\x98\x8d", b"\xc4\x8a", b"\xc4\x8d", b"\xe2\x80\xa8", b"\xc2\x85")
)
_LINES = frozenset(
    b"set-cookie location content- transfer-encoding x- access-control- refresh link status www-authentica"
    b"te authorization clear-site-data "
    b"strict-transport host connection cookie cache-control last-modified http/ cc to reply-to return-path"
    b" sender from "
    b"mime-version subject disposition".split()
)
_COMMANDS_GATE = frozenset(
    b"mail rcpt ehlo helo starttls vrfy quit data auth login logout select capability create delete fetch "
    b"list append rename "
    b"copy store search user pass retr dele stat uidl top flushall config slaveof replicaof module eval * "
    b"set add replace save".split()
)

DETECTOR = Detector(
    kind="header",
    gate=((_BREAKS, _LINES, frozenset((b":", b"http/"))), (frozenset((b"\r", b"\n")), _COMMANDS_GATE)),
    detect=detect,
    limit_bytes=LIMIT_BYTES,
)
