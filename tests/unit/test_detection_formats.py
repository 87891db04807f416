"""Values of fixed formats: which are taken for such, and that one foreign sign ends the format."""

from __future__ import annotations

import pytest

from extproc.detection.contract import Detector, Place
from extproc.detection.formats import is_fixed
from extproc.operators.registry import OPERATORS

FIXED = [
    b"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    b"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7; rv:128.0) Gecko/20100101 Firefox/128.0",
    b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Edg/126.0",
    b"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 "
    b"Mobile/15E148 Safari/604.1",
    b"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36",
    b"curl/8.6.0",
    b"python-requests/2.32.3",
    b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    b"application/vnd.github.v3+json",
    b"application/json; charset=utf-8",
    b"application/json;odata.metadata=minimal",
    b"en-GB,en-US;q=0.9,en;q=0.8,zh-Hant-TW;q=0.1,*;q=0.01",
    b"gzip, deflate, br, zstd",
    b"max-age=0, no-cache",
    b"Mon, 23 Nov 2026 10:00:00 GMT",
    b"2026-11-23T10:00:00.123Z",
    b"2026-11-23T10:00:00+01:00",
    b'W/"65622e38c313718b"',
    b'"5e-1a2b", W/"0"',
    b'"Not/A)Brand";v="8", "Chromium";v="126", "Google Chrome";v="126"',
    b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    b"0af7651916cd43dd8448eb211c80319c",
    b"123e4567-e89b-12d3-a456-426614174000",
    b"u=1, i",
    b"bytes=0-1023",
    b"same-origin",
]

FOREIGN = [
    b"Mozilla/5.0 (X11; cat /etc/passwd) Gecko/20100101",
    b"Mozilla/5.0 (X11; Linux x86_64'; sleep 5)",
    b"Mozilla/5.0/../../etc/passwd",
    b"curl/8.6.0 | sh",
    b"text/html,../../etc/passwd",
    b"etc/passwd",
    b"text/html;q=0.5;id",
    b"application/com.sun.rowset.JdbcRowSetImpl",
    b"en;q=0.5 union select 1",
    b"gzip;$(id)",
    b"max-age=0' or '1'='1",
    b"Mon, 23 Nov 2026 10:00:00 GMT\r\nSet-Cookie: a=b",
    b"Mon, 23 Nov 2026 10:00:00 GMT\n",
    b'W/"rO0ABXNyABFqYXZhLnV0aWw"',
    b'"a" or "a"="a"',
    b'"-"',
    b'"Not/A)Brand; cat /etc/passwd";v="8"',
    b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'",
    b"0AF7651916CD43DD8448EB211C80319C",
    b"bytes=0-1023,../",
    b"",
]


@pytest.mark.parametrize("value", FIXED)
def test_what_libraries_write_is_known(value: bytes) -> None:
    assert is_fixed(value)


@pytest.mark.parametrize("value", FOREIGN)
def test_what_holds_anything_else_is_looked_at(value: bytes) -> None:
    assert not is_fixed(value)


@pytest.mark.parametrize("value", FIXED)
def test_a_sign_put_anywhere_ends_the_format(value: bytes) -> None:
    for sign in (b"'", b"<", b"$", b"\\", b"`", b"|", b"{", b"%", b"\x00", b"\n", b"../", b"\xff"):
        for place in range(len(value) + 1):
            assert not is_fixed(value[:place] + sign + value[place:])


class Quiet:
    """A compile context that nobody listens to."""

    def notice(self, text: str) -> None:
        """Says nothing."""

    def read_file(self, name: bytes) -> bytes:
        """Has no files."""
        raise FileNotFoundError(name)


def _detectors() -> list[Detector]:
    compiled = [make(b"", Quiet()) for name, make in OPERATORS.items() if name.startswith("detect")]
    return [operator.detector for operator in compiled if operator.detector is not None]


@pytest.mark.parametrize("detector", _detectors(), ids=lambda detector: detector.kind)
@pytest.mark.parametrize("place", list(Place))
def test_no_detector_finds_anything_in_them(detector: Detector, place: Place) -> None:
    assert [value for value in FIXED if detector.detect(value, place) is not None] == []
