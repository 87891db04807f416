"""A pod run from its manifest, in the kubelet's order: what a cluster would do, on one machine with podman.

Init containers start in list order, a sidecar (`restartPolicy: Always`) is waited for until its startupProbe passes,
then the app starts. Stopping is the reverse (Kubernetes documentation, *Sidecar Containers* and *Pod Lifecycle*):
every preStop hook at once, each main container TERM after its own hook, then the sidecars from last to first, all
within one grace period. Probes call the pod's address from the node.

Left out: liveness probes, back-off between restarts, sizeLimit of emptyDir, requests.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeAlias

from manifests import containers, is_sidecar
from pod_images import Podman
from pod_network import PodNetwork

Tree: TypeAlias = dict[str, Any]

GRACE_SECONDS = 30
"""Default of terminationGracePeriodSeconds."""

LAST_GRACE_SECONDS = 2
"""What every container gets at least when the period is used up (kubelet's minimum)."""

PAUSE_SECONDS = 0.05
"""Between two looks at a container that is ending."""


class PodError(Exception):
    """A container did not start, or not in time; the message ends with its log."""


@dataclass(frozen=True, slots=True)
class Event:
    """`what` is `started`, `ready`, `restarted`, `signalled` or `ended`; `seconds` count from the pod's start."""

    seconds: float
    what: str
    container: str


class Pod:
    """`spec` is a rendered PodSpec, `config_maps` are name → key → text, `images` map its images to local ones.

    `folder` takes the volumes, `secrets` are name → key → bytes.
    """

    def __init__(
        self,
        podman: Podman,
        network: PodNetwork,
        spec: Tree,
        config_maps: dict[str, dict[str, str]],
        images: dict[str, str],
        folder: Path,
        secrets: dict[str, dict[str, bytes]] | None = None,
    ) -> None:
        self._podman = podman
        self._network = network
        self._spec = spec
        self._images = images
        group = spec.get("securityContext", {}).get("fsGroup", 0)
        self._volumes = {
            volume["name"]: _make_secret(
                volume["secret"], (secrets or {})[volume["secret"]["secretName"]], group, folder
            )
            if "secret" in volume
            else _make_volume(volume, config_maps, folder)
            for volume in spec["volumes"]
        }
        self._sidecars = [container for container in spec.get("initContainers", []) if is_sidecar(container)]
        self._started_at = time.monotonic()
        self.events: list[Event] = []

    def start(self) -> None:
        """Returns when every container is ready."""
        for container in self._spec.get("initContainers", []):
            self._create(container)
            if is_sidecar(container):
                self._wait(container, "startupProbe")
            elif self._podman.run("wait", self.name(container)).stdout.strip() != "0":
                raise PodError(f"{container['name']} failed: {self.log(container['name'])}")
        for container in self._spec["containers"]:
            self._create(container)
        for container in [*self._sidecars, *self._spec["containers"]]:
            self._wait(container, "readinessProbe")
            self._note("ready", container)

    def heal(self) -> list[str]:
        """Restarts what has ended, as the kubelet's next round does; the names of those restarted."""
        ended = [c for c in [*self._sidecars, *self._spec["containers"]] if not self.is_running(c["name"])]
        for container in ended:
            self._podman.run("start", self.name(container))
            self._note("restarted", container)
        return [container["name"] for container in ended]

    def kill(self, container: str) -> None:
        """SIGKILL to process 1 of a container, which takes every other process of it along."""
        self._podman.run("kill", "--signal", "KILL", self._prefix + container)
        self._until(lambda: not self.is_running(container), 10, f"{container} survived")

    def stop(self) -> None:
        """Returns when every container has ended, within the grace period."""
        deadline = time.monotonic() + self._spec.get("terminationGracePeriodSeconds", GRACE_SECONDS)
        mains = self._spec["containers"]
        time.sleep(max(_hook_seconds(container) for container in mains))
        for container in mains:
            self._signal(container)
        for container in mains:
            self._await_end(container, deadline)
        for container in reversed(self._sidecars):
            self._signal(container)
            self._await_end(container, deadline)

    def remove(self) -> None:
        for container in containers(self._spec):
            self._podman.run("rm", "--force", "--time", "0", "--ignore", self.name(container), check=False)

    def name(self, container: Tree) -> str:
        return self._prefix + str(container["name"])

    def log(self, container: str) -> str:
        done = self._podman.run("logs", self._prefix + container, check=False)
        return done.stdout + done.stderr

    def is_running(self, container: str) -> bool:
        return self._podman.inspect(self._prefix + container, "{{.State.Running}}") == "true"

    def exit_code(self, container: str) -> int:
        return int(self._podman.inspect(self._prefix + container, "{{.State.ExitCode}}"))

    def execute(self, container: str, *command: str) -> str:
        return self._podman.run("exec", self._prefix + container, *command).stdout

    @property
    def _prefix(self) -> str:
        return f"{self._network.pod}-"

    def _create(self, container: Tree) -> None:
        context = {**self._spec.get("securityContext", {}), **container.get("securityContext", {})}
        options = ["--detach", "--pull=never", "--no-hosts", "--read-only-tmpfs=false"]
        options += ["--name", self.name(container), "--network", f"ns:{self._network.pod_path}"]
        options += ["--user", f"{context['runAsUser']}:{context.get('runAsGroup', 0)}"]
        options += [f"--read-only={json.dumps(context.get('readOnlyRootFilesystem', False))}"]
        options += [f"--cap-drop={name}" for name in context.get("capabilities", {}).get("drop", [])]
        if context.get("allowPrivilegeEscalation") is False:
            options.append("--security-opt=no-new-privileges")
        memory = container.get("resources", {}).get("limits", {}).get("memory")
        if memory is not None:
            options += ["--memory", _podman_size(memory)]
        for variable in container.get("env", []):
            options += ["--env", f"{variable['name']}={variable['value']}"]
        for mount in container.get("volumeMounts", []):
            mode = "ro" if mount.get("readOnly") else "rw"
            options += ["--volume", f"{self._volumes[mount['name']]}:{mount['mountPath']}:{mode}"]
        if "command" in container:
            options += ["--entrypoint", json.dumps(container["command"])]
        self._podman.run("run", *options, self._images[container["image"]], *container.get("args", []))
        self._note("started", container)

    def _wait(self, container: Tree, kind: str) -> None:
        """Until the probe passes; without one, running is enough."""
        probe = container.get(kind)
        if probe is None:
            return
        seconds = probe.get("initialDelaySeconds", 0)
        seconds += probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3)
        self._until(
            lambda: self._passes(container, probe) or self._has_failed(container),
            seconds,
            f"{container['name']}: {kind} did not pass",
            pause_seconds=min(1, probe.get("periodSeconds", 10)) / 4,
        )
        if self._has_failed(container):
            raise PodError(f"{container['name']} ended at once: {self.log(container['name'])}")

    def _has_failed(self, container: Tree) -> bool:
        return not self.is_running(container["name"])

    def _passes(self, container: Tree, probe: Tree) -> bool:
        timeout = probe.get("timeoutSeconds", 1)
        try:
            if "tcpSocket" in probe:
                self._network.connect(self._port(container, probe["tcpSocket"]), timeout).close()
                return True
            with closing(self._network.http(self._port(container, probe["httpGet"]), timeout)) as connection:
                connection.request("GET", probe["httpGet"].get("path", "/"))
                return 200 <= connection.getresponse().status < 400
        except (OSError, HTTPException):
            return False

    def _port(self, container: Tree, handler: Tree) -> int:
        ports: dict[object, int] = {port.get("name"): port["containerPort"] for port in container.get("ports", [])}
        return ports.get(handler["port"]) or int(handler["port"])

    def _signal(self, container: Tree) -> None:
        self._podman.run("kill", "--signal", "TERM", self.name(container))
        self._note("signalled", container)

    def _await_end(self, container: Tree, deadline: float) -> None:
        seconds = max(deadline - time.monotonic(), LAST_GRACE_SECONDS)
        self._until(lambda: not self.is_running(container["name"]), seconds, f"{container['name']} did not end")
        self._note("ended", container)

    def await_log(self, container: str, text: str) -> None:
        """Until the container has written it; raises PodError if it does not."""
        self._until(lambda: text in self.log(container), 10, f"{container} did not write {text!r}")

    def _until(
        self, is_true: Callable[[], bool], seconds: float, complaint: str, pause_seconds: float = PAUSE_SECONDS
    ) -> None:
        deadline = time.monotonic() + seconds
        while not is_true():
            if time.monotonic() > deadline:
                logs = "\n".join(self.log(container["name"])[-2000:] for container in containers(self._spec))
                raise PodError(f"{complaint} within {seconds:.0f} s\n{logs}")
            time.sleep(pause_seconds)

    def _note(self, what: str, container: Tree) -> None:
        self.events.append(Event(time.monotonic() - self._started_at, what, container["name"]))


def _make_volume(volume: Tree, config_maps: dict[str, dict[str, str]], folder: Path) -> Path:
    path = folder / str(volume["name"])
    path.mkdir(parents=True)
    if "configMap" in volume:
        for key, text in config_maps[volume["configMap"]["name"]].items():
            (path / key).write_text(text)
            (path / key).chmod(0o644)
    else:
        path.chmod(0o777)  # an emptyDir may be written by any user
    return path


def _make_secret(wanted: Tree, held: dict[str, bytes], group: int, folder: Path) -> Path:
    """Readable as the manifest says, and no further: by root, and by `fsGroup`."""
    path = folder / str(wanted["secretName"])
    path.mkdir(parents=True)
    for key, text in held.items():
        (path / key).write_bytes(text)
        os.chown(path / key, 0, group)
        (path / key).chmod(wanted.get("defaultMode", 0o644))
    return path


def _hook_seconds(container: Tree) -> float:
    return float(container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0))


def _podman_size(quantity: str) -> str:
    """`512Mi` → `512m`: Kubernetes' binary suffixes as podman writes them."""
    return quantity.removesuffix("i").lower()
