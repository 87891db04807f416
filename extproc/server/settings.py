"""What the server is told: addresses, limits, times. Frozen, made once by the command line."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from extproc.model.errors import ConfigError
from extproc.model.route import Beyond, Route

TRANSPORTS = ("http2", "grpc")

BODY_MODES = {"NONE": 0, "STREAMED": 1, "BUFFERED": 2, "BUFFERED_PARTIAL": 3}
"""Envoy's BodySendMode. The others are not on offer: FULL_DUPLEX_STREAMED and GRPC cannot hold a request back until
its verdict."""

PARTIAL_BODY_MODES = frozenset({"BUFFERED_PARTIAL"})
"""Pass the rest of a body unseen: for responses, and for routes whose user chose that in writing."""

MESSAGE_SLACK_BYTES = 65_536
"""Room for headers and framing beside a body of the limit in one gRPC message."""

MIN_MESSAGE_BYTES = 1_048_576
"""What a gRPC message may hold however small the body limit is: headers have limits of their own in Envoy."""

BURST_BYTES = 1_048_576
"""How far the beginning of a body that passes its limit may reach beyond it: what Envoy reads in one go."""

MAX_WORKERS = 256
"""A worker reports by its number in one byte."""

KILL_AFTER_S = 2.0
"""Beyond drain delay and grace; then a worker is killed."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Files in PEM, looked at again while the server runs. Only clients with a certificate of `client_ca` may call.

    `client_names`: of those only who bears one of these names (DNS or URI, as subject alternative name); empty: all.
    """

    certificate: Path
    key: Path
    client_ca: Path
    client_names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """`addresses`: one per worker, `HOST:PORT` or `unix:PATH`; no two alike. `health`: `HOST:PORT` or empty.

    Raises ConfigError for what cannot work.
    """

    addresses: tuple[str, ...]
    health: str = ""
    metrics: str = ""
    """`IP:PORT` for `/metrics` and `/status`, which the health port answers as well; "": no port of their own."""
    budget_us: int = 400_000
    """Wall time for the answer to one message; must stay below Envoy's `message_timeout`."""
    max_streams: int = 16_384
    """Open streams per worker; one more is declined with 503, from twice as many on with RESOURCE_EXHAUSTED."""
    max_connections: int = 1_024
    """Connections per worker, of the transport `http2`; one more is closed at once."""
    buffer_limit_bytes: int = 64 * 1024 * 1024
    """Messages that are incomplete, wait or are at work, together, of the transport `http2`, at least four of the
    largest; the stream that goes beyond it ends with RESOURCE_EXHAUSTED."""
    body_limit_bytes: int = 1_048_576
    """The largest body that Envoy buffers (`per_connection_buffer_limit_bytes`)."""
    drain_delay_s: float = 5.0
    """From NOT_SERVING to the closed listener; longer than Envoy's health interval times threshold."""
    drain_grace_s: float = 10.0
    """For the streams that are still open when the listener closes."""
    hang_after_s: float = 10.0
    """A worker whose event loop stood still that long is killed and started again; far beyond any budget."""
    upgrade_paths: tuple[str, ...] = ()
    """Path prefixes on which an HTTP upgrade is let through after its handshake was inspected."""
    routes: tuple[Route, ...] = ()
    """Those with a profile of their own, by the name that Envoy gives; every other one is `standard`."""
    inspect_response: bool = False
    request_body_modes: frozenset[str] = frozenset({"BUFFERED"})
    response_body_modes: frozenset[str] = frozenset({"NONE"})
    """What Envoy may declare in `protocol_config`; anything else is refused."""
    reflection: bool = False
    transport: str = "http2"
    """`http2`: our own; `grpc`: grpc.aio."""
    socket_mode: int = 0o660
    """File mode of unix sockets."""
    leave_grace_s: float = 300.0
    """For the streams of a worker whose successor serves already: slow uploads, answers that are waited for."""
    watch_s: float = 1.0
    """Between two looks at the files that were loaded; a change counts once two looks see the same. 0: never."""
    connection_age_s: float = 0.0
    """After which a client is asked to open another connection, give or take a tenth; 0: never."""
    connection_grace_s: float = 300.0
    """For the streams of a connection of that age; what is left then ends with an error, never OK."""
    tls: TlsSettings | None = None
    """None: plain text, for a peer in the same pod or on the same machine."""
    load_limit_s: float = 60.0
    """For loading rules and starting workers; who needs longer is killed."""

    @property
    def stop_limit_s(self) -> float:
        """From SIGTERM to the end of the last worker."""
        return self.drain_delay_s + self.drain_grace_s + KILL_AFTER_S

    @property
    def message_limit_bytes(self) -> int:
        """The largest gRPC message that is received; a larger one ends its stream with RESOURCE_EXHAUSTED."""
        largest = max(self.body_limit_bytes, MIN_MESSAGE_BYTES, *(route.body_limit_bytes for route in self.routes))
        is_partial = self.inspect_response or any(route.beyond is Beyond.PASS for route in self.routes)
        return largest + MESSAGE_SLACK_BYTES + (BURST_BYTES if is_partial else 0)

    def __post_init__(self) -> None:
        if not self.addresses or len(set(self.addresses)) != len(self.addresses):
            raise ConfigError("grpc", "name one address per worker, no two alike")
        if len(self.addresses) > MAX_WORKERS:
            raise ConfigError("workers", f"at most {MAX_WORKERS}")
        for key in (
            "budget_us",
            "max_streams",
            "max_connections",
            "buffer_limit_bytes",
            "body_limit_bytes",
            "hang_after_s",
            "load_limit_s",
            "connection_grace_s",
        ):
            if getattr(self, key) <= 0:
                raise ConfigError(key, "must be above 0")
        if self.transport not in TRANSPORTS:
            raise ConfigError("transport", f"choose from {', '.join(TRANSPORTS)}")
        if self.tls is not None and any(address.startswith("unix:") for address in self.addresses):
            raise ConfigError("tls_cert", "is for a port; who may open a unix socket says the mode of its file")
        for key in ("drain_delay_s", "drain_grace_s", "leave_grace_s", "watch_s", "connection_age_s"):
            if getattr(self, key) < 0:
                raise ConfigError(key, "must not be negative")
        for key in ("request_body_modes", "response_body_modes"):
            unknown = getattr(self, key) - BODY_MODES.keys()
            if unknown:
                raise ConfigError(key, f"{', '.join(sorted(unknown))}: choose from {', '.join(BODY_MODES)}")
        if self.request_body_modes & PARTIAL_BODY_MODES:
            raise ConfigError("request_body_modes", "BUFFERED_PARTIAL is for a route that says so")
        for path in self.upgrade_paths:
            if not path.startswith("/"):
                raise ConfigError("upgrade_paths", f"{path!r} must start with /")


def own_address(address: str, pid: int = 0) -> str:
    """Where a worker (this process, or `pid`) listens until it takes `address` over; the same for TCP.

    A name that no living process shares: gRPC removes the name it listened on when it closes.
    """
    return f"{address}.{pid or os.getpid():x}" if address.startswith("unix:") else address


def default_workers(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may use: CPU set or cgroup quota (v2 `cpu.max`, v1 `cpu.cfs_*`), at least 1."""
    cores = len(os.sched_getaffinity(0))
    quota = _quota(root)
    return max(1, min(cores, int(quota))) if quota is not None else cores


def _quota(root: Path) -> float | None:
    try:
        limit, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit = (root / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    return int(limit) / int(period) if limit.isdigit() and period.isdigit() and int(period) else None
