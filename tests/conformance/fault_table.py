"""The table of faults in docs/CONFORMANCE.md: every server with a fault, and the cases that find it.

python -m tests.conformance.fault_table        (some minutes; needs .venv-official)
"""

from __future__ import annotations

import ast
import json
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.conformance.docs_table import FAULTS_TABLE, found_lines, read_found, write_table

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "CONFORMANCE.md"
FAULTY = ROOT / "tests" / "conformance" / "servers" / "faulty.py"
DRIVER = ROOT / "tests" / "conformance" / "faults_found.py"
OFFICIAL = ROOT / ".venv-official" / "bin" / "python"
AT_A_TIME = 4
"""Runs of the suite. Most of their time goes by in waiting."""


def find(wanted: Sequence[str]) -> dict[str, dict[str, str]]:
    """Fault → case → what it came to. `wanted`: `FAULT`, which means all cases, or `FAULT:CASE,CASE`."""
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        parts = pool.map(_find, [wanted[lane::AT_A_TIME] for lane in range(min(AT_A_TIME, len(wanted)))])
        return {fault: told for part in parts for fault, told in part.items()}


def _find(wanted: Sequence[str]) -> dict[str, dict[str, str]]:
    done = subprocess.run([OFFICIAL, DRIVER, *wanted], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    told: dict[str, dict[str, str]] = json.loads(done.stdout)
    return told


def faults() -> dict[str, str]:
    """Name → what is wrong with it, from the registry of `faulty.py` and its docstrings."""
    tree = ast.parse(FAULTY.read_text(encoding="utf-8"))
    says = {node.name: ast.get_docstring(node) or "" for node in tree.body if isinstance(node, ast.ClassDef)}
    registry = next(
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "FAULTS"
    )
    assert isinstance(registry, ast.Dict)
    return {
        ast.literal_eval(key): " ".join(says[value.id].split())
        for key, value in zip(registry.keys, registry.values, strict=True)
        if key is not None and isinstance(value, ast.Name)
    }


def read() -> dict[str, list[str]]:
    """The table as it stands: fault → cases that find it."""
    return read_found(PAGE, FAULTS_TABLE)


if __name__ == "__main__":
    write_table(PAGE, FAULTS_TABLE, found_lines("the server", faults(), find(list(faults()))))
