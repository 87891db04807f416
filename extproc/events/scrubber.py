"""The masking of one decision: what is secret in one of its fields is blotted out in all of them.

A rule that matched `ARGS:password` puts the bare value into msg or logdata, where neither name nor
look betrays it. So the secrets of path and matched values are collected first.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from extproc.events.masking import MASK, MAX_SCANNED_BYTES, Masking, Span, base64_texts, cover
from extproc.model.verdict import Decision, Match

MIN_KNOWN_BYTES = 4
"""A secret shorter than this is not searched in other fields: it would blot out half of them."""

MAX_KNOWN_SECRETS = 256
"""Secrets of one decision that are searched in all its fields."""

MAX_SCANNED_TOTAL_BYTES = 32_768
"""Of all matched values together, what is looked through; a match on more is not shown at all."""

PLACES = 1024
"""Hosts, routes and tags that are remembered with their masks."""

MAX_PARTED_BYTES = 512
"""A longer secret (a whole document behind `"token":`) is known as a whole only, not word by word."""


class Scrubber:
    """Masks texts and matches of one decision."""

    def __init__(self, masking: Masking, decision: Decision) -> None:
        self._masking = masking
        self._spans: dict[bytes, list[Span]] = {}
        self._pattern: re.Pattern[bytes] | None = None
        if masking.is_enabled:
            self._collect(decision)

    def text(self, text: bytes) -> bytes:
        """`text` without secrets, cut at MAX_SCANNED_BYTES."""
        if not self._masking.is_enabled:
            return text
        text = text[:MAX_SCANNED_BYTES]
        spans = self._spans.get(text)
        masked = cover(text, self._masking.find(text)[0] if spans is None else spans)
        return self._pattern.sub(MASK, masked) if self._pattern else masked

    def msg(self, match: Match) -> bytes:
        """The message of a match: what the rule says by itself is no secret, what macros put into it may be."""
        return match.msg if match.is_msg_fixed else self.text(match.msg)

    def place(self, text: bytes) -> bytes:
        """As `text`, for what most requests have in common: a host, a route, a tag."""
        masked = _masked_place(self._masking, text[:MAX_SCANNED_BYTES])
        return self._pattern.sub(MASK, masked) if self._pattern else masked

    def string(self, text: str) -> str:
        """The same for a text that came as str; what is no UTF-8 is escaped."""
        return self.text(text.encode("utf-8", "surrogateescape")).decode("utf-8", "backslashreplace")

    def variable(self, variable: str) -> str:
        """The name of a variable; the part after the colon comes from the client."""
        collection, colon, key = variable.partition(":")
        return collection + colon + self.string(key)

    def hides(self, match: Match) -> bool:
        """Did the operator match on a secret, so that nothing it captured may be shown?"""
        if not self._masking.is_enabled:
            return False
        if match.secret or self._masking.is_secret_variable(match.variable):
            return True
        start, end = match.span
        if end > MAX_SCANNED_BYTES or (match.value and match.value not in self._spans):
            return True
        return any(first < end and start < last for first, last in self._spans.get(match.value, ()))

    def _collect(self, decision: Decision) -> None:
        known: dict[bytes, None] = {}
        bytes_left = MAX_SCANNED_TOTAL_BYTES
        for value in dict.fromkeys((decision.path, *(match.value for match in decision.matches))):
            bytes_left -= min(len(value), MAX_SCANNED_BYTES)
            if bytes_left < 0:
                break
            self._spans[value], secrets = self._masking.find(value[:MAX_SCANNED_BYTES])
            for secret in secrets:
                _learn(secret, known)
        for match in decision.matches:
            if match.secret or self._masking.is_secret_variable(match.variable):
                _learn(match.value, known)
        if known:
            longest_first = sorted(known, key=len, reverse=True)[:MAX_KNOWN_SECRETS]
            # Transformations change the case of what reaches msg and logdata.
            self._pattern = re.compile(b"|".join(map(re.escape, longest_first)), re.IGNORECASE)


@lru_cache(maxsize=PLACES)
def _masked_place(masking: Masking, text: bytes) -> bytes:
    return masking.mask_text(text)


def _learn(secret: bytes, known: dict[bytes, None]) -> None:
    """Add a secret in the forms in which other fields may hold it."""
    secret = secret[:MAX_SCANNED_BYTES].strip(b"\"' \t\r\n")
    forms = [secret, unquote_to_bytes(secret.replace(b"+", b" "))]
    if len(secret) <= MAX_PARTED_BYTES:
        # A header line or a cookie: `Basic dTpw`, `a=b; c=d`.
        for part in re.split(rb"[\s;,]+", secret):
            decoded = base64_texts(part)
            forms += [part, part.partition(b"=")[2], *decoded, *(text.partition(b":")[2] for text in decoded)]
    for form in forms:
        if len(form) >= MIN_KNOWN_BYTES:
            known.setdefault(form)
