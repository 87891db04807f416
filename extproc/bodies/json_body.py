"""JSON bodies: every leaf an argument, named by its path (`json.a.array_0.b`), duplicates in order.

Names, numbers as written and `null` as the empty value follow libmodsecurity 3.0.15. It differs on
purpose in three places: an empty object or array inside is an argument with an empty value (its key
would be invisible), bytes that are no UTF-8 are kept (it stops there), and a byte order mark or
UTF-16 is read (applications do).

Short bodies go through the C scanner of the standard library whole; what it refuses, and long
bodies, are read token by token, so that what was read before an error stays visible and the work
can be interrupted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Iterator
from typing import Any

from extproc.bodies.contract import BodySteps, Limits, ParsedBody

WHOLE_BYTES = 65_536
"""Up to this size the C scanner reads the body in one step (under a millisecond)."""

STEP_VALUES = 500
"""Values or tokens between two interruptions."""

STEP_CHARS = 65_536
"""Text between two interruptions."""

_BLANK = re.compile(r"[ \t\n\r]*+")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?")
_LITERALS = {"t": ("true", "true"), "f": ("false", "false"), "n": ("null", "")}
_CONSTANTS = {True: "true", False: "false", None: ""}

# The scanner of one string that the decoder itself uses, in C: (text, behind the quote) → (value, end).
_SCAN_STRING: Callable[[str, int], tuple[str, int]] = json.decoder.scanstring  # type: ignore[attr-defined]

# What libmodsecurity reports (the texts of its parser), so that rules and people find what they know.
_TRAILING = "parse error: trailing garbage"
_PREMATURE = "parse error: premature EOF"
_UNALLOWED = "parse error: unallowed token at this point in JSON text"
_KEY = "parse error: invalid object key (must be a string)"
_COLON = "parse error: object key and value must be separated by a colon (':')"
_IN_OBJECT = "parse error: after key and value, inside map, I expect ',' or '}'"
_IN_ARRAY = "parse error: after array element, I expect ',' or ']'"
_CHARACTER = "lexical error: invalid char in json text."
_LITERAL = "lexical error: invalid string in json text."
_COMMENT = "lexical error: probable comment found in input text, comments are not enabled."
_STRING_ERRORS = (
    ("Unterminated", _PREMATURE),
    ("Invalid control", "lexical error: invalid character inside string."),
    ("Invalid \\escape", "lexical error: inside a string, '\\' occurs before a character which it may not."),
    ("Invalid \\u", "lexical error: invalid (non-hex) character occurs after '\\u' inside string."),
)


class _Stop(Exception):  # noqa: N818 - not a fault: the text ends here for us
    """Reading ends. `partly` is the word of the limit passed, None for malformed text."""

    def __init__(self, reason: str, partly: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.partly = partly


class _Arguments:
    """The arguments so far, and the limits they are held against."""

    def __init__(self, limits: Limits) -> None:
        self.pairs: list[tuple[bytes, bytes]] = []
        self.limits = limits
        self.names_left = limits.json_names_bytes

    def add(self, name: str, value: str) -> None:
        if len(self.pairs) >= self.limits.arguments:
            raise _Stop(f"more than {self.limits.arguments} arguments", "arguments-limit")
        raw_name = _encode(name)
        self.names_left -= len(raw_name)
        if self.names_left < 0:
            raise _Stop(f"names longer than {self.limits.json_names_bytes} bytes in all", "json-names-limit")
        self.pairs.append((raw_name, _encode(value)))

    def check_depth(self, depth: int) -> None:
        if depth > self.limits.json_depth:
            raise _Stop(f"Parsing depth limit exceeded ({self.limits.json_depth})", "json-depth-limit")


def json_body(body: bytes, content_type: bytes, limits: Limits) -> BodySteps:
    """Processor JSON. Malformed text sets `error`; what was read before stays in `args`.

    A limit passed sets `error` and `partly`: `arguments-limit`, `json-depth-limit`
    (SecRequestBodyJsonDepthLimit), `json-names-limit`. An empty body is no error.
    """
    parsed = ParsedBody(processor="JSON")
    if not body:
        return parsed
    arguments = _Arguments(limits)
    text = _text(body)
    try:
        if len(text) <= WHOLE_BYTES:
            try:
                tree = _DECODER.decode(text)
            except (ValueError, RecursionError):
                yield
                yield from _read_tokens(text, arguments)
            else:
                yield from _flatten(tree, arguments)
        else:
            yield from _read_tokens(text, arguments)
    except _Stop as stop:
        parsed.error = _encode("JSON parsing error: " + stop.reason)
        parsed.partly = stop.partly
    parsed.args = arguments.pairs
    return parsed


def _text(body: bytes) -> str:
    """The body as text in which every byte that is no UTF-8 survives (PEP 383).

    Zero bytes among the first four, or a byte order mark, tell the wider encodings (RFC 4627 §3).
    """
    if b"\x00" in body[:4] or body[:1] in b"\xef\xff\xfe":
        encoding = json.detect_encoding(body)
        if encoding == "utf-8-sig":
            body = body[3:]
        elif encoding != "utf-8":
            return body.decode(encoding, "replace").removeprefix("\ufeff")
    return body.decode("utf-8", "surrogateescape")


def _encode(text: str) -> bytes:
    """Back to bytes. A lone surrogate written as an escape becomes its three-byte form."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _refuse(constant: str) -> str:
    raise ValueError(constant)


# Objects become tuples of pairs and arrays lists, so nothing is merged; numbers stay text.
_DECODER = json.JSONDecoder(object_pairs_hook=tuple, parse_int=str, parse_float=str, parse_constant=_refuse)


def _children(name: str, node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, tuple):
        return ((f"{name}.{key or 'empty-key'}", value) for key, value in node)
    return ((f"{name}.array_{index}", value) for index, value in enumerate(node))


def _flatten(tree: Any, arguments: _Arguments) -> Generator[None, None, None]:
    """The leaves of a tree from `_DECODER`, in the order of the text."""
    if not isinstance(tree, (list, tuple)):
        arguments.add("json", tree if isinstance(tree, str) else _CONSTANTS[tree])
        return
    arguments.check_depth(1)
    stack = [_children("json", tree)]
    visited = 0
    while stack:
        for name, value in stack[-1]:
            visited += 1
            if visited % STEP_VALUES == 0:
                yield
            if isinstance(value, str):
                arguments.add(name, value)
            elif isinstance(value, (list, tuple)):
                arguments.check_depth(len(stack) + 1)
                if value:
                    stack.append(_children(name, value))
                    break
                arguments.add(name, "")
            else:
                arguments.add(name, _CONSTANTS[value])
        else:
            stack.pop()


def _read_tokens(text: str, arguments: _Arguments) -> Generator[None, None, None]:
    """The same leaves, token by token; raises _Stop at the first thing that is not JSON.

    `names` and `counts` are the open containers: the path of each, and the index of the next
    element (-1 in an object). `name` is the path of the value that is due.
    """
    names: list[str] = []
    counts: list[int] = []
    name = "json"
    position = _skip(text, 0)
    tokens = 0
    next_yield = STEP_CHARS
    while True:
        tokens += 1
        if tokens % STEP_VALUES == 0 or position >= next_yield:
            next_yield = position + STEP_CHARS
            yield
        first = text[position : position + 1]
        if first == "{" or first == "[":
            arguments.check_depth(len(names) + 1)
            position = _skip(text, position + 1)
            if text.startswith("}" if first == "{" else "]", position):
                position += 1
                if names:
                    arguments.add(name, "")
            else:
                names.append(name)
                if first == "{":
                    counts.append(-1)
                    name, position = _key(text, position, name)
                else:
                    counts.append(0)
                    name += ".array_0"
                continue
        else:
            value, position = _scalar(text, position, first)
            arguments.add(name, value)
        while True:  # behind a value: close containers until another value is due
            position = _skip(text, position)
            if not names:
                if position < len(text):
                    raise _Stop(_TRAILING)
                return
            mark = text[position : position + 1]
            if mark == ",":
                position = _skip(text, position + 1)
                if counts[-1] < 0:
                    name, position = _key(text, position, names[-1])
                else:
                    counts[-1] += 1
                    name = f"{names[-1]}.array_{counts[-1]}"
                break
            if not mark:
                raise _Stop(_PREMATURE)
            if mark != ("}" if counts[-1] < 0 else "]"):
                raise _Stop(_lexical(text, position) or (_IN_OBJECT if counts[-1] < 0 else _IN_ARRAY))
            position += 1
            names.pop()
            counts.pop()


def _skip(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match else position


def _key(text: str, position: int, name: str) -> tuple[str, int]:
    """A key with its colon: (path of its value, where that begins)."""
    if not text.startswith('"', position):
        raise _Stop(_lexical(text, position) or (_KEY if position < len(text) else _PREMATURE))
    key, position = _string(text, position)
    position = _skip(text, position)
    if not text.startswith(":", position):
        raise _Stop(_lexical(text, position) or (_COLON if position < len(text) else _PREMATURE))
    return f"{name}.{key or 'empty-key'}", _skip(text, position + 1)


def _string(text: str, position: int) -> tuple[str, int]:
    try:
        return _SCAN_STRING(text, position + 1)
    except ValueError as error:
        reason = str(error)
        raise _Stop(next((ours for start, ours in _STRING_ERRORS if reason.startswith(start)), _CHARACTER)) from None


def _scalar(text: str, position: int, first: str) -> tuple[str, int]:
    """A string, number or literal: (value as an argument has it, position behind it)."""
    if first == '"':
        return _string(text, position)
    if first in _LITERALS:
        word, value = _LITERALS[first]
        if text.startswith(word, position):
            return value, position + len(word)
    number = _NUMBER.match(text, position)
    if not number:
        raise _Stop(_lexical(text, position) or (_UNALLOWED if first else _PREMATURE))
    end = number.end()
    if text.startswith((".", "e", "E"), end):
        raise _Stop("lexical error: malformed number, a digit is required after the decimal point or exponent.")
    return number[0], end


def _lexical(text: str, position: int) -> str | None:
    """Why no token begins here; None if one does."""
    first = text[position : position + 1]
    if first in '{}[]:,"' or first in "0123456789":
        return None  # true at the end of the text as well
    if first in _LITERALS:
        return None if text.startswith(_LITERALS[first][0], position) else _LITERAL
    if first == "-":
        return None if _NUMBER.match(text, position) else "lexical error: malformed number, a digit is required."
    return _COMMENT if first == "/" else _CHARACTER
