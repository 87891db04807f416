"""Compiled modules run only while they are what their source says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from extproc import compiled

PACKAGE = Path(compiled.__file__).parent
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
ASK = "from extproc.model import phase; from extproc import compiled; print(compiled.why_plain)"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A package beside one module of which stands something that no Python can load."""
    package = tmp_path / "extproc"
    (package / "model").mkdir(parents=True)
    for name in ("__init__.py", "compiled.py", "model/__init__.py", "model/phase.py"):
        shutil.copy(PACKAGE / name, package / name)
    (package / f"model/phase{SUFFIX}").write_bytes(b"no library")
    return package


def ask(package: Path, **environment: str) -> str:
    """What a fresh Python says: why the source runs, or how loading the compiled module fails."""
    told = {name: value for name, value in os.environ.items() if name != "EXTPROC_COMPILED"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", ASK],
        env={**told, "PYTHONPATH": str(package.parent), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return (done.stdout or done.stderr).strip().splitlines()[-1]


def test_what_is_noted_and_unchanged_runs_compiled(tree: Path) -> None:
    compiled.note(tree, ["model/phase.py"])
    assert ask(tree).startswith("ImportError:"), "the library is no library: it was taken, not the source"


def test_what_is_not_noted_runs_from_source(tree: Path) -> None:
    assert ask(tree) == "not compiled"


def test_an_edited_source_wins_over_what_was_compiled(tree: Path) -> None:
    compiled.note(tree, ["model/phase.py"])
    with (tree / "model/phase.py").open("a") as file:
        file.write("# changed\n")
    assert ask(tree) == "model/phase.py is newer than what was compiled"


def test_the_source_can_be_asked_for(tree: Path) -> None:
    compiled.note(tree, ["model/phase.py"])
    assert ask(tree, EXTPROC_COMPILED="0") == "EXTPROC_COMPILED=0"


def test_a_note_of_another_python_does_not_count(tree: Path) -> None:
    compiled.note(tree, ["model/phase.py"])
    note = tree / compiled.NOTE
    note.write_text(note.read_text().replace(str(sys.implementation.cache_tag), "cpython-399"))
    assert ask(tree) == "compiled for another Python"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"python": 1', "\x00"])
def test_a_broken_note_is_no_note(tree: Path, text: str) -> None:
    (tree / compiled.NOTE).write_text(text)
    assert ask(tree) == "compiled.json cannot be read"
