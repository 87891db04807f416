"""checkov over everything that a user may apply. What it finds is mended, or stands here with the reason why not.

It lives in `.venv-checkov`, which `make k8s` makes: its dependencies are many and none of ours.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import pytest
from manifests import REPO, UnavailableError
from renderings import RENDERINGS

CHECKOV = REPO / ".venv-checkov" / "bin" / "checkov"
LIMIT_S = 240

REGISTRY = "images are in the user's registry: tag, digest and pull policy are set there (`images:`, `image.engine`)"
THROTTLED = "a CPU limit throttles, throttling turns into timeouts, and those into 503 (docs/KUBERNETES.md)"
NAMESPACE = "overlays for an app go where the app is, which is for `kubectl -n` or a kustomization to say"
OF_CONTAINERS = "every container has a whole securityContext; none is left to the pod's"
LITTLE = "the example app has one probe, which tells all that it could tell"
ONCE = "a pod that asks once and ends, at `helm test`"
JOB = "it writes a Secret and the webhook's CA, so it needs its token, and calls the API server alone"
WEBHOOK = "it patches the CA of one webhook by its name, which is the least that can be granted"


class Skip(NamedTuple):
    """`resource` is a pattern of checkov's KIND.NAMESPACE.NAME."""

    check: str
    resource: str
    reason: str


SKIPS = (
    Skip("CKV_K8S_11", "*", THROTTLED),
    Skip("CKV_K8S_14", "*", REGISTRY),
    Skip("CKV_K8S_15", "*", REGISTRY),
    Skip("CKV_K8S_43", "*", REGISTRY),
    Skip("CKV_K8S_21", "*", NAMESPACE),
    Skip("CKV_K8S_29", "Deployment.extproc-system.extproc-engine", OF_CONTAINERS),
    Skip("CKV_K8S_29", "Deployment.default.hello-extproc", OF_CONTAINERS),
    Skip("CKV_K8S_8", "*.default.hello", LITTLE),
    Skip("CKV_K8S_8", "Pod.extproc-system.extproc-test", ONCE),
    Skip("CKV_K8S_9", "Pod.extproc-system.extproc-test", ONCE),
    Skip("CKV2_K8S_6", "Pod.extproc-system.extproc-test", ONCE),
    Skip("CKV2_K8S_6", "Pod.extproc-system.extproc-injector-certificate.*", JOB),
    Skip("CKV_K8S_38", "Job.extproc-system.extproc-injector-certificate", JOB),
    Skip("CKV_K8S_155", "ClusterRole.default.extproc-injector-certificate", WEBHOOK),
)


class Finding(NamedTuple):
    """What a check says of a resource of a rendering."""

    check: str
    resource: str
    rendering: str
    says: str


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> list[Finding]:
    if not CHECKOV.exists():
        reason = "checkov is not installed: `make k8s` puts it into .venv-checkov"
        print(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("rendered")
    for name, rendering in RENDERINGS.items():
        try:
            (folder / f"{re.sub('[^a-z0-9]+', '-', name.lower())}.yaml").write_text(rendering.text())
        except UnavailableError as reason:
            print(f"{name} is not rendered: {reason}")
    flags = ("--framework", "kubernetes", "--skip-download", "--output", "json", "--quiet")
    command = [CHECKOV, "--directory", folder, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S, cwd=folder)
    found = list(_findings(json.loads(done.stdout)))
    assert found, done.stderr
    return found


def _findings(report: object) -> Iterator[Finding]:
    for part in report if isinstance(report, list) else [report]:
        assert part["summary"]["passed"] > 0
        for one in part["results"]["failed_checks"]:
            yield Finding(one["check_id"], one["resource"], Path(one["file_path"]).stem, one["check_name"])


def is_skipped(finding: Finding, skip: Skip) -> bool:
    return finding.check == skip.check and fnmatchcase(finding.resource, skip.resource)


def test_nothing_is_found_that_is_not_meant(findings: list[Finding]) -> None:
    assert [one for one in findings if not any(is_skipped(one, skip) for skip in SKIPS)] == []


@pytest.mark.parametrize("skip", SKIPS, ids=lambda skip: f"{skip.check} {skip.resource}")
def test_every_skip_is_needed(skip: Skip, findings: list[Finding]) -> None:
    assert any(is_skipped(one, skip) for one in findings), "take the skip out"
