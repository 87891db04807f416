"""The policy that closes the way around Envoy for an app that does not bind to 127.0.0.1."""

from __future__ import annotations

from typing import Any

from extproc.attachment import yaml_text
from extproc.attachment.settings import INJECT_LABEL, MANAGED_LABELS, METRICS_PORT


def network_policy(name: str, namespace: str, labels: dict[str, Any], listen_port: int) -> str:
    """YAML of a NetworkPolicy: pods with these labels take traffic on Envoy's port and the metrics port only.

    Port numbers, not names: network plugins differ in whether they look names up in sidecars.
    """
    metadata: dict[str, Any] = {"name": f"{name}-only-through-envoy"}
    if namespace:
        metadata["namespace"] = namespace
    metadata["labels"] = dict(MANAGED_LABELS)
    ports = [{"protocol": "TCP", "port": port} for port in (listen_port, METRICS_PORT)]
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": {
            "podSelector": {"matchLabels": {**labels, INJECT_LABEL: "true"}},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": ports}],
        },
    }
    return yaml_text.dump(policy)
