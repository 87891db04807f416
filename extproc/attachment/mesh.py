"""The same ext_proc filter for proxies that are not ours: Istio's EnvoyFilter, Envoy Gateway's EnvoyExtensionPolicy.

The filter is the one of the pair's own bootstrap, so what closes a hole there closes it here. What belongs to the mesh
(normalisation, X-Forwarded-For, underscores) is listed in docs/SECURITY.md.
"""

from __future__ import annotations

from typing import Any

from extproc.attachment.settings import ATTACH_LABEL, GRPC_PORT, MANAGED_LABELS, METRICS_PORT, AttachSettings
from extproc.attachment.sidecar import gateway_engine
from extproc.config import Config
from extproc.proxy.bootstrap import ANSWER_MARGIN_MS, ProxySettings, render

GATEWAY_NAMESPACE = "envoy-gateway-system"
"""Where Envoy Gateway runs its proxies."""

PROXY_VERSIONS = r"^1\.(2[4-9]|3\d)"
"""Of istio-proxy, for which the filter was checked; others stay as they are, and unprotected."""


TUNNELLED = "main_internal"
"""Istio's listener for what came through an HBONE tunnel: all traffic of a waypoint, and of a sidecar what ztunnels and
waypoints send. istiod makes it beside `virtualInbound` where a mesh has both kinds."""


def pair_parts(engine: str = f"127.0.0.1:{GRPC_PORT}") -> tuple[dict[str, Any], dict[str, Any]]:
    """(ext_proc filter, cluster of the engine), as the pair's own Envoy has them with default settings."""
    defaults = Config()
    bootstrap = render(
        ProxySettings(
            listen="127.0.0.1:8000",
            app="127.0.0.1:8080",
            engine=(engine,),
            admin="127.0.0.1:9901",
            body_limit_bytes=defaults.body_limit,
            time_budget_ms=defaults.time_budget,
        )
    )
    resources = bootstrap["static_resources"]
    manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    (ext_proc,) = [one for one in manager["http_filters"] if one["name"] == "extproc.ext_proc"]
    (cluster,) = [one for one in resources["clusters"] if one["name"] == "extproc"]
    return ext_proc, cluster


def envoy_filter(name: str, namespace: str = "", selector: dict[str, str] | None = None) -> dict[str, Any]:
    """Istio: every inbound request of the selected pods asks the engine in the same pod.

    No `portNumber`: with one, the catch-all chains of undeclared ports would be left out. `selector` is of pods,
    default: the label that `attach` sets. Source: istiod's rules for EnvoyFilter, networking.istio.io/v1alpha3.
    """
    ext_proc, cluster = pair_parts()
    inbound = {"context": "SIDECAR_INBOUND", "proxy": {"proxyVersion": PROXY_VERSIONS}}
    metadata: dict[str, Any] = {"name": name, "labels": dict(MANAGED_LABELS)}
    if namespace:
        metadata["namespace"] = namespace
    return {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": metadata,
        "spec": {
            "workloadSelector": {"labels": selector or {ATTACH_LABEL: "istio"}},
            "priority": 10,
            "configPatches": [
                {
                    "applyTo": "CLUSTER",
                    "match": inbound,
                    "patch": {"operation": "ADD", "value": cluster},
                },
                *_patches("virtualInbound", inbound, ext_proc),
                *_patches(TUNNELLED, inbound, ext_proc),
            ],
        },
    }


def _patches(listener: str, match: dict[str, Any], ext_proc: dict[str, Any]) -> list[dict[str, Any]]:
    """Of one of Istio's inbound listeners: the body limit, headers that are not believed, and the filter."""
    name = "envoy.filters.network.http_connection_manager"
    router = {"name": "envoy.filters.http.router"}
    changed: tuple[tuple[str, dict[str, Any], str, dict[str, Any]], ...] = (
        ("LISTENER", {}, "MERGE", {"per_connection_buffer_limit_bytes": Config().body_limit}),
        (
            "NETWORK_FILTER",
            {"filterChain": {"filter": {"name": name}}},
            "MERGE",
            {
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network."
                    "http_connection_manager.v3.HttpConnectionManager",
                    # What only Envoy and the engine may say is not believed from outside.
                    "early_header_mutation_extensions": [_strip()],
                }
            },
        ),
        ("HTTP_FILTER", {"filterChain": {"filter": {"name": name, "subFilter": router}}}, "INSERT_BEFORE", ext_proc),
    )
    return [
        {
            "applyTo": where,
            "match": {**match, "listener": {"name": listener, **inside}},
            "patch": {"operation": operation, "value": value},
        }
        for where, inside, operation, value in changed
    ]


def waypoint_filter(name: str, namespace: str, gateway: str, engine: str) -> dict[str, Any]:
    """Istio ambient: the waypoint asks a shared engine, the Service `engine` (NAME.NAMESPACE.svc.cluster.local).

    The Service must not be headless: istiod gives a waypoint an ORIGINAL_DST cluster for such a one.
    A waypoint's listeners are patched as inbound ones; `workloadSelector` means nothing there, `targetRefs` does. The
    cluster is Istio's own for that Service, made because the annotation names it. The listener is named, for without a
    name the one that takes the tunnels apart would ask the engine about each CONNECT as well.
    """
    ext_proc, _ = pair_parts()
    ext_proc["typed_config"]["grpc_service"]["envoy_grpc"]["cluster_name"] = f"outbound|{GRPC_PORT}||{engine}"
    annotations = {"envoyfilter.istio.io/referenced-services": engine}
    return {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "annotations": annotations,
            "labels": dict(MANAGED_LABELS),
        },
        "spec": {
            "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": gateway}],
            "configPatches": _patches(TUNNELLED, {"context": "SIDECAR_INBOUND"}, ext_proc),
        },
    }


def _strip() -> dict[str, Any]:
    """Takes x-waf-* from what clients send; x-envoy-* is Istio's own business."""
    matcher = {"key_matcher": {"prefix": "x-waf-", "ignore_case": True}}
    kind = "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
    return {"name": "strip", "typed_config": {"@type": kind, "mutations": [{"remove_on_match": matcher}]}}


def gateway_objects(name: str, namespace: str, route: str, settings: AttachSettings) -> list[dict[str, Any]]:
    """An engine of its own behind a Service, only callable by the gateway's proxies, and the policy that asks it."""
    labels = {"app.kubernetes.io/name": name}
    metadata: dict[str, Any] = {"name": name, "labels": dict(MANAGED_LABELS)}
    if namespace:
        metadata["namespace"] = namespace
    proxies = {"matchLabels": {"kubernetes.io/metadata.name": GATEWAY_NAMESPACE}}
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels},
    }
    deployment = {
        "replicas": 2,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {**gateway_engine(settings), "topologySpreadConstraints": [spread]},
        },
    }
    service = {
        "selector": labels,
        # Headless: a gateway's proxy holds few long connections, and only it can spread streams over pods.
        "clusterIP": "None",
        "ports": [
            {"name": "grpc", "port": GRPC_PORT, "targetPort": "waf-grpc", "appProtocol": "kubernetes.io/h2c"},
        ],
    }
    network = {
        "podSelector": {"matchLabels": labels},
        "policyTypes": ["Ingress"],
        "ingress": [
            {"from": [{"namespaceSelector": proxies}], "ports": [{"protocol": "TCP", "port": GRPC_PORT}]},
            {"ports": [{"protocol": "TCP", "port": METRICS_PORT}]},
        ],
    }
    budget = {"maxUnavailable": 1, "selector": {"matchLabels": labels}}
    kinds = (
        ("apps/v1", "Deployment", deployment),
        ("v1", "Service", service),
        ("policy/v1", "PodDisruptionBudget", budget),
        ("networking.k8s.io/v1", "NetworkPolicy", network),
    )
    objects = [
        {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec} for version, kind, spec in kinds
    ]
    return [*objects, extension_policy(name, route, name, namespace)]


def extension_policy(name: str, route: str, service: str, namespace: str = "") -> dict[str, Any]:
    """Envoy Gateway: every request of one HTTPRoute asks the engine behind `service`.

    Trailers are not among what the policy can send: docs/SECURITY.md. Source: gateway.envoyproxy.io/v1alpha1.
    """
    pair_filter, cluster = pair_parts()
    ext_proc = pair_filter["typed_config"]
    (limits,) = cluster["circuit_breakers"]["thresholds"]
    metadata: dict[str, Any] = {"name": name, "labels": dict(MANAGED_LABELS)}
    if namespace:
        metadata["namespace"] = namespace
    budget_ms = Config().time_budget + ANSWER_MARGIN_MS
    return {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyExtensionPolicy",
        "metadata": metadata,
        "spec": {
            "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": route}],
            "extProc": [
                {
                    "backendRefs": [{"name": service, "port": GRPC_PORT}],
                    # The default of 1,024 would answer the next request in flight with an error.
                    "backendSettings": {
                        "circuitBreaker": {
                            "maxConnections": limits["max_connections"],
                            "maxPendingRequests": limits["max_pending_requests"],
                            "maxParallelRequests": limits["max_requests"],
                        }
                    },
                    "messageTimeout": f"{budget_ms}ms",
                    "failOpen": False,
                    "statusOnError": 503,
                    "processingMode": {
                        "allowModeOverride": True,
                        "request": {"body": "Buffered", "attributes": ext_proc["request_attributes"]},
                    },
                    "metadata": {"writableNamespaces": ["waf"]},
                }
            ],
        },
    }
