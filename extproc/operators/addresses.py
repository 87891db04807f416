"""Step 4, @ipMatch and @ipMatchFromFile: is the value an address of these networks?

ModSecurity reference manual, *ipMatch* and *ipMatchFromFile*. IPv4 and IPv6, addresses and CIDR blocks. Not as
libmodsecurity does: spaces around an entry and a `/0` are allowed, and an IPv4 address written in IPv6
(`::ffff:10.0.0.1`) is the IPv4 address, or a blocked client could come in through a dual-stack socket.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable
from typing import TypeAlias

from extproc.operators.contract import Captures, CompileContext, Operator
from extproc.operators.phrases import read_lines

ADDRESS_MAX_BYTES = 45
"""The longest spelling of an address, an IPv6 one with a dotted quad; a longer value is none."""

_COLON = 0x3A

_MAPPED = bytes(10) + b"\xff\xff"
"""The first twelve bytes of ::ffff:0:0/96 (RFC 4291, section 2.5.5.2)."""

Networks: TypeAlias = dict[int, dict[int, set[int]]]
"""Bytes of an address (4 or 16) → bits to shift it right → the network numbers of that size."""


def compile_ip_match(argument: bytes, context: CompileContext) -> Operator:
    """@ipMatch: addresses and CIDR blocks between commas."""
    entries = [entry.strip() for entry in argument.split(b",")]
    return Operator("ipMatch", argument, tester(_networks("@ipMatch", entries)))


def compile_ip_match_from_file(argument: bytes, context: CompileContext) -> Operator:
    """@ipMatchFromFile: file names between white space; an address or CIDR block per line, `#` starts a comment.

    Raises ValueError when a file cannot be read or a line is no address.
    """
    names = argument.split()
    if not names:
        raise ValueError("@ipMatchFromFile needs the name of a file with one address or CIDR block per line")
    lines: list[bytes] = []
    for name in names:
        lines += read_lines("@ipMatchFromFile", name, context)
    entries = [line.partition(b"#")[0].strip() for line in lines]
    if not entries:
        context.notice(f"@ipMatchFromFile {argument.decode('utf-8', 'replace')} holds no address and never matches")
    return Operator("ipMatchFromFile", argument, tester(_networks("@ipMatchFromFile", entries)))


def _networks(operator: str, entries: Iterable[bytes]) -> Networks:
    networks: Networks = {}
    for entry in entries:
        try:
            add_network(networks, entry.decode("utf-8", "replace"))
        except ValueError as error:
            raise ValueError(f"{operator} knows {error}") from None
    return networks


def add_network(networks: Networks, text: str, is_strict: bool = False) -> None:
    """Add an address or CIDR block. `is_strict`: bits behind the length are a mistake, not cut off.

    Raises ValueError: `no address or CIDR block ...; write ...`.
    """
    address, slash, length_text = text.partition("/")
    try:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
        length = int(length_text) if slash else 8 * len(packed)
        if slash and not (length_text.isascii() and length_text.isdecimal() and length <= 8 * len(packed)):
            raise ValueError
        number = int.from_bytes(packed)
    except (OSError, ValueError):  # a netmask in place of a length, else none at all
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(
                f"no address or CIDR block '{text}'; write 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32"
            ) from None
        packed, length = network.network_address.packed, network.prefixlen
        number = int.from_bytes(packed)
    size, mapped = len(packed), packed.startswith(_MAPPED) and length >= 8 * len(_MAPPED)
    if mapped:
        size, length, number = size - len(_MAPPED), length - 8 * len(_MAPPED), int.from_bytes(packed[len(_MAPPED) :])
    shift = 8 * size - length
    if is_strict and number & ((1 << shift) - 1):
        raise ValueError(f"no block '{text}': bits are set behind its length; write {address} alone, or its network")
    networks.setdefault(size, {}).setdefault(shift, set()).add(number >> shift)


def tester(networks: Networks) -> Callable[[bytes], Captures | None]:
    """Is a written address in one of the networks? A match captures the address."""
    by_size = {size: tuple(of_size.items()) for size, of_size in networks.items()}

    def test(value: bytes) -> Captures | None:
        if len(value) > ADDRESS_MAX_BYTES:
            return None
        family = socket.AF_INET6 if _COLON in value else socket.AF_INET
        try:
            packed = socket.inet_pton(family, value.decode("ascii"))
        except (OSError, ValueError):  # not an address; a NUL or a byte above 0x7F
            return None
        if packed.startswith(_MAPPED):
            packed = packed[len(_MAPPED) :]
        address = int.from_bytes(packed)
        for shift, numbers in by_size.get(len(packed), ()):
            if address >> shift in numbers:
                return (value,)
        return None

    return test
