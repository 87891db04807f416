"""Podman in a folder of its own, and the Dockerfile really built with nothing fetched while it builds.

The base is a Debian root file system made by mmdebstrap; the wheels are downloaded before and handed in with a
pip.conf as build secret. Both are kept under build/pod/, so a second run builds from cache.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

REPO = Path(__file__).parents[2]
FOLDER = REPO / "build" / "pod"
PREFIX = "localhost/extproc-test"

SUITE = "bookworm"
PYTHON_VERSION = "3.11"
"""Of that Debian release; wheels are downloaded for it, whatever Python runs the tests."""

PACKAGES = ("podman", "runc", "catatonit", "netavark", "uidmap", "mmdebstrap", "iproute2")
BASE_PACKAGES = ("python3", "python3-venv", "ca-certificates")
COMPILER_PACKAGES = (*BASE_PACKAGES, "gcc", "libc6-dev", "python3-dev")
"""Of the images that the Dockerfile starts from: to run on, and to compile in."""
PROGRAMS = ("podman", "runc", "mmdebstrap", "ip")
SOURCES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))

# Without CAP_SYS_RESOURCE podman may not raise its limits, and crun refuses machines with both cgroup versions.
CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
"""
PIP_CONF = """\
[install]
no-index = true
find-links = /wheels
"""


def why_not() -> str | None:
    """The reason why pods cannot be run here, None if they can. Installs what is missing on a CI machine."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "pods are run by root on Linux"
    missing = _missing()
    if missing and os.environ.get("CI") == "true" and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES]
        subprocess.run(command, check=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
        missing = _missing()
    if missing:
        return f"not installed: {', '.join(missing)}"
    tried = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False)
    return None if tried.returncode == 0 else "the kernel gives no namespaces"


def _missing() -> list[str]:
    return [program for program in PROGRAMS if shutil.which(program) is None]


class Podman:
    """Podman with its own storage, so that nothing is left in, or taken from, the machine's."""

    def __init__(self) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        self._conf = FOLDER / "containers.conf"
        self._conf.write_text(CONTAINERS_CONF)
        self._storage = FOLDER / "storage"
        # Must not outlive a boot, and must belong to this clone alone.
        self._running = Path("/run") / f"extproc-test-{hashlib.sha256(bytes(FOLDER)).hexdigest()[:12]}"

    def run(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """stdout and stderr are text; raises CalledProcessError unless `check` is false."""
        where = ["--root", self._storage, "--runroot", self._running, "--tmpdir", self._running / "libpod"]
        command = ["podman", *map(str, where), *map(str, arguments)]
        environment = {**os.environ, "CONTAINERS_CONF": str(self._conf)}
        # Not captured through pipes: a container's monitor would inherit them and keep them open.
        out, err = FOLDER / "podman.out", FOLDER / "podman.err"
        with out.open("wb") as out_file, err.open("wb") as err_file:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=out_file, stderr=err_file, env=environment, check=False
            )
        texts = out.read_text(errors="replace"), err.read_text(errors="replace")
        if check and done.returncode != 0:
            error = subprocess.CalledProcessError(done.returncode, command, *texts)
            error.add_note(texts[1][-2000:])
            raise error
        return subprocess.CompletedProcess(command, done.returncode, *texts)

    def inspect(self, name: str, template: str) -> str:
        """One Go template on a container."""
        return self.run("container", "inspect", "--format", template, name).stdout.strip()

    def close(self) -> None:
        """Nothing stays but the images; the bind mount that podman leaves would keep anybody from removing build/."""
        subprocess.run(["umount", self._storage / "overlay"], capture_output=True, check=False)
        shutil.rmtree(self._running, ignore_errors=True)


def build(podman: Podman) -> dict[str, str]:
    """Image names as in the manifests → images built here."""
    base, compiler = f"{PREFIX}-base:latest", f"{PREFIX}-compiler:latest"
    for image, name, packages in ((base, "base", BASE_PACKAGES), (compiler, "compiler", COMPILER_PACKAGES)):
        if podman.run("image", "exists", image, check=False).returncode != 0:
            podman.run("import", _root_file_system(name, packages), image)
    images = {"extproc:latest": f"{PREFIX}-extproc:latest", "extproc-envoy:latest": f"{PREFIX}-envoy:latest"}
    wheels = _wheels()
    secret = FOLDER / "pip.conf"
    secret.write_text(PIP_CONF)
    for (_, image), target in zip(images.items(), ("extproc", "envoy"), strict=True):
        podman.run(
            *("build", "--pull=never", "--layers", "--network=none", "--ulimit=nofile=4096:4096"),
            *("--volume", f"{wheels}:/wheels:ro", "--secret", f"id=pip_conf,src={secret}"),
            *("--build-arg", f"BASE_IMAGE={base}", "--build-arg", f"ENVOY_BASE_IMAGE={base}"),
            *("--build-arg", f"BUILD_IMAGE={compiler}", "--build-arg", "EXTPROC_COMPILE=1"),
            *("--target", target, "--tag", image, REPO),
        )
    return images | {"python:3.11-slim": base}


def _root_file_system(name: str, packages: tuple[str, ...]) -> Path:
    tar = FOLDER / f"{name}.tar"
    if not tar.exists():
        unfinished = tar.with_suffix(".unfinished.tar")
        sources = [str(file) for file in SOURCES if file.exists()][:1]
        include = f"--include={','.join(packages)}"
        command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", include, SUITE, str(unfinished)]
        subprocess.run([*command, *sources], check=True)
        unfinished.rename(tar)
    return tar


def _wheels() -> Path:
    """A folder with every wheel that the Dockerfile asks pip for; its name holds what was asked."""
    project: dict[str, Any] = tomllib.loads((REPO / "pyproject.toml").read_text())
    wanted = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["envoy"],
    ]
    folder = FOLDER / f"wheels-{hashlib.sha256(repr(wanted).encode()).hexdigest()[:12]}"
    if not folder.exists():
        unfinished = folder.with_suffix(".unfinished")
        binary = ["--only-binary=:all:", "--python-version", PYTHON_VERSION]
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "-d", unfinished, *binary, *wanted], check=True)
        unfinished.rename(folder)
    return folder
