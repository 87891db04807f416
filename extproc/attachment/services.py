"""The Service's side: which of its ports lead to the app, and what makes them lead to Envoy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from extproc.attachment.app_port import AppPort
from extproc.attachment.operations import Operation, look
from extproc.attachment.settings import AttachError, AttachSettings


@dataclass(slots=True)
class ServiceChange:
    """Operations on one Service, and `record`: [port, former targetPort or None] of each change."""

    operations: list[Operation] = field(default_factory=list)
    record: list[list[Any]] = field(default_factory=list)
    follows: bool = False
    """It names the app's port, which is Envoy's name from now on: nothing to change."""


def selects(service: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """Would the Service send traffic to such a pod?"""
    selector = look(service, "spec", "selector") or {}
    labels = look(pod, "metadata", "labels") or {}
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def service_change(
    service: Mapping[str, Any], app: AppPort, envoy_name: str, settings: AttachSettings
) -> ServiceChange:
    """What one Service needs. Raises AttachError where a flag has to decide."""
    change = ServiceChange()
    name = look(service, "metadata", "name")
    for place, port in enumerate(look(service, "spec", "ports") or []):
        if port.get("protocol", "TCP") != "TCP":
            continue
        target = port.get("targetPort", port.get("port"))
        if app.name and target == app.name:
            change.follows = change.follows or envoy_name == app.name
            if envoy_name != app.name:
                change.operations.append(Operation("replace", ("spec", "ports", place, "targetPort"), envoy_name))
                change.record.append([port["port"], target])
            continue
        if target != app.number:
            continue
        if look(service, "spec", "clusterIP") == "None" and settings.target_port != "keep":
            raise AttachError(
                f"Service {name} is headless: its clients call port {app.number} of the pod itself, which no "
                "targetPort changes. Let the app listen on 127.0.0.1 on another port and Envoy take this one "
                f"(--app-port OTHER --listen-port {app.number}), or leave the Service as it is: --target-port keep"
            )
        if not settings.target_port:
            raise AttachError(
                f"Service {name} sends port {port['port']} to {app.number} by number, and a number does not follow "
                f"the pods one by one. Decide: --target-port name (it becomes {envoy_name!r}; only pods that have "
                "Envoy get traffic, so roll the pods out first if there may be no gap), --target-port number (it "
                f"becomes {settings.effective_listen_port}), or --target-port keep (the Service is left alone for now)"
            )
        if settings.target_port == "keep":
            continue
        value: str | int = envoy_name if settings.target_port == "name" else settings.effective_listen_port
        path = ("spec", "ports", place, "targetPort")
        change.operations.append(Operation("replace" if "targetPort" in port else "add", path, value))
        change.record.append([port["port"], port.get("targetPort")])
    return change
