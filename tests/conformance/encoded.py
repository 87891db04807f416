"""Bodies in the encodings of HTTP, made without their libraries where these are not at hand.

Brotli and Zstandard here only store: one raw block in a frame, as RFC 7932 section 9.2 and RFC 8878 section 3.1.1
lay them out. A decoder that takes any of it takes this.
"""

from __future__ import annotations

import gzip
import zlib

BOMB_BYTES = 64 * 1024 * 1024
STORED_LIMIT_BYTES = 255
"""The size of a stored body here has one byte."""


def stored_brotli(data: bytes) -> bytes:
    """A window of 16 bits, one uncompressed meta-block, and the empty last one."""
    # From the lowest bit: WBITS 0 (16), ISLAST 0, MNIBBLES 00 (4), MLEN - 1 in 16 bits, ISUNCOMPRESSED 1.
    head = (len(data) - 1) << 4 | 1 << 20
    return head.to_bytes(3, "little") + data + b"\x03"


def stored_zstd(data: bytes) -> bytes:
    """A single segment whose size is one byte, and one raw block, the last."""
    if len(data) > STORED_LIMIT_BYTES:
        raise ValueError("too long for this frame")
    return b"\x28\xb5\x2f\xfd\x20" + bytes([len(data)]) + (len(data) << 3 | 1).to_bytes(3, "little") + data


def bomb() -> bytes:
    """A thousand to one."""
    return gzip.compress(bytes(BOMB_BYTES), 9)


ENCODINGS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": stored_brotli,
    "zstd": stored_zstd,
}
