"""The corpus: one file per target, one input per line, written as the inside of a Python bytes literal."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"
BUILD = Path("build") / "fuzz"
"""Where longer runs keep what they find, beside the repository's own inputs."""


def inputs(target: str) -> list[bytes]:
    """All of a target's inputs, nothing first; lines that begin with `#` say something about those that follow."""
    lines = (FOLDER / f"{target}.txt").read_text(encoding="ascii").splitlines()
    return [b"", *(unescape(line) for line in lines if line and not line.startswith("#"))]


def unescape(line: str) -> bytes:
    return line.encode("ascii").decode("unicode_escape").encode("latin-1")


def escape(data: bytes) -> str:
    """A line for the file."""
    text = data.decode("latin-1").encode("unicode_escape").decode("ascii")
    return "\\x23" + text[1:] if text.startswith("#") else text
