"""Where a policy holds: patterns of hosts and paths, and how a request's path is read so that it cannot pick one.

A path pattern is a path in which `*` stands for one segment or a part of it, and `/**` at the end for everything
below, the place itself included. Hosts are names, or `*.example.com` for every name below.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from extproc.policy.patterns import compile_pattern

MAX_PATTERN_CHARS = 512
"""A longer path pattern is refused."""

PATH_TEXT = r"/[^\x00-\x20\x7f?#%\\;]{0,511}"
HOST_TEXT = r"(?:\*\.)?[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]{2,45}\]"

_PLAIN_PATH = re.compile(rb"[^%;\\\x00-\x20\x7f]*")
_PARAMETERS = re.compile(rb";[^/]*")


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A path with wildcards, ready to match. `weight`: how much it says, for the order of policies."""

    text: str
    weight: int = field(compare=False)
    _place: bytes = field(compare=False, repr=False)  # of a pattern without a *: what it says, less /** at its end
    _below: bytes | None = field(compare=False, repr=False)  # what all paths below begin with; None: it names one path
    _regex: Any = field(compare=False, repr=False)  # None for a pattern without a *

    @staticmethod
    def of(text: str) -> PathPattern:
        """Raises ValueError with a sentence that mends it."""
        if re.fullmatch(PATH_TEXT, text) is None:
            raise ValueError(f"must be a path such as /api/** or /users/*/avatar, without query or %, not {text!r}")
        stem, below = (text[:-3], True) if text.endswith("/**") else (text, False)
        if "**" in stem:
            raise ValueError(f"may have ** at its end only (as /**), not {text!r}; * stands for one segment")
        if posixpath.normpath(stem or "/") != (stem.rstrip("/") or "/") or "//" in stem:
            raise ValueError(f"must be written as it is after . and .. and // are resolved, not {text!r}")
        place = stem.encode()
        if "*" not in stem:
            return PathPattern(text, len(stem), place, place + b"/" if below else None, None)
        regex = "[^/]*".join(re.escape(part) for part in stem.split("*")) + ("(?:/.*)?" if below else "")
        return PathPattern(text, len(stem) - stem.count("*"), b"", None, compile_pattern(regex))

    def covers(self, path: bytes) -> bool:
        """Is that path (read, without query) one of it?"""
        if self._regex is not None:
            return self._regex.fullmatch(path) is not None
        return path == self._place or (self._below is not None and path.startswith(self._below))

    def covers_pattern(self, other: PathPattern) -> bool:
        """Is every path of `other` surely one of this? Sure only where wildcards do not overlap in odd ways."""
        if self.text == other.text:
            return True
        if self.text.endswith("/**") and "*" not in self.text[:-3]:
            stem = self.text[:-3]
            return other.text == stem or other.text.startswith(stem + "/")
        return "*" not in other.text and self.covers(other.text.encode())


@dataclass(frozen=True, slots=True)
class HostPattern:
    """A host name in lower case, or `*.` and the name above it."""

    text: str

    @property
    def weight(self) -> int:
        """An exact name says more than a wildcard."""
        return 1 if self.text.startswith("*.") else 2

    def covers(self, host: str) -> bool:
        """Is that host (lower case, no port) meant?"""
        return host.endswith(self.text[1:]) if self.text.startswith("*.") else host == self.text

    def covers_pattern(self, other: HostPattern) -> bool:
        """Is every host of `other` one of this?"""
        return self.text == other.text or (self.text.startswith("*.") and other.text.endswith(self.text[1:]))


def read_host(authority: bytes) -> str:
    """`:authority` → host in lower case, without port and closing dot."""
    text = authority.decode("latin-1").lower()
    if text.startswith("["):
        return text.partition("]")[0] + "]"
    return text.partition(":")[0].removesuffix(".")


def read_path(path: bytes) -> tuple[bytes, ...]:
    """`:path` as sent → the paths that an app may take it for; one, unless it is written so that apps differ.

    More than one: escaped slashes, `;` parameters, backslashes, dot segments and the like. Whoever writes such a
    path must not choose the weaker of two policies by it.
    """
    raw = path.partition(b"?")[0].partition(b"#")[0]
    if raw[:1] != b"/":  # absolute form; anything else fits no pattern
        scheme, _, rest = raw.partition(b"://")
        slash = rest.find(b"/")
        raw = rest[slash:] if scheme in (b"http", b"https") and slash >= 0 else b"/"
    if _PLAIN_PATH.fullmatch(raw) and b"//" not in raw and b"/." not in raw:
        return (raw,)
    decoded = unquote_to_bytes(raw)
    readings = [raw, decoded, _tidy(raw), _tidy(decoded), _tidy(_PARAMETERS.sub(b"", decoded).replace(b"\\", b"/"))]
    if b"%" in decoded:
        readings.append(_tidy(unquote_to_bytes(decoded)))
    if decoded == _tidy(decoded) and not _is_odd(raw, decoded):
        return (decoded,)  # escaped for no other reason than that it must be: a space, a letter with an accent
    return tuple(dict.fromkeys(readings))


def _is_odd(raw: bytes, decoded: bytes) -> bool:
    has_escaped_mark = re.search(rb"%(?:2[fFeE5]|5[cC]|3[bBfF]|00|23)", raw) is not None
    return has_escaped_mark or any(mark in decoded for mark in (b";", b"\\", b"\0", b"%"))


def _tidy(path: bytes) -> bytes:
    tidy = posixpath.normpath(b"/" + path.lstrip(b"/"))
    return tidy + b"/" if path.endswith(b"/") and tidy != b"/" else tidy
