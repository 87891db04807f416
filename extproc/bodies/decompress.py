"""Content-Encoding undone, with a cap on what comes out: gzip, deflate, br, zstd (RFC 9110 §8.4.1, RFC 8878)."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from io import BytesIO
from typing import TypeAlias

import brotli
import zstandard

from extproc.bodies.contract import Limits

STEP_BYTES = 65_536
"""Output produced in one step."""

RATIO_FLOOR_BYTES = 65_536
"""`Limits.decompression_ratio` counts beyond this output only: a short text may well shrink a lot."""

ZSTD_WINDOW_BYTES = 8 * 1024 * 1024
"""Largest window accepted, as RFC 9659 asks for on the web; it bounds the decoder's own memory."""

MEMBERS_LIMIT = 64
"""Gzip members or zstd frames read in one body; the rest of it is `encoding-trailing`."""


@dataclass(frozen=True, slots=True)
class Decompressed:
    """`body` is what came out, also beside an error or a limit.

    `error`: `encoding-unknown`, `encoding-stacked` (body as sent), `encoding-broken`,
    `encoding-truncated`, `encoding-trailing` (bytes behind the end of the data). `partly`:
    `decompressed-limit` or `decompression-ratio`, the output ends there.
    """

    body: bytes
    error: str | None = None
    partly: str | None = None


class _Broken(Exception):  # noqa: N818 - an outcome on its way to `Decompressed.error`
    """`word` as in `Decompressed.error`."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


_Pieces: TypeAlias = Generator[bytes, None, None]
DecompressSteps: TypeAlias = Generator[None, None, Decompressed]


def decompress(body: bytes, content_encoding: bytes, limits: Limits) -> Decompressed:
    """`decompress_steps` in one go; never more than `limits.decompressed_bytes` come out, so it is milliseconds."""
    steps = decompress_steps(body, content_encoding, limits)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: Decompressed = done.value
            return result


def decompress_steps(body: bytes, content_encoding: bytes, limits: Limits) -> DecompressSteps:
    """Yields after every STEP_BYTES of output. `identity` and empty elements of the header count for nothing."""
    encodings = [word for word in (part.strip().lower() for part in content_encoding.split(b",")) if word]
    encodings = [word for word in encodings if word != b"identity"]
    if len(encodings) > limits.encodings:
        return Decompressed(body, error="encoding-stacked")
    if any(word not in DECODERS for word in encodings):
        return Decompressed(body, error="encoding-unknown")
    result = Decompressed(body)
    for word in reversed(encodings):  # listed in the order in which they were applied
        if result.body:
            result = yield from _decode(DECODERS[word](result.body), len(body), limits)
        if result.error or result.partly:
            break
    return result


def _decode(pieces: _Pieces, sent_bytes: int, limits: Limits) -> DecompressSteps:
    """Collects the pieces of one encoding until a limit is passed."""
    out: list[bytes] = []
    size = 0
    error = None
    ratio_cap = max(RATIO_FLOOR_BYTES, sent_bytes * limits.decompression_ratio)
    try:
        for piece in pieces:
            out.append(piece)
            size += len(piece)
            if size > limits.decompressed_bytes:
                return Decompressed(b"".join(out)[: limits.decompressed_bytes], partly="decompressed-limit")
            if size > ratio_cap:
                return Decompressed(b"".join(out)[:ratio_cap], partly="decompression-ratio")
            yield
    except _Broken as broken:
        error = broken.word
    return Decompressed(b"".join(out), error)


def _gzip(data: bytes) -> _Pieces:
    """Members one after the other (RFC 1952 §2.2); zero bytes behind the last are padding."""
    for _ in range(MEMBERS_LIMIT):
        data = yield from _inflate(data, zlib.MAX_WBITS | 16)
        if not data.strip(b"\x00"):
            return
        if not data.startswith(b"\x1f\x8b"):
            break
    raise _Broken("encoding-trailing")


def _deflate(data: bytes) -> _Pieces:
    """In the zlib format, as the RFC says, or bare, as some clients send it: two bytes tell (RFC 1950 §2.2)."""
    is_zlib = data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
    if (yield from _inflate(data, zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)):
        raise _Broken("encoding-trailing")


def _inflate(data: bytes, window_bits: int) -> Generator[bytes, None, bytes]:
    """One stream of deflate data; returns what lies behind it."""
    decoder = zlib.decompressobj(window_bits)
    while not decoder.eof:
        try:
            piece = decoder.decompress(data, STEP_BYTES)
        except zlib.error:
            raise _Broken("encoding-broken") from None
        if piece:
            yield piece
        elif not decoder.eof and not decoder.unconsumed_tail:
            raise _Broken("encoding-truncated")
        data = decoder.unconsumed_tail
    return decoder.unused_data


def _brotli(data: bytes) -> _Pieces:
    decoder = brotli.Decompressor()
    try:
        piece = decoder.process(data, output_buffer_limit=STEP_BYTES)
        while piece:  # `can_accept_more_data` would say so while output is left, too
            yield piece
            if decoder.is_finished():
                return
            piece = decoder.process(b"", output_buffer_limit=STEP_BYTES)
        if not decoder.is_finished():
            raise _Broken("encoding-truncated")
    except brotli.error:
        raise _Broken("encoding-broken") from None


def _zstd(data: bytes) -> _Pieces:
    """All frames; read in pieces first, then, when all of it proved small, once more to see where it ends."""
    decoder = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES)
    try:
        with decoder.stream_reader(BytesIO(data), read_size=STEP_BYTES, read_across_frames=True) as reader:
            while piece := reader.read(STEP_BYTES):
                yield piece
        for _ in range(MEMBERS_LIMIT):
            frame = decoder.decompressobj()
            frame.decompress(data)
            if not frame.eof:
                raise _Broken("encoding-truncated")
            data = frame.unused_data
            if not data:
                return
        raise _Broken("encoding-trailing")
    except zstandard.ZstdError:
        raise _Broken("encoding-broken") from None


DECODERS: dict[bytes, Callable[[bytes], _Pieces]] = {
    b"gzip": _gzip,
    b"x-gzip": _gzip,
    b"deflate": _deflate,
    b"br": _brotli,
    b"zstd": _zstd,
}
"""Content codings of the IANA registry that browsers and servers use; `compress` is not among them."""
