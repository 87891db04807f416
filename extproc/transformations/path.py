"""t:normalizePath and t:normalizePathWin, also spelt normalise: `//`, `/./` and `/../` resolved."""

from __future__ import annotations

import re

from extproc.transformations.contract import Transformation
from extproc.transformations.marks import BACKSLASH

# Nothing changes unless two slashes meet or a segment ends in a dot.
_SUSPECT = re.compile(rb"//|\.(?:/|\Z)")


def normalize_path(value: bytes) -> bytes:
    """Reference manual, *normalizePath*: slashes made single, self-references dropped, back-references resolved.

    The oddities are libmodsecurity's, kept because rules were tuned on them: a segment that merely ends in
    two dots (`abc..`) is dropped too; `/..` alone gives an empty value; a relative path keeps the
    back-references that lead above its start, and forgets that it did once a plain segment follows.
    """
    return _normalize(value) if _SUSPECT.search(value) else value


def normalize_path_win(value: bytes) -> bytes:
    r"""As normalize_path, with backslashes turned into slashes first (reference manual, *normalizePathWin*).

    Not as libmodsecurity does: it leaves a backslash behind a reference it removed (`a/./\` gives `a\`).
    """
    if BACKSLASH in value:
        value = value.replace(b"\\", b"/")
    return _normalize(value) if _SUSPECT.search(value) else value


def _normalize(value: bytes) -> bytes:
    is_relative = not value.startswith(b"/")
    kept: list[bytes] = []
    size = 0 if is_relative else 1  # bytes written so far, the slash after each segment included
    is_above_root = False
    for segment in value.split(b"/"):
        if segment in (b"", b"."):
            continue
        last = size + len(segment) - 1  # where the segment's last byte would go
        if segment.endswith(b".."):
            if not is_relative or (not is_above_root and last > 2):
                if segment == b".." and kept:
                    size -= len(kept.pop()) + 1
                is_above_root = is_above_root or not kept
                continue
            is_above_root = True
        elif last > 0 and not segment.endswith(b"."):
            is_above_root = False
        kept.append(segment)
        size += len(segment) + 1
    ends_in_slash = value.endswith(b"/")
    if not kept:
        return b"/" if ends_in_slash and not is_relative else b""
    if ends_in_slash:
        kept.append(b"")
    path = b"/".join(kept) if is_relative else b"/" + b"/".join(kept)
    return value if path == value else path


NORMALIZE_PATH = Transformation("normalizePath", normalize_path, frozenset(b"/."), adds=frozenset())
NORMALIZE_PATH_WIN = Transformation("normalizePathWin", normalize_path_win, frozenset(b"/.\\"), adds=frozenset(b"/"))
