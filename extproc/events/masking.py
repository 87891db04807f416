"""What must not be written down, and how it is blotted out: the one masking of every sink.

A secret is known by its place (`Authorization`, `ARGS:password`, any cookie), by the name before
it inside a text (`password=x`, `"token": "x"`, `<pin>1</pin>`, a multipart part), or by its look
(JWT, card number, private key). Percent- and base64-encoded texts are looked into. What was found
in one field of an event is removed from all its fields: `scrubber.py`.

In doubt more is masked than needed, up to the end of the line. A secret that stands alone without
name or look (`?q=hunter2`) cannot be known.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

MASK = b"[masked]"

MAX_SCANNED_BYTES = 4096
"""Of one text, what is looked through; the rest is cut off, so that it is not written unmasked."""

MAX_NAME_BYTES = 128
"""Before a `=` or `:`, how far a name is looked for."""

MAX_DECODINGS = 3
"""Layers of percent- or base64-encoding that are looked into."""

_TELLING_WORDS = """
    auth authorization bearer cookie cookies credential credentials csrf cvc cvc2 cvv cvv2 jwt mfa
    otp pass passcode passphrase passwd password passwort pin pw pwd secret session sid signature
    ssn totp token
"""
_TELLING_STEMS = """
    accesskey apikey authorization cardnumber ccnumber connectionstring creditcard credential cvv
    encryptionkey jsessionid passcode passphrase passwd password phpsessid privatekey pwd secret
    session sharedkey signingkey token
"""
_WORDS = frozenset(_TELLING_WORDS.split())
_STEMS = tuple(_TELLING_STEMS.split())
_NAME_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_ESCAPED = re.compile(rb"\\u00([0-7][0-9a-fA-F])")

_SEPARATOR = re.compile(rb"=>?|:|%(?:25)*3[dDaA]")
_NAME_EDGE = re.compile(rb"[^A-Za-z0-9_.%\-\[\]\\$+*@~]")
_TAG = re.compile(rb"<([A-Za-z_][\w:.\-]{0,127})(?:\s[^<>]{0,512})?>")
_PART = re.compile(rb"\bname\s*\*?=\s*[\"']?([^\"'\r\n;]{1,128})[\"']?", re.IGNORECASE)
_PART_END = re.compile(rb"(?:\r\n|\s)--\S")
_PERCENT_TOKEN = re.compile(rb"[^\s&]*%[0-9a-fA-F]{2}[^\s&]*")
_BASE64_TOKEN = re.compile(rb"(?<![A-Za-z0-9+/_\-])[A-Za-z0-9+/_\-]{12,4096}+={0,2}")
_SCREEN = re.compile(rb"[=:%<@]|eyJ|[A-Za-z0-9+/_\-]{12}|\d[\d -]{11}|BEGIN|(?i:bearer|basic|digest)")

_LOOKS = re.compile(
    rb"""
      eyJ[A-Za-z0-9_\-]{6,}(?:\.[A-Za-z0-9_\-]*){1,4}                      # JWT, JWE
    | \b(?:AKIA|ASIA|AROA|AIDA|ABIA|ACCA)[A-Z0-9]{12,}                      # AWS key ids
    | \bAIza[A-Za-z0-9_\-]{30,}                                             # Google API keys
    | \bgh[pousr]_[A-Za-z0-9]{20,} | \bgithub_pat_[A-Za-z0-9_]{20,}         # GitHub
    | \bglpat-[A-Za-z0-9_\-]{16,} | \bxox[abeoprs]-[A-Za-z0-9\-]{8,}        # GitLab, Slack
    | \b[spr]k[_-](?:live|test|proj|ant)[_-][A-Za-z0-9_\-]{8,}              # Stripe and alike
    | \bsk-[A-Za-z0-9]{20,} | \bnpm_[A-Za-z0-9]{30,}
    """,
    re.VERBOSE,
)
_SIGNS = (
    (b"J", (b"eyJ",)),
    (b"A", tuple(b"AKIA ASIA AROA AIDA ABIA ACCA AIza".split())),
    (b"_", tuple(b"ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ sk_ pk_ rk_ npm_".split())),
    (b"-", tuple(b"glpat- xox sk- pk- rk-".split())),
)
"""Each of _LOOKS holds one of them, and what stands before it; to look for these costs a fiftieth."""

_SCHEME = re.compile(
    rb"\b(?:bearer|basic|digest|negotiate|ntlm|aws4-hmac-sha256)\s+([^\s\"',][^\r\n\"']*)", re.IGNORECASE
)
_PRIVATE_KEY = re.compile(
    rb"-{2,}\s*BEGIN[A-Z \r\n]*PRIVATE\s*KEY.*?(?:-END[A-Z \r\n]*PRIVATE\s*KEY-*|\Z)", re.DOTALL | re.IGNORECASE
)
_USER_INFO = re.compile(rb"://[^\s/?#@:]{0,256}:([^\s/?#@]{1,256})@")
# Cards begin with 2 to 6; a time in milliseconds, which one in ten times passes Luhn, begins with 1.
_DIGITS = re.compile(rb"(?<!\d)[2-6](?:[ \-]?\d){12,18}(?!\d)")
MIN_CARD_DIGITS = 13

_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_PRINTABLE = bytes(range(32, 127)) + b"\t\r\n"

Span: TypeAlias = tuple[int, int]
"""(start, end) in a text."""


@dataclass(frozen=True, slots=True)
class Masking:
    """How to mask. `extra_names` are further names of secret fields, whole, case ignored (`kundennummer`).

    `extra_looks` are compiled patterns (RE2, over bytes) of what further secrets look like, whole. With `is_enabled`
    False every function gives back what it got.
    """

    extra_names: frozenset[str] = frozenset()
    is_enabled: bool = True
    extra_looks: tuple[Any, ...] = ()

    def is_secret_name(self, name: bytes) -> bool:
        """Does a field of this name hold a secret? `userPassword`, `json.user.api-key`, `%70assword`."""
        if _looks_secret(name[-MAX_NAME_BYTES:]):
            return True
        return bool(self.extra_names) and _plain_name(name).lower() in {extra.lower() for extra in self.extra_names}

    def is_secret_variable(self, variable: str) -> bool:
        """Is every value of this variable a secret? `ARGS:password`, `REQUEST_COOKIES:x`, not `ARGS_NAMES:password`."""
        collection, _, key = variable.partition(":")
        collection = collection.lstrip("&!").upper()
        if collection.endswith("_NAMES"):
            return False
        if collection == "REQUEST_COOKIES" or collection in ("AUTH_TYPE", "SESSIONID"):
            return True
        return bool(key) and self.is_secret_name(key.encode("utf-8", "surrogateescape"))

    def mask_text(self, text: bytes) -> bytes:
        """`text` with each secret in it replaced by MASK, cut at MAX_SCANNED_BYTES."""
        if not self.is_enabled:
            return text
        text = text[:MAX_SCANNED_BYTES]
        return cover(text, self.find(text)[0])

    def find(self, text: bytes, depth: int = 0) -> tuple[list[Span], list[bytes]]:
        """Where the secrets of a text are (in order, not overlapping), and what they say, decoded too."""
        own = [found.span() for look in self.extra_looks for found in look.finditer(text)]
        if not own and not _SCREEN.search(text):
            return [], []
        plain = _merged([*own, *self._named(text), *self._tagged(text), *self._parts(text), *_by_look(text)])
        secrets = [text[start:end] for start, end in plain]
        if depth == MAX_DECODINGS:
            return plain, secrets
        spans = list(plain)
        for span, decoded in _encoded(text):
            inner, told = self.find(decoded, depth + 1)
            if inner:
                spans.append(span)
                secrets += told
        return _merged(spans), secrets

    def _named(self, text: bytes) -> Iterable[Span]:
        position = 0
        while (separator := _SEPARATOR.search(text, position)) is not None:
            start, end = separator.span()
            before = text[max(position, start - MAX_NAME_BYTES) : start].rstrip(b" \t\\\"'")
            name = _NAME_EDGE.split(before)[-1]
            position = end
            if name and self.is_secret_name(name):
                is_quoted_name = text[start - 1 : start] in (b'"', b"'")
                first, position = _value_span(text, end, is_colon=separator[0] == b":", is_json=is_quoted_name)
                if position > first:
                    yield first, position

    def _tagged(self, text: bytes) -> Iterable[Span]:
        position = 0
        while (tag := _TAG.search(text, position)) is not None:
            position = tag.end()
            if self.is_secret_name(tag[1]):
                end = text.find(b"</", position)
                position = len(text) if end < 0 else end
                yield tag.end(), position

    def _parts(self, text: bytes) -> Iterable[Span]:
        # With whitespace removed by a transformation the blank line is gone too, so the value starts at once.
        position = 0
        while (part := _PART.search(text, position)) is not None:
            position = part.end()
            if self.is_secret_name(part[1]):
                end = _PART_END.search(text, position)
                position = end.start() if end else len(text)
                yield part.end(), position


@lru_cache(maxsize=4096)
def _looks_secret(name: bytes) -> bool:
    plain = _plain_name(name)
    words = [word.lower() for word in _NAME_WORD.findall(plain)]
    if not _WORDS.isdisjoint(words):
        return True
    joined = "".join(words)
    if any(stem in joined for stem in _STEMS):
        return True
    # `userpass` and `dbpass`, but not `bypass` or `compass`.
    return joined.endswith("pass") and joined not in ("bypass", "compass", "overpass", "surpass")


def _plain_name(name: bytes) -> str:
    for _ in range(MAX_DECODINGS):
        if b"%" not in name:
            break
        name = unquote_to_bytes(name)
    name = _ESCAPED.sub(lambda escape: bytes([int(escape[1], 16)]), name)
    return name.decode("latin-1")


def _value_span(text: bytes, start: int, is_colon: bool, is_json: bool) -> Span:
    """Where the value begins and ends that follows a separator ending at `start`."""
    end = len(text)
    while start < end and text[start : start + 1] in (b" ", b"\t"):
        start += 1
    opening = re.compile(rb"(\\*)([\"'])").match(text, start)
    if opening is not None:
        closing = re.compile(rb"(?<!\\)" + re.escape(opening[0])).search(text, opening.end())
        return opening.end(), closing.start() if closing else end
    if text[start : start + 1] in (b"[", b"{"):
        return start, end
    stops = rb"[,}\]\r\n]" if is_json else rb"[\r\n]" if is_colon else rb"[&\r\n]"
    stop = re.compile(stops).search(text, start)
    return start, stop.start() if stop else end


def _encoded(text: bytes) -> Iterable[tuple[Span, bytes]]:
    """Each token that is percent- or base64-encoded: where it is, and what it decodes to."""
    if b"%" in text:
        for token in _PERCENT_TOKEN.finditer(text):
            # `a=%70...` keeps its name unless the name is what was encoded.
            equals = token[0].find(b"=")
            yield (token.start() + equals + 1, token.end()), unquote_to_bytes(token[0].replace(b"+", b" "))
    for token in _BASE64_TOKEN.finditer(text):
        for decoded in base64_texts(token[0]):
            yield token.span(), decoded


def _by_look(text: bytes) -> list[Span]:
    """What needs no name. A pattern is tried where what all its matches hold is there: most texts have none of it."""
    found: list[Span] = []
    if _has_sign(text):
        found += [match.span() for match in _LOOKS.finditer(text)]
    if len(text.split(None, 1)) > 1:
        found += [match.span(1) for match in _SCHEME.finditer(text)]
    if b"--" in text:
        found += [match.span() for match in _PRIVATE_KEY.finditer(text)]
    if b"://" in text:
        found += [match.span(1) for match in _USER_INFO.finditer(text)]
    if len(text) - len(text.translate(None, b"0123456789")) >= MIN_CARD_DIGITS:
        found += [match.span() for match in _DIGITS.finditer(text) if _passes_luhn(match[0])]
    return found


def _has_sign(text: bytes) -> bool:
    for first, signs in _SIGNS:
        if first in text:
            for sign in signs:
                if sign in text:
                    return True
    return False


def _passes_luhn(digits: bytes) -> bool:
    numbers = [byte - 48 for byte in reversed(digits) if 48 <= byte <= 57]
    doubled = (sum(divmod(2 * number, 10)) for number in numbers[1::2])
    return (sum(numbers[::2]) + sum(doubled)) % 10 == 0 and any(numbers)


def base64_texts(token: bytes) -> list[bytes]:
    """The printable texts that a token may stand for: as a whole, or one segment of a path."""
    segments = [token, *token.split(b"/")] if b"/" in token else [token]
    return [decoded for segment in segments if len(segment) >= 8 and (decoded := _from_base64(segment))]


def _from_base64(token: bytes) -> bytes:
    body = token.rstrip(b"=").translate(_URL_SAFE)
    try:
        decoded = base64.b64decode(body + b"=" * (-len(body) % 4))
    except (binascii.Error, ValueError):
        return b""
    return b"" if decoded.translate(None, _PRINTABLE) else decoded


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif end > start:
            merged.append((start, end))
    return merged


def cover(text: bytes, spans: list[Span]) -> bytes:
    """`text` with each of the spans (in order, not overlapping) replaced by MASK."""
    if not spans:
        return text
    pieces, position = [], 0
    for start, end in spans:
        pieces += [text[position:start], MASK]
        position = end
    pieces.append(text[position:])
    return b"".join(pieces)
