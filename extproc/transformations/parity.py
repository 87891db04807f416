"""t:parityEven7bit, t:parityOdd7bit, t:parityZero7bit: the eighth bit, set by parity or cleared."""

from __future__ import annotations

from extproc.transformations.contract import Transformation


def _table(parity: int) -> bytes:
    """Byte → bit 7 set where the number of ones is not of `parity` (0 even, 1 odd), else cleared.

    libmodsecurity counts the old eighth bit too, so above 0x7F the outcome is not a true parity bit.
    """
    return bytes(byte & 0x7F | ((byte.bit_count() + parity) % 2) << 7 for byte in range(256))


_EVEN = _table(0)
_ODD = _table(1)
_ZERO = bytes(byte & 0x7F for byte in range(256))


def parity_even_7bit(value: bytes) -> bytes:
    """Reference manual, *parityEven7bit*."""
    return value.translate(_EVEN)


def parity_odd_7bit(value: bytes) -> bytes:
    """Reference manual, *parityOdd7bit*."""
    return value.translate(_ODD)


def parity_zero_7bit(value: bytes) -> bytes:
    """Reference manual, *parityZero7bit*."""
    return value.translate(_ZERO)


def _changed(table: bytes) -> frozenset[int]:
    return frozenset(byte for byte in range(256) if table[byte] != byte)


PARITY_EVEN_7BIT = Transformation("parityEven7bit", parity_even_7bit, _changed(_EVEN))
PARITY_ODD_7BIT = Transformation("parityOdd7bit", parity_odd_7bit, _changed(_ODD))
PARITY_ZERO_7BIT = Transformation("parityZero7bit", parity_zero_7bit, _changed(_ZERO))
