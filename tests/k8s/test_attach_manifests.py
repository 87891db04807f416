"""`extproc attach` as a user types it: what it writes fits the schema, Pod Security and the component's containers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from manifests import (
    PROGRAMS,
    REPO,
    Tree,
    documents,
    endpoint,
    of_kind,
)

APP = REPO / "k8s" / "examples" / "app"
FILES = (APP / "deployment.yaml", APP / "service.yaml")


def extproc(*arguments: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "extproc", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=60)


def attach(*flags: str) -> str:
    done = extproc("attach", *FILES, "--target-port=name", *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_service_leads_to_envoy_and_back() -> None:
    trees = documents(attach())
    pod = of_kind(trees, "Deployment")[0]["spec"]["template"]["spec"]
    (port,) = of_kind(trees, "Service")[0]["spec"]["ports"]
    assert endpoint(pod, port["targetPort"]) == ("extproc-envoy", 8000)
    back = extproc("detach", "-", stdin=attach("--network-policy"))
    assert back.stdout == FILES[0].read_text() + "---\n" + FILES[1].read_text()


def test_the_diff_shows_two_containers_and_one_service_line() -> None:
    done = extproc("attach", *FILES, "--target-port=name", "--diff")
    deployment, service = done.stdout.split(f"--- {FILES[1]}")
    names = [line for line in deployment.splitlines() if line.startswith("+      - name: extproc-")]
    assert [name.split()[-1] for name in names] == ["extproc-run", "extproc-tmp", "extproc-engine", "extproc-envoy"]
    changed = [line for line in service.splitlines()[1:] if line[:1] in "+-" and line[:3] != "+++"]
    assert changed == [
        "-  - {name: http, port: 80, targetPort: 8080}",
        "+  - {name: http, port: 80, targetPort: http}",
    ]


def test_the_containers_are_those_of_the_component() -> None:
    """Whichever way the pair came in: the same limits, probes and rights."""
    parts = yaml.safe_load((REPO / "extproc" / "attachment" / "containers.yaml").read_text())
    component: Tree = yaml.safe_load((REPO / "k8s" / "components" / "sidecar" / "sidecars.yaml").read_text())
    for shipped, ours in zip(
        component["spec"]["template"]["spec"]["initContainers"], (parts["engine"], parts["envoy"]), strict=True
    ):
        same = ("name", "image", "imagePullPolicy", "restartPolicy", "resources", "securityContext")
        assert {key: shipped[key] for key in same} == {key: ours[key] for key in same}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            how = next(iter(set(shipped[probe]) & {"httpGet", "tcpSocket"}))
            without = {key: value for key, value in shipped[probe].items() if key != how}
            assert without == {key: value for key, value in ours[probe].items() if key != how}
            assert shipped[probe][how].get("path") == ours[probe][how].get("path")


def test_the_engine_writes_what_envoy_reads(tmp_path: Path) -> None:
    """Of the arguments in the pod; Envoy takes it."""
    pod = of_kind(documents(attach("--legacy")), "Deployment")[0]["spec"]["template"]["spec"]
    (writer,) = [one for one in pod["initContainers"] if one["name"] == "extproc-bootstrap"]
    arguments = [one.replace("/run/extproc", str(tmp_path)) for one in writer["args"]]
    done = extproc(*arguments)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    written = tmp_path / "envoy.yaml"
    plain = [one for one in arguments if not one.startswith("--bootstrap")]
    assert written.read_text() == extproc(*plain).stdout
    envoy = next((PROGRAMS.parent / "lib").glob("python3*/site-packages/envoy/_bin/envoy"))
    checked = subprocess.run([envoy, "--mode", "validate", "-c", written], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name the files"),
        (("/nowhere.yaml",), "/nowhere.yaml: cannot be read: No such file"),
        ((FILES[0], FILES[1]), "--target-port"),
        ((FILES[0], "--listen-port=0"), "must be a TCP port"),
        ((FILES[0], "--mode=blok"), "invalid choice"),
        ((FILES[1],), "the input holds none of"),
        ((FILES[0], "--workload=Deployment/other"), "is not in the input"),
    ],
    ids=["no file", "missing file", "numeric", "port", "mode", "no workload", "unknown workload"],
)
def test_bad_input_is_named(arguments: tuple[str, ...], said: str) -> None:
    done = extproc("attach", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_input_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"\xff\xfe")
    assert "is not UTF-8" in extproc("attach", file).stderr
    file.write_bytes(b"#" * (4 * 1024 * 1024 + 1))
    assert "is larger than" in extproc("attach", file).stderr
