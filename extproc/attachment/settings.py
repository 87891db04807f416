"""What a user decides about an attachment, and the error that says which decision is missing."""

from __future__ import annotations

import re
from dataclasses import dataclass

from extproc.model.errors import ExtprocError

PREFIX = "extproc.dev"
"""Of every label and annotation."""

INJECT_LABEL = f"{PREFIX}/inject"
RECORD = f"{PREFIX}/attached"
"""Annotation of the pod: what `detach` needs to undo the attachment, JSON."""

ANNOTATIONS = {"mode": "mode", "policy": "policy", "app-port": "app_port", "listen-port": "listen_port"}
"""Annotations of a pod that stand for flags; a flag wins."""

ENGINE, ENVOY = "extproc-engine", "extproc-envoy"
"""Names of the containers."""

BOOTSTRAP = "extproc-bootstrap"
"""Init container that writes Envoy's configuration where Envoy does not wait for the engine (`is_legacy`)."""

MODES = ("off", "monitor", "block")


DEFAULT_IMAGE, DEFAULT_ENVOY_IMAGE = "extproc:latest", "extproc-envoy:latest"


ATTACH_LABEL = f"{PREFIX}/attach"
"""On pods whose mesh proxy asks the engine beside the app: `istio`."""

MANAGED_LABELS = {
    "app.kubernetes.io/name": "extproc",
    "app.kubernetes.io/component": "waf",
    "app.kubernetes.io/part-of": "extproc",
    "app.kubernetes.io/managed-by": "extproc-attach",
}
"""Of every object that `attach` adds."""

WAYS = ("sidecar", "istio", "envoy-gateway")
"""Who asks the engine: an Envoy of ours, the mesh's own in the pod, or a gateway."""


class AttachError(ExtprocError):
    """The pair cannot be put there without a guess, or at all. The message names the flag that decides."""


@dataclass(frozen=True, slots=True)
class AttachSettings:
    """Of one workload. Ports are TCP; "" and 0 mean: not decided."""

    to: str = "sidecar"
    mode: str = ""
    default_mode: str = "monitor"
    """Where neither a flag nor an annotation says one."""
    policy: str = ""
    """Name of a ConfigMap with `policy.yaml`."""
    app_port: str = ""
    """Number, or name of a declared port."""
    container: str = ""
    """The app's container, if several declare the port."""
    listen_port: int = 0
    port_name: str = ""
    """Of Envoy's port; else the name that the app's port had, else `http`."""
    target_port: str = ""
    """What becomes of a Service's numeric targetPort: `name`, `number` or `keep`."""
    image: str = DEFAULT_IMAGE
    envoy_image: str = DEFAULT_ENVOY_IMAGE
    is_host_network_accepted: bool = False
    is_legacy: bool = False
    """Plain containers, for clusters without native sidecars (before Kubernetes 1.29)."""

    @property
    def effective_mode(self) -> str:
        return self.mode or self.default_mode

    @property
    def effective_listen_port(self) -> int:
        return self.listen_port or LISTEN_PORT

    def refuse_wrong_names(self) -> None:
        """Raises AttachError for what the API server would refuse, while the flag that says it is at hand."""
        for asked, value, shape, wanted in (
            ("--policy", self.policy, OBJECT_NAME, f"the name of a ConfigMap, as {PREFIX}/policy is"),
            ("--port-name", self.port_name, PORT_NAME, f"a port's name: a-z, 0-9, -, up to {PORT_NAME_LIMIT} of them"),
            ("--image", self.image, IMAGE, "an image"),
            ("--envoy-image", self.envoy_image, IMAGE, "an image"),
        ):
            is_left_out = value == "" and shape is not IMAGE
            if not is_left_out and (not isinstance(value, str) or shape.fullmatch(value) is None):
                raise AttachError(f"{asked}: must be {wanted}, not {value!r}")


LISTEN_PORT = 8000
GRPC_PORT, HEALTH_PORT, METRICS_PORT, ADMIN_PORT = 9002, 9003, 9090, 9901
"""Ports of the pair inside the pod."""

PORT_NAME_LIMIT = 15
"""Characters of a port's name (IANA_SVC_NAME)."""

PORT_NAME = re.compile(rf"(?=.*[a-z])(?!.*--)[a-z0-9](?:[a-z0-9-]{{0,{PORT_NAME_LIMIT - 2}}}[a-z0-9])?")
OBJECT_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
"""As Kubernetes takes them: a port (IANA_SVC_NAME), an object (DNS subdomain of RFC 1123)."""

IMAGE = re.compile(r"[^\s'\"]+")
"""Whether it can be pulled is the kubelet's to say."""
