"""`extproc inject-server` behind a real kubectl: HTTPS, the shipped webhook, a double of the API server."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from api_double import ApiDouble, PinnedConnection
from certificates import Authority, make_authority, write_certificate
from manifests import PROGRAMS, REPO, documents, findings, kustomize, of_kind, restricted_findings

pytestmark = pytest.mark.timeout(120)

HOST = "extproc-injector.extproc-system.svc"
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "shop", "labels": {"app": "shop", "extproc.dev/inject": "true"}},
    "spec": {
        "automountServiceAccountToken": False,
        "containers": [
            {
                "name": "shop",
                "image": "shop",
                "ports": [{"name": "http", "containerPort": 3000}],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "runAsNonRoot": True,
                    "runAsUser": 1000,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
            }
        ],
    },
}
PATIENCE_S = 20.0


class Injector:
    """The command as a process; `address` and `port` are where it listens."""

    def __init__(self, folder: Path, listen: str = "127.0.0.1:0") -> None:
        command = [sys.executable, "-m", "extproc", "inject-server", f"--listen={listen}"]
        files = [f"--certificate={folder / 'tls.crt'}", f"--key={folder / 'tls.key'}"]
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([*command, *files], stderr=log, cwd=REPO, env=os.environ)
        self.address = listen.partition(":")[0]
        self.port = int(self.wait_for(r"listens on [\d.]+:(\d+)"))

    def wait_for(self, pattern: str) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := re.search(pattern, self.log.read_text()):
                return found[1] if found.groups() else found[0]
            time.sleep(0.05)
        raise AssertionError(f"{pattern} not in: {self.log.read_text()}")

    def get(self, path: str, authority: Authority) -> str:
        context = ssl.create_default_context(cadata=authority.pem.decode())
        connection = PinnedConnection(HOST, self.port, context, 5, self.address)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().read().decode()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_authority("extproc test CA")


@pytest.fixture
def folder(tmp_path: Path, authority: Authority) -> Path:
    write_certificate(tmp_path, authority, HOST)
    return tmp_path


@pytest.fixture
def injector(folder: Path) -> Iterator[Injector]:
    injector = Injector(folder)
    yield injector
    if injector.process.poll() is None:
        injector.process.kill()
        injector.process.wait()


def configuration(authority: Authority) -> dict:
    """The shipped one, with this CA."""
    rendered = documents(kustomize(REPO / "k8s" / "injector"))
    (found,) = of_kind(rendered, "MutatingWebhookConfiguration")
    found["webhooks"][0]["clientConfig"]["caBundle"] = base64.b64encode(authority.pem).decode()
    return found


@pytest.fixture
def api(injector: Injector, authority: Authority, tmp_path: Path) -> Iterator[ApiDouble]:
    double = ApiDouble(configuration(authority), injector.port, tmp_path)
    yield double
    double.close()


def create(api: ApiDouble, pod: dict, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "pod.yaml"
    file.write_text(yaml.safe_dump(pod))
    command = [PROGRAMS / "kubectl", "-s", api.url, "--kubeconfig=/dev/null", "create", "--validate=false"]
    return subprocess.run([*command, "-f", file, "-o", "json"], capture_output=True, text=True, check=False, timeout=60)


def test_a_labelled_pod_gets_the_pair(api: ApiDouble, tmp_path: Path) -> None:
    done = create(api, POD, tmp_path)
    assert done.returncode == 0, done.stderr
    pod = json.loads(done.stdout)
    assert [one["name"] for one in pod["spec"]["initContainers"]] == ["extproc-engine", "extproc-envoy"]
    assert api.calls == 2  # the second call found the pair and changed nothing
    assert list(restricted_findings(pod["spec"])) == []
    assert findings([pod]) == []


def test_other_pods_are_not_asked_about(api: ApiDouble, tmp_path: Path) -> None:
    pod = {**POD, "metadata": {"name": "shop", "labels": {"app": "shop"}}}
    done = create(api, pod, tmp_path)
    assert (api.calls, "initContainers" in json.loads(done.stdout)["spec"]) == (0, False)


def test_a_pod_that_cannot_have_it_is_denied_in_words(api: ApiDouble, injector: Injector, tmp_path: Path) -> None:
    pod = {**POD, "spec": {"containers": [{"name": "shop", "image": "shop"}]}}
    done = create(api, pod, tmp_path)
    assert done.returncode == 1
    assert "no container declares a port" in done.stderr
    assert "--app-port" in injector.wait_for("denied .*")


def test_a_wrong_ca_and_a_dead_webhook_refuse(
    api: ApiDouble, injector: Injector, authority: Authority, tmp_path: Path
) -> None:
    stranger = make_authority("another CA")
    api.webhook["clientConfig"]["caBundle"] = base64.b64encode(stranger.pem).decode()
    assert "certificate verify failed" in create(api, POD, tmp_path).stderr
    api.webhook["clientConfig"]["caBundle"] = base64.b64encode(authority.pem).decode()
    assert create(api, POD, tmp_path).returncode == 0
    assert injector.stop() == 0
    assert "failed calling webhook" in create(api, POD, tmp_path).stderr


def test_a_new_certificate_is_served_and_a_broken_one_is_not(
    injector: Injector, folder: Path, authority: Authority, tmp_path: Path
) -> None:
    renewed = make_authority("the next CA")
    (folder / "tls.crt").write_text("no certificate")
    injector.wait_for("cannot be used, the former one stays")
    assert "extproc_injector_certificate_good 0.0" in injector.get("/metrics", authority)
    write_certificate(folder, renewed, HOST)
    injector.wait_for("new certificate")
    assert injector.get("/healthz", renewed) == "ok\n"
    assert "extproc_injector_certificate_good 1.0" in injector.get("/metrics", renewed)
    with pytest.raises(ssl.SSLCertVerificationError):
        injector.get("/healthz", authority)


def test_metrics_count_by_outcome(api: ApiDouble, injector: Injector, authority: Authority, tmp_path: Path) -> None:
    create(api, POD, tmp_path)
    create(api, {**POD, "spec": {"containers": [{"name": "shop", "image": "shop"}]}}, tmp_path)
    lines = injector.get("/metrics", authority).splitlines()
    counts = dict(line.rsplit(" ", 1) for line in lines if line.startswith("extproc_injector_reviews_total{"))
    counts = {re.search('"(.*)"', name)[1]: float(value) for name, value in counts.items()}  # type: ignore[index]
    assert counts == {"injected": 1.0, "unchanged": 1.0, "denied": 1.0, "invalid": 0.0}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--certificate=/nowhere"], "/nowhere: is not there"),
        (["--listen=8443"], "must be HOST:PORT"),
        (["--key=tests/k8s/conftest.py"], "cannot be used"),
    ],
)
def test_bad_start(folder: Path, flags: list[str], said: str) -> None:
    files = [f"--certificate={folder / 'tls.crt'}", f"--key={folder / 'tls.key'}"]
    command = [sys.executable, "-m", "extproc", "inject-server", *files, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPO, timeout=60)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_the_webhook_fails_closed_and_cannot_lock_the_cluster() -> None:
    (found,) = of_kind(documents(kustomize(REPO / "k8s" / "injector")), "MutatingWebhookConfiguration")
    (webhook,) = found["webhooks"]
    assert (webhook["failurePolicy"], webhook["reinvocationPolicy"]) == ("Fail", "IfNeeded")
    (expression,) = webhook["namespaceSelector"]["matchExpressions"]
    assert (expression["operator"], set(expression["values"])) == ("NotIn", {"kube-system", "extproc-system"})
    assert webhook["objectSelector"] == {"matchLabels": {"extproc.dev/inject": "true"}}
    service = webhook["clientConfig"]["service"]
    assert f"{service['name']}.{service['namespace']}.svc" == HOST
