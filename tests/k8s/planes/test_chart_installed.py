"""The chart, really installed: the rights of its Job, the webhook that trusts what it made, `helm test`, and out again.

There is no kubelet. What a pod of the chart would run is run here with the pod's own token, and its end is reported as
a kubelet reports it.
"""

from __future__ import annotations

import base64
import datetime
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster, Tree
from helm_binary import find_helm
from renderings import CHART
from test_injector import POD, Injector

from extproc.attachment.certificate import ApiError, ClusterApi, ensure

pytestmark = pytest.mark.timeout(300)

NAMESPACE = "waf"
HOST = f"extproc-injector.{NAMESPACE}.svc"
RELEASE_LIMIT = "--timeout=100s"


class Helm:
    def __init__(self, binary: Path, cluster: Cluster) -> None:
        self.command = [str(binary), f"--kubeconfig={cluster.kubeconfig}", f"--namespace={NAMESPACE}"]
        self.environment = {**os.environ, "HOME": str(cluster.folder)}

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [*self.command, *map(str, arguments)], stdout=pipe, stderr=pipe, text=True, env=self.environment
        )

    def run(self, *arguments: str | Path) -> str:
        return finish(self.start(*arguments))


def finish(process: subprocess.Popen[str]) -> str:
    said, wrong = process.communicate(timeout=120)
    assert process.returncode == 0, said + wrong
    return said


@pytest.fixture(scope="module")
def helm(cluster: Cluster) -> Iterator[Helm]:
    found = find_helm()
    reason = found if isinstance(found, str) else None if os.geteuid() == 0 else "the Service's port 443 asks for root"
    if reason is not None:
        print(f"the chart is not installed: {reason}")
        pytest.skip(reason)
    assert isinstance(found, Path)
    helm = Helm(found, cluster)
    yield helm
    helm.start("uninstall", "waf").communicate(timeout=120)


def account(cluster: Cluster, name: str, folder: Path) -> Path:
    """What a pod of this service account finds in its own folder."""
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{name}/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
    token = cluster.call("POST", path, request)["status"]["token"]
    (folder / "token").write_text(token)
    (folder / "ca.crt").write_bytes(cluster.authority.read_bytes())
    return folder


def named(cluster: Cluster, name: str) -> list[Tree]:
    return [pod for pod in cluster.pods(NAMESPACE) if pod["metadata"]["name"] == name]


def pod_of_job(cluster: Cluster) -> Tree:
    wanted = "job-name=extproc-injector-certificate"
    return cluster.until(lambda: cluster.pods(NAMESPACE, wanted), "the Job has a pod")[0]


def report_done(cluster: Cluster, pod: Tree, code: int) -> None:
    (container,) = pod["spec"]["containers"]
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ended = {"exitCode": code, "reason": "Completed" if code == 0 else "Error", "startedAt": now, "finishedAt": now}
    status = {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": {"terminated": ended},
    }
    cluster.report_ready(pod, phase="Succeeded" if code == 0 else "Failed", containerStatuses=[status])


def run_job(cluster: Cluster, folder: Path) -> str:
    """As the Job's pod would, with its account and no other rights."""
    pod = pod_of_job(cluster)
    assert pod["spec"]["containers"][0]["args"] == ["inject-certificate", f"--namespace={NAMESPACE}"]
    api = ClusterApi(cluster.url, account(cluster, pod["spec"]["serviceAccountName"], folder))
    now = datetime.datetime.now(datetime.UTC)
    said = ensure(api, NAMESPACE, "extproc-injector-tls", "extproc-injector", HOST, now)
    with pytest.raises(ApiError, match="403"):
        api.call("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets")
    with pytest.raises(ApiError, match="403"):
        api.call("GET", "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/extproc-injector")
    report_done(cluster, pod, 0)
    return said


def test_installed_tested_upgraded_and_taken_out(cluster: Cluster, helm: Helm, tmp_path: Path) -> None:
    cluster.namespace(NAMESPACE, **{"pod-security.kubernetes.io/enforce": "restricted"})
    said = helm.run("install", "waf", CHART, "--dry-run=server")
    assert "curl" in said
    assert cluster.call("GET", f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments")["items"] == []

    installing = helm.start("install", "waf", CHART, RELEASE_LIMIT)
    assert run_job(cluster, tmp_path) == "a new certificate"
    finish(installing)
    cluster.until(lambda: len(cluster.pods(NAMESPACE, "app.kubernetes.io/name=extproc-injector")) == 2, "two injectors")

    secret = cluster.call("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/extproc-injector-tls")["data"]
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).write_bytes(base64.b64decode(secret[name]))
    address = cluster.get("service", "extproc-injector", NAMESPACE)["spec"]["clusterIP"]
    injector = Injector(tmp_path, f"{address}:443")
    try:
        other = cluster.namespace("customer")
        done = cluster.kubectl("create", "-n", other, "-o", "json", "-f", "-", stdin=json.dumps(POD))
        assert done.returncode == 0, done.stderr
        names = [one["name"] for one in json.loads(done.stdout)["spec"]["initContainers"]]
        assert names == ["extproc-engine", "extproc-envoy"]

        testing = helm.start("test", "waf", RELEASE_LIMIT)
        pod = cluster.until(lambda: named(cluster, "extproc-test"), "the pod of `helm test`")[0]
        (container,) = pod["spec"]["containers"]
        command = [sys.executable, *container["command"][1:], *container["args"], f"https://{address}/mutate"]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        report_done(cluster, pod, ran.returncode)
        assert ran.stdout == "a labelled pod gets the pair\n", ran.stderr
        assert "Succeeded" in finish(testing)
    finally:
        injector.stop()

    upgrading = helm.start("upgrade", "waf", CHART, "--set", "mode=block", RELEASE_LIMIT)
    assert run_job(cluster, tmp_path) == "the certificate is good"
    finish(upgrading)
    deployment = cluster.get("deployment", "extproc-injector", NAMESPACE)
    assert "--mode=block" in deployment["spec"]["template"]["spec"]["containers"][0]["args"]

    helm.run("uninstall", "waf", RELEASE_LIMIT)
    kinds = "deployment,service,pdb,role,rolebinding,serviceaccount,job"
    left = cluster.kubectl("get", kinds, "-n", NAMESPACE, "-l", "app.kubernetes.io/name=extproc", "-o", "name")
    assert (left.stdout, left.returncode) == ("", 0)
    wide = "mutatingwebhookconfiguration,clusterrole,clusterrolebinding"
    left = cluster.kubectl("get", wide, "-l", "app.kubernetes.io/name=extproc", "-o", "name")
    assert left.stdout == ""
