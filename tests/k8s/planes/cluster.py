"""A real API server with etcd and its controllers, on this machine's loopback, for as long as a test runs.

What is not there: kubelets, a scheduler, kube-proxy. Pods stay where the controllers leave them, unless a test says
what a kubelet would (`report_ready`). Cluster addresses come from a part of 127.0.0.0/8 of its own, so whoever listens
on the address of a Service *is* that Service's endpoint: the API server calls a webhook by the Service that its
configuration names, and not by a URL made up for the test.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from certificates import make_authority, write_certificate

PROGRAMS = Path(sys.executable).parent
PATIENCE_S = 90.0
ADDRESS = "192.0.2.{}"
"""Of pods that a test says are ready: TEST-NET-1 (RFC 5737). Loopback addresses are refused in endpoints."""
NODE = "node"

Tree = dict[str, Any]
Result = TypeVar("Result")


class Cluster:
    """`url`, `token` and `authority` (a file) are what a client needs; `kubeconfig` holds them for an administrator."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.folder = folder
        self.programs = programs
        self.token = secrets.token_hex(16)
        self.controllers_token = secrets.token_hex(16)
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.authority = folder / "ca.crt"
        self.kubeconfig = folder / "kubeconfig"
        # Each run has a network of its own: two runs on one machine never share an address.
        self.network = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(256)}.0/24"
        self._started: list[subprocess.Popen[bytes]] = []
        self._addresses = iter(range(10, 250))

    def start(self) -> None:
        """Returns when objects can be made. Raises AssertionError with the end of the log if one ends early."""
        authority = make_authority("a cluster for tests")
        self.authority.write_bytes(authority.pem)
        self._context = ssl.create_default_context(cadata=authority.pem.decode())
        write_certificate(self.folder, authority, "kubernetes.default.svc", "127.0.0.1")
        self._kubeconfig(self.kubeconfig, self.token)
        controllers = self.folder / "controllers"
        self._kubeconfig(controllers, self.controllers_token)
        tokens = self.folder / "tokens"
        tokens.write_text(
            f'{self.token},admin,1,"system:masters"\n{self.controllers_token},system:kube-controller-manager,2\n'
        )
        client, peer = free_port(), free_port()
        etcd = f"http://127.0.0.1:{client}"
        self.run(
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
        )
        key = self.folder / "tls.key"
        self.run(
            "kube-apiserver",
            f"--etcd-servers={etcd}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            # Nobody calls it there; the machine's own address would be looked for otherwise.
            "--advertise-address=192.0.2.1",
            "--endpoint-reconciler-type=none",
            f"--cert-dir={self.folder}",
            f"--tls-cert-file={self.folder / 'tls.crt'}",
            f"--tls-private-key-file={key}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC",
            f"--service-cluster-ip-range={self.network}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.folder / 'tls.crt'}",
            f"--service-account-signing-key-file={key}",
        )
        self.until(lambda: self.call("GET", "/readyz") == "ok", "the API server is ready")
        self.run(
            "kube-controller-manager",
            f"--kubeconfig={controllers}",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={key}",
            f"--root-ca-file={self.authority}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={free_port()}",
            f"--cert-dir={self.folder}",
            "--controllers=*,-node-lifecycle-controller,-node-ipam-controller",
        )
        self.until(self._has_accounts, "service accounts are made")
        self.call("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
        self._install(self.programs / "crds")

    def _install(self, resources: Path) -> None:
        """Custom resources, as their projects ship them."""
        done = self.kubectl("apply", "--server-side", "-f", resources)
        assert done.returncode == 0, done.stderr
        done = self.kubectl("wait", "--for=condition=Established", "customresourcedefinition", "--all")
        assert done.returncode == 0, done.stderr

    def _has_accounts(self) -> bool:
        found = self.call("GET", "/api/v1/namespaces/default/serviceaccounts")
        return any(one["metadata"]["name"] == "default" for one in found["items"])

    def stop(self) -> None:
        for process in reversed(self._started):
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
        self._started.clear()

    def run(self, program: str | Path, *flags: str, **environment: str) -> subprocess.Popen[bytes]:
        """Starts one of the plane's programs, or one of another plane by its path; it ends with the cluster."""
        command = [self.programs / program, *flags]
        with (self.folder / f"{command[0].name}.log").open("wb") as log:
            variables = {**os.environ, **environment}
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, env=variables)
        self._started.append(process)
        return process

    def until(self, condition: Callable[[], Result], what: str) -> Result:
        """What the condition gives as soon as it is true; a refused call counts as not yet. Raises AssertionError."""
        deadline = time.monotonic() + PATIENCE_S
        seen: object = None
        while time.monotonic() < deadline:
            for process in self._started:
                if process.poll() is not None:
                    name = Path(str(process.args[0])).name  # type: ignore[index]
                    log = (self.folder / f"{name}.log").read_text()
                    raise AssertionError(f"{name} ended with {process.returncode}: {log[-3000:]}")
            try:
                found = condition()
            except (OSError, KeyError) as error:
                seen = error
            else:
                if found:
                    return found
                seen = found
            time.sleep(0.1)
        raise AssertionError(f"{what}: not within {PATIENCE_S:.0f} s, last seen {seen}")

    def call(self, method: str, path: str, body: Tree | None = None, kind: str = "application/json") -> Any:
        """One call of the API as an administrator. Raises OSError (HTTPError with the server's words)."""
        request = urllib.request.Request(  # noqa: S310 - our own server
            self.url + path, method=method, data=None if body is None else json.dumps(body).encode()
        )
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Content-Type", kind)
        try:
            with urllib.request.urlopen(request, timeout=30, context=self._context) as answer:  # noqa: S310
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            raise OSError(f"{method} {path}: {error.code} {error.read().decode()}") from error
        return json.loads(text) if text.startswith("{") else text

    def kubectl(self, *arguments: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [PROGRAMS / "kubectl", f"--kubeconfig={self.kubeconfig}", *arguments]
        environment = {**os.environ, "HOME": str(self.folder)}  # kubectl keeps what it discovers there
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, timeout=120, env=environment
        )

    def apply(self, trees: list[Tree], *flags: str) -> str:
        """Server-side, field by field; what the server said. Raises AssertionError if it refuses or warns."""
        text = yaml.safe_dump_all(trees)
        done = self.kubectl("apply", "--server-side", "--validate=strict", *flags, "-f", "-", stdin=text)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    def namespace(self, name: str, **labels: str) -> str:
        """A new one, with its service account."""
        tree = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        self.call("POST", "/api/v1/namespaces", tree)
        path = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        self.until(lambda: self.call("GET", path), f"the service account of {name}")
        return name

    def get(self, kind: str, name: str, namespace: str) -> Tree:
        done = self.kubectl("get", kind, name, "-n", namespace, "-o", "json")
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def pods(self, namespace: str, selector: str = "") -> list[Tree]:
        found = self.call("GET", f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector}")
        return list(found["items"])

    def ends(self, namespace: str) -> set[tuple[str, int]]:
        """Addresses and ports that the Services of a namespace lead to, as their controller found them."""
        found = self.call("GET", f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices")
        return {
            (address, port["port"])
            for one in found["items"]
            for end in one["endpoints"] or []
            for address in end["addresses"]
            for port in one["ports"]
        }

    def report_ready(self, pod: Tree, **status: Any) -> str:
        """What a scheduler and a kubelet would do and say of a pod whose probes pass; its address."""
        address = ADDRESS.format(next(self._addresses))
        conditions = [{"type": kind, "status": "True"} for kind in ("Initialized", "ContainersReady", "Ready")]
        said = {"phase": "Running", "conditions": conditions, "podIP": address, **status}
        address = said["podIP"]
        said["podIPs"] = [{"ip": address}]
        meta = pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        if "nodeName" not in pod["spec"]:
            # An endpoint whose node is not known is left out.
            target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": meta["name"]}, "target": target}
            self.call("POST", f"{path}/binding", binding)
        self.call("PATCH", f"{path}/status", {"status": said}, "application/strategic-merge-patch+json")
        return address

    def _kubeconfig(self, file: Path, token: str) -> None:
        tree = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": {"server": self.url, "certificate-authority": str(self.authority)}}],
            "users": [{"name": "it", "user": {"token": token}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "current-context": "it",
        }
        file.write_text(yaml.safe_dump(tree))
        file.chmod(0o600)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
