"""Where a worker listens: one socket, whatever serves it."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path

BACKLOG = 1024
"""Connections that wait to be accepted; Envoy opens one per thread of its own."""


KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_PROBES = 60, 20, 3
"""tcp(7): a connection on which nothing comes is asked after a minute, and given up another minute later."""


class Listener:
    """A listening socket on `HOST:PORT` or `unix:PATH`. Raises OSError when it cannot be had."""

    def __init__(self, address: str, socket_mode: int) -> None:
        self._path = Path(address.removeprefix("unix:")) if address.startswith("unix:") else None
        try:
            self.socket = _listen_unix(self._path, socket_mode) if self._path else _listen_tcp(address)
        except OSError as fault:
            raise OSError(f"cannot listen on {address}: {fault.strerror or fault}") from fault
        self._file = self._path.stat() if self._path else None

    @property
    def port(self) -> int:
        """Of TCP; 0 for a unix socket."""
        return 0 if self._path else int(self.socket.getsockname()[1])

    def close(self) -> None:
        """Also removes the file, unless another process has put its own there meanwhile."""
        self.socket.close()
        if self._path is not None and self._file is not None:
            with contextlib.suppress(OSError):
                if os.path.samestat(self._path.stat(), self._file):
                    self._path.unlink()


def _listen_unix(path: Path, mode: int) -> socket.socket:
    """The mode is set by umask, so that it is never open wider, not even for a moment. A file left over goes."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
    listening = socket.socket(socket.AF_UNIX)
    before = os.umask(0o777 & ~mode)
    try:
        listening.bind(str(path))
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(before)
    listening.listen(BACKLOG)
    return listening


def _listen_tcp(address: str) -> socket.socket:
    """Shared for the moment in which one generation follows another; the supervisor refuses a port of others."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, int(port)), family=family, backlog=BACKLOG, reuse_port=True)
    # Accepted sockets inherit these: a peer that is gone without a word (a node that lost its power) is found out.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
    return listening
