"""A real Envoy with the bootstrap that the product renders, in front of a server of the test's choice.

For servers with a fault (`../servers/faulty.py`), and for settings that the product does not offer: `change` edits
the rendered tree before Envoy starts.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from extproc.proxy.admin import Admin
from extproc.proxy.binary import envoy_arguments
from tests.conformance.through_envoy.bootstrap_parts import Tree
from tests.e2e.conftest import START_LIMIT_S, free_port, wait_for

ROOT = Path(__file__).parents[3]
FAULTY = ROOT / "tests" / "conformance" / "servers" / "faulty.py"
OFFICIAL = ROOT / ".venv-official" / "bin" / "python"


def render(*flags: str) -> Tree:
    """What `extproc envoy-config` writes."""
    command = [sys.executable, "-m", "extproc", "envoy-config", *flags]
    tree: Tree = yaml.safe_load(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    return tree


class LoneEnvoy:
    """Running from `with` to its end. `change` may edit the tree."""

    def __init__(
        self, binary: Path, folder: Path, app_port: int, engine: str, change: Callable[[Tree], None] | None = None
    ) -> None:
        self.port = free_port()
        self._log = folder / "access"
        self._binary, self._folder = binary, folder
        self._admin = f"unix:{folder}/admin.sock"
        flags = ["--listen", f"127.0.0.1:{self.port}", "--app", f"127.0.0.1:{app_port}", "--grpc", engine]
        tree = render(*flags, "--admin", self._admin, "--access-log", str(self._log), "--time-budget", "100ms")
        if change is not None:
            change(tree)
        (folder / "envoy.yaml").write_text(yaml.safe_dump(tree))

    def __enter__(self) -> LoneEnvoy:
        arguments = envoy_arguments(self._binary, self._folder / "envoy.yaml", 1)
        with (self._folder / "envoy.log").open("wb") as log:
            self._process = subprocess.Popen(arguments, stderr=log)
        admin = Admin(Path(self._admin.removeprefix("unix:")))
        wait_for(lambda: admin.is_live() or self._process.poll() is not None, START_LIMIT_S, "Envoy")
        assert self._process.poll() is None, (self._folder / "envoy.log").read_text()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)

    @property
    def access_log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def line_of(self, request_id: str) -> dict[str, Any]:
        """The access log's line of one request, once it is there."""
        found: dict[str, Any] = wait_for(
            lambda: next((line for line in self.access_log if line["request_id"] == request_id), None), 5, "log line"
        )
        return found

    def stat(self, name: str) -> int:
        return read_stat(self._folder / "admin.sock", name)


def read_stat(admin: Path, name: str) -> int:
    """One counter or gauge, 0 if there is none."""

    connection = http.client.HTTPConnection("envoy", timeout=5)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(5)
    connection.sock.connect(str(admin))
    connection.request("GET", f"/stats?filter=^{name.replace('.', '[.]')}$")
    text = connection.getresponse().read().decode()
    connection.close()
    return int(text.rpartition(":")[2]) if ":" in text else 0


class FaultyServer:
    """One of `servers/faulty.py`, from `with` to its end; `address` is where it listens."""

    def __init__(self, fault: str) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._fault = fault

    def __enter__(self) -> FaultyServer:
        self._process = subprocess.Popen([OFFICIAL, FAULTY, self.address, self._fault], stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)
