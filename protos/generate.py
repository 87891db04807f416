"""Generated code from protos/*.proto into extproc/_pb (`make gen`); needs grpcio-tools and buf of the extra `dev`.

protoc writes absolute imports (`from envoy.config.core.v3 import base_pb2`), and other distributions install a
top-level package `envoy` too. So the imports are made relative to extproc/_pb afterwards.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "extproc" / "_pb"
IMPORT = re.compile(r"^from (envoy(?:\.\w+)*) import ", re.MULTILINE)


def relative_imports(source: str, depth: int) -> str:
    """`source` of a module `depth` packages below the target, its envoy imports made relative."""
    return IMPORT.sub(lambda found: f"from {'.' * (depth + 1)}{found[1]} import ", source)


def generate(target: Path) -> None:
    """Writes the package tree `target`/envoy anew. Raises CalledProcessError when a proto file does not compile."""
    tools = Path(sys.executable).parent
    env = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', '')}"}
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder)
        subprocess.run([tools / "buf", "generate", "--output", raw], cwd=ROOT, env=env, check=True)
        shutil.rmtree(target / "envoy", ignore_errors=True)
        for module in sorted(raw.rglob("*_pb2.py")):
            place = module.relative_to(raw)
            written = target / place
            written.parent.mkdir(parents=True, exist_ok=True)
            written.write_text(relative_imports(module.read_text(), len(place.parts) - 1))
        for package in [target / "envoy", *(target / "envoy").rglob("*/")]:
            if package.is_dir():
                (package / "__init__.py").touch()


if __name__ == "__main__":
    generate(TARGET)
