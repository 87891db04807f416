"""Step 4, PCRE spelling → the spelling that re2 and Python's `re` read alike; used by @rx.

The result has no spelling that two engines read differently: flags stand at the front or on a group
(`(?i:...)`, never in mid-pattern), POSIX classes and `\\s`, `\\h`, `\\v` are written out, bytes are `\\xhh`.
One token stays that `re` spells otherwise: `\\z`, the end of the text.

Source: PCRE2's pattern page (pcre2pattern), as libmodsecurity 3.0.15 runs it, without UTF; each case of
tests/unit/test_operators_rx.py is held against that very library.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

RE2_REPEAT_LIMIT = 1000
"""re2 refuses to repeat anything more often than this."""

_SPACE = b"\\t-\\r\\x20"
_VERTICAL = b"\\n-\\r\\x85"
_HORIZONTAL = b"\\t\\x20\\xa0"
# What a class escape means, as the inside of a character class, and its complement.
_CLASSES: dict[bytes, bytes] = {
    b"d": b"0-9",
    b"D": b"\\x00-\\/\\:-\\xff",
    b"w": b"0-9A-Z_a-z",
    b"W": b"\\x00-\\/\\:-\\@\\[-\\^\\`\\{-\\xff",
    b"s": _SPACE,
    b"S": b"\\x00-\\x08\\x0e-\\x1f\\!-\\xff",
    b"h": _HORIZONTAL,
    b"H": b"\\x00-\\x08\\n-\\x1f\\!-\\x9f\\xa1-\\xff",
    b"v": _VERTICAL,
    b"V": b"\\x00-\\t\\x0e-\\x84\\x86-\\xff",
}
_POSIX: dict[bytes, bytes] = {
    b"alpha": b"A-Za-z",
    b"digit": b"0-9",
    b"alnum": b"0-9A-Za-z",
    b"upper": b"A-Z",
    b"lower": b"a-z",
    b"word": b"0-9A-Z_a-z",
    b"space": _SPACE,
    b"blank": b"\\t\\x20",
    b"punct": b"\\!-\\/\\:-\\@\\[-\\`\\{-\\~",
    b"cntrl": b"\\x00-\\x1f\\x7f",
    b"graph": b"\\!-\\~",
    b"print": b"\\x20-\\~",
    b"xdigit": b"0-9A-Fa-f",
    b"ascii": b"\\x00-\\x7f",
}
_CONTROLS = {b"a": 7, b"e": 27, b"f": 12, b"n": 10, b"r": 13, b"t": 9}
_REPEAT = re.compile(rb"\{[ \t]*(\d*)[ \t]*(,?)[ \t]*(\d*)[ \t]*\}")
_FLAGS = re.compile(rb"\(\?([imsxU]*)(?:-([imsx]*))?([:)])")
_NAMED = re.compile(rb"\(\?(?:P?<([A-Za-z_]\w*)>|'([A-Za-z_]\w*)')")
# Spelt by everyone as it is, so whole runs are copied; not the byte that a quantifier repeats: that is an item.
_PLAIN = re.compile(rb"[0-9A-Z_a-z ]+(?![*+?{])")
_SIMPLE_CLASS = re.compile(rb"\[\^?+(?:[^]\\[]|\\.)+\]", re.DOTALL)
_BYTE = re.compile(
    rb"\\(?:x\{[ \t]*([0-9A-Fa-f]+)[ \t]*\}|x([0-9A-Fa-f]{0,2})|o\{([0-7]+)\}|(0[0-7]{0,2}|[0-3][0-7]{2}))"
)


@dataclass(slots=True)
class Translation:
    """`pattern` for re2, or for `re` where `needs_backtracking` names what re2 does not know.

    `at_start` is the pattern with each `^` replaced by `\\A`; the same object if there is no `^`.
    """

    pattern: bytes
    at_start: bytes
    needs_backtracking: str = ""


@dataclass(slots=True)
class _Group:
    """An open group: `flags` are the prefixes (`(?i:`) under which its current branch is written."""

    flags: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class _Writer:
    """The translation so far, one item per token. `groups[0]` is the pattern itself."""

    out: list[bytes] = field(default_factory=list)
    groups: list[_Group] = field(default_factory=lambda: [_Group()])
    backtracking: str = ""


def translate(pattern: bytes) -> Translation:
    """PCRE2 spelling → `Translation`. Flags of libmodsecurity (dot matches all, multi-line) are put in front.

    Raises ValueError, a sentence with the remedy, for what neither re2 nor `re` can say.
    """
    writer = _Writer()
    at = 0
    while at < len(pattern):
        plain = _PLAIN.match(pattern, at)
        if plain:
            writer.out.append(plain[0])
            at = plain.end()
        else:
            at = _step(pattern, at, writer)
    writer.out.append(b")" * len(writer.groups[0].flags))
    whole = b"(?ms)" + b"".join(writer.out)
    if b"^" not in writer.out:
        return Translation(whole, whole, writer.backtracking)
    at_start = b"(?ms)" + b"".join(b"\\A" if item == b"^" else item for item in writer.out)
    return Translation(whole, at_start, writer.backtracking)


def _step(pattern: bytes, at: int, writer: _Writer) -> int:
    """Write the token at `at`; where the next one starts."""
    char = pattern[at : at + 1]
    out = writer.out
    if char == b"\\":
        return _escape(pattern, at, writer)
    if char == b"[":
        simple = _SIMPLE_CLASS.match(pattern, at)
        text, size = _known_class(simple[0]) if simple else (b"", 0)
        if not size:
            text, end = _class(pattern, at)
            size = end - at
        out.append(text)
        return at + size
    if char == b"(":
        return _open(pattern, at, writer)
    if char == b")":
        if len(writer.groups) == 1:
            raise ValueError(f"the ) at byte {at} closes nothing; write \\) for the character itself")
        out.append(b")" * len(writer.groups.pop().flags) + b")")
        return at + 1
    if char == b"|":
        flags = writer.groups[-1].flags
        out.append(b")" * len(flags) + b"|" + b"".join(flags))
        return at + 1
    if char in b"*+?":
        out.append(char)
        return _after_repeat(pattern, at + 1, writer)
    if char == b"{":
        return _repeat(pattern, at, writer)
    out.append(char if char in b".^$" else _literal(char[0]))
    return at + 1


def _literal(byte: int) -> bytes:
    """One byte, spelt so that it means itself inside and outside of a class."""
    if 0x30 <= byte <= 0x39 or 0x41 <= byte <= 0x5A or byte == 0x5F or 0x61 <= byte <= 0x7A:
        return bytes((byte,))
    if byte == 0x20:
        return b" "
    return b"\\%c" % byte if 0x20 < byte < 0x7F else b"\\x%02x" % byte


def _byte(pattern: bytes, at: int) -> tuple[int, int] | None:
    """(value, end) if the escape at `at` stands for one byte: `\\n`, `\\x{41}`, `\\cA`, `\\011`, `\\.`; else None."""
    found = _BYTE.match(pattern, at)
    if found:
        braced, short, octal, plain = found.groups()
        if braced is not None or short is not None:
            value = int(braced or short or b"0", 16)
        else:
            value = int(octal or plain, 8)
        if value > 0xFF:
            raise ValueError(f"{found[0].decode()} is no byte; write its bytes one by one (UTF-8: \\xc3\\xa9)")
        return value, found.end()
    char = pattern[at + 1 : at + 2]
    if char == b"c" and pattern[at + 2 : at + 3].isascii() and len(pattern) > at + 2:
        return pattern[at + 2 : at + 3].upper()[0] ^ 0x40, at + 3
    if char in _CONTROLS:
        return _CONTROLS[char], at + 2
    if char and (not char.isalnum() or char >= b"\x80"):
        return char[0], at + 2
    return None


def _escape(pattern: bytes, at: int, writer: _Writer) -> int:
    """A backslash outside of a class."""
    out = writer.out
    byte = _byte(pattern, at)
    if byte:
        out.append(_literal(byte[0]))
        return byte[1]
    char = pattern[at + 1 : at + 2]
    if not char:
        raise ValueError("a backslash ends the pattern; write \\\\ for the character itself")
    if char == b"Q":
        end = pattern.find(b"\\E", at + 2)
        stop = len(pattern) if end < 0 else end
        out.extend(_literal(quoted) for quoted in pattern[at + 2 : stop])
        return stop if end < 0 else stop + 2
    if char == b"E":
        return at + 2
    if char in _CLASSES:
        out.append(b"[" + _CLASSES[char] + b"]")
    elif char == b"N":
        out.append(b"[^\\n]")
    elif char == b"R":
        out.append(b"(?:\\r\\n|[" + _VERTICAL + b"])")
    elif char == b"Z":
        # re2 has no look-ahead: the last newline, if there is one, becomes part of the match.
        out.append(b"(?:\\n?\\z)")
    elif char in b"AbBz":
        out.append(b"\\" + char)
    elif char.isdigit() or char in b"gk":
        return _back_reference(pattern, at, writer)
    else:
        raise ValueError(f"\\{char.decode('latin-1')} is not known; write the character or class that is meant")
    return at + 2


def _back_reference(pattern: bytes, at: int, writer: _Writer) -> int:
    """`\\1`, `\\g{1}`, `\\g{name}`, `\\k<name>`, `\\k{name}`, `\\k'name'`."""
    found = re.compile(rb"\\(?:([1-9]\d?)|g\{?([1-9]\d?)\}?|[gk][{<']([A-Za-z_]\w*)[}>'])").match(pattern, at)
    if not found:
        text = pattern[at : at + 4].decode("latin-1")
        raise ValueError(f"{text} is no back-reference that is understood; write \\1 or \\k<name>")
    writer.backtracking = writer.backtracking or "a back-reference"
    number = found[1] or found[2]
    writer.out.append(b"(?:\\%s)" % number if number else b"(?P=%s)" % found[3])
    return found.end()


@lru_cache(maxsize=1024)  # rule sets repeat their classes a lot
def _known_class(text: bytes) -> tuple[bytes, int]:
    """(a class by itself, normalised; its length), or (b"", 0): read it in its pattern, where a fault has a place."""
    try:
        return _class(text, 0)
    except ValueError:
        return b"", 0


def _class(pattern: bytes, at: int) -> tuple[bytes, int]:
    """(the class, normalised; where it ends). `at` is on the opening bracket."""
    start = at
    at += 1
    negated = pattern[at : at + 1] == b"^"
    at += negated
    items: list[bytes] = []
    first = True
    while first or pattern[at : at + 1] != b"]":
        if at >= len(pattern):
            raise ValueError(
                f"the class that opens at byte {start} is not closed; add ] or write \\[ for the character"
            )
        first = False
        low, text, at = _member(pattern, at)
        if low is None:
            items.append(text)
            continue
        if pattern[at : at + 1] == b"-" and pattern[at + 1 : at + 2] not in (b"]", b""):
            high, text, end = _member(pattern, at + 1)
            if high is None or high < low:
                raise ValueError(f"{pattern[at - 1 : end].decode('latin-1')} is no range; write \\- or swap its ends")
            items.append(_literal(low) + b"-" + _literal(high))
            at = end
        else:
            items.append(_literal(low))
    return (b"[^" if negated else b"[") + b"".join(items) + b"]", at + 1


def _member(pattern: bytes, at: int) -> tuple[int | None, bytes, int]:
    """One member of a class: (byte, b"", end), or (None, text of a set, end)."""
    char = pattern[at : at + 1]
    if char == b"[" and pattern[at + 1 : at + 2] == b":":
        found = re.compile(rb"\[:(\^?)([a-z]+):\]").match(pattern, at)
        if found:
            name = found[2]
            if found[1] or name not in _POSIX:
                raise ValueError(f"{found[0].decode()} is not known; write its characters out")
            return None, _POSIX[name], found.end()
    if char != b"\\":
        return char[0] if char else 0, b"", at + 1
    name = pattern[at + 1 : at + 2]
    if name in _CLASSES:
        return None, _CLASSES[name], at + 2
    if name == b"b":
        return 8, b"", at + 2
    byte = _byte(pattern, at)
    if byte is None and name.isdigit():  # within a class \1 is octal, never a reference
        found = re.compile(rb"\\([0-7]{1,3})").match(pattern, at)
        byte = (int(found[1], 8) & 0xFF, found.end()) if found else None
    if byte is None:
        text = name.decode("latin-1")
        raise ValueError(f"\\{text} is not known inside of [...]; write the character or range that is meant")
    return byte[0], b"", byte[1]


def _open(pattern: bytes, at: int, writer: _Writer) -> int:
    """An opening parenthesis with what follows it."""
    out, groups = writer.out, writer.groups
    head = pattern[at : at + 4]
    if head.startswith(b"(?:"):
        groups.append(_Group())
        out.append(b"(?:")
        return at + 3
    if head[1:2] == b"*":
        raise ValueError("verbs like (*UTF) are not supported; leave it out, one byte is one character here")
    if head[1:2] != b"?":
        groups.append(_Group())
        out.append(b"(")
        return at + 1
    if head.startswith(b"(?#"):
        end = pattern.find(b")", at)
        if end < 0:
            raise ValueError("the comment (?# is not closed; add )")
        return end + 1
    found = _NAMED.match(pattern, at)
    if found:
        groups.append(_Group())
        out.append(b"(?P<%s>" % (found[1] or found[2]))
        return found.end()
    found = _FLAGS.match(pattern, at)
    if found:
        return _set_flags(found, writer)
    for opening, what in _BACKTRACKING.items():
        if head.startswith(opening):
            writer.backtracking = writer.backtracking or what
            groups.append(_Group())
            out.append(opening)
            return at + len(opening)
    text = head.decode("latin-1")
    raise ValueError(f"{text} is not supported; rewrite the pattern without recursion, conditions and branch resets")


_BACKTRACKING = {
    b"(?=": "a look-ahead",
    b"(?!": "a look-ahead",
    b"(?<=": "a look-behind",
    b"(?<!": "a look-behind",
    b"(?>": "an atomic group",
}


def _set_flags(found: re.Match[bytes], writer: _Writer) -> int:
    """`(?i:` opens a group; `(?i)` holds to the end of the enclosing one, over its later branches too."""
    on, off = found[1], found[2] or b""
    if b"x" in on or b"U" in on:
        raise ValueError("the flags x and U are not supported; write the pattern without them")
    on = bytes(sorted(set(on)))
    off = bytes(sorted(set(off) - {ord("x")}))
    prefix = b"(?" + on + (b"-" + off if off else b"") + b":"
    if found[3] == b":":
        writer.groups.append(_Group())
        writer.out.append(prefix)
        return found.end()
    writer.groups[-1].flags.append(prefix)
    writer.out.append(prefix)
    return found.end()


def _repeat(pattern: bytes, at: int, writer: _Writer) -> int:
    """`{2,5}` and its kin, else the brace itself. PCRE2 10.43 and later read `{,5}` as `{0,5}`."""
    found = _REPEAT.match(pattern, at)
    if not found or not (found[1] or (found[2] and found[3])):
        writer.out.append(b"\\{")
        return at + 1
    low, comma, high = found[1] or b"0", found[2], found[3]
    writer.out.append(b"{" + low + comma + high + b"}")
    if max(int(low), int(high or b"0")) > RE2_REPEAT_LIMIT:
        writer.backtracking = writer.backtracking or f"a repetition over {RE2_REPEAT_LIMIT}"
    return _after_repeat(pattern, found.end(), writer)


def _after_repeat(pattern: bytes, at: int, writer: _Writer) -> int:
    """A `+` behind a quantifier makes it possessive, a `?` lazy.

    Possessive is greedy where giving back could never help: the next item shares no byte with the
    repeated one, or nothing follows at all.
    """
    sign = pattern[at : at + 1]
    if sign == b"?":
        writer.out.append(sign)
        return at + 1
    if sign != b"+":
        return at
    if not _gives_nothing_back(pattern, writer.out, at + 1):
        writer.out.append(sign)
        writer.backtracking = writer.backtracking or "a possessive quantifier"
    return at + 1


def _gives_nothing_back(pattern: bytes, out: list[bytes], at: int) -> bool:
    """Is what is repeated (the item before the quantifier, last of `out`) disjoint from what is at `at`?"""
    repeated = _one_byte(out[-2]) if len(out) > 1 else None
    if not repeated:
        return False
    if not pattern[at:]:
        return True
    probe = _Writer()
    if pattern[at : at + 1] in b"()|^$*+?{":
        return False
    end = _step(pattern, at, probe)
    following = _one_byte(b"".join(probe.out))
    return bool(following) and pattern[end : end + 1] not in (b"*", b"?", b"{") and repeated.isdisjoint(following or ())


def _one_byte(item: bytes) -> frozenset[int] | None:
    """The bytes that an item of exactly one byte matches, either case; None if it is something else."""
    if item[:1] in b"()|^$*+?{" or item in (b"\\A", b"\\b", b"\\B", b"\\z"):
        return None
    try:
        compiled = re.compile(b"(?si)" + item)
    except re.error:
        return None
    return frozenset(b for b in range(256) if compiled.fullmatch(bytes((b,))))
