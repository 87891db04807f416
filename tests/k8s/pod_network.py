"""Two network namespaces and a cable between them: a pod, and the node whose kubelet and clients call it.

Nothing of the machine's own network is touched: no bridge, no forwarding, no packet filter.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

CLONE_NEWNET = 0x40000000
"""setns(2)."""

# TEST-NET-1 (RFC 5737): an address that means nothing outside.
NODE_ADDRESS = "192.0.2.1"
POD_ADDRESS = "192.0.2.2"


class PodNetwork:
    """`name` prefixes both namespaces. Needs root and iproute2; raises CalledProcessError without namespaces."""

    def __init__(self, name: str) -> None:
        self.pod = f"{name}-pod"
        self.node = f"{name}-node"

    @property
    def pod_path(self) -> Path:
        return Path("/run/netns") / self.pod

    def open(self) -> None:
        self.close()
        try:
            for namespace in (self.pod, self.node):
                _ip("netns", "add", namespace)
                _ip("-n", namespace, "link", "set", "lo", "up")
            # Made inside the node's namespace: the names never show up on the machine.
            _ip("-n", self.node, "link", "add", "pod0", "type", "veth", "peer", "name", "eth0", "netns", self.pod)
            for namespace, device, address in ((self.node, "pod0", NODE_ADDRESS), (self.pod, "eth0", POD_ADDRESS)):
                _ip("-n", namespace, "address", "add", f"{address}/30", "dev", device)
                _ip("-n", namespace, "link", "set", device, "up")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for namespace in (self.pod, self.node):
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)

    def connect(self, port: int, timeout_s: float = 5.0) -> socket.socket:
        """A connection from the node to the pod's address, as the kubelet and every client make it."""
        with _inside(Path("/run/netns") / self.node):
            return socket.create_connection((POD_ADDRESS, port), timeout=timeout_s)

    def connect_node(self, port: int, timeout_s: float = 5.0) -> socket.socket:
        """A connection from the node to its own loopback."""
        with _inside(Path("/run/netns") / self.node):
            return socket.create_connection(("127.0.0.1", port), timeout=timeout_s)

    def on_node(self, *command: str | Path) -> list[str]:
        """The command, to be run on the node."""
        return ["ip", "netns", "exec", self.node, *map(str, command)]

    def http(self, port: int, timeout_s: float = 5.0) -> HTTPConnection:
        connection = HTTPConnection(POD_ADDRESS, port, timeout=timeout_s)
        connection.sock = self.connect(port, timeout_s)
        return connection


@contextlib.contextmanager
def _inside(namespace: Path) -> Iterator[None]:
    """This thread, and only it, enters a network namespace; sockets opened there stay there."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open("rb") as home, namespace.open("rb") as there:
        _setns(libc, there.fileno())
        try:
            yield
        finally:
            _setns(libc, home.fileno())


def _setns(libc: ctypes.CDLL, descriptor: int) -> None:
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True)
