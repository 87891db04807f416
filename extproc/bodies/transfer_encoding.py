"""Content-Transfer-Encoding undone, as lenient readers do it (RFC 2045, 6): base64, quoted-printable."""

from __future__ import annotations

import re
from binascii import a2b_base64, a2b_qp

_NO_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
_AS_IT_IS = (b"", b"7bit", b"8bit", b"binary")


def undo(content: bytes, encoding: bytes) -> bytes | None:
    """What the content stands for; None if the encoding is not known. Never fails: what is no Base64 is left out."""
    word = encoding.strip().lower()
    if word in _AS_IT_IS:
        return content
    if word == b"quoted-printable":
        return a2b_qp(content)
    if word == b"base64":
        digits = _NO_BASE64.sub(b"", content)
        digits = digits[: len(digits) - (len(digits) % 4 == 1)]
        return a2b_base64(digits + b"=" * (-len(digits) % 4))
    return None
