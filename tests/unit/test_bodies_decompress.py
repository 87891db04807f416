"""Content-Encoding undone: what comes out, what is wrong with it, and that it never gets large."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard

from extproc.bodies.contract import Limits
from extproc.bodies.decompress import (
    MEMBERS_LIMIT,
    RATIO_FLOOR_BYTES,
    STEP_BYTES,
    ZSTD_WINDOW_BYTES,
    Decompressed,
    decompress,
    decompress_steps,
)

TEXT = b"q=hello world&" * 60 + bytes(range(256))


def deflate_raw(data: bytes) -> bytes:
    encoder = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return encoder.compress(data) + encoder.flush()


def zstd_without_size(data: bytes) -> bytes:
    encoder = zstandard.ZstdCompressor().compressobj()
    return encoder.compress(data) + encoder.flush()


Encode = Callable[[bytes], bytes]
ENCODERS: list[tuple[bytes, Encode]] = [
    (b"gzip", gzip.compress),
    (b"x-gzip", gzip.compress),
    (b"deflate", zlib.compress),
    (b"deflate", deflate_raw),
    (b"br", brotli.compress),
    (b"zstd", zstandard.compress),
    (b"zstd", zstd_without_size),
]
every_encoding = pytest.mark.parametrize(
    ("name", "encode"), ENCODERS, ids=["gzip", "x-gzip", "zlib", "raw", "br", "zstd", "zstd-stream"]
)


@every_encoding
def test_round_trip(name: bytes, encode: Encode) -> None:
    for written in (name, b" " + name.upper() + b" ", b"identity, " + name, name + b",,"):
        assert decompress(encode(TEXT), written, Limits()) == Decompressed(TEXT)
    assert decompress(encode(b""), name, Limits()) == Decompressed(b"")
    assert decompress(b"", name, Limits()) == Decompressed(b"")


@every_encoding
def test_truncated_at_every_byte(name: bytes, encode: Encode) -> None:
    sent = encode(TEXT)
    for length in range(1, len(sent)):
        result = decompress(sent[:length], name, Limits())
        assert result.error in ("encoding-truncated", "encoding-broken"), length
        assert TEXT.startswith(result.body)


@every_encoding
def test_plain_text_under_a_wrong_label_is_an_error(name: bytes, encode: Encode) -> None:
    assert decompress(b"a=1&b=<script>", name, Limits()).error in ("encoding-broken", "encoding-truncated")


@every_encoding
def test_trailing_bytes_are_an_error(name: bytes, encode: Encode) -> None:
    assert decompress(encode(TEXT) + b"zz", name, Limits()).error in ("encoding-trailing", "encoding-broken")


@every_encoding
def test_output_is_capped_at_the_limit(name: bytes, encode: Encode) -> None:
    limits = Limits(decompressed_bytes=len(TEXT), decompression_ratio=10**6)
    assert decompress(encode(TEXT), name, limits) == Decompressed(TEXT)
    over = decompress(encode(TEXT + b"x"), name, limits)
    assert over == Decompressed(TEXT, partly="decompressed-limit")


@every_encoding
def test_a_bomb_costs_little_more_than_the_limit(name: bytes, encode: Encode) -> None:
    bomb = encode(bytes(64 * 1024 * 1024))
    limits = Limits(decompression_ratio=10**9)
    tracemalloc.start()
    try:
        result = decompress(bomb, name, limits)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert result.partly == "decompressed-limit"
    assert len(result.body) == limits.decompressed_bytes
    assert peak < 4 * limits.decompressed_bytes


@pytest.mark.parametrize(("name", "encode"), ENCODERS)
def test_a_text_that_comes_out_in_several_steps_is_whole(name: bytes, encode: Encode) -> None:
    text = b",".join(b"%x" % (number * 2654435761 % 2**32) for number in range(20_000))
    assert len(text) > 2 * STEP_BYTES
    assert decompress(encode(text), name, Limits()) == Decompressed(text)


def test_the_ratio_counts_beyond_the_floor() -> None:
    limits = Limits(decompression_ratio=10)
    at_floor = gzip.compress(bytes(RATIO_FLOOR_BYTES))
    assert len(at_floor) * 10 < RATIO_FLOOR_BYTES
    assert decompress(at_floor, b"gzip", limits).partly is None
    over = decompress(gzip.compress(bytes(RATIO_FLOOR_BYTES + 1)), b"gzip", limits)
    assert (over.partly, len(over.body)) == ("decompression-ratio", RATIO_FLOOR_BYTES)


def test_the_ratio_itself() -> None:
    sent = gzip.compress(bytes(900_000))
    ratio = 900_000 // len(sent)
    assert decompress(sent, b"gzip", Limits(decompression_ratio=ratio + 1)).partly is None
    over = decompress(sent, b"gzip", Limits(decompression_ratio=ratio))
    assert (over.partly, len(over.body)) == ("decompression-ratio", ratio * len(sent))


def test_members_and_frames_follow_each_other() -> None:
    halves = [TEXT, TEXT[::-1]]
    for name, encode in ENCODERS:
        if name in (b"gzip", b"zstd"):
            assert decompress(b"".join(map(encode, halves)), name, Limits()) == Decompressed(b"".join(halves))
    assert decompress(gzip.compress(TEXT) + bytes(512), b"gzip", Limits()) == Decompressed(TEXT)


@pytest.mark.parametrize(("name", "encode"), [(b"gzip", gzip.compress), (b"zstd", zstandard.compress)])
def test_members_are_limited(name: bytes, encode: Encode) -> None:
    assert decompress(encode(b"x") * MEMBERS_LIMIT, name, Limits()) == Decompressed(b"x" * MEMBERS_LIMIT)
    assert decompress(encode(b"x") * (MEMBERS_LIMIT + 1), name, Limits()).error == "encoding-trailing"
    assert decompress(encode(b"") * 30_000, name, Limits()).error == "encoding-trailing"


def test_a_zstd_window_beyond_the_limit_is_refused() -> None:
    for window_log, error in ((23, None), (24, "encoding-broken")):
        parameters = zstandard.ZstdCompressionParameters(window_log=window_log, write_content_size=False)
        encoder = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        sent = encoder.compress(TEXT) + encoder.flush()
        assert zstandard.get_frame_parameters(sent).window_size == 1 << window_log
        assert (1 << window_log <= ZSTD_WINDOW_BYTES) == (error is None)
        assert decompress(sent, b"zstd", Limits()).error == error


HEADERS = [
    (b"", None),
    (b"identity", None),
    (b" , ", None),
    (b"compress", "encoding-unknown"),
    (b"gzip;q=1", "encoding-unknown"),
    (b"\xff", "encoding-unknown"),
    (b"gzip, gzip", "encoding-stacked"),
    (b"br,gzip", "encoding-stacked"),
    (b"nope, gzip", "encoding-stacked"),
]


@pytest.mark.parametrize(("header", "error"), HEADERS)
def test_headers(header: bytes, error: str | None) -> None:
    assert decompress(b"as sent", header, Limits()) == Decompressed(b"as sent", error)


def test_stacked_encodings_where_the_limit_allows_them() -> None:
    sent = gzip.compress(brotli.compress(TEXT))
    assert decompress(sent, b"br, gzip", Limits(encodings=2)) == Decompressed(TEXT)
    assert decompress(sent, b"br, gzip, identity", Limits(encodings=2)) == Decompressed(TEXT)
    assert decompress(sent, b"gzip, br", Limits(encodings=2)).error == "encoding-broken"
    assert decompress(sent, b"br, gzip, gzip", Limits(encodings=2)).error == "encoding-stacked"


def test_steps_follow_the_output() -> None:
    steps = decompress_steps(gzip.compress(TEXT * 500), b"gzip", Limits(decompression_ratio=10**6))
    assert sum(1 for _ in steps) >= len(TEXT) * 500 // STEP_BYTES
