"""Addresses of one pair: which the engine has, and which are free."""

from __future__ import annotations

import os
import socket

from extproc.config import DEFAULT_GRPC, SETTINGS, Config
from extproc.model.errors import ConfigError, ExtprocError


def engine_addresses(config: Config) -> tuple[str, ...]:
    """One per worker. Raises ConfigError when `--workers` and `--grpc` do not fit together."""
    addresses = config.grpc or DEFAULT_GRPC
    if config.workers not in (0, len(addresses)):
        raise ConfigError(
            config.sources.get("workers", SETTINGS["workers"].flag),
            f"{config.workers} workers need as many addresses, not {len(addresses)}; "
            f"write {SETTINGS['grpc'].flag} once per worker",
        )
    return addresses


def refuse_taken(key: str, address: str) -> None:
    """Says in words, and before anything is started, that `IP:PORT` cannot be listened on. Raises ExtprocError."""
    try:
        with _listening_socket(address):
            pass
    except OSError as error:
        reason = os.strerror(error.errno or 0)  # Python's own text names the address once more
        raise ExtprocError(
            f"{SETTINGS[key].flag}: cannot listen on {address}: {reason}; free it or choose another"
        ) from error


def free_address() -> str:
    """A port of loopback that nobody uses now."""
    with _listening_socket("127.0.0.1:0") as found:
        return f"127.0.0.1:{found.getsockname()[1]}"


def _listening_socket(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    return socket.create_server((host, int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
