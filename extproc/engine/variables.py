"""What the variables of the language hold: (key, value) pairs by collection, worked out when first asked for.

Names and contents follow the reference manual (*Variables*); where ModSecurity 2 and 3 differ we follow 3,
as that is what the Core Rule Set's own pipeline runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote_to_bytes

from extproc.bodies.charset import read_pairs
from extproc.bodies.cookies import parse_cookies
from extproc.bodies.urlencoded import count_arguments, decode, parse_arguments

if TYPE_CHECKING:
    from extproc.engine.transaction import Transaction

Pair: TypeAlias = tuple[bytes | None, bytes]
Pairs: TypeAlias = list[Pair]


def names_of(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


MULTIPART_FLAGS = names_of(
    """MULTIPART_STRICT_ERROR MULTIPART_UNMATCHED_BOUNDARY MULTIPART_BOUNDARY_QUOTED
    MULTIPART_BOUNDARY_WHITESPACE MULTIPART_CRLF_LF_LINES MULTIPART_DATA_AFTER MULTIPART_DATA_BEFORE
    MULTIPART_FILE_LIMIT_EXCEEDED MULTIPART_HEADER_FOLDING MULTIPART_INVALID_HEADER_FOLDING
    MULTIPART_INVALID_PART MULTIPART_INVALID_QUOTING MULTIPART_LF_LINE MULTIPART_MISSING_SEMICOLON
    MULTIPART_SEMICOLON_MISSING"""
)
"""What the multipart parser found odd: 0 or 1 each."""


def scalar(value: bytes) -> Pairs:
    """A variable without keys. It always exists: `!@rx .` matches an empty one, as in ModSecurity 3."""
    return [(None, value)]


def number(value: int) -> Pairs:
    """A number without keys."""
    return [(None, b"%d" % value)]


def names(pairs: Pairs) -> Pairs:
    """The `_NAMES` twin of a collection."""
    return [(key, key or b"") for key, _ in pairs]


def _uri(tx: Transaction) -> bytes:
    """Path and query without scheme and host, percent-decoded once, as ModSecurity 3 holds it."""
    uri = unquote_to_bytes(tx.raw_uri) if b"%" in tx.raw_uri else tx.raw_uri
    if uri.startswith((b"http://", b"https://")):
        slash = uri.find(b"/", uri.index(b"//") + 2)
        return uri[slash:] if slash >= 0 else uri
    return uri


def _path(tx: Transaction) -> bytes:
    path = tx.raw_uri.partition(b"?")[0]  # before decoding: an escaped `?` belongs to the path
    return unquote_to_bytes(path) if b"%" in path else path


def _basename(tx: Transaction) -> bytes:
    path = _path(tx)
    return path[max(path.rfind(b"/"), path.rfind(b"\\")) + 1 :]


def _query(tx: Transaction) -> bytes:
    return tx.raw_uri.partition(b"?")[2]


def _args_get(tx: Transaction) -> Pairs:
    query = _query(tx)
    if not query:
        return []
    settings = tx.bodies
    limit = settings.limits.arguments
    pairs, invalid = parse_arguments(query, settings.argument_separator, limit)
    if invalid:
        tx.flags["URLENCODED_ERROR"] = 1
    if count_arguments(query, settings.argument_separator) > limit:
        # Not taken apart, yet not unseen: what is left is one more value.
        name, _, value = query.split(settings.argument_separator, limit)[limit].partition(b"=")
        pairs.append((decode(name)[0], decode(value)[0]))
        tx.note_partly("arguments-limit")
    if settings.is_type_guessed and b"charset" in tx.content_type.lower():
        pairs += read_pairs(pairs, tx.content_type)
    return list(pairs)


def _cookies(tx: Transaction) -> Pairs:
    pairs: Pairs = []
    for key, value in tx.request_headers:
        if key == b"cookie":
            pairs.extend(parse_cookies(value))
    return pairs


def _header(headers: Pairs, name: bytes) -> bytes:
    for key, value in headers:
        if key == name:
            return value
    return b""


def _request_line(tx: Transaction) -> Pairs:
    head = tx.head
    return scalar(b"%s %s %s" % (head.method, tx.raw_uri, head.protocol))


def _full_request(tx: Transaction) -> bytes:
    lines = b"".join(b"%s: %s\n" % (key or b"", value) for key, value in tx.request_headers)
    return lines + b"\n\n" + tx.body


def _combined(pairs: Pairs) -> int:
    return sum(len(key or b"") + len(value) for key, value in pairs)


def _auth_type(tx: Transaction) -> Pairs:
    value = _header(tx.request_headers, b"authorization")
    return scalar(value.partition(b" ")[0])


def _server_name(tx: Transaction) -> Pairs:
    return scalar(_header(tx.request_headers, b"host").partition(b":")[0])


def _clock(form: str) -> Callable[[Transaction], Pairs]:
    return lambda tx: scalar(time.strftime(form, time.localtime(tx.started)).encode())


def _response_type(tx: Transaction) -> Pairs:
    return scalar(_header(tx.response_headers, b"content-type").partition(b";")[0].strip())


def _flag(name: str) -> Callable[[Transaction], Pairs]:
    return lambda tx: number(tx.flags.get(name, 0))


VARIABLES: dict[str, Callable[[Transaction], Pairs]] = {
    "ARGS": lambda tx: tx.values("ARGS_GET") + tx.values("ARGS_POST"),
    "ARGS_NAMES": lambda tx: names(tx.values("ARGS")),
    "ARGS_GET": _args_get,
    "ARGS_GET_NAMES": lambda tx: names(tx.values("ARGS_GET")),
    "ARGS_POST": lambda tx: list(tx.parsed.args),
    "ARGS_POST_NAMES": lambda tx: names(tx.values("ARGS_POST")),
    "ARGS_COMBINED_SIZE": lambda tx: number(_combined(tx.values("ARGS"))),
    "AUTH_TYPE": _auth_type,
    "FILES": lambda tx: [(file.field, file.name) for file in tx.parsed.files],
    "FILES_NAMES": lambda tx: [(file.field, file.field) for file in tx.parsed.files],
    "FILES_SIZES": lambda tx: [(file.field, b"%d" % file.size) for file in tx.parsed.files],
    "FILES_COMBINED_SIZE": lambda tx: number(sum(file.size for file in tx.parsed.files)),
    "FILES_TMPNAMES": lambda tx: [],
    "FILES_TMP_CONTENT": lambda tx: [],
    "FULL_REQUEST": lambda tx: scalar(_full_request(tx)),
    "FULL_REQUEST_LENGTH": lambda tx: number(len(_full_request(tx))),
    "INBOUND_DATA_ERROR": _flag("INBOUND_DATA_ERROR"),
    "OUTBOUND_DATA_ERROR": _flag("OUTBOUND_DATA_ERROR"),
    "MULTIPART_PART_HEADERS": lambda tx: list(tx.parsed.part_headers),
    "MULTIPART_FILENAME": lambda tx: [(file.field, file.name) for file in tx.parsed.files],
    "MULTIPART_NAME": lambda tx: [(name, name) for name in tx.parsed.multipart_names],
    "PATH_INFO": lambda tx: scalar(_path(tx)),
    "QUERY_STRING": lambda tx: scalar(_query(tx)),
    "REMOTE_ADDR": lambda tx: scalar(tx.head.client.host.encode()),
    "REMOTE_HOST": lambda tx: scalar(tx.head.client.host.encode()),
    "REMOTE_PORT": lambda tx: number(tx.head.client.port),
    "REMOTE_USER": lambda tx: [],
    "REQBODY_ERROR": lambda tx: number(1 if tx.parsed.error else 0),
    "REQBODY_ERROR_MSG": lambda tx: scalar(tx.parsed.error),
    "REQBODY_PROCESSOR": lambda tx: scalar(tx.processor.encode()),
    "REQBODY_PROCESSOR_ERROR": lambda tx: number(1 if tx.parsed.error else 0),
    "REQBODY_PROCESSOR_ERROR_MSG": lambda tx: scalar(tx.parsed.error),
    "REQUEST_BASENAME": lambda tx: scalar(_basename(tx)),
    "REQUEST_BODY": lambda tx: scalar(tx.visible_body),
    "REQUEST_BODY_LENGTH": lambda tx: number(len(tx.body)),
    "REQUEST_COOKIES": _cookies,
    "REQUEST_COOKIES_NAMES": lambda tx: names(tx.values("REQUEST_COOKIES")),
    "REQUEST_FILENAME": lambda tx: scalar(_path(tx)),
    "REQUEST_HEADERS": lambda tx: tx.request_headers,
    "REQUEST_HEADERS_NAMES": lambda tx: names(tx.request_headers),
    "REQUEST_LINE": _request_line,
    "REQUEST_METHOD": lambda tx: scalar(tx.head.method),
    "REQUEST_PROTOCOL": lambda tx: scalar(tx.head.protocol),
    "REQUEST_URI": lambda tx: scalar(_uri(tx)),
    "REQUEST_URI_RAW": lambda tx: scalar(tx.raw_uri),
    "RESPONSE_BODY": lambda tx: scalar(tx.response_body),
    "RESPONSE_CONTENT_LENGTH": lambda tx: number(len(tx.response_body)),
    "RESPONSE_CONTENT_TYPE": _response_type,
    "RESPONSE_HEADERS": lambda tx: tx.response_headers,
    "RESPONSE_HEADERS_NAMES": lambda tx: names(tx.response_headers),
    "RESPONSE_PROTOCOL": lambda tx: scalar(tx.response.protocol if tx.response else b""),
    "RESPONSE_STATUS": lambda tx: number(tx.response.status) if tx.response else scalar(b""),
    "SERVER_ADDR": lambda tx: scalar(tx.head.server.host.encode()),
    "SERVER_NAME": _server_name,
    "SERVER_PORT": lambda tx: number(tx.head.server.port),
    "STATUS_LINE": lambda tx: scalar(b"%s %d" % (tx.response.protocol, tx.response.status) if tx.response else b""),
    "URLENCODED_ERROR": lambda tx: (tx.values("ARGS_GET"), number(tx.flags.get("URLENCODED_ERROR", 0)))[1],
    "XML": lambda tx: [
        *[(b"/*", text) for text in tx.parsed.xml_text],
        *[(b"//@*", text) for text in tx.parsed.xml_attributes],
    ],
    **{name: _flag(name) for name in sorted(MULTIPART_FLAGS)},
    # Not cached: these change while rules run.
    "DURATION": lambda tx: number(int((time.time() - tx.started) * 1000)),
    "ENV": lambda tx: [(key, value) for key, value in tx.environment.items()],
    "GEO": lambda tx: [],
    "HIGHEST_SEVERITY": lambda tx: number(tx.highest_severity),
    "IP": lambda tx: tx.persistent("IP"),
    "GLOBAL": lambda tx: tx.persistent("GLOBAL"),
    "SESSION": lambda tx: tx.persistent("SESSION"),
    "USER": lambda tx: tx.persistent("USER"),
    "RESOURCE": lambda tx: tx.persistent("RESOURCE"),
    "MATCHED_VAR": lambda tx: scalar(tx.matched_vars[-1][1] if tx.matched_vars else b""),
    "MATCHED_VAR_NAME": lambda tx: scalar(tx.matched_vars[-1][0] if tx.matched_vars else b""),
    "MATCHED_VARS": lambda tx: tx.matched_pairs(),
    "MATCHED_VARS_NAMES": lambda tx: names(tx.matched_pairs()),
    "MODSEC_BUILD": lambda tx: scalar(b"0"),
    "RULE": lambda tx: tx.rule_pairs(),
    "SESSIONID": lambda tx: [],
    "USERID": lambda tx: [],
    "WEBAPPID": lambda tx: [],
    "TIME": _clock("%H:%M:%S"),
    "TIME_DAY": _clock("%d"),
    "TIME_EPOCH": lambda tx: number(int(tx.started)),
    "TIME_HOUR": _clock("%H"),
    "TIME_MIN": _clock("%M"),
    "TIME_MON": _clock("%m"),
    "TIME_SEC": _clock("%S"),
    "TIME_WDAY": _clock("%w"),
    "TIME_YEAR": _clock("%Y"),
    "TX": lambda tx: [(key, value) for key, value in tx.tx.items()],
    "UNPARSED_BODY": lambda tx: scalar(tx.unparsed_body),
    "UNIQUE_ID": lambda tx: scalar(tx.incident.encode()),
}
"""Every variable we know, in upper case."""

CHANGING = names_of(
    """DURATION ENV GEO HIGHEST_SEVERITY IP GLOBAL SESSION USER RESOURCE MATCHED_VAR MATCHED_VAR_NAME
    MATCHED_VARS MATCHED_VARS_NAMES RULE TX"""
)
"""Variables that may differ from one rule to the next."""

PHASE_TWO = MULTIPART_FLAGS | names_of(
    """ARGS ARGS_NAMES ARGS_POST ARGS_POST_NAMES ARGS_COMBINED_SIZE FILES FILES_NAMES FILES_SIZES
    FILES_COMBINED_SIZE FULL_REQUEST FULL_REQUEST_LENGTH INBOUND_DATA_ERROR MULTIPART_PART_HEADERS
    MULTIPART_FILENAME MULTIPART_NAME REQBODY_ERROR REQBODY_ERROR_MSG REQBODY_PROCESSOR
    REQBODY_PROCESSOR_ERROR REQBODY_PROCESSOR_ERROR_MSG REQUEST_BODY REQUEST_BODY_LENGTH UNPARSED_BODY
    URLENCODED_ERROR XML"""
)
"""Variables worked out anew once the body is known."""

LATE_HEADERS = names_of("REQUEST_HEADERS REQUEST_HEADERS_NAMES REQUEST_COOKIES REQUEST_COOKIES_NAMES AUTH_TYPE")
"""Variables worked out anew when trailers came."""

IMMUTABLE = (
    names_of(
        """ARGS ARGS_NAMES ARGS_GET ARGS_GET_NAMES ARGS_POST ARGS_POST_NAMES ARGS_COMBINED_SIZE AUTH_TYPE
    FILES FILES_NAMES FILES_SIZES FILES_COMBINED_SIZE FILES_TMPNAMES FILES_TMP_CONTENT FULL_REQUEST
    FULL_REQUEST_LENGTH INBOUND_DATA_ERROR MULTIPART_PART_HEADERS MULTIPART_FILENAME MULTIPART_NAME
    OUTBOUND_DATA_ERROR PATH_INFO QUERY_STRING REMOTE_ADDR REMOTE_HOST REMOTE_PORT REMOTE_USER
    REQBODY_ERROR REQBODY_ERROR_MSG REQBODY_PROCESSOR REQBODY_PROCESSOR_ERROR REQBODY_PROCESSOR_ERROR_MSG
    REQUEST_BASENAME REQUEST_BODY REQUEST_BODY_LENGTH REQUEST_COOKIES REQUEST_COOKIES_NAMES
    REQUEST_FILENAME REQUEST_HEADERS REQUEST_HEADERS_NAMES REQUEST_LINE REQUEST_METHOD REQUEST_PROTOCOL
    REQUEST_URI REQUEST_URI_RAW RESPONSE_BODY RESPONSE_CONTENT_LENGTH RESPONSE_CONTENT_TYPE
    RESPONSE_HEADERS RESPONSE_HEADERS_NAMES RESPONSE_PROTOCOL RESPONSE_STATUS SERVER_ADDR SERVER_NAME
    SERVER_PORT STATUS_LINE UNPARSED_BODY URLENCODED_ERROR XML"""
    )
    | MULTIPART_FLAGS
)
"""Variables that no rule can change while a phase runs."""

NEVER_REMEMBERED = names_of(
    """REQUEST_COOKIES REQUEST_URI REQUEST_URI_RAW REQUEST_LINE QUERY_STRING REQUEST_BODY FULL_REQUEST
    RESPONSE_BODY REMOTE_ADDR REMOTE_PORT UNPARSED_BODY"""
)
"""Variables whose values may hold secrets whatever their key, or hardly ever come again."""
