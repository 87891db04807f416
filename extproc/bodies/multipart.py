"""Multipart bodies (RFC 7578, RFC 2046 §5.1): fields, files and part headers, and how sound the framing is.

libmodsecurity 3.0.15 stops at the first oddity. Applications do not, and not at the same ones, so here
every oddity sets the flag that ModSecurity has for it (all in `MULTIPART_STRICT_ERROR`) and reading goes
on in the way that shows the rules most: a delimiter with junk behind it still begins a part, parts behind
the final delimiter count, and the content of a part that could be read as file or as field is an argument.
Line breaks inside a value are kept (libmodsecurity drops them).
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import NoReturn

from extproc.bodies.boundary import find_boundary
from extproc.bodies.charset import readings_of
from extproc.bodies.contract import BodySteps, File, Limits, ParsedBody
from extproc.bodies.disposition import Disposition, parse_disposition

STEP_PARTS = 100
"""Parts read in one step; what is in them is only sliced, never walked."""

STRICT_FLAGS = (
    "MULTIPART_BOUNDARY_QUOTED",
    "MULTIPART_BOUNDARY_WHITESPACE",
    "MULTIPART_DATA_BEFORE",
    "MULTIPART_DATA_AFTER",
    "MULTIPART_HEADER_FOLDING",
    "MULTIPART_LF_LINE",
    "MULTIPART_MISSING_SEMICOLON",
    "MULTIPART_INVALID_QUOTING",
    "MULTIPART_INVALID_PART",
    "MULTIPART_INVALID_HEADER_FOLDING",
    "MULTIPART_FILE_LIMIT_EXCEEDED",
)
"""Each of these sets MULTIPART_STRICT_ERROR (ModSecurity manual, MULTIPART_STRICT_ERROR)."""

FLAGS = (
    "MULTIPART_STRICT_ERROR",
    "MULTIPART_UNMATCHED_BOUNDARY",
    "MULTIPART_CRLF_LF_LINES",
    "MULTIPART_SEMICOLON_MISSING",
    *STRICT_FLAGS,
)
"""All that a parsed multipart body sets, 0 where nothing is wrong."""

_HEADER_NAME = re.compile(rb"[\x21-\x39\x3b-\x7e]+")


class _Stop(Exception):  # noqa: N818 - not a fault: a limit ends the reading
    """`partly` is the word of the limit, `reason` the sentence for REQBODY_ERROR_MSG."""

    def __init__(self, reason: bytes, partly: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.partly = partly


@dataclass(slots=True)
class _Part:
    """One part: its header lines, folded ones joined, and the bytes below them."""

    headers: list[bytes] = field(default_factory=list)
    content: bytes = b""
    content_type: bytes = b""
    transfer_encoding: bytes = b""
    is_invalid: bool = False


def multipart(body: bytes, content_type: bytes, limits: Limits) -> BodySteps:
    """Processor MULTIPART. `flags` holds every name of FLAGS, `error` the first thing that is malformed.

    MULTIPART_UNMATCHED_BOUNDARY is 1 when a line begins like a delimiter and the body is not closed by
    the declared one, 2 when it is closed (then such a line is most often text, a PEM key for one).
    Limits passed: `multipart-parts-limit`, `part-headers-limit`, `arguments-limit`.
    """
    parsed = ParsedBody(processor="MULTIPART", flags=dict.fromkeys(FLAGS, 0))
    reader = _Reader(body, parsed, limits)
    if body:
        yield from reader.read(content_type)
    flags = parsed.flags
    flags["MULTIPART_SEMICOLON_MISSING"] = flags["MULTIPART_MISSING_SEMICOLON"]
    flags["MULTIPART_LF_LINE"] = int(reader.has_lf)
    flags["MULTIPART_CRLF_LF_LINES"] = int(reader.has_lf and reader.has_crlf)
    flags["MULTIPART_STRICT_ERROR"] = int(reader.is_boundary_invalid or any(flags[name] for name in STRICT_FLAGS))
    return parsed


class _Reader:
    """Walks one body from delimiter to delimiter and fills `parsed`."""

    def __init__(self, body: bytes, parsed: ParsedBody, limits: Limits, is_nested: bool = False) -> None:
        self.body = body
        self.parsed = parsed
        self.limits = limits
        self.is_nested = is_nested
        self.parts = 0
        self.has_lf = False
        self.has_crlf = False
        self.is_boundary_invalid = False

    def read(self, content_type: bytes) -> Generator[None, None, None]:
        boundary = find_boundary(content_type)
        for name in boundary.flags:
            self.parsed.flags[name] = 1
        if boundary.error:
            self.is_boundary_invalid = True
            self.fail(boundary.error)
        if not boundary.value:
            return
        try:
            yield from self.read_parts(b"--" + boundary.value)
        except _Stop as stop:
            self.parsed.error = b"Multipart parsing error: Multipart: " + stop.reason
            self.parsed.partly = stop.partly

    def fail(self, reason: bytes) -> None:
        """The first error is the one reported."""
        self.parsed.error = self.parsed.error or b"Multipart parsing error: Multipart: " + reason

    def read_parts(self, delimiter: bytes) -> Generator[None, None, None]:
        body, flags = self.body, self.parsed.flags
        begin = 0 if body.startswith(delimiter) else body.find(b"\n" + delimiter) + 1
        dashed = begin != 0 and body.startswith(b"--")
        if begin == 0 and not body.startswith(delimiter):
            dashed = body.startswith(b"--") or b"\n--" in body
            flags["MULTIPART_UNMATCHED_BOUNDARY"] = flags["MULTIPART_DATA_BEFORE"] = int(dashed)
            self.fail(b"No boundaries found in payload.")
            return
        flags["MULTIPART_DATA_BEFORE"] = int(begin > 0)
        dashed = dashed or body.find(b"\n--", 0, begin) >= 0
        closed = False
        field_name = b""
        doubtful_from = -1  # where a delimiter with junk behind it began, while only such have followed
        while True:
            self.parts += 1
            if self.parts % STEP_PARTS == 0:
                yield
            if self.parts > self.limits.multipart_parts + 1:  # the final delimiter is no part
                self.stop_at_parts()
            begin += len(delimiter)
            line_end = body.find(b"\n", begin)
            line = body[begin : line_end if line_end >= 0 else len(body)]
            self.note_line_end(line_end)
            tail = line[:-1] if line_end >= 0 and line.endswith(b"\r") else line
            is_final = tail.startswith(b"--")
            is_sound = tail == (b"--" if is_final else b"") and (line_end >= 0 or is_final)
            if not is_sound:
                flags["MULTIPART_INVALID_PART"] = 1
                doubtful_from = begin - len(delimiter) if doubtful_from < 0 else doubtful_from
            elif doubtful_from >= 0:
                self.add_argument(field_name, body[doubtful_from : begin - len(delimiter)])
                doubtful_from = -1
            if line_end < 0:
                closed = closed or (is_final and is_sound)
                break
            if is_final and is_sound:
                closed = True
                flags["MULTIPART_DATA_AFTER"] |= int(line_end + 1 < len(body))
            next_begin = body.find(b"\n" + delimiter, line_end) + 1
            end = next_begin or len(body)
            dashed = dashed or body.find(b"\n--", line_end, end) >= 0
            if not is_final:
                field_name = yield from self.add_part(line_end + 1, end, is_last=not next_begin)
            if not next_begin:
                break
            begin = next_begin
        if doubtful_from >= 0:
            self.add_argument(field_name, body[doubtful_from:])
        if not closed:
            self.fail(b"Final boundary missing.")
        flags["MULTIPART_UNMATCHED_BOUNDARY"] = (2 if closed else 1) if dashed else 0

    def note_line_end(self, line_end: int) -> None:
        """Framing lines tell which line ends are in use; those inside content do not count."""
        if line_end >= 0:
            if self.body[line_end - 1 : line_end] == b"\r":
                self.has_crlf = True
            else:
                self.has_lf = True

    def add_part(self, start: int, end: int, is_last: bool) -> Generator[None, None, bytes]:
        """Reads body[start:end], the line break before the next delimiter included; returns the field's name."""
        if self.parts > self.limits.multipart_parts:
            self.stop_at_parts()
        part = self.read_part(start, end, is_last)
        disposition = self.describe(part)
        name = disposition.names[0] if disposition.names else b""
        self.parsed.multipart_names += disposition.names
        self.parsed.part_headers += [(name, line) for line in part.headers]
        if part.is_invalid:
            self.parsed.flags["MULTIPART_INVALID_PART"] = 1
            self.fail(b"Invalid part.")
        sizes = [len(part.content)] + [0] * len(disposition.filenames)  # counted once, however many names it has
        self.parsed.files += [File(name, text, size) for text, size in zip(disposition.filenames, sizes, strict=False)]
        if part.is_invalid or not disposition.is_file:
            for text in dict.fromkeys((name, *disposition.names[-1:])):  # the application takes the first or the last
                self.add_argument(text, part.content)
            if part.transfer_encoding or b"charset" in part.content_type.lower():
                for reading, why in readings_of(part.content, part.content_type, part.transfer_encoding):
                    self.parsed.unreadable = self.parsed.unreadable or why
                    if reading:
                        self.parsed.readings.append((name, reading))
                yield
        if part.content_type.lower().startswith(b"multipart/"):
            yield from self.read_nested(part.content, part.content_type, name)
        return name

    def stop_at_parts(self) -> NoReturn:
        self.parsed.flags["MULTIPART_FILE_LIMIT_EXCEEDED"] = 1
        raise _Stop(b"More than %d parts." % self.limits.multipart_parts, "multipart-parts-limit")

    def add_argument(self, name: bytes, value: bytes) -> None:
        if len(self.parsed.args) >= self.limits.arguments:
            raise _Stop(b"More than %d arguments." % self.limits.arguments, "arguments-limit")
        self.parsed.args.append((name, value))

    def read_part(self, start: int, end: int, is_last: bool) -> _Part:
        """Header lines up to the empty one, then content up to the line break before the delimiter."""
        body, flags = self.body, self.parsed.flags
        part = _Part()
        position = start
        for _ in range(self.limits.part_headers + 1):  # folded lines count, and the empty one
            line_end = body.find(b"\n", position, end)
            if line_end < 0:  # the headers never end
                if position < end:
                    part.headers.append(body[position:end])
                part.is_invalid = True
                return part
            self.note_line_end(line_end)
            line = body[position:line_end].removesuffix(b"\r")
            position = line_end + 1
            if not line:
                break
            if line[:1].isspace():
                flags["MULTIPART_HEADER_FOLDING"] = 1
                if line[:1] not in (b" ", b"\t"):
                    flags["MULTIPART_INVALID_HEADER_FOLDING"] = 1
                if part.headers:
                    part.headers[-1] += b" " + line.lstrip()
                    continue
                part.is_invalid = True
            part.headers.append(line)
        else:
            raise _Stop(b"More than %d header lines in a part." % self.limits.part_headers, "part-headers-limit")
        if is_last:
            part.content = body[position:end]
        elif position == end:  # the empty line itself is the break before the delimiter
            part.is_invalid = True
        else:
            self.note_line_end(end - 1)
            part.content = body[position : end - 1].removesuffix(b"\r")
        return part

    def describe(self, part: _Part) -> Disposition:
        """What the headers say: disposition, and the part's types. Sets what is wrong with them."""
        merged = Disposition()
        seen = 0
        for line in part.headers:
            name, colon, value = line.partition(b":")
            if b"\x00" in line:
                part.is_invalid = True
                self.fail(b"Nul byte in part headers.")
            elif not colon:
                self.fail(b"Invalid part header (colon missing).")
            elif not name:
                self.fail(b"Invalid part header (header name missing).")
            elif not _HEADER_NAME.fullmatch(name):
                self.fail(b"Invalid part header (contains invalid character).")
            word = name.strip().lower()
            if word == b"content-disposition":
                seen += 1
                one = parse_disposition(value)
                merged.names += one.names
                merged.filenames += one.filenames
                merged.is_file = one.is_file
                part.is_invalid = part.is_invalid or one.is_invalid or name != name.strip()
                if one.has_invalid_quoting:
                    self.parsed.flags["MULTIPART_INVALID_QUOTING"] = 1
            elif word == b"content-type":
                part.content_type = part.content_type or value.strip()
            elif word == b"content-transfer-encoding":
                part.transfer_encoding = part.transfer_encoding or value.strip()
        if seen != 1 or len(merged.names) != 1 or not merged.names[0]:
            part.is_invalid = True
        return merged

    def read_nested(self, content: bytes, content_type: bytes, name: bytes) -> Generator[None, None, None]:
        """The parts of a part that declares itself multipart, one level deep, under the outer name where they
        have none. They count against the same limits; only the outer framing is judged."""
        boundary = find_boundary(content_type)
        if self.is_nested or not boundary.value:
            return
        inner = _Reader(content, ParsedBody(flags=dict.fromkeys(FLAGS, 0)), self.limits, is_nested=True)
        inner.parts = self.parts
        try:
            yield from inner.read_parts(b"--" + boundary.value)
        finally:  # a limit passed inside keeps what was read before it
            self.parts = inner.parts
            found = inner.parsed
            self.parsed.files += [File(file.field or name, file.name, file.size) for file in found.files]
            self.parsed.part_headers += [(text or name, line) for text, line in found.part_headers]
            self.parsed.multipart_names += found.multipart_names
            self.parsed.readings += [(text or name, reading) for text, reading in found.readings]
            self.parsed.unreadable = self.parsed.unreadable or found.unreadable
            for text, value in found.args:
                self.add_argument(text or name, value)
