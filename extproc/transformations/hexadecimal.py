"""t:hexEncode, t:hexDecode, t:sqlHexDecode."""

from __future__ import annotations

import binascii
import re

from extproc.transformations.contract import Transformation


def _digit(byte: int) -> int:
    """What libmodsecurity makes of a byte where a hexadecimal digit should be; wrong digits are not refused."""
    return (byte & 0xDF) - 0x37 if byte >= 0x41 else byte - 0x30


_LOW = bytes(_digit(byte) & 0xFF for byte in range(256))
_HIGH = bytes(_digit(byte) * 16 & 0xFF for byte in range(256))
_SQL_HEX = re.compile(rb"0[xX]((?:[0-9a-fA-F]{2})+)")


def hex_encode(value: bytes) -> bytes:
    """Two lower-case digits per byte (reference manual, *hexEncode*)."""
    return binascii.hexlify(value) if value else value


def hex_decode(value: bytes) -> bytes:
    """Two digits per byte (reference manual, *hexDecode*); a digit without its pair is dropped.

    A byte that is no hexadecimal digit is computed with as libmodsecurity does (`zz` gives `S`).
    """
    if not value:
        return value
    pairs = value[: len(value) & ~1]
    try:
        return binascii.unhexlify(pairs)
    except binascii.Error:
        high = pairs[0::2].translate(_HIGH)
        low = pairs[1::2].translate(_LOW)
        return bytes([(one + two) & 0xFF for one, two in zip(high, low, strict=True)])


def sql_hex_decode(value: bytes) -> bytes:
    """`0x414243` becomes `ABC` (reference manual, *sqlHexDecode*); an odd last digit stays as it is."""
    if value.find(b"0x") < 0 and value.find(b"0X") < 0:
        return value
    return _SQL_HEX.sub(lambda found: binascii.unhexlify(found[1]), value)


HEX_ENCODE = Transformation("hexEncode", hex_encode, None, adds=frozenset())
HEX_DECODE = Transformation("hexDecode", hex_decode, None)
SQL_HEX_DECODE = Transformation("sqlHexDecode", sql_hex_decode, frozenset(b"xX"))
