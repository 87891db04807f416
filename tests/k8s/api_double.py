"""As much of an API server as `kubectl create` and a mutating webhook need; the rest of it is not there.

It selects by label, calls the webhook over TLS with the configuration's CA and the Service's name, checks the answer
as the API server does, applies the patch, and holds the result against the strict schema.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import json
import socket
import ssl
import threading
import uuid
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonpatch
from manifests import schema_errors

VERSION = {"major": "1", "minor": "37", "gitVersion": "v1.37.0"}
RESOURCES = {
    "kind": "APIResourceList",
    "groupVersion": "v1",
    "resources": [
        {"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod", "verbs": ["create", "get"]}
    ],
}


class RefusedError(Exception):
    """What kubectl is to be told."""


class ApiDouble:
    """Serves on a free port of 127.0.0.1. `port_of_webhook` is where the Service's endpoint is."""

    def __init__(self, configuration: dict[str, Any], port_of_webhook: int, folder: Path) -> None:
        self.webhook = configuration["webhooks"][0]
        self.port_of_webhook = port_of_webhook
        self.folder = folder
        self.calls = 0
        double = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                found = {
                    "/version": VERSION,
                    "/api": {"kind": "APIVersions", "versions": ["v1"]},
                    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
                    "/api/v1": RESOURCES,
                }.get(path)
                self.answer(200 if found else 404, found or status(404, f"no {path}"))

            def do_POST(self) -> None:
                pod = json.loads(self.rfile.read(int(self.headers["content-length"])))
                try:
                    self.answer(201, double.create(pod))
                except RefusedError as refusal:
                    self.answer(403, status(403, str(refusal)))

            def answer(self, code: int, tree: Any) -> None:
                text = json.dumps(tree).encode()
                self.send_response(code)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                """kubectl says what went wrong."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def create(self, pod: dict[str, Any]) -> dict[str, Any]:
        pod.setdefault("metadata", {}).setdefault("namespace", "shop")
        wanted = self.webhook["objectSelector"]["matchLabels"]
        if wanted.items() <= pod["metadata"].get("labels", {}).items():
            pod = self.call(pod)
            pod = self.call(pod)  # reinvocationPolicy: IfNeeded
        if wrong := schema_errors([pod]):
            raise RefusedError(f"invalid after mutation: {wrong}")
        return pod

    def call(self, pod: dict[str, Any]) -> dict[str, Any]:
        """One call; a webhook that does not answer is a refusal (`failurePolicy: Fail`)."""
        self.calls += 1
        uid = str(uuid.uuid4())
        review = {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {"uid": uid, "namespace": "shop", "operation": "CREATE", "dryRun": False, "object": pod},
        }
        service = self.webhook["clientConfig"]["service"]
        ca = base64.b64decode(self.webhook["clientConfig"]["caBundle"]).decode()
        context = ssl.create_default_context(cadata=ca)
        name = f"{service['name']}.{service['namespace']}.svc"
        try:
            connection = PinnedConnection(name, self.port_of_webhook, context, self.webhook["timeoutSeconds"])
            with contextlib.closing(connection):
                connection.request("POST", service["path"], json.dumps(review), {"content-type": "application/json"})
                answer = connection.getresponse()
                if answer.status != 200:
                    raise RefusedError(f"failed calling webhook: status {answer.status}")
                response = json.loads(answer.read())["response"]
        except OSError as error:
            raise RefusedError(f"failed calling webhook {self.webhook['name']}: {error}") from error
        if response["uid"] != uid:
            raise RefusedError("webhook answered another request")
        if not response["allowed"]:
            raise RefusedError(f"admission webhook denied the request: {response['status']['message']}")
        if ("patch" in response) is not ("patchType" in response):
            raise RefusedError("patch and patchType go together")
        if "patch" not in response:
            return pod
        changed: dict[str, Any] = jsonpatch.apply_patch(
            copy.deepcopy(pod), json.loads(base64.b64decode(response["patch"]))
        )
        return changed


class PinnedConnection(HTTPSConnection):
    """Connects to an address of this machine and asks for the Service's name, as an API server does."""

    def __init__(
        self, name: str, port: int, context: ssl.SSLContext, timeout: float, address: str = "127.0.0.1"
    ) -> None:
        super().__init__(name, port, context=context, timeout=timeout)
        self._create_connection = lambda *_: socket.create_connection((address, port), timeout)


def status(code: int, message: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}
