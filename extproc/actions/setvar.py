"""setvar, expirevar, initcol: actions that write collections (reference manual, *Actions*)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from extproc.actions.macro import MacroText


class Assignment(StrEnum):
    """What setvar does to the variable."""

    SET = "="
    ADD = "=+"
    SUBTRACT = "=-"
    UNSET = "!"


@dataclass(frozen=True, slots=True)
class SetVar:
    """`setvar:tx.score=+%{tx.critical}`. `collection` in upper case, `key` in lower case."""

    collection: str
    key: MacroText
    assignment: Assignment
    value: MacroText


@dataclass(frozen=True, slots=True)
class ExpireVar:
    """`expirevar:ip.block=300`: the variable is gone that many seconds from now."""

    collection: str
    key: bytes
    seconds: MacroText


@dataclass(frozen=True, slots=True)
class InitCollection:
    """`initcol:ip=%{REMOTE_ADDR}_%{tx.ua_hash}`: binds a persistent collection to a key."""

    collection: str
    key: MacroText


FEW_DIGITS = 18
"""So many decimal digits are read in one go; nearly all numbers are."""


def parse_number(value: bytes) -> int:
    """The leading integer as C's strtol reads it; 0 if there is none."""
    if len(value) <= FEW_DIGITS and value.isdigit():
        return int(value)
    text = value.strip()
    end = 1 if text[:1] in (b"+", b"-") else 0
    while end < len(text) and 48 <= text[end] <= 57:
        end += 1
    try:
        return int(text[:end])
    except ValueError:
        return 0
