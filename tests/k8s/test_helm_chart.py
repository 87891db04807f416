"""The chart, rendered by a real helm: valid in every profile, and object by object what kustomize renders."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from certificates import make_authority, write_certificate
from helm_binary import find_helm
from manifests import REPO, Tree, documents, kustomize, of_kind
from renderings import CHART, template
from test_injector import HOST, Injector


@pytest.fixture(scope="module")
def helm() -> Path:
    found = find_helm()
    if isinstance(found, str):
        print(f"the chart is not rendered: {found}")
        pytest.skip(found)
    return found


def trees(helm: Path, values: list[str]) -> list[Tree]:
    done = template(helm, values)
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


def test_lint(helm: Path) -> None:
    done = subprocess.run([helm, "lint", "--strict", CHART], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def plain(tree: Tree) -> Any:
    """Without what only says who rendered it."""
    annotations = tree["metadata"].get("annotations")
    rest = {key: value for key, value in tree.items() if key != "metadata"}
    return {**rest, "annotations": annotations, "namespace": tree["metadata"].get("namespace")}


def by_name(found: list[Tree]) -> dict[tuple[str, str], Any]:
    return {(tree["kind"], tree["metadata"]["name"]): plain(tree) for tree in found if tree["kind"] != "Namespace"}


def test_the_injector_is_what_kustomize_renders(helm: Path) -> None:
    chart = by_name(trees(helm, ["injector.certificate.method=cert-manager"]))
    assert chart.pop(("Pod", "extproc-test"))
    assert chart == by_name(documents(kustomize(REPO / "k8s" / "injector")))


def test_the_central_engine_is_what_kustomize_renders(helm: Path) -> None:
    chart = by_name(trees(helm, ["injector.enabled=false", "central.enabled=true"]))
    shipped = by_name(documents(kustomize(REPO / "k8s" / "overlays" / "central")))
    deployment = shipped[("Deployment", "extproc-engine")]
    assert deployment["spec"].pop("replicas") == 2  # the autoscaler's business in the chart
    assert chart == shipped


def test_in_a_mesh_it_is_the_central_engine_without_tls(helm: Path) -> None:
    off = [
        "injector.enabled=false",
        "central.enabled=true",
        "central.tls.enabled=false",
        "central.connectionAgeSeconds=0",
    ]
    shipped = by_name(documents(kustomize(REPO / "k8s" / "central")))
    assert shipped[("Deployment", "extproc-engine")]["spec"].pop("replicas") == 2
    assert by_name(trees(helm, off)) == shipped


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("mode=blok", "mode"),
        ("injector.replicas=0", "replicas"),
        ("injektor.enabled=true", "injektor"),
        ("injector.certificate.method=existing", "existingSecret"),
        ("image.engine.digest=latest", "digest"),
        ("central.autoscaling.cpuUtilization=200", "cpuUtilization"),
        ("central.tls.method=existing", "existingSecret"),
        ("central.tls.clientNames={a b}", "clientNames"),
    ],
)
def test_wrong_values_are_refused(helm: Path, value: str, said: str) -> None:
    done = template(helm, [value])
    assert done.returncode != 0
    assert said in done.stderr


def test_notes_hold_the_two_requests(helm: Path) -> None:
    command = [helm, "install", "waf", CHART, "-n", "extproc-system", "--dry-run=client"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "curl -i 'localhost:8080/?q=tea'" in done.stdout
    assert "curl -i 'localhost:8080/?q=%27%20OR%201=1--'" in done.stdout
    assert "nothing is blocked, only reported" in done.stdout


def test_what_helm_test_runs_passes_against_the_injector(helm: Path, tmp_path: Path) -> None:
    """The pod's own command, outside a cluster: the same script, the address of this machine."""
    (pod,) = of_kind(trees(helm, []), "Pod")
    (container,) = pod["spec"]["containers"]
    write_certificate(tmp_path, make_authority("test CA"), HOST)
    injector = Injector(tmp_path)
    try:
        url = f"https://127.0.0.1:{injector.port}/mutate"
        command = [sys.executable, *container["command"][1:], *container["args"], url]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stdout) == (0, "a labelled pod gets the pair\n"), done.stderr
    finally:
        injector.stop()
