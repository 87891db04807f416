"""Raw HTTP/1 text → model. As lenient as it can be: rules are tested with requests that no client would send."""

from __future__ import annotations

from dataclasses import dataclass

from extproc.model.message import Address, Header, RequestHead

CLIENT = Address("127.0.0.1", 40000)
SERVER = Address("127.0.0.1", 80)


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the engine takes it: head, and the whole body."""

    head: RequestHead
    body: bytes


def parse_request(raw: bytes, is_framed: bool = False) -> Request:
    """The text of one request: request line, headers, blank line, body. Lines end in CRLF or LF.

    A folded line goes on the header before it; a line without a colon is a name without a value.
    `is_framed`: the body is what Content-Length or chunks say, as on a connection; else all that follows.
    """
    head, separator, body = _split_head(raw)
    lines = [line.removesuffix(b"\r") for line in head.split(b"\n")]
    method, uri, protocol = _request_line(lines[0])
    headers: list[Header] = []
    for line in lines[1:]:
        if line[:1] in (b" ", b"\t") and headers:
            name, value = headers[-1]
            headers[-1] = (name, value + b" " + line.strip())
            continue
        if not line:
            continue
        name, _, value = line.partition(b":")
        headers.append((name.strip().lower(), value.strip()))
    if any(name == b"transfer-encoding" and b"chunked" in value.lower() for name, value in headers):
        body = dechunk(body)
    elif is_framed:
        length = next((value for name, value in headers if name == b"content-length"), b"0")
        body = body[: int(length)] if length.isdigit() else b""
    host = next((value for name, value in headers if name == b"host"), b"")
    return Request(
        RequestHead(
            method=method,
            path=uri,
            authority=host,
            headers=tuple(headers),
            protocol=protocol,
            client=CLIENT,
            server=SERVER,
            is_last=not (separator and body),
        ),
        body,
    )


def dechunk(body: bytes) -> bytes:
    """The content of a chunked body; what does not parse as a chunk is taken as it is."""
    content, rest = b"", body
    while True:
        size_line, newline, after = rest.partition(b"\n")
        try:
            size = int(size_line.partition(b";")[0].strip() or b"x", 16)
        except ValueError:
            return content + rest
        if not newline or size == 0:
            return content
        content += after[:size]
        rest = after[size:].lstrip(b"\r\n")


def _split_head(raw: bytes) -> tuple[bytes, bytes, bytes]:
    crlf, lf = raw.find(b"\r\n\r\n"), raw.find(b"\n\n")
    if crlf >= 0 and (lf < 0 or crlf < lf):
        return raw[:crlf], raw[crlf : crlf + 4], raw[crlf + 4 :]
    if lf >= 0:
        return raw[:lf], raw[lf : lf + 2], raw[lf + 2 :]
    return raw, b"", b""


def _request_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    """Method, target, protocol. The target may hold blanks: the protocol is what stands behind the last."""
    method, _, rest = line.partition(b" ")
    uri, blank, protocol = rest.rpartition(b" ")
    if not blank or not protocol.upper().startswith(b"HTTP"):
        return method, rest, b"HTTP/0.9"
    return method, uri, protocol
