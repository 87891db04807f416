"""E01 to E34 in order: what a client, the app and the log see of each through a real Envoy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.conformance.through_envoy import faults, records, single_requests, streams
from tests.conformance.through_envoy.ground import Site


@dataclass(frozen=True, slots=True)
class Case:
    """`run` raises what pytest raises: an assertion, a failure, a skip."""

    number: str
    title: str
    run: Callable[[Site], None]


CASES = [
    Case("E01", "clean requests", single_requests.e01),
    Case("E02", "attacks", single_requests.e02),
    Case("E03", "attack over gRPC", single_requests.e03),
    Case("E04", "body limit", single_requests.e04),
    Case("E05", "engine killed", faults.e05),
    Case("E06", "engine hangs", faults.e06),
    Case("E07", "engine lies", faults.e07),
    Case("E08", "fail open", faults.e08),
    Case("E09", "3,000 slow requests", faults.e09),
    Case("E10", "WebSocket", streams.e10),
    Case("E11", "other upgrades", single_requests.e11),
    Case("E12", "POST as an upgrade", single_requests.e12),
    Case("E13", "CONNECT", single_requests.e13),
    Case("E14", "Expect: 100-continue", single_requests.e14),
    Case("E15", "paths", single_requests.e15),
    Case("E16", "smuggling", single_requests.e16),
    Case("E17", "malformed requests", single_requests.e17),
    Case("E18", "Host", single_requests.e18),
    Case("E19", "spoofed headers", single_requests.e19),
    Case("E20", "client address", single_requests.e20),
    Case("E21", "trailers", single_requests.e21),
    Case("E22", "slow senders", streams.e22),
    Case("E23", "clients that leave", streams.e23),
    Case("E24", "pipelined and keep-alive", streams.e24),
    Case("E25", "compressed bodies", single_requests.e25),
    Case("E26", "nothing is held back", streams.e26),
    Case("E27", "errors of the app", faults.e27),
    Case("E28", "errors of the WAF", faults.e28),
    Case("E29", "health path", single_requests.e29),
    Case("E30", "SIGTERM under load", faults.e30),
    Case("E31", "reload under load", faults.e31),
    Case("E32", "no way around by a prefix", single_requests.e32),
    Case("E33", "access log of every case", records.e33),
    Case("E34", "configurations and admin", records.e34),
]
