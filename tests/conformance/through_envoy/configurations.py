"""What a pair can be rendered as, and which cases cannot hold there.

    pytest tests/conformance/through_envoy --configuration response

Settings come by the environment, so that every pair of the run has them, whoever starts it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tests.conformance.through_envoy.attached_envoys import VARIABLE

CLOSED_UNANSWERED = "Envoy closes without an answer to a malformed request when it sends responses to the engine"
OF_REQUESTS = "the server under test is asked about responses as well, and knows requests alone"
CHUNKED = "a response that is inspected comes in chunks, and the case reads lengths"


@dataclass(frozen=True, slots=True)
class Configuration:
    """`environment` is that of `extproc`; `differs` are cases with the reason why they are not asked."""

    environment: dict[str, str]
    differs: dict[str, str] = field(default_factory=dict)


CONFIGURATIONS = {
    "plain": Configuration({}),
    "grpc": Configuration({"EXTPROC_TRANSPORT": "grpc"}),
    "routes": Configuration({"EXTPROC_ROUTES": "/routes/up=upload:1MiB,/routes/stream=stream"}),
    "response": Configuration(
        {"EXTPROC_RESPONSE": "true"},
        {
            "E07": OF_REQUESTS,
            "E08": OF_REQUESTS,
            "E15": CLOSED_UNANSWERED,
            "E16": CLOSED_UNANSWERED,
            "E17": CLOSED_UNANSWERED,
            "E24": CHUNKED,
            "E26": CHUNKED,
        },
    ),
}

CHANGED = Path(__file__).parent / "changed_envoy"
ROOT = Path(__file__).parents[3]

OWN_ENVOY = "puts servers with a fault behind the pair's own Envoy, or reads its configuration"
OWN_WORDS = "what Envoy says when something went wrong is the owner's, and closed as well"
NO_HEALTH = "the pair's own health path"
HOSTS = "two Hosts are joined and let in (S15)"
ADDRESS = "the client's address is what the owner's proxies say (S20)"
_MESH = {
    "E07": OWN_ENVOY,
    "E08": OWN_ENVOY,
    "E34": OWN_ENVOY,
    "E27": OWN_WORDS,
    "E28": OWN_WORDS,
    "E29": NO_HEALTH,
    "E18": HOSTS,
    "E20": ADDRESS,
}
_ISTIO = {
    **_MESH,
    "E15": "escaped slashes and `//` are for the mesh's path normalisation (S13)",
    "E32": "escaped slashes are for the mesh's path normalisation (S13)",
    "E17": "underscores are let in unless the mesh refuses them (S14)",
    "E22": "time limits are the mesh's (S26, S27)",
}


def _attachment(name: str, differs: dict[str, str]) -> Configuration:
    return Configuration({VARIABLE: name, "PYTHONPATH": f"{CHANGED}:{ROOT}"}, differs)


ATTACHED = {
    "istio": _attachment("istio", _ISTIO),
    "istio-ambient": _attachment("istio-ambient", _ISTIO),
    "envoy-gateway": _attachment(
        "envoy-gateway",
        {
            **_MESH,
            "E09": "the app's circuit breaker is the gateway's",
            "E21": "trailers of HTTP/2 requests pass unseen (S19)",
        },
    ),
}
"""Somebody else's Envoy, with what we add to it, and the cases whose ground is not ours there."""
