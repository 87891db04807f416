"""Requests made to cost as much as they can. Each is as large as Envoy's or our limits let it be."""

from __future__ import annotations

import base64
import gzip
import random
import zlib
from collections.abc import Callable

import brotli
import zstandard

from extproc.model.message import Address, RequestHead
from extproc.replay.http1 import Request

BODY_BYTES = 131_072
"""The default limit of a request body."""

MIB = 1024 * 1024

FORM = b"application/x-www-form-urlencoded"
JSON = b"application/json"
XML = b"text/xml"
GRPC = b"application/grpc"
MULTIPART = b"multipart/form-data; boundary=b"

_HEADERS = ((b"host", b"shop.example.com"), (b"user-agent", b"Mozilla/5.0"), (b"accept", b"*/*"))


def get(path: bytes = b"/", headers: tuple[tuple[bytes, bytes], ...] = ()) -> Request:
    """A request without a body."""
    return _request(b"GET", path, headers, b"")


def post(content_type: bytes, body: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Request:
    """A request with a body."""
    lines = ((b"content-type", content_type), (b"content-length", b"%d" % len(body)), *headers)
    return _request(b"POST", b"/", lines, body)


def _request(method: bytes, path: bytes, headers: tuple[tuple[bytes, bytes], ...], body: bytes) -> Request:
    head = RequestHead(
        method=method,
        path=path,
        authority=b"shop.example.com",
        headers=(*_HEADERS, *headers),
        client=Address("192.0.2.1", 40000),
        server=Address("192.0.2.2", 80),
        is_last=not body,
    )
    return Request(head, body)


def fill(unit: bytes, size: int = BODY_BYTES, start: bytes = b"", end: bytes = b"") -> bytes:
    """`unit` again and again between `start` and `end`, `size` bytes at most."""
    room = size - len(start) - len(end)
    return start + unit * (room // len(unit)) + end


def noise(size: int, seed: int = 1, alphabet: bytes = bytes(range(256))) -> bytes:
    """Random bytes of an alphabet, the same each time."""
    return bytes(random.Random(seed).choices(alphabet, k=size))


def _nested(opening: bytes, closing: bytes) -> bytes:
    depth = BODY_BYTES // (len(opening) + len(closing))
    return opening * depth + closing * depth


def _deflated(data: bytes) -> bytes:
    return zlib.compress(data, 9)


def _bare_deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=-15)
    return packer.compress(data) + packer.flush()


ENCODERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": lambda data: gzip.compress(data, 9, mtime=0),
    b"deflate": _deflated,
    b"br": lambda data: brotli.compress(data, quality=5, lgwin=24),
    b"zstd": lambda data: zstandard.ZstdCompressor(level=3).compress(data),
}

PUNCTUATION = b"'\"`<>(){}[]$;&|*=%!#@^~,./\\?:+- \n"


def encoded(encoding: bytes, body: bytes, content_type: bytes = FORM) -> Request:
    """A request whose body, as given, is packed."""
    return post(content_type, ENCODERS[encoding](body), ((b"content-encoding", encoding),))


def labelled(encoding: bytes, body: bytes, content_type: bytes = FORM) -> Request:
    """A request whose body is sent as it is under that label."""
    return post(content_type, body, ((b"content-encoding", encoding),))


def _laughs() -> bytes:
    lines = [b'<!ENTITY l0 "lol">']
    lines += [b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 10)]
    return b"<!DOCTYPE l [" + b"".join(lines) + b"]><l>&l9;</l>"


def _again(value: bytes, times: int, encode: Callable[[bytes], bytes]) -> bytes:
    for _ in range(times):
        if len(encoded := encode(value)) > BODY_BYTES - 16:
            break
        value = encoded
    return value


def _part(name: bytes, value: bytes = b"") -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="' + name + b'"\r\n\r\n' + value + b"\r\n"


def _framed(message: bytes, flags: bytes = b"\0") -> bytes:
    return flags + len(message).to_bytes(4, "big") + message


def _field(value: bytes) -> bytes:
    """A protobuf field with the number 1 and a length in three bytes."""
    size = len(value)
    return b"\x0a" + bytes((size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14)) + value


def _messages(depth: int) -> bytes:
    message = b"\x08\x01"
    for _ in range(depth):
        message = _field(message)
    return message


def _zip_bombs() -> dict[str, Callable[[], Request]]:
    bombs: dict[str, Callable[[], Request]] = {}
    for encoding, encode in ENCODERS.items():
        name = encoding.decode()
        bombs[f"{name}: 64 MiB of zeros"] = lambda encoding=encoding, encode=encode: labelled(
            encoding, encode(bytes(64 * MIB))[:BODY_BYTES]
        )
        bombs[f"{name}: 900 KiB of JSON"] = lambda encoding=encoding, encode=encode: labelled(
            encoding, encode(fill(b'{"k":"some words and a number 17"},', 900 * 1024, b"[", b"0]")), JSON
        )
        bombs[f"{name}: one argument of 1 MiB"] = lambda encoding=encoding, encode=encode: labelled(
            encoding, encode(b"q=" + (noise(4096, alphabet=PUNCTUATION.replace(b"%", b"")) * 300)[: MIB - 100])
        )
        bombs[f"{name}: cut"] = lambda encoding=encoding, encode=encode: labelled(
            encoding, encode(fill(b"a=b&", 100_000))[:-9]
        )
    bombs["gzip: 500 empty members"] = lambda: labelled(b"gzip", fill(gzip.compress(b"", mtime=0)))
    bombs["zstd: empty frames"] = lambda: labelled(b"zstd", fill(zstandard.ZstdCompressor().compress(b"")))
    bombs["deflate without its header"] = lambda: labelled(b"deflate", _bare_deflated(bytes(8 * MIB)))
    bombs["gzip of gzip"] = lambda: labelled(b"gzip, gzip", gzip.compress(gzip.compress(bytes(8 * MIB))))
    bombs["an unknown encoding"] = lambda: labelled(b"lzma", noise(BODY_BYTES))
    return bombs


REQUESTS: dict[str, Callable[[], Request]] = {
    # JSON
    "json: arrays opened": lambda: post(JSON, b"[" * BODY_BYTES),
    "json: arrays nested": lambda: post(JSON, _nested(b"[", b"]")),
    "json: objects nested": lambda: post(JSON, _nested(b'{"a":', b"}").replace(b":}", b":1}", 1)),
    "json: long keys nested": lambda: post(JSON, b'{"%s":' % (b"k" * 2000) * 63 + b"1" + b"}" * 63),
    "json: flat numbers": lambda: post(JSON, fill(b"1,", start=b"[", end=b"1]")),
    "json: flat pairs": lambda: post(JSON, fill(b'"a":"b",', start=b"{", end=b'"z":0}')),
    "json: 1000 values of 100 bytes": lambda: post(
        JSON, fill(b'"%s",' % noise(100, alphabet=b"abc <'/(;").replace(b"/", b"x"), start=b"[", end=b'""]')
    ),
    "json: one string of letters": lambda: post(JSON, fill(b"a", start=b'["', end=b'"]')),
    "json: one string of marks": lambda: post(
        JSON, b'["' + noise(BODY_BYTES - 4, alphabet=PUNCTUATION.translate(None, b'"\\\n')) + b'"]'
    ),
    "json: one string of escapes": lambda: post(JSON, fill(b"\\u003c", start=b'["', end=b'"]')),
    "json: blanks": lambda: post(JSON, fill(b" ", end=b"1")),
    "json: one number": lambda: post(JSON, fill(b"9")),
    "json: cut": lambda: post(JSON, fill(b'{"a":[1,2,{"b":"c"}]},', start=b"[")),
    # forms and queries
    "form: 65,536 arguments": lambda: post(FORM, fill(b"a&")),
    "form: one argument of letters": lambda: post(FORM, fill(b"a", start=b"q=")),
    "form: one argument of marks": lambda: post(FORM, b"q=" + noise(BODY_BYTES - 2, 3, PUNCTUATION.replace(b"&", b""))),
    "form: one argument of noise": lambda: post(FORM, b"q=" + noise(BODY_BYTES - 2).replace(b"&", b"x")),
    "form: escapes": lambda: post(FORM, fill(b"%3c", start=b"q=")),
    "form: malformed escapes": lambda: post(FORM, fill(b"%%zz%4%u00", start=b"q=")),
    "form: escapes of escapes": lambda: post(
        FORM, b"q=" + _again(b"<a>", 99, lambda text: text.replace(b"%", b"%25").replace(b"<", b"%3c"))
    ),
    "form: base64 of base64": lambda: post(FORM, b"q=" + _again(b"<script>", 40, base64.b64encode)),
    "form: entities of entities": lambda: post(FORM, fill(b"&amp%3b".replace(b"&", b"%26"), start=b"q=")),
    "form: NULs": lambda: post(FORM, fill(b"%00\0", start=b"q=")),
    "form: no UTF-8": lambda: post(FORM, fill(b"\xff\xc0\xaf\xed\xa0\x80", start=b"q=")),
    "form: full-width": lambda: post(FORM, fill(b"%uff1c%uFF0E", start=b"q=")),
    "form: comments": lambda: post(FORM, fill(b"/*", start=b"q=")),
    "form: comments closed": lambda: post(FORM, fill(b"/**/", start=b"q=")),
    "form: dots": lambda: post(FORM, fill(b"../", start=b"q=")),
    "form: quotes": lambda: post(FORM, fill(b"'\"`", start=b"q=")),
    "form: SQL words": lambda: post(FORM, fill(b"1 union select a or ", start=b"q=")),
    "form: shell words": lambda: post(FORM, fill(b"$(cat ${IFS}/etc;wget`id`)|", start=b"q=")),
    "form: marks that the SQL detector reads one by one": lambda: post(FORM, fill(b"%26%23", start=b"q=")),
    "form: 32 arguments of 4,000 marks": lambda: post(
        FORM, b"&".join(b"q=" + noise(4090, seed, PUNCTUATION.translate(None, b"&%+")) for seed in range(32))
    ),
    "form: tags": lambda: post(FORM, fill(b"<a onx=y ", start=b"q=")),
    "query: 100,000 arguments": lambda: get(b"/?" + b"a&" * 100_000),
    "query: 8 KiB of marks": lambda: get(b"/?q=" + noise(8192, 4, PUNCTUATION.translate(None, b"&# \n"))),
    "path: 60 KiB of ../": lambda: get(b"/" + b"../" * 20_000),
    "path: malformed escapes": lambda: get(b"/" + b"%%z" * 20_000),
    # multipart
    "multipart: 10,000 parts": lambda: post(MULTIPART, b"--b\r\n\r\n" * 10_000 + b"--b--"),
    "multipart: 1,700 fields": lambda: post(MULTIPART, fill(_part(b"a", b"value"), end=b"--b--\r\n")),
    "multipart: a boundary of 60 KiB": lambda: post(
        b"multipart/form-data; boundary=" + b"b" * 61_440, b"--" + b"b" * 61_440 + b"\r\n\r\nx\r\n--" + b"b" * 61_440
    ),
    "multipart: nearly the boundary": lambda: post(
        b"multipart/form-data; boundary=" + b"b" * 69 + b"c", fill(b"\n--" + b"b" * 69)
    ),
    "multipart: header lines": lambda: post(MULTIPART, fill(b"X: y\r\n", start=b"--b\r\n", end=b"\r\n\r\n--b--")),
    "multipart: parameters": lambda: post(
        MULTIPART, fill(b";name=x", start=b"--b\r\nContent-Disposition: form-data", end=b"\r\n\r\nv\r\n--b--")
    ),
    "multipart: one field of marks": lambda: post(
        MULTIPART, _part(b"q", noise(BODY_BYTES - 100, 5, PUNCTUATION)) + b"--b--\r\n"
    ),
    "multipart: parts in parts": lambda: post(
        MULTIPART, fill(b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n", end=b"--b--")
    ),
    # XML
    "xml: billion laughs": lambda: post(XML, _laughs()),
    "xml: nested": lambda: post(XML, _nested(b"<a>", b"</a>")),
    "xml: flat": lambda: post(XML, fill(b"<b/>", start=b"<a>", end=b"</a>")),
    "xml: attributes": lambda: post(
        XML,
        b"<a "
        + b" ".join(b"b%d=''" % number for number in range(12_000))[: BODY_BYTES - 200].rpartition(b" ")[0]
        + b"/>",
    ),
    "xml: one text": lambda: post(
        XML, b"<a>" + noise(BODY_BYTES - 10, 6, PUNCTUATION.translate(None, b"<&")) + b"</a>"
    ),
    "xml: one token": lambda: post(XML, fill(b"a", start=b"<")),
    "xml: references": lambda: post(XML, fill(b"&#60;", start=b"<a>", end=b"</a>")),
    "xml: comments": lambda: post(XML, fill(b"<!---->", start=b"<a>", end=b"</a>")),
    # gRPC
    "grpc: messages in messages": lambda: post(GRPC, _framed(_messages(63)) * 200),
    "grpc: 60,000 fields": lambda: post(GRPC, _framed(fill(b"\x08\x01", BODY_BYTES - 100))),
    "grpc: 60,000 empty texts": lambda: post(GRPC, _framed(fill(b"\x0a\0", BODY_BYTES - 100))),
    "grpc: texts that may be messages": lambda: post(GRPC, _framed(fill(b"\x0a!\n\x1faaaa", BODY_BYTES - 100))),
    "grpc: one text of marks": lambda: post(GRPC, _framed(_field(noise(BODY_BYTES - 100, 13, PUNCTUATION)))),
    "grpc: packed zeros": lambda: post(GRPC, _framed(gzip.compress(bytes(8 * MIB)), b"\1") * 10),
    "grpc: a length of 4 GiB": lambda: post(GRPC, b"\0\xff\xff\xff\xff" + noise(BODY_BYTES - 5, 14)),
    # headers
    "headers: 5,000": lambda: get(headers=tuple((b"x-%d" % number, b"v" * 20) for number in range(5000))),
    "headers: 5,000 of one name": lambda: get(headers=((b"x-a", b"<'(;"),) * 5000),
    "headers: a value of 1 MiB": lambda: get(headers=((b"x-a", b"a" * MIB),)),
    "headers: marks of 1 MiB": lambda: get(headers=((b"referer", noise(MIB, 8, PUNCTUATION.replace(b"\n", b""))),)),
    "headers: 60,000 cookies": lambda: get(headers=((b"cookie", b"a=b;" * 60_000),)),
    "headers: a type of 60 KiB": lambda: post(b"multipart/form-data;" + b" boundary=;" * 5_500, b"x"),
    # false or empty
    "empty: form": lambda: post(FORM, b""),
    "false: JSON said, marks sent": lambda: post(JSON, noise(BODY_BYTES, 9, PUNCTUATION)),
    "false: XML said, JSON sent": lambda: post(XML, fill(b'{"a":"<b>"},', start=b"[", end=b"1]")),
    "false: multipart said, noise sent": lambda: post(MULTIPART, noise(BODY_BYTES, 10)),
    "false: nothing said": lambda: post(b"", noise(BODY_BYTES, 11, PUNCTUATION)),
    "false: image said": lambda: post(b"image/png", noise(BODY_BYTES, 12)),
    "larger than the limit": lambda: post(FORM, b"q=" + b"a" * (4 * BODY_BYTES)),
    **_zip_bombs(),
}
"""Name → what makes the request (made when asked for: some are large)."""
