"""The table of docs/SECURITY.md that says of every attachment which holes are whose.

    python -m tests.k8s.attachment_holes        prints it

Each attachment's Envoy is held against the same table of holes as the pair's own: a hole that is found there has an
owner below, and an owner whose hole is closed is out of date.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from extproc.config import Config
from extproc.proxy.bootstrap import ProxySettings, render
from extproc.proxy.engine_tls import EngineTls
from extproc.proxy.holes import HOLES, find_holes
from extproc.proxy.tree import normalise, read
from tests.conformance.through_envoy.attached_envoys import ATTACHMENTS

Tree = dict[str, Any]

ROOT = Path(__file__).parents[2]
ELSEWHERE = "extproc-engine.extproc-system.svc:9002"

CONNECTION = "`connectionSettings` (Istio 1.31, `proxy.istio.io/config`)"
NORMALISATION = f"the mesh's: `meshConfig.pathNormalization`, or {CONNECTION}"
SETTINGS = f"the mesh's: {CONNECTION}, or an `EnvoyFilter` of yours"
ISTIO = {
    "paths-as-sent": NORMALISATION,
    "escaped-slashes": NORMALISATION,
    "underscores": SETTINGS,
    "slow-clients": SETTINGS,
    "client-address": "the mesh's: `numTrustedProxies` of its gateway; inside the mesh the peer is a proxy",
    "two-hosts": "open: Envoy joins them, and a rule may refuse the comma",
    "no-alarm": "the mesh's: a `Telemetry` with the fields of the pair's access log",
}
NO_FIELD = "open to a broken engine: the policy has no field for it"
OWNERS: dict[str, dict[str, str]] = {
    "sidecar": {},
    "central": {},
    "istio": ISTIO,
    "istio-ambient": {**ISTIO, "open-engine": "the mesh's: its tunnels encrypt, once the engine's namespace is in it"},
    "envoy-gateway": {
        "trailers-unseen": "open: the policy cannot send them; an app behind HTTP/1.1 gets none",
        "wide-override": NO_FIELD,
        "free-mutation": NO_FIELD,
        "rerouted": NO_FIELD,
        "two-hosts": ISTIO["two-hosts"],
        "no-alarm": "the gateway's: `EnvoyProxy.spec.telemetry.accessLog`",
        "open-engine": "yours: the network policy lets only the gateway's pods in; a `BackendTLSPolicy` for more",
    },
}
"""Attachment → hole that is found there → who closes it, or why it stays open."""


def bootstraps() -> dict[str, Tree]:
    """What each attachment's Envoy is told, without what the tests look with."""
    sidecar = yaml.safe_load((ROOT / "k8s" / "base" / "envoy.yaml").read_text())
    tls = EngineTls("/tls/ca.crt", "/tls/tls.crt", "/tls/tls.key", ELSEWHERE.partition(":")[0])
    plain = _asking_elsewhere(None)
    return {
        "sidecar": sidecar,
        "central": _asking_elsewhere(tls),
        "istio": ATTACHMENTS["istio"](sidecar),
        "istio-ambient": ATTACHMENTS["istio-ambient"](plain),
        "envoy-gateway": ATTACHMENTS["envoy-gateway"](plain),
    }


def _asking_elsewhere(tls: EngineTls | None) -> Tree:
    defaults = Config()
    settings = ProxySettings(
        listen="0.0.0.0:8000",
        app="127.0.0.1:8080",
        engine=(ELSEWHERE,),
        admin="127.0.0.1:9901",
        body_limit_bytes=defaults.body_limit,
        time_budget_ms=defaults.time_budget,
        access_log="/dev/stdout",
        is_remote=True,
        engine_tls=tls,
        accepted_risks=() if tls else ("open-engine",),
    )
    return render(settings)


def found(bootstrap: Tree) -> set[str]:
    """Names of the holes that are found."""
    return {finding.name for finding in find_holes(read(normalise(bootstrap), Config().time_budget))}


def table() -> str:
    """Markdown: a line per hole that is open, or somebody else's, anywhere."""
    lines = ["| hole | " + " | ".join(OWNERS) + " |", "|---" * (len(OWNERS) + 1) + "|"]
    for name in HOLES:
        if any(name in owners for owners in OWNERS.values()):
            cells = (owners.get(name, "closed") for owners in OWNERS.values())
            lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
