"""Form arguments: `a=1&b=%41` as ModSecurity's ARGS has it, for bodies and query strings alike."""

from __future__ import annotations

from itertools import product

from extproc.bodies.contract import BodySteps, Limits, ParsedBody

STEP_BYTES = 65_536
"""Input decoded in one step."""

STEP_VALUES = 500
"""Arguments decoded in one step."""

_DIGITS = b"0123456789abcdefABCDEF"
_BYTE_OF = {bytes(pair): bytes([int(bytes(pair), 16)]) for pair in product(_DIGITS, repeat=2)}


def count_arguments(text: bytes, separator: bytes = b"&") -> int:
    """How many pairs `text` holds; an empty piece counts, the one behind a last separator does not."""
    if not text:
        return 0
    return text.count(separator) + (not text.endswith(separator))


def parse_arguments(text: bytes, separator: bytes = b"&", limit: int = 1000) -> tuple[list[tuple[bytes, bytes]], int]:
    """Decoded (name, value) pairs in order, and how many `%` start no valid escape.

    An invalid escape is kept as sent. At most `limit` pairs come back; `count_arguments` tells
    whether there were more. Source: ModSecurity manual, ARGS; libmodsecurity 3.0.15 gives the
    same pairs (`a&&b` is three, `a=1&` is one, a piece without `=` is a name).
    """
    if not text:
        return [], 0
    pieces = text.split(separator, limit)
    if len(pieces) > limit or not pieces[-1]:
        pieces.pop()
    if b"%" not in text and b"+" not in text:
        return [(name, value) for name, _, value in (piece.partition(b"=") for piece in pieces)], 0
    pairs = []
    invalid = 0
    for piece in pieces:
        name, _, value = piece.partition(b"=")
        if b"%" in piece or b"+" in piece:
            name, wrong = decode(name)
            value, wrong_too = decode(value)
            invalid += wrong + wrong_too
        pairs.append((name, value))
    return pairs, invalid


def decode(raw: bytes) -> tuple[bytes, int]:
    """`+` and `%XX` decoded once, and the number of `%` that start no valid escape (kept as sent)."""
    raw = raw.replace(b"+", b" ")
    if b"%" not in raw:
        return raw, 0
    first, *rest = raw.split(b"%")
    out = [first]
    invalid = 0
    for piece in rest:
        byte = _BYTE_OF.get(piece[:2])
        if byte is None:
            invalid += 1
            out += (b"%", piece)
        else:
            out += (byte, piece[2:])
    return b"".join(out), invalid


def urlencoded(body: bytes, content_type: bytes, limits: Limits) -> BodySteps:
    """Processor URLENCODED. URLENCODED_ERROR is 1 when an escape was invalid, as in ModSecurity."""
    parsed = ParsedBody(processor="URLENCODED", flags={"URLENCODED_ERROR": 0})
    count = count_arguments(body)
    if count > limits.arguments:
        parsed.partly = "arguments-limit"
        parsed.error = b"More than %d arguments, the rest is not parsed" % limits.arguments
    pieces = body.split(b"&", limits.arguments)[: min(count, limits.arguments)]
    invalid = 0
    pending_bytes = pending_values = 0
    for piece in pieces:
        name, _, value = piece.partition(b"=")
        decoded = []
        for raw in (name, value):
            out = []
            for part in _slices(raw):
                pending_bytes += len(part)
                if pending_bytes > STEP_BYTES or pending_values >= STEP_VALUES:
                    pending_bytes, pending_values = len(part), 0
                    yield
                text, wrong = decode(part)
                out.append(text)
                invalid += wrong
            decoded.append(out[0] if len(out) == 1 else b"".join(out))
        pending_values += 1
        parsed.args.append((decoded[0], decoded[1]))
    parsed.flags["URLENCODED_ERROR"] = int(invalid > 0)
    return parsed


def _slices(raw: bytes) -> list[bytes]:
    """`raw` in pieces of at most STEP_BYTES, never cut inside an escape."""
    if len(raw) <= STEP_BYTES:
        return [raw]
    slices = []
    start = 0
    while start < len(raw):
        end = start + STEP_BYTES
        if end < len(raw):
            escape = raw.rfind(b"%", end - 2, end)
            if escape >= 0:
                end = escape
        slices.append(raw[start:end])
        start = end
    return slices
