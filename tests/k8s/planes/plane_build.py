"""Control planes, built from their own Go modules: `python -m tests.k8s.planes.plane_build [NAME]...`.

A plane is a folder beside this file with nothing but `go.mod` and `go.sum`: the `tool` lines name the programs, the
sums hold the sources fast. What is built stands in the user's cache under a name made of those two files: once for all
clones, and again when a version changes. Tests only look (`find`): a build is long, so it is asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent

BUILD_LIMIT_S = 5400
"""Of one program; on two busy cores the API server takes half an hour."""


class Plane(NamedTuple):
    """`programs` are tools of its go.mod by the name that they get; `manifests` are (module, glob) of files to keep."""

    programs: dict[str, str]
    linker_flags: str = ""
    manifests: tuple[tuple[str, str], ...] = ()


OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
OPERATOR_CRDS = "example/prometheus-operator-crd/monitoring.coreos.com_"
_KUBERNETES = "k8s.io/component-base/version"
PLANES = {
    "kube": Plane(
        {
            "etcd": "go.etcd.io/etcd/server/v3",
            "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
            "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
        },
        # Without them it calls itself 0.0.0, and charts and clients that ask for a version turn away.
        f"-X {_KUBERNETES}.gitVersion=v1.37.2 -X {_KUBERNETES}.gitMajor=1 -X {_KUBERNETES}.gitMinor=37",
        (
            ("sigs.k8s.io/gateway-api@v1.6.1", "config/crd/standard/gateway.networking.k8s.io_[!v]*.yaml"),
            ("github.com/envoyproxy/gateway@v1.9.1", "charts/gateway-helm/charts/crds/crds/generated/*.yaml"),
            ("istio.io/api@v1.31.1", "kubernetes/customresourcedefinitions.gen.yaml"),
            ("github.com/cert-manager/cert-manager@v1.21.0", "deploy/crds/cert-manager.io_*.yaml"),
            (OPERATOR, f"{OPERATOR_CRDS}podmonitors.yaml"),
            (OPERATOR, f"{OPERATOR_CRDS}prometheusrules.yaml"),
        ),
    ),
    "istio": Plane({"pilot-discovery": "istio.io/istio/pilot/cmd/pilot-discovery"}),
    "gateway": Plane({"egctl": "github.com/envoyproxy/gateway/cmd/egctl"}),
}


def folder(name: str) -> Path:
    """Where the plane stands once it is built."""
    digest = hashlib.sha256(repr(PLANES[name]).encode())
    for file in ("go.mod", "go.sum"):
        digest.update((HERE / name / file).read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "extproc" / "planes" / f"{name}-{digest.hexdigest()[:16]}"


def find(name: str) -> Path | str:
    """The folder of a plane that was built, else the reason why there is none."""
    built = folder(name)
    return built if built.is_dir() else f"not built: python -m tests.k8s.planes.plane_build {name}"


def build(name: str) -> Path:
    """Builds what is not there. Raises CalledProcessError or TimeoutExpired; the compiler's words go to stderr."""
    built = folder(name)
    if built.is_dir():
        return built
    built.parent.mkdir(parents=True, exist_ok=True)
    plane = PLANES[name]
    # Renamed when it is whole: a build that was ended leaves nothing that looks finished.
    with tempfile.TemporaryDirectory(dir=built.parent) as unfinished:
        for program, package in plane.programs.items():
            begun = time.monotonic()
            flags = ["-p", "1", "-trimpath", "-mod=readonly", f"-ldflags=-s -w {plane.linker_flags}"]
            _go(HERE / name, "build", *flags, "-o", f"{unfinished}/{program}", package)
            print(f"{name}: {program} built in {time.monotonic() - begun:.0f} s", flush=True)
        for number, (module, pattern) in enumerate(plane.manifests):
            source = Path(json.loads(_go(Path(unfinished), "mod", "download", "-json", module))["Dir"])
            files = sorted(source.glob(pattern))
            if not files:
                raise FileNotFoundError(f"{module} has no {pattern}")
            for file in files:
                (Path(unfinished) / "crds").mkdir(exist_ok=True)
                shutil.copyfile(file, Path(unfinished) / "crds" / f"{number}-{file.name}")
        Path(unfinished).chmod(0o755)
        Path(unfinished).rename(built)
        Path(unfinished).mkdir()  # for its own clean-up
    return built


def _go(where: Path, *arguments: str) -> str:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": ""}
    command = ["nice", "-n", "15", "go", *arguments]
    done = subprocess.run(
        command, cwd=where, env=environment, check=True, stdout=subprocess.PIPE, timeout=BUILD_LIMIT_S
    )
    return done.stdout.decode()


def main(names: list[str]) -> int:
    if shutil.which("go") is None:
        print("control planes are not built: there is no go on PATH")
        return 1
    for name in names or PLANES:
        if name not in PLANES:
            print(f"no plane {name}; there are {', '.join(PLANES)}")
            return 2
        try:
            print(f"{name}: {build(name)}", flush=True)
        except (OSError, subprocess.SubprocessError, KeyError, ValueError) as error:
            print(f"{name} cannot be built: {error}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
