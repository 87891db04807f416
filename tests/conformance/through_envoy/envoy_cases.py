"""E01 to E34 in order: what a client, the app and the log see of each through a real Envoy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.conformance.through_envoy import single_requests
from tests.conformance.through_envoy.ground import Site


@dataclass(frozen=True, slots=True)
class Case:
    """`run` is None where this version has nothing to run; `reason` says what is missing."""

    number: str
    title: str
    run: Callable[[Site], None] | None = None
    reason: str = ""


CASES = [
    Case("E01", "clean requests", single_requests.e01),
    Case("E02", "attacks", single_requests.e02),
    Case("E03", "attack over gRPC", single_requests.e03),
    Case("E04", "body limit", single_requests.e04),
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
    Case("E25", "compressed bodies", single_requests.e25),
    Case("E29", "health path", single_requests.e29),
    Case("E32", "no way around by a prefix", single_requests.e32),
]
