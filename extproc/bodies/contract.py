"""What a body processor gives back: names and values in the order sent, oddities kept."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of body parsing. Beyond one of them the rest is not parsed and `error` says so.

    Names follow ModSecurity's directives where it has one.
    """

    arguments: int = 1000  # SecArgumentsLimit
    json_depth: int = 64  # SecRequestBodyJsonDepthLimit
    json_names_bytes: int = 1_048_576  # all dotted names of one body together: deep paths repeat their start
    multipart_parts: int = 200
    part_headers: int = 32
    xml_depth: int = 64
    xml_nodes: int = 5000
    protobuf_depth: int = 64
    protobuf_fields: int = 100_000  # of all messages of a body
    protobuf_twice_bytes: int = 262_144  # of values that read as a text and as a message
    grpc_messages: int = 1000
    decompressed_bytes: int = 1_048_576
    decompression_ratio: int = 100
    encodings: int = 1  # Content-Encoding steps; more is an error


@dataclass(frozen=True, slots=True)
class File:
    """One uploaded file of a multipart body. Content is counted, never scanned."""

    field: bytes  # FILES_NAMES
    name: bytes  # FILES, as sent (path and all)
    size: int  # FILES_SIZES


@dataclass(slots=True)
class ParsedBody:
    """What the rules see of a body.

    `args` become ARGS_POST in this order, duplicates kept. `part_headers` are
    MULTIPART_PART_HEADERS: (part name, whole header line). `flags` are variables by their
    ModSecurity name (`MULTIPART_STRICT_ERROR`, `MULTIPART_UNMATCHED_BOUNDARY`, ...) → number.
    `readings` are further readings of arguments, by the charset or the transfer encoding of their part,
    and `unreadable` says why one could not be made: for rules that look at what an app may make of a body.
    `error` fills REQBODY_ERROR_MSG; empty is fine. `partly` is the fixed word of the limit that
    was passed (`arguments-limit`), None if the whole body was seen.
    """

    processor: str = ""
    args: list[tuple[bytes, bytes]] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    part_headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    multipart_names: list[bytes] = field(default_factory=list)
    xml_text: list[bytes] = field(default_factory=list)  # XML:/*
    xml_attributes: list[bytes] = field(default_factory=list)  # XML://@*
    xml_leaves: list[tuple[bytes, bytes]] = field(default_factory=list)  # (element or @attribute, text)
    readings: list[tuple[bytes, bytes]] = field(default_factory=list)
    unreadable: bytes = b""
    flags: dict[str, int] = field(default_factory=dict)
    error: bytes = b""
    partly: str | None = None


BodySteps: TypeAlias = Generator[None, None, ParsedBody]
"""Yields at least every 500 values or 64 KiB of input, so that a large body can be interrupted."""

Processor: TypeAlias = Callable[[bytes, bytes, Limits], BodySteps]
"""(body, Content-Type header value, limits) → steps."""
