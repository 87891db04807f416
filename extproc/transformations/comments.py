"""t:removeComments, t:removeCommentsChar, t:replaceComments: C, HTML and SQL comments.

Linear: each scan goes on where the last one ended, and a comment without an end takes all the rest.
"""

from __future__ import annotations

import re

from extproc.transformations.contract import Transformation

_OPENING = re.compile(rb"/\*|<!--|--|#")
_CLOSING = re.compile(rb"\*/|-->")
_TO_THE_END = (b"--", b"#")
_MARK = re.compile(rb"/\*|\*/|<!--|-->?|#")


def remove_comments(value: bytes) -> bytes:
    """`/*...*/` and `<!--...-->` are taken out; `--` and `#` cut off the rest (reference manual, *removeComments*).

    As libmodsecurity does: either end closes either comment, a comment without an end becomes one space, and
    the byte right after a comment is copied unread (`/*a*//*b*/` gives `/*b*/`). Not as libmodsecurity does:
    after a comment at the very end it copies the terminating NUL, we do not.
    """
    found = _OPENING.search(value)
    if found is None:
        return value
    parts = []
    start = 0
    while found:
        parts.append(value[start : found.start()])
        if found[0] in _TO_THE_END:
            return b"".join(parts)
        closing = _CLOSING.search(value, found.end())
        if closing is None:
            parts.append(b" ")
            return b"".join(parts)
        start = closing.end()
        found = _OPENING.search(value, start + 1)
    parts.append(value[start:])
    return b"".join(parts)


def replace_comments(value: bytes) -> bytes:
    """Each `/*...*/` becomes one space, also one without its end (reference manual, *replaceComments*)."""
    opening = value.find(b"/*")
    if opening < 0:
        return value
    parts = []
    start = 0
    while opening >= 0:
        parts.append(value[start:opening])
        end = value.find(b"*/", opening + 2)
        start = end + 2 if end >= 0 else len(value)
        opening = value.find(b"/*", start)
    parts.append(value[start:])
    return b" ".join(parts)


def remove_comments_char(value: bytes) -> bytes:
    """The marks themselves are taken out: `/*` `*/` `<!--` `-->` `--` `#` (reference manual, *removeCommentsChar*)."""
    return _MARK.sub(b"", value)


REMOVE_COMMENTS = Transformation("removeComments", remove_comments, frozenset(b"/<-#"), adds=frozenset(b" "))
REMOVE_COMMENTS_CHAR = Transformation("removeCommentsChar", remove_comments_char, frozenset(b"/*<-#"), adds=frozenset())
REPLACE_COMMENTS = Transformation("replaceComments", replace_comments, frozenset(b"/"), adds=frozenset(b" "))
