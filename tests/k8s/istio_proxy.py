"""What istiod makes of an EnvoyFilter for a sidecar: a small inbound listener of our own, patched by its rules.

The fixture has the chains that a sidecar has: one per declared port, and the catch-all for the rest, each with an HTTP
connection manager and the router. Only the operations that our filter uses are known; another one is an error.
Source: istiod's documentation of EnvoyFilter; behaviour that differs from it is not claimed.
"""

from __future__ import annotations

import copy
from typing import Any

Tree = dict[str, Any]

MANAGER = "envoy.filters.network.http_connection_manager"
ROUTER = "envoy.filters.http.router"
EXTENSIONS = "type.googleapis.com/envoy.extensions"
INBOUND_PORT = 15006
PROXY_VERSION = "1.32.0"


def _chain(name: str, port: int | None) -> Tree:
    cluster = f"inbound|{port}||" if port else "InboundPassthroughCluster"
    manager = {
        "@type": f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": f"inbound_0.0.0.0_{port or 0}",
        "use_remote_address": False,
        "normalize_path": True,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {
            "name": cluster,
            "validate_clusters": False,
            "virtual_hosts": [
                {
                    "name": "inbound|http|0",
                    "domains": ["*"],
                    "routes": [
                        {"name": "default", "match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}
                    ],
                }
            ],
        },
        "http_filters": [
            {
                "name": ROUTER,
                "typed_config": {"@type": f"{EXTENSIONS}.filters.http.router.v3.Router"},
            }
        ],
    }
    match: Tree = {"transport_protocol": "raw_buffer"}
    if port:
        match["destination_port"] = port
    return {"name": name, "filter_chain_match": match, "filters": [{"name": MANAGER, "typed_config": manager}]}


def sidecar(declared_port: int) -> Tree:
    """Bootstrap of an istio-proxy whose pod declares one HTTP port; what comes is sent on to 127.0.0.1."""

    def passthrough(name: str) -> Tree:
        return {
            "name": name,
            "type": "ORIGINAL_DST",
            "lb_policy": "CLUSTER_PROVIDED",
            "connect_timeout": "1s",
            # As istiod binds it: the REDIRECT of the pod leaves traffic from here alone.
            "upstream_bind_config": {"source_address": {"address": "127.0.0.6", "port_value": 0}},
        }

    return {
        "node": {"id": "sidecar~test", "cluster": "test"},
        "static_resources": {
            "listeners": [
                {
                    "name": "virtualInbound",
                    "address": {"socket_address": {"address": "0.0.0.0", "port_value": INBOUND_PORT}},
                    "use_original_dst": False,
                    "listener_filters": [
                        {
                            "name": "envoy.filters.listener.original_dst",
                            "typed_config": {
                                "@type": "type.googleapis.com/"
                                "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
                            },
                        }
                    ],
                    "filter_chains": [
                        _chain(f"0.0.0.0_{declared_port}", declared_port),
                        _chain("virtualInbound-catchall-http", None),
                    ],
                }
            ],
            "clusters": [passthrough(f"inbound|{declared_port}||"), passthrough("InboundPassthroughCluster")],
        },
    }


def apply(bootstrap: Tree, envoy_filter: Tree) -> Tree:
    """The bootstrap with the filter's patches. Raises ValueError for what this applier does not know."""
    result = copy.deepcopy(bootstrap)
    resources = result["static_resources"]
    for patch in envoy_filter["spec"]["configPatches"]:
        match, change = patch["match"], patch["patch"]
        if match["context"] != "SIDECAR_INBOUND":
            raise ValueError(f"context {match['context']} is not a sidecar's inbound side")
        if patch["applyTo"] == "CLUSTER" and change["operation"] == "ADD":
            resources["clusters"].append(copy.deepcopy(change["value"]))
            continue
        for listener in resources["listeners"]:
            wanted = match["listener"]
            if wanted["name"] != listener["name"]:
                continue
            if patch["applyTo"] == "LISTENER" and change["operation"] == "MERGE":
                _merge(listener, change["value"])
                continue
            # A portNumber is compared with the chain's destination port, so it leaves out the catch-all.
            chains = [
                chain
                for chain in listener["filter_chains"]
                if wanted.get("portNumber") in (None, chain["filter_chain_match"].get("destination_port"))
            ]
            for chain in chains:
                _patch_chain(chain, patch)
    return result


def _patch_chain(chain: Tree, patch: Tree) -> None:
    change = patch["patch"]
    wanted = patch["match"]["listener"]["filterChain"]["filter"]
    for network_filter in chain["filters"]:
        if network_filter["name"] != wanted["name"]:
            continue
        if patch["applyTo"] == "NETWORK_FILTER" and change["operation"] == "MERGE":
            _merge(network_filter, change["value"])
        elif patch["applyTo"] == "HTTP_FILTER" and change["operation"] == "INSERT_BEFORE":
            filters = network_filter["typed_config"]["http_filters"]
            at = next(place for place, one in enumerate(filters) if one["name"] == wanted["subFilter"]["name"])
            filters.insert(at, copy.deepcopy(change["value"]))
        else:
            raise ValueError(f"{patch['applyTo']} {change['operation']} is not known here")


def _merge(target: Tree, value: Tree) -> None:
    """As protobuf merges: messages field by field, lists one behind the other, the rest replaced."""
    for key, one in value.items():
        if isinstance(one, dict) and isinstance(target.get(key), dict):
            _merge(target[key], one)
        elif isinstance(one, list) and isinstance(target.get(key), list):
            target[key] += copy.deepcopy(one)
        else:
            target[key] = copy.deepcopy(one)
