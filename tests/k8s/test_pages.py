"""Every command of docs/KUBERNETES.md and docs/kubernetes, run as it stands there (`page_programs` says how)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from certificates import make_authority, write_certificate
from helm_binary import find_helm
from manifests import REPO
from page_programs import PAGE_PROGRAMS
from renderings import OVERLAYS

DOCS = REPO / "docs"
PAGES = sorted([DOCS / "KUBERNETES.md", *(DOCS / "kubernetes").glob("*.md")])
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^    .*\n(?:\n(?=    ))?)+", re.MULTILINE)
COMMAND = re.compile(r"(?:openssl|printf|" + "|".join(PAGE_PROGRAMS) + r") ")
ELSEWHERE = ("/etc/extproc", "/etc/envoy")
"""Folders of a container that commands of pages name."""

LIMIT_S = 120


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of every block, in order."""
    text = page.read_text()
    found = [(one.start(), one[1], one[2]) for one in FENCE.finditer(text)]
    bare = FENCE.sub(lambda one: re.sub(r"[^\n]", ".", one[0]), text)
    for one in INDENTED.finditer(bare):
        inside = re.sub(r"^    ", "", one[0], flags=re.MULTILINE)
        found.append((one.start(), "sh" if COMMAND.match(inside) else "text", inside))
    return [(language, inside) for _, language, inside in sorted(found)]


def commands() -> list[tuple[Path, int]]:
    return [(page, place) for page in PAGES for place, (language, _) in enumerate(blocks(page)) if language == "sh"]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PATH: each program hands what it was given to `page_programs`."""
    folder = tmp_path_factory.mktemp("programs")
    for name in PAGE_PROGRAMS:
        script = folder / name
        runs = f"{sys.executable} {Path(__file__).parent / 'page_programs.py'} {name} {folder}"
        script.write_text(f'#!/bin/sh\nexec {runs} "$@"\n')
        script.chmod(0o755)
    (folder / "forwarded").touch()
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a reader has: our folder `k8s`, and an app of their own."""
    shutil.copytree(REPO / "k8s", tmp_path / "k8s")
    app = tmp_path / "k8s" / "examples" / "app"
    for name in ("deployment.yaml", "service.yaml"):
        shutil.copy(app / name, tmp_path)
    (tmp_path / "my-app.yaml").write_text(
        "---\n".join((app / f"{one}.yaml").read_text() for one in ("deployment", "service"))
    )
    shutil.copy(tmp_path / "k8s" / "overlays" / "envoy-gateway" / "route.yaml", tmp_path)
    mounted = tmp_path / "etc" / "extproc" / "tls"
    mounted.mkdir(parents=True)
    authority = make_authority("extproc central")
    write_certificate(mounted, authority, "spiffe://extproc/proxy", is_client=True)
    (mounted / "ca.crt").write_bytes(authority.pem)
    return tmp_path


def run(text: str, folder: Path, programs: Path) -> subprocess.CompletedProcess[str]:
    for one in ELSEWHERE:
        (folder / one.lstrip("/")).mkdir(parents=True, exist_ok=True)
        text = text.replace(one, str(folder / one.lstrip("/")))
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(REPO)}
    environment["REAL_HELM"] = str(find_helm())
    # A forwarded port stays open behind the next commands; here it is waited for.
    text = re.sub(r"^(kubectl port-forward .*) &$", r"\1", text, flags=re.MULTILINE)
    command = ["bash", "-euo", "pipefail", "-c", text]
    return subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S
    )


@pytest.mark.parametrize(("page", "place"), commands(), ids=lambda one: one.name if isinstance(one, Path) else str(one))
def test_commands(page: Path, place: int, folder: Path, programs: Path) -> None:
    found = blocks(page)
    text = found[place][1]
    if "jq" in text and shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    if re.search(r"^helm ", text, re.MULTILINE) and isinstance(reason := find_helm(), str):
        print(f"helm's commands are not run: {reason}")
        pytest.skip(reason)
    for language, inside in found[:place]:
        if language == "yaml" and "kind: Kustomization" in inside:
            (folder / "kustomization.yaml").write_text(inside)
    # What an earlier block forwarded or wrote is there: a page is read from its beginning.
    before = [
        inside for language, inside in found[:place] if language == "sh" and re.search(r"port-forward| > ", inside)
    ]
    for inside in before:
        run(inside, folder, programs)
    done = run(text, folder, programs)
    assert done.returncode == 0, f"{text}\n{done.stderr}"


def test_every_way_has_its_page() -> None:
    ways = {page.stem for page in PAGES} | {"central"}
    assert set(OVERLAYS) | {"attach", "injector", "helm"} <= ways
    hub = (DOCS / "KUBERNETES.md").read_text()
    assert all(f"](kubernetes/{page.name})" in hub for page in PAGES if page.parent.name == "kubernetes")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("kubectl apply --kk k8s/overlays/sidecar", "unknown flag"),
        ("kubectl apply -k k8s/overlays/none", "none"),
        ("kubectl rollout statu deployment/hello -q", "unknown"),
        ("sed 's/containers:/container:/' deployment.yaml | kubectl apply -f -", "containers"),
        ("sed 's/backendRefs:/backendRef:/' route.yaml | kubectl apply -f -", "backendRef"),
        ("helm install waf k8s/helm/extproc --set mode=blok", "mode"),
        ("helm test waf --namespaces x", "unknown flag"),
        ("extproc attach deployment.yaml --to istioo", "invalid choice"),
        ("docker build -t extproc-envoy:latest --target nginx .", "no such target"),
        ("curl -i localhost:9999/", "no port was forwarded"),
    ],
)
def test_a_wrong_command_is_seen(command: str, said: str, folder: Path, programs: Path) -> None:
    if command.startswith("helm") and isinstance(reason := find_helm(), str):
        pytest.skip(reason)
    done = run(command, folder, programs)
    assert done.returncode != 0
    assert said in done.stderr
