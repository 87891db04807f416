"""Files → statements: Include followed, all mistakes of all files together, bytes all the way."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from extproc.model.errors import SecLangError, SecLangErrors
from extproc.model.files import FilesRead
from extproc.seclang.parser import duplicate_ids, read
from extproc.seclang.syntax import Directive, Statement

MAX_TOTAL_BYTES = 32 * 1024 * 1024
"""All files of one rule set together. The Core Rule Set has about 0.7 MB."""

MAX_FILES = 1000
"""Files of one rule set, each Include counted again."""

MAX_INCLUDE_DEPTH = 16
"""Includes inside includes."""


def load(paths: Sequence[Path]) -> list[Statement]:
    """The statements of all files in order, with what Include brings at its place.

    A path or glob of Include is relative to the including file; its matches are read in the order
    of their names. Directives Include and IncludeOptional are not among the statements.
    Raises SecLangErrors with every finding of every file; line 0 means the file as a whole.
    """
    statements, findings = read_files(paths)
    findings += duplicate_ids(statements)
    if findings:
        raise SecLangErrors(findings)
    return statements


def read_files(paths: Sequence[Path], files: FilesRead | None = None) -> tuple[list[Statement], list[SecLangError]]:
    """The statements of all files that could be read, and what is wrong with the others.

    `files` notes what was read and looked for.
    """
    loading = _Loading(files or FilesRead())
    for path in paths:
        loading.read_file(path, (), SecLangError(os.fspath(path), 0, ""))
    return loading.statements, loading.findings


class _Loading:
    """What has been read so far, and how much of the limits is used."""

    def __init__(self, files: FilesRead) -> None:
        self.files = files
        self.statements: list[Statement] = []
        self.findings: list[SecLangError] = []
        self.bytes_left = MAX_TOTAL_BYTES
        self.files_left = MAX_FILES
        self.is_full = False  # a limit was passed and reported: nothing more is read

    def read_file(self, path: Path, including: tuple[Path, ...], asked_at: SecLangError) -> None:
        """Read one file and what it includes. A fault of the file itself is found where it was asked for."""
        shown = _text(path)
        if self.is_full:
            return
        self.files.file(path)
        try:
            resolved = path.resolve()
            if resolved in including:
                loop = " includes ".join(_text(step) for step in (*including[including.index(resolved) :], resolved))
                raise ValueError(f"files include each other in a loop: {loop}")
            if len(including) >= MAX_INCLUDE_DEPTH:
                raise ValueError(f"{shown} is included {MAX_INCLUDE_DEPTH} files deep: flatten the includes")
            source = self._bytes(path, shown)
        except OSError as error:
            self._found(asked_at, f"{shown} cannot be read: {error.strerror}")
            return
        except ValueError as error:
            self._found(asked_at, str(error))
            return
        statements, findings = read(source, shown)
        self.findings += findings
        for statement in statements:
            if isinstance(statement, Directive) and statement.name in ("Include", "IncludeOptional"):
                self._include(statement, path, (*including, resolved))
            else:
                self.statements.append(statement)

    def _include(self, directive: Directive, path: Path, including: tuple[Path, ...]) -> None:
        asked_at = SecLangError(directive.file, directive.line, "")
        pattern = os.path.join(os.fsencode(path.parent), directive.arguments[0])  # noqa: PTH118 (bytes, not a Path)
        if b"\0" in pattern:
            self._found(asked_at, f"{directive.name}: a path cannot hold a zero byte")
            return
        if glob.has_magic(pattern):
            self.files.pattern(os.fsdecode(pattern))
            names = sorted(glob.glob(pattern))  # noqa: PTH207 (bytes)
        else:
            names = [pattern]
        is_optional = directive.name == "IncludeOptional"
        if is_optional:
            for name in names:
                self.files.file(Path(os.fsdecode(name)))  # it may come
            names = [name for name in names if os.path.lexists(name)]
        if not names and not is_optional:
            shown = pattern.decode("utf-8", "backslashreplace")
            self._found(asked_at, f"Include {shown} matches no file: mend the path, or use IncludeOptional")
        for name in names:
            self.read_file(Path(os.fsdecode(name)), including, asked_at)

    def _bytes(self, path: Path, shown: str) -> bytes:
        if self.files_left == 0:
            self.is_full = True
            raise ValueError(f"more than {MAX_FILES} files: give fewer, or join them")
        self.files_left -= 1
        if path.is_dir():
            raise ValueError(f"{shown} is a directory: name a file, or include {shown}/*.conf")
        with open(path, "rb", opener=_open_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError(f"{shown} is not a regular file")
            source = file.read(self.bytes_left + 1)
        if len(source) > self.bytes_left:
            self.is_full = True
            raise ValueError(f"{shown} takes the rule files over {MAX_TOTAL_BYTES} bytes: that is no rule set")
        self.bytes_left -= len(source)
        return source

    def _found(self, asked_at: SecLangError, message: str) -> None:
        self.findings.append(SecLangError(asked_at.file, asked_at.line, message))


def _open_without_waiting(path: str, flags: int) -> int:
    # Opening a FIFO waits for a writer unless told not to; what it is shows only once it is open.
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _text(path: Path) -> str:
    """A path for people and for `Rule.file`; a name that is not UTF-8 is escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
