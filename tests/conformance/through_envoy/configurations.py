"""What a pair can be rendered as, and which cases cannot hold there.

    pytest tests/conformance/through_envoy --configuration response

Settings come by the environment, so that every pair of the run has them, whoever starts it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

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
