"""What the prefilter needs of each pattern, worked out once and kept on disk between starts.

The walk over a pattern's syntax tree is the dearest part of loading. Its result depends on the pattern and
on our code alone, so it is stored under a hash of both; a file that is missing, stale, cut or altered is
ignored and written anew. The format is JSON with a checksum: reading it runs no code.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from extproc.prefilter import literals

Facts: TypeAlias = tuple[tuple[frozenset[bytes], ...], int]

MAX_FILE_BYTES = 64 * 1024 * 1024
"""A larger cache file is not read."""


class LiteralStore:
    """Clauses and minimum length by pattern. `directory` None: memory only."""

    def __init__(self, directory: Path | None = None) -> None:
        self._facts: dict[bytes, Facts] = {}
        self._path = directory / f"literals-{_code_hash()}.json" if directory is not None else None
        self._is_changed = False
        if self._path is not None:
            self._facts = _read(self._path)

    def clauses(self, pattern: bytes) -> tuple[frozenset[bytes], ...]:
        """See `prefilter.literals.required_clauses`."""
        return self._fact(pattern)[0]

    def min_bytes(self, pattern: bytes) -> int:
        """See `prefilter.literals.required_min_bytes`."""
        return self._fact(pattern)[1]

    def _fact(self, pattern: bytes) -> Facts:
        fact = self._facts.get(pattern)
        if fact is None:
            fact = self._facts[pattern] = (
                literals.required_clauses(pattern),
                literals.required_min_bytes(pattern),
            )
            self._is_changed = True
        return fact

    def save(self) -> None:
        """Write what was learnt, whole or not at all. A folder that cannot be written is no fault."""
        if self._path is None or not self._is_changed:
            return
        rows = [
            [
                pattern.decode("latin-1"),
                [sorted(word.decode("latin-1") for word in clause) for clause in clauses],
                min_bytes,
            ]
            for pattern, (clauses, min_bytes) in self._facts.items()
        ]
        body = json.dumps(rows).encode("ascii")
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=".literals-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(hashlib.sha256(body).hexdigest().encode("ascii") + b"\n" + body)
                Path(name).replace(self._path)
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise
        self._is_changed = False


def _read(path: Path) -> dict[bytes, Facts]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return {}
        checksum, _, body = path.read_bytes().partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode("ascii") != checksum:
            return {}
        return {
            pattern.encode("latin-1"): (
                tuple(frozenset(word.encode("latin-1") for word in clause) for clause in clauses),
                min_bytes,
            )
            for pattern, clauses, min_bytes in json.loads(body)
        }
    except (OSError, ValueError, TypeError):
        return {}


def _code_hash() -> str:
    """Names the code that derives literals, so that a new version does not trust the old one's findings."""
    return hashlib.sha256(Path(literals.__file__).read_bytes()).hexdigest()[:16]
