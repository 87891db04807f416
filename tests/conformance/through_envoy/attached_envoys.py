"""Envoys that are not ours, with what we add to them, in place of the pair's own.

    pytest tests/conformance/through_envoy --configuration NAME

ATTACHMENTS make such an Envoy's bootstrap of the one that `extproc up` renders: what the mesh or the gateway would
configure by itself, plus what `extproc attach` or an overlay adds. Taken from the pair are the addresses of app and
engine. For the cases come the addresses of listener and admin, and what they look with: the access log, the request's
id in answers, names of statistics. All else is the attachment's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from extproc.attachment.mesh import envoy_filter, extension_policy, waypoint_filter
from tests.conformance.through_envoy import bootstrap_parts as parts
from tests.conformance.through_envoy.bootstrap_parts import Tree
from tests.k8s.envoy_gateway import gateway
from tests.k8s.istio_proxy import apply, sidecar, waypoint

VARIABLE = "ATTACHED_ENVOY"
ROOT = Path(__file__).parents[3]
GATEWAY_POLICIES = ROOT / "k8s" / "overlays" / "envoy-gateway" / "client-traffic.yaml"
ENGINE_SERVICE = "extproc-engine.extproc-system.svc.cluster.local"
HTTP2 = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}


def attached(text: str, name: str) -> str:
    """The bootstrap of that attachment, for the addresses of `text`."""
    pair = yaml.safe_load(text)
    return yaml.safe_dump(_instrumented(pair, ATTACHMENTS[name](pair)), sort_keys=False)


def istio(pair: Tree) -> Tree:
    """istio-proxy beside the app, with the EnvoyFilter of `extproc attach --to istio`."""
    port = _listener(pair)["address"]["socket_address"]["port_value"]
    bootstrap = apply(sidecar(port), envoy_filter("hello-extproc"))
    _keep_listener(bootstrap, "virtualInbound")
    for name in (f"inbound|{port}||", "InboundPassthroughCluster"):
        _replace_cluster(bootstrap, name, _plain_cluster(name, parts.cluster(pair, "app")))
    # Of the filter's own cluster only the address is another one.
    parts.cluster(bootstrap, "extproc")["load_assignment"] = parts.cluster(pair, "extproc")["load_assignment"]
    return bootstrap


def istio_ambient(pair: Tree) -> Tree:
    """A waypoint, with the EnvoyFilter of the overlay `istio-ambient`; a socket stands for its tunnel."""
    service = _plain_cluster("inbound-vip|80|http|hello", parts.cluster(pair, "app"))
    engine = _plain_cluster(f"outbound|9002||{ENGINE_SERVICE}", parts.cluster(pair, "extproc"))
    engine["typed_extension_protocol_options"] = HTTP2
    # istiod sets no limit where nobody asked for one.
    most = 4_294_967_295
    engine["circuit_breakers"] = {
        "thresholds": [{"max_connections": most, "max_pending_requests": most, "max_requests": most}]
    }
    bootstrap = apply(waypoint(service, engine), waypoint_filter("extproc", "default", "waypoint", ENGINE_SERVICE))
    _keep_listener(bootstrap, "main_internal")
    del _listener(bootstrap)["internal_listener"]
    return bootstrap


def envoy_gateway(pair: Tree) -> Tree:
    """Envoy Gateway's proxy, with the EnvoyExtensionPolicy and the ClientTrafficPolicy of the overlay."""
    policy = extension_policy("hello-extproc", "hello", "hello-extproc")
    client = yaml.safe_load(GATEWAY_POLICIES.read_text())
    bootstrap = gateway(policy, client)
    for name, ours in (("httproute/default/hello/rule/0", "app"), ("hello-extproc", "extproc")):
        parts.cluster(bootstrap, name)["load_assignment"] = _named(name, parts.cluster(pair, ours)["load_assignment"])
    return bootstrap


ATTACHMENTS: dict[str, Callable[[Tree], Tree]] = {
    "istio": istio,
    "istio-ambient": istio_ambient,
    "envoy-gateway": envoy_gateway,
}


def _instrumented(pair: Tree, bootstrap: Tree) -> Tree:
    listener = _listener(bootstrap)
    listener["address"] = _listener(pair)["address"]
    listener["enable_reuse_port"] = False
    seen = parts.manager(pair)
    for chain in listener["filter_chains"]:
        manager = chain["filters"][0]["typed_config"]
        manager["access_log"] = seen["access_log"]
        manager["always_set_request_id_in_response"] = True
        manager["stat_prefix"] = "ingress"
        for one in manager["http_filters"]:
            if one["typed_config"]["@type"].endswith("ExternalProcessor"):
                one["typed_config"]["stat_prefix"] = "waf"
                one["typed_config"]["message_timeout"] = parts.ext_proc(pair)["message_timeout"]  # of a patient engine
    for cluster in bootstrap["static_resources"]["clusters"]:
        if "load_assignment" in cluster:
            is_engine = _addresses(cluster) == _addresses(parts.cluster(pair, "extproc"))
            cluster["alt_stat_name"] = "extproc" if is_engine else "app"
    return {"admin": pair["admin"], **bootstrap}


def _addresses(cluster: Tree) -> Any:
    return cluster["load_assignment"]["endpoints"]


def _listener(bootstrap: Tree) -> Tree:
    (found,) = bootstrap["static_resources"]["listeners"]
    result: Tree = found
    return result


def _keep_listener(bootstrap: Tree, name: str) -> None:
    resources = bootstrap["static_resources"]
    resources["listeners"] = [one for one in resources["listeners"] if one["name"] == name]


def _replace_cluster(bootstrap: Tree, name: str, cluster: Tree) -> None:
    clusters = bootstrap["static_resources"]["clusters"]
    clusters[:] = [cluster if one["name"] == name else one for one in clusters]


def _plain_cluster(name: str, pairs: Tree) -> Tree:
    """One with the addresses of a cluster of the pair, and nothing else of it."""
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "load_assignment": _named(name, pairs["load_assignment"]),
    }


def _named(name: str, assignment: Tree) -> Tree:
    return {**copy.deepcopy(assignment), "cluster_name": name}
