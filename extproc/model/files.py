"""Which files a rule set was made of, and as what they were found: so that a change of any of them can be seen."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import TypeAlias

Look: TypeAlias = tuple[object, ...] | None
"""What a file looks like from outside: device, inode, size, time of change. Of a pattern: the names it matches.

None: there is nothing of that name. Symbolic links are followed, so a ConfigMap whose `..data` is swapped looks
different although no file of it was written to."""


class FilesRead:
    """Filled by whoever reads: `file` before each file, `pattern` before each glob.

    The look is taken before the content is read, so a change in between is seen as one.
    """

    def __init__(self) -> None:
        self.looks: dict[tuple[str, str], Look] = {}

    def file(self, path: Path) -> None:
        """This file is about to be read, or would be if it were there."""
        self._note("file", os.fspath(path))

    def pattern(self, pattern: str | Path) -> None:
        """These files are about to be looked for (`glob`)."""
        self._note("pattern", os.fspath(pattern))

    def _note(self, kind: str, name: str) -> None:
        if (kind, name) not in self.looks:
            self.looks[kind, name] = look(kind, name)


def look(kind: str, name: str) -> Look:
    """What is there now. Never raises: what cannot be looked at looks like nothing."""
    if kind == "pattern":
        return tuple(sorted(glob.glob(name)))  # noqa: PTH207 (names as they were given)
    try:
        found = os.stat(name)  # noqa: PTH116 (the text as it was noted)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
