"""What the escape decoders share: digits → byte, read from tables built once."""

from __future__ import annotations

_DIGITS = b"0123456789abcdefABCDEF"

HEX_PAIR = {bytes([high, low]): bytes.fromhex(chr(high) + chr(low)) for high in _DIGITS for low in _DIGITS}
"""Two hexadecimal digits in any case → byte."""


def low_byte(code: int) -> bytes:
    """What libmodsecurity keeps of a UTF-16 code unit: the low byte, full-width forms FF01 to FF5E as ASCII."""
    low = code & 0xFF
    if code >> 8 == 0xFF and 0x00 < low < 0x5F:
        low += 0x20
    return bytes([low])


LETTERS = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
"""The letter after a backslash → the byte it stands for."""
