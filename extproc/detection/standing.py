"""Does a part of a text stand by itself, at an end of the text and between sentences, or is it a word of one?

A payload that somebody puts behind a sentence is no part of it: the sentence has ended, and nothing or another sentence
follows. What people write *about* such a thing (`see /etc/hosts for names`) stands within their sentence.
"""

from __future__ import annotations

import re

_NEAR_BYTES = 8
"""Of the text on either side that is looked at."""

_SENTENCE_ENDS = re.compile(rb"[^.\s][.!?][\"')]?[ \t]+\Z|[^\x00-\x20]\xe3\x80\x82[ \t]*\Z")
_SENTENCE_BEGINS = re.compile(rb"[ \t]+[A-Z](?:[a-z]|[ ,][a-z])")
_EDGES = b" \t\r\n\"'\x00"


def stands_alone(text: bytes, start: int, end: int) -> bool:
    """Is `text[start:end]` behind a sentence's end or at the text's, and before a sentence or at the text's end?

    One of both sides must be the text's end, quotes and blanks aside. A line break is no sentence's end: lists and
    logs have their parts on lines of their own.
    """
    is_first = not text[:start].strip(_EDGES)
    is_last = not text[end:].strip(_EDGES)
    if is_last:
        return is_first or _SENTENCE_ENDS.search(text[max(0, start - _NEAR_BYTES) : start]) is not None
    return is_first and _SENTENCE_BEGINS.match(text, end) is not None
