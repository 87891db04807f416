"""A real istiod over the real API server, and Envoys that it configures as it does istio-proxy.

The Envoy is the upstream one. Filters that only istio-proxy has are left out by istiod's own switches, for a sidecar; a
waypoint always gets some, so a second EnvoyFilter (`STRANGERS`) takes them out again. Nothing else differs.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import socketserver
import subprocess
import threading
from pathlib import Path
from typing import Any

import yaml
from certificates import make_authority, write_certificate
from cluster import Cluster, Tree, free_port
from pod_network import PodNetwork
from secret_service import SecretService
from test_istio_filter import envoy_binary

SYSTEM = "istio-system"
VERSION = "1.31.0"
SWITCHES = {
    "XDS_AUTH": "false",
    "ENABLE_CA_SERVER": "false",
    "INJECT_ENABLED": "false",
    "ENABLE_LEADER_ELECTION": "false",
    "PILOT_ENABLE_AMBIENT": "true",
    # What only istio-proxy knows.
    "PILOT_ENABLE_METADATA_EXCHANGE": "false",
    "PILOT_ENABLE_ALPN_FILTER": "false",
}
MANAGER = "envoy.filters.network.http_connection_manager"
STRANGERS: Tree = {
    "apiVersion": "networking.istio.io/v1alpha3",
    "kind": "EnvoyFilter",
    "metadata": {"name": "upstream-envoy", "namespace": SYSTEM},
    "spec": {
        "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "GatewayClass", "name": "istio-waypoint"}],
        "configPatches": [
            {
                "applyTo": "HTTP_FILTER",
                "match": {"listener": {"filterChain": {"filter": {"name": MANAGER, "subFilter": {"name": name}}}}},
                "patch": {"operation": "REMOVE"},
            }
            for name in ("waypoint_upstream_peer_metadata", "waypoint_downstream_peer_metadata")
        ],
    },
}


class Istiod:
    def __init__(self, cluster: Cluster, programs: Path, folder: Path) -> None:
        self.cluster = cluster
        self.authority = make_authority("the mesh")
        self.identity = folder
        write_certificate(folder, self.authority, "spiffe://cluster.local/ns/mesh/sa/default", is_client=True)
        mesh = folder / "mesh.yaml"
        mesh.write_text(yaml.safe_dump({"rootNamespace": SYSTEM}))
        cluster.namespace(SYSTEM)
        cluster.apply([STRANGERS])
        ports = [free_port() for _ in range(3)]
        http_port, grpc_port, monitoring_port = ports
        self.process = cluster.run(
            programs / "pilot-discovery",
            "discovery",
            f"--kubeconfig={cluster.kubeconfig}",
            f"--namespace={SYSTEM}",
            f"--meshConfig={mesh}",
            f"--httpAddr=127.0.0.1:{http_port}",
            f"--grpcAddr=127.0.0.1:{grpc_port}",
            f"--monitoringAddr=127.0.0.1:{monitoring_port}",
            "--secureGRPCAddr=",
            "--httpsAddr=",
            "--ctrlz_port=0",
            "--shutdownDuration=1s",
            **SWITCHES,
        )
        self.log = cluster.folder / "pilot-discovery.log"
        self.xds, self.secrets = folder / "xds.sock", folder / "sds.sock"
        self._relay = Relay(self.xds, grpc_port)
        key, chain = (folder / "tls.key").read_bytes(), (folder / "tls.crt").read_bytes()
        self._secrets = SecretService(self.secrets, chain, key, self.authority.pem)
        cluster.until(lambda: _is_ready(http_port), "istiod is ready")

    def stop(self) -> None:
        self._secrets.stop()
        self._relay.close()

    def bootstrap(self, kind: str, pod: Tree, admin: Path) -> Tree:
        """Of a proxy (`sidecar`, `waypoint`) for a pod that is ready; all else comes from istiod."""
        meta = pod["metadata"]
        address, namespace = pod["status"]["podIP"], meta["namespace"]
        metadata = {
            "NAMESPACE": namespace,
            "NAME": meta["name"],
            "ISTIO_VERSION": VERSION,
            "CLUSTER_ID": "Kubernetes",
            "INTERCEPTION_MODE": "REDIRECT",
            "ENABLE_HBONE": "true",  # as in every mesh with ambient parts
            "INSTANCE_IPS": address,
            "LABELS": meta["labels"],
        }
        source = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
        internal = "envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
        return {
            "node": {
                "id": f"{kind}~{address}~{meta['name']}.{namespace}~{namespace}.svc.cluster.local",
                "cluster": f"{meta['name']}.{namespace}",
                "metadata": metadata,
            },
            "admin": {"address": {"pipe": {"path": str(admin)}}},
            "bootstrap_extensions": [
                {
                    "name": "envoy.bootstrap.internal_listener",
                    "typed_config": {"@type": f"type.googleapis.com/{internal}"},
                }
            ],
            "dynamic_resources": {
                "lds_config": source,
                "cds_config": source,
                "ads_config": {
                    "api_type": "GRPC",
                    "transport_api_version": "V3",
                    "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
                },
            },
            "static_resources": {"clusters": [_pipe("xds-grpc", self.xds), _pipe("sds-grpc", self.secrets)]},
        }


class Proxy:
    """An Envoy in a namespace of `network`; `admin` is a Unix socket, so that it is asked from outside."""

    def __init__(self, namespace: str, bootstrap: Tree, folder: Path, admin: Path) -> None:
        self.admin = admin
        self.log = folder / f"{admin.stem}.log"
        file = folder / f"{admin.stem}.yaml"
        file.write_text(yaml.safe_dump(bootstrap))
        flags = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning", "-c", str(file)]
        with self.log.open("wb") as log:
            command = ["ip", "netns", "exec", namespace, envoy_binary(), *flags]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ)

    def get(self, path: str) -> str:
        """Raises OSError while it does not answer."""
        connection = http.client.HTTPConnection("envoy", timeout=5)
        with contextlib.closing(connection):
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(str(self.admin))
            connection.request("GET", path)
            return connection.getresponse().read().decode()

    def listeners(self) -> dict[str, Tree]:
        """As istiod sent them; those as well that Envoy refused, for want of what only istio-proxy has."""
        dump = json.loads(self.get("/config_dump?resource=dynamic_listeners"))["configs"]
        failed = [one["error_state"].get("failed_configuration", {}) for one in dump if "error_state" in one]
        refused = {one["name"]: one for one in failed if "name" in one}
        return {**refused, **{one["name"]: one["active_state"]["listener"] for one in dump if "active_state" in one}}

    def clusters(self, resource: str = "dynamic_active_clusters") -> dict[str, Tree]:
        dump = json.loads(self.get(f"/config_dump?resource={resource}"))["configs"]
        return {one["cluster"]["name"]: one["cluster"] for one in dump}

    def streams(self) -> int:
        lines = [line for line in self.get("/stats").splitlines() if "ext_proc" in line and "streams_started" in line]
        return sum(int(line.rsplit(" ", 1)[1]) for line in lines)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class Relay:
    """A Unix socket that leads to a port of this machine: files are there in every network namespace."""

    def __init__(self, path: Path, port: int) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(("127.0.0.1", port)) as upstream:
                    back = threading.Thread(target=_pump, args=(upstream, self.request), daemon=True)
                    back.start()
                    _pump(self.request, upstream)
                    back.join()

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True
            block_on_close = False

        self._server = Server(str(path), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def in_namespace(network: PodNetwork, log: Path, *command: str | Path, **environment: str) -> subprocess.Popen[bytes]:
    """A program inside the pod's namespace."""
    entered = ["ip", "netns", "exec", network.pod, *map(str, command)]
    with log.open("wb") as file:
        return subprocess.Popen(entered, stdout=file, stderr=file, env={**os.environ, **environment})


def http_filters(listener: Tree) -> list[list[Tree]]:
    """Of every chain with an HTTP connection manager."""
    managers = [one["typed_config"] for chain in listener["filter_chains"] for one in chain["filters"]]
    return [one["http_filters"] for one in managers if "http_filters" in one]


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _pipe(name: str, path: Path) -> Tree:
    kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    options = {"@type": f"type.googleapis.com/{kind}", "explicit_http_config": {"http2_protocol_options": {}}}
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(path)}}}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {kind: options},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _is_ready(port: int) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
