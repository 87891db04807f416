"""Which port of which container is the app's, without a guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from extproc.attachment.operations import look
from extproc.attachment.settings import AttachError, AttachSettings

PROBES = ("readinessProbe", "livenessProbe", "startupProbe")


@dataclass(frozen=True, slots=True)
class AppPort:
    """`container` and `port` are indexes into the pod's containers and that container's ports; `port` is None
    for a number that no container declares."""

    container: int
    port: int | None
    number: int
    name: str


def find_app_port(pod: Mapping[str, Any], settings: AttachSettings) -> AppPort:
    """The app's port. Raises AttachError where there are several, or none."""
    declared = [
        AppPort(at, place, int(port["containerPort"]), str(port.get("name", "")))
        for at, container in enumerate(look(pod, "spec", "containers") or [])
        for place, port in enumerate(container.get("ports") or [])
        if port.get("protocol", "TCP") == "TCP" and isinstance(port.get("containerPort"), int)
        if not settings.container or container.get("name") == settings.container
    ]
    names = [container.get("name") for container in look(pod, "spec", "containers") or []]
    if settings.container and settings.container not in names:
        raise AttachError(f"--container {settings.container}: the pod's containers are {', '.join(map(str, names))}")
    if settings.app_port:
        found = [port for port in declared if settings.app_port in (port.name, str(port.number))]
        if not found and settings.app_port.isdecimal():
            number = int(settings.app_port)
            if not 1 <= number <= 65535:
                raise AttachError(f"--app-port {settings.app_port}: is no TCP port")
            at = names.index(settings.container) if settings.container else 0
            return AppPort(at, None, number, "")
        if not found:
            raise AttachError(f"--app-port {settings.app_port}: is not declared; declared are {_list(declared)}")
    else:
        found = [port for port in declared if port.name == "http"] or declared
    if not found:
        raise AttachError("no container declares a port, so which one is the app's? Say it: --app-port NUMBER")
    if len({(port.container, port.number) for port in found}) > 1:
        raise AttachError(
            f"several ports could be the app's: {_list(found)}. Say which: --app-port NAME or NUMBER"
            + (" (and --container)" if len({port.number for port in found}) == 1 else "")
        )
    return found[0]


def _list(ports: list[AppPort]) -> str:
    return ", ".join(f"{port.number}{f' ({port.name})' if port.name else ''}" for port in ports) or "none"


def ports_in_use(pod: Mapping[str, Any]) -> dict[int, str]:
    """Every declared TCP port of the pod → the container that has it."""
    return {
        port["containerPort"]: container.get("name", "")
        for kind in ("initContainers", "containers")
        for container in look(pod, "spec", kind) or []
        for port in container.get("ports") or []
        if port.get("protocol", "TCP") == "TCP" and isinstance(port.get("containerPort"), int)
    }


def port_names_in_use(pod: Mapping[str, Any]) -> set[str]:
    """Every declared port name of the pod."""
    return {
        str(port["name"])
        for kind in ("initContainers", "containers")
        for container in look(pod, "spec", kind) or []
        for port in container.get("ports") or []
        if port.get("name")
    }
