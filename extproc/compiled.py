"""Which form of the hot modules runs: what mypyc made of them, or their Python source.

A compiled module stands beside its source and would be taken by Python whatever the source says by now. So the build
notes what it was made of (`compiled.json`), and where that is no longer so, or nothing is noted, all modules come from
source: never some of each. `EXTPROC_COMPILED=0` asks for the source.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from pathlib import Path

NOTE = "compiled.json"
"""In the package: {path of a module from the package: SHA-256 of the source it was made of, hexadecimal}."""

PYTHON = "python"
"""Key of the note: the interpreter that the modules were compiled for, as `sys.implementation.cache_tag`."""

why_plain: str | None = None
"""Why the source runs, in a few words; None when the compiled modules do. Set once, by `settle`."""


def note(package: Path, modules: Sequence[str]) -> None:
    """Write down what the compiled modules of `package` were made of. `modules`: paths from the package."""
    made_of = {module: _digest(package / module) for module in modules}
    (package / NOTE).write_text(
        json.dumps({PYTHON: sys.implementation.cache_tag, **made_of}, indent=1), encoding="utf-8"
    )


def settle(package: Path) -> None:
    """Decide for this process; called once, before any other module of the package is imported."""
    global why_plain
    why_plain = _why_plain(package)
    if why_plain is not None:
        inside = (str(package), str(package) + os.sep)

        def source_only(path: str) -> FileFinder:
            if path != inside[0] and not path.startswith(inside[1]):
                raise ImportError(path)
            return FileFinder(path, (SourceFileLoader, SOURCE_SUFFIXES))

        sys.path_hooks.insert(0, source_only)
        sys.path_importer_cache.pop(inside[0], None)  # made to find this module


def _why_plain(package: Path) -> str | None:
    if os.environ.get("EXTPROC_COMPILED") == "0":
        return "EXTPROC_COMPILED=0"
    try:
        made_of = json.loads((package / NOTE).read_bytes())
        compiled_for = made_of.pop(PYTHON)
    except FileNotFoundError:
        return "not compiled"
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return f"{NOTE} cannot be read"
    if compiled_for != sys.implementation.cache_tag:
        return "compiled for another Python"
    for module, digest in made_of.items():
        if _digest(package / module) != digest:
            return f"{module} is newer than what was compiled"
    return None


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""
