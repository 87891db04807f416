"""t:md5, t:sha1, t:length: what is left of a value when its text does not matter."""

from __future__ import annotations

import hashlib

from extproc.transformations.contract import Transformation


def md5(value: bytes) -> bytes:
    """16 raw bytes (reference manual, *md5*); rules put t:hexEncode behind it."""
    return hashlib.md5(value, usedforsecurity=False).digest()


def sha1(value: bytes) -> bytes:
    """20 raw bytes (reference manual, *sha1*)."""
    return hashlib.sha1(value, usedforsecurity=False).digest()


def length(value: bytes) -> bytes:
    """The number of bytes as decimal digits (reference manual, *length*)."""
    digits = b"%d" % len(value)
    return value if digits == value else digits  # only `1` is as long as it says


MD5 = Transformation("md5", md5, None)
SHA1 = Transformation("sha1", sha1, None)
LENGTH = Transformation("length", length, None, adds=frozenset())
