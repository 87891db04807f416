"""A curl command line → the request that curl would send, byte by byte; nothing is sent.

Options follow curl(1). Those that only concern the connection or the output are taken and have no effect;
an option that would change the request in a way not known here is an error, not a guess.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote_from_bytes

from extproc.model.errors import ConfigError

AGENT = b"curl/8.5.0"
FORM = b"application/x-www-form-urlencoded"
BOUNDARY = b"------------------------0123456789abcdef"
"""Of multipart bodies; curl draws one at random."""

MAX_FILE_BYTES = 16 * 1024 * 1024
"""A file named by `@FILE`; a larger one is refused."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SHORT_OPTIONS = """
    X=request H=header d=data b=cookie A=user-agent e=referer F=form u=user G=get I=head T=upload-file r=range
    o=output w=write-out m=max-time x=proxy c=cookie-jar E=cert
    s=silent S=show-error v=verbose i=include L=location k=insecure f=fail g=globoff N=no-buffer O=remote-name
    4=ipv4 6=ipv6 0=http1.0 #=progress-bar
"""
_SHORT = dict(pair.split("=") for pair in _SHORT_OPTIONS.split())
_TAKES_VALUE = _words(
    """request header data data-raw data-binary data-ascii data-urlencode json cookie user-agent referer form
    form-string user url range upload-file"""
)
_SWITCHES = _words("get head path-as-is compressed http1.0 http1.1")
_WITHOUT_EFFECT = _words(
    """silent show-error verbose include location insecure fail globoff no-buffer remote-name ipv4 ipv6
    progress-bar http2 http2-prior-knowledge tcp-nodelay tlsv1.2 tlsv1.3 no-keepalive fail-with-body"""
)
_WITHOUT_EFFECT_VALUED = _words(
    """output write-out max-time connect-timeout proxy cookie-jar cert key cacert resolve connect-to interface
    retry retry-delay limit-rate noproxy"""
)
_SCHEME = re.compile(rb"([a-zA-Z][a-zA-Z0-9+.-]*)://")
_HOST = re.compile(rb"(?:\[[^\[\]]+\]|[^\[\]:]+)(?::([0-9]{0,5}))?")


@dataclass(slots=True)
class _Command:
    """What the options said, in their order."""

    urls: list[bytes] = field(default_factory=list)
    method: bytes = b""
    headers: list[bytes] = field(default_factory=list)
    data: list[bytes] | None = None
    parts: list[bytes] = field(default_factory=list)
    cookies: list[bytes] = field(default_factory=list)
    agent: bytes | None = None
    referer: bytes = b""
    user: bytes | None = None
    is_json: bool = False
    switches: set[str] = field(default_factory=set)


def request_of(words: list[bytes]) -> bytes:
    """Words of the command line, with or without `curl` in front → the text of an HTTP/1 request.

    Raises ConfigError naming the option.
    """
    command = _Command()
    for name, value in _options(words[1:] if words[:1] == [b"curl"] else words):
        _take(command, name, value)
    if len(command.urls) != 1:
        raise ConfigError("curl", f"name one URL, not {len(command.urls)}; put quotes around one that holds & or ?")
    return _text(command)


def _options(words: list[bytes]) -> Iterator[tuple[str, bytes]]:
    """(long name, value) of each option; a word that is no option is a URL."""
    rest = iter(words)
    is_plain = False

    def value_of(shown: str) -> bytes:
        value = next(rest, None)
        if value is None:
            raise ConfigError(f"curl {shown}", "needs a value")
        return value

    for word in rest:
        if is_plain or not word.startswith(b"-") or word == b"-":
            yield "url", word
        elif word == b"--":
            is_plain = True
        elif word.startswith(b"--"):
            name = word[2:].decode("ascii", "backslashreplace")
            if name in _TAKES_VALUE or name in _WITHOUT_EFFECT_VALUED:
                yield name, value_of(f"--{name}")
            elif name in _SWITCHES or name in _WITHOUT_EFFECT:
                yield name, b""
            else:
                raise ConfigError(f"curl --{name}", "is not known here; leave it out if it does not change the request")
        else:
            letters = word[1:].decode("latin-1")
            for position, letter in enumerate(letters):
                long = _SHORT.get(letter)
                if long is None:
                    raise ConfigError(f"curl -{letter}", "is not known here; leave it out if it changes nothing")
                if long in _TAKES_VALUE or long in _WITHOUT_EFFECT_VALUED:
                    attached = word[position + 2 :]
                    yield long, attached or value_of(f"-{letter}")
                    break
                yield long, b""


def _take(command: _Command, name: str, value: bytes) -> None:
    if name == "url":
        command.urls.append(value)
    elif name == "request":
        command.method = value
    elif name == "header":
        if value.startswith(b"@"):
            raise ConfigError("curl -H", "headers from a file are not read; write them out")
        command.headers.append(value)
    elif name in ("data", "data-ascii", "data-raw", "data-binary", "data-urlencode", "json"):
        command.data = [*(command.data or []), _data(name, value)]
        command.is_json |= name == "json"
    elif name in ("form", "form-string"):
        command.parts.append(_part(value, is_literal=name == "form-string"))
    elif name == "cookie":
        if b"=" not in value:
            raise ConfigError("curl -b", "a cookie file is not read; write the cookies as name=value")
        command.cookies.append(value)
    elif name == "user-agent":
        command.agent = value
    elif name == "referer":
        command.referer = value.removesuffix(b";auto")
    elif name == "user":
        command.user = value
    elif name == "range":
        command.headers.append(b"Range: bytes=" + value)
    elif name == "upload-file":
        raise ConfigError("curl -T", "uploads are not known here; write -X PUT --data-binary @FILE")
    elif name in _SWITCHES:
        command.switches.add(name)


def _data(name: str, value: bytes) -> bytes:
    if name == "data-raw":
        return value
    if name == "data-urlencode":
        return _encoded(value)
    if not value.startswith(b"@"):
        return value
    content = _read(value[1:])
    return content if name in ("data-binary", "json") else content.translate(None, b"\r\n\0")


def _encoded(value: bytes) -> bytes:
    """`content`, `=content`, `name=content`, `@file`, `name@file` (curl(1), *--data-urlencode*)."""
    equals, at = value.find(b"="), value.find(b"@")
    if equals >= 0 and (at < 0 or equals < at):
        name, content = value[:equals], value[equals + 1 :]
    elif at >= 0:
        name, content = value[:at], _read(value[at + 1 :])
    else:
        name, content = b"", value
    quoted = quote_from_bytes(content, safe="").replace("%20", "+").encode("ascii")  # as curl since 7.86
    return name + b"=" + quoted if name else quoted


def _part(value: bytes, is_literal: bool) -> bytes:
    """One part of a multipart body: `name=content`, `name=@file`, `name=<file`, with `;type=` and `;filename=`."""
    name, equals, content = value.partition(b"=")
    if not equals:
        raise ConfigError("curl -F", "write name=content, or name=@file")
    file, kind = b"", b""
    if not is_literal:
        content, *notes = re.split(rb";(?=(?:type|filename)=)", content)
        given = dict(note.split(b"=", 1) for note in notes)
        file, kind = given.get(b"filename", b"").strip(b'"'), given.get(b"type", b"")
        if content[:1] in (b"@", b"<"):
            if content[:1] == b"@":
                file = file or content[1:].rpartition(b"/")[2]
                kind = kind or b"application/octet-stream"
            content = _read(content[1:])
        elif content[:1] == content[-1:] == b'"' and len(content) > 1:
            content = content[1:-1]
    lines = [b'Content-Disposition: form-data; name="%s"' % name.replace(b'"', b"%22")]
    if file:
        lines[0] += b'; filename="%s"' % file.replace(b'"', b"%22")
    if kind:
        lines.append(b"Content-Type: " + kind)
    return b"\r\n".join(lines) + b"\r\n\r\n" + content


def _read(name: bytes) -> bytes:
    path = Path(name.decode("utf-8", "surrogateescape"))
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"curl @{path}", f"cannot be read: {error.strerror}") from error
    except ValueError as error:  # a NUL in the name
        raise ConfigError(f"curl @{path}", f"cannot be read: {error}") from error
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(f"curl @{path}", f"is larger than {MAX_FILE_BYTES} bytes")
    return content


def _text(command: _Command) -> bytes:
    authority, target, user = _split(command.urls[0], keeps_dots="path-as-is" in command.switches)
    body = _body(command)
    if body is not None and "get" in command.switches:
        if command.parts:
            raise ConfigError("curl -G", "goes with -d, not with -F")
        target += (b"&" if b"?" in target else b"?") + body
        body = None
    method = command.method or (b"HEAD" if "head" in command.switches else b"GET" if body is None else b"POST")
    lines = _headers(command, authority, command.user if command.user is not None else user, body)
    protocol = b"HTTP/1.0" if "http1.0" in command.switches else b"HTTP/1.1"
    head = b"\r\n".join([b"%s %s %s" % (method, target, protocol), *lines])
    if b"\n" in head.replace(b"\r\n", b""):
        raise ConfigError("curl", "a line break in URL or header cannot be sent; write %0a, or use --request FILE")
    return head + b"\r\n\r\n" + (body or b"")


def _body(command: _Command) -> bytes | None:
    if command.parts and command.data is not None:
        raise ConfigError("curl", "takes -d or -F, not both")
    if command.parts:
        parts = b"".join(b"--%s\r\n%s\r\n" % (BOUNDARY, part) for part in command.parts)
        return parts + b"--%s--\r\n" % BOUNDARY
    if command.data is None:
        return None
    return (b"" if command.is_json else b"&").join(command.data)


def _headers(command: _Command, authority: bytes, user: bytes | None, body: bytes | None) -> list[bytes]:
    """Curl's own headers, replaced or removed by those given: `Name: x`, `Name:` (not sent), `Name;` (empty)."""
    own: list[tuple[bytes, bytes]] = [(b"Host", authority)]
    if user is not None:
        own.append((b"Authorization", b"Basic " + base64.b64encode(user)))
    own += [
        (b"User-Agent", AGENT if command.agent is None else command.agent),
        (b"Accept", b"application/json" if command.is_json else b"*/*"),
    ]
    if "compressed" in command.switches:
        own.append((b"Accept-Encoding", b"deflate, gzip, br, zstd"))
    if command.referer:
        own.append((b"Referer", command.referer))
    if command.cookies:
        own.append((b"Cookie", b";".join(command.cookies)))
    if body is not None:
        own.append((b"Content-Length", b"%d" % len(body)))
        if command.parts:
            own.append((b"Content-Type", b"multipart/form-data; boundary=" + BOUNDARY))
        else:
            own.append((b"Content-Type", b"application/json" if command.is_json else FORM))
    given: list[tuple[bytes, bytes | None]] = []
    for header in command.headers:
        name, colon, value = header.partition(b":")
        if colon:
            given.append((name.strip(), value.strip() or None))
        elif header.endswith(b";"):
            given.append((header[:-1].strip(), b""))
        else:
            raise ConfigError("curl -H", "a header is written `Name: value`")
    replaced = {name.lower() for name, _ in given}
    lines = [b"%s: %s" % (name, value) for name, value in own if name.lower() not in replaced and value]
    return lines + [b"%s: %s" % (name, value) for name, value in given if value is not None]


def _split(url: bytes, keeps_dots: bool) -> tuple[bytes, bytes, bytes | None]:
    """(authority, target, user info). Blanks, which curl refuses, are escaped: what is explained was meant."""
    scheme = _SCHEME.match(url)
    if scheme is not None and scheme[1].lower() not in (b"http", b"https"):
        raise ConfigError("curl", f"{scheme[1].decode('latin-1')}:// is not HTTP")
    rest = url[scheme.end() :] if scheme is not None else url
    rest = rest.partition(b"#")[0]
    end = re.search(rb"[/?]", rest)
    authority, target = (rest[: end.start()], rest[end.start() :]) if end else (rest, b"/")
    if not authority:
        raise ConfigError("curl", "the URL names no host")
    info, at, host = authority.rpartition(b"@")
    parts = _HOST.fullmatch(host)
    if parts is None or int(parts[1] or 0) > 65535:
        raise ConfigError("curl", f"{host.decode('utf-8', 'backslashreplace')} is no host, nor HOST:PORT")
    path, question, query = target.partition(b"?")
    if not keeps_dots:
        path = _without_dots(path)
    target = (path or b"/") + question + query
    return host, target.replace(b" ", b"%20"), info if at else None


def _without_dots(path: bytes) -> bytes:
    """`/a/../b` → `/b`, as curl does unless told `--path-as-is` (RFC 3986, 5.2.4)."""
    kept: list[bytes] = []
    parts = path.split(b"/")
    for position, part in enumerate(parts):
        is_last = position == len(parts) - 1
        if part == b"..":
            if len(kept) > 1:
                kept.pop()
            if is_last:
                kept.append(b"")
        elif part == b".":
            if is_last:
                kept.append(b"")
        else:
            kept.append(part)
    return b"/".join(kept)
