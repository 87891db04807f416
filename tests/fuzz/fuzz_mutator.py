"""Inputs made of others by a seeded generator: the same seed gives the same inputs on every machine."""

from __future__ import annotations

import random

MAX_BYTES = 600
"""A longer input says little more and costs much."""

MAX_STEPS = 4

WORDS = (
    *(b"&", b"=", b"+", b"%", b"%27", b"%u0041", b"%25", b";", b", ", b"\r\n", b"\n", b"\x00", b"\xff"),
    *(b"\xc3\xa9", b"{", b"}", b"[", b"]", b":", b'"', b"'", b"`", b"\\", b"\\u0041", b"\\ud800", b"1e9"),
    *(b"-0", b"null", b"true", b"<", b">", b"</a>", b"<a b='c'>", b"<!--", b"-->", b"<![CDATA[", b"]]>"),
    *(b"<!DOCTYPE a [", b"&#x41;", b"&lt;", b"--XX", b"--XX--", b'Content-Disposition: form-data; name="a"'),
    *(b"; filename=", b"boundary=XX", b"charset=utf-16", b"../", b"/./", b"//", b"/*", b"*/", b"--", b"#"),
    *(b" or 1=1", b"union select", b" onload=", b"javascript:", b"()", b"(?i)", b"(?:", b"|", b"*", b"{2,3}"),
    *(b"[^a-z]", b"\\b", b"\\x41", b"^", b"$", b"[[:alpha:]]", b"\\pL", b"(?=a)", b"SecRule "),
    *(b"ARGS|!ARGS:a ", b'"@rx a" ', b'"id:1,phase:2,deny"', b"chain", b"t:lowercase,", b"setvar:tx.a=+1"),
    *(b"%{TX.0}", b"SecAction ", b"\\\n", b"GET / HTTP/1.1", b"Host: a", b"Transfer-Encoding: chunked"),
    *(b"5\r\n", b"password", b"Bearer ", b"eyJh", b"\x1b[31m", b"q=0.5", b"text/html", b"4111111111111111"),
    b"YWJjZA==",
)
"""What the parsers look for."""

_INTERESTING = (0, 1, 10, 13, 32, 34, 37, 39, 47, 92, 127, 128, 192, 254, 255)


def mutate(data: bytes, other: bytes, random_source: random.Random) -> bytes:
    """`data` with one to four changes; `other` may lend a piece."""
    draw = random_source.random
    for _ in range(1 + int(draw() * MAX_STEPS)):
        size = len(data)
        at = int(draw() * (size + 1))
        kind = int(draw() * 8)
        if kind == 0:
            data = data[:at] + bytes((int(draw() * 256),)) + data[at + 1 :]
        elif kind == 1:
            data = data[:at] + WORDS[int(draw() * len(WORDS))] + data[at:]
        elif kind == 2:
            data = data[:at] + data[at + 1 + int(draw() * 8) :]
        elif kind == 3:
            end = at + int(draw() * 12)
            data = data[:end] + data[at:end] * (1 + int(draw() * 3)) + data[end:]
        elif kind == 4:
            start = int(draw() * (len(other) + 1))
            data = data[:at] + other[start : start + 1 + int(draw() * 30)] + data[at:]
        elif kind == 5:
            data = data[:at] + bytes((_INTERESTING[int(draw() * len(_INTERESTING))],)) + data[at + 1 :]
        elif kind == 6:
            data = data[:at] + other[int(draw() * (len(other) + 1)) :]
        elif size:
            at = min(at, size - 1)
            data = data[:at] + bytes((data[at] ^ (1 << int(draw() * 8)),)) + data[at + 1 :]
    return data[:MAX_BYTES]
