"""What istiod makes of an EnvoyFilter: inbound listeners of our own as its sidecars and waypoints have them, patched.

The fixture has the listeners that a sidecar has in a mesh with ambient parts: `virtualInbound`, `connect_terminate`,
which takes tunnels apart, and `main_internal`, which gets what was in them; each with a chain per declared port and the
catch-all for the rest. A waypoint has the last two. Connection managers are set as istiod sets them where nobody
configured anything. Only the operations that our filters use are known; another one is an error.
Source: istiod's documentation of EnvoyFilter, and its source of August 2026; behaviour that differs is not claimed.
"""

from __future__ import annotations

import copy
from typing import Any

Tree = dict[str, Any]

MANAGER = "envoy.filters.network.http_connection_manager"
MANAGER_TYPE = "HttpConnectionManager"
ROUTER = "envoy.filters.http.router"
EXTENSIONS = "type.googleapis.com/envoy.extensions"
INBOUND_PORT, TUNNEL_PORT = 15006, 15008
PROXY_VERSION = "1.32.0"
PASSTHROUGH = "InboundPassthroughCluster"


def _filter(name: str, kind: str, **settings: Any) -> Tree:
    return {"name": name, "typed_config": {"@type": f"{EXTENSIONS}.{kind}", **settings}}


def _router() -> Tree:
    return _filter(ROUTER, "filters.http.router.v3.Router")


def _manager(stat_prefix: str, routes: list[Tree], **settings: Any) -> Tree:
    hosts = [{"name": "inbound|http|0", "domains": ["*"], "routes": routes}]
    return _filter(
        MANAGER,
        f"filters.network.http_connection_manager.v3.{MANAGER_TYPE}",
        stat_prefix=stat_prefix,
        server_name="istio-envoy",
        use_remote_address=False,
        stream_idle_timeout="0s",
        route_config={"name": stat_prefix, "validate_clusters": False, "virtual_hosts": hosts},
        http_filters=[_router()],
        **settings,
    )


def _http_chain(name: str, port: int | None, cluster: str, *, is_tunnelled: bool = False) -> Tree:
    routes = [{"name": "default", "match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}]
    manager = _manager(
        f"inbound_0.0.0.0_{port or 0}",
        routes,
        normalize_path=True,
        path_with_escaped_slashes_action="KEEP_UNCHANGED",
        upgrade_configs=[{"upgrade_type": "websocket"}],
    )
    match: Tree = {} if is_tunnelled else {"transport_protocol": "raw_buffer"}
    if port:
        match["destination_port"] = port
    return {"name": name, "filter_chain_match": match, "filters": [manager]}


def _original_dst() -> Tree:
    return _filter("envoy.filters.listener.original_dst", "filters.listener.original_dst.v3.OriginalDst")


def _socket(port: int) -> Tree:
    return {"socket_address": {"address": "0.0.0.0", "port_value": port}}


def _tunnel_listeners(chains: list[Tree]) -> list[Tree]:
    route = {
        "match": {"connect_matcher": {}},
        "route": {"cluster": "main_internal", "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}]},
    }
    options = {"allow_connect": True, "max_concurrent_streams": 100}
    terminate = _manager(
        "connect_terminate", [route], upgrade_configs=[{"upgrade_type": "CONNECT"}], http2_protocol_options=options
    )
    return [
        {
            "name": "connect_terminate",
            "address": _socket(TUNNEL_PORT),
            "filter_chains": [{"name": "default", "filters": [terminate]}],
        },
        {
            "name": "main_internal",
            "internal_listener": {},
            "listener_filters": [_original_dst()],
            "filter_chains": chains,
        },
    ]


def _bootstrap(node: str, listeners: list[Tree], clusters: list[Tree]) -> Tree:
    internal = {
        "name": "main_internal",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "main_internal",
            "endpoints": [
                {
                    "lb_endpoints": [
                        {"endpoint": {"address": {"envoy_internal_address": {"server_listener_name": "main_internal"}}}}
                    ]
                }
            ],
        },
    }
    return {
        "node": {"id": f"{node}~test", "cluster": "test"},
        "bootstrap_extensions": [
            _filter("envoy.bootstrap.internal_listener", "bootstrap.internal_listener.v3.InternalListener")
        ],
        "static_resources": {"listeners": listeners, "clusters": [*clusters, internal]},
    }


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

    declared = f"inbound|{declared_port}||"

    def chains(*, is_tunnelled: bool = False) -> list[Tree]:
        return [
            _http_chain(f"0.0.0.0_{declared_port}", declared_port, declared, is_tunnelled=is_tunnelled),
            _http_chain("virtualInbound-catchall-http", None, PASSTHROUGH, is_tunnelled=is_tunnelled),
        ]

    inbound = {
        "name": "virtualInbound",
        "address": _socket(INBOUND_PORT),
        "use_original_dst": False,
        "listener_filters": [_original_dst()],
        "filter_chains": chains(),
    }
    listeners = [inbound, *_tunnel_listeners(chains(is_tunnelled=True))]
    return _bootstrap("sidecar", listeners, [passthrough(declared), passthrough(PASSTHROUGH)])


def waypoint(service: Tree, engine: Tree) -> Tree:
    """Bootstrap of a waypoint with one HTTP service; `service` and `engine` are istiod's clusters of them."""
    chain = _http_chain("inbound-vip|80|http|hello", None, service["name"], is_tunnelled=True)
    return _bootstrap("waypoint", _tunnel_listeners([chain]), [service, engine])


def managers(bootstrap: Tree, listener: str) -> list[Tree]:
    """Settings of the connection managers of a listener, in the order of its chains."""
    (found,) = [one for one in bootstrap["static_resources"]["listeners"] if one["name"] == listener]
    return [chain["filters"][0]["typed_config"] for chain in found["filter_chains"]]


def apply(bootstrap: Tree, envoy_filter: Tree) -> Tree:
    """The bootstrap with the filter's patches. Raises ValueError for what this applier does not know."""
    result = copy.deepcopy(bootstrap)
    resources = result["static_resources"]
    for patch in envoy_filter["spec"]["configPatches"]:
        match, change = patch["match"], patch["patch"]
        if match["context"] != "SIDECAR_INBOUND":
            raise ValueError(f"context {match['context']} is not an inbound side")
        if patch["applyTo"] == "CLUSTER" and change["operation"] == "ADD":
            resources["clusters"].append(copy.deepcopy(change["value"]))
            continue
        for listener in resources["listeners"]:
            wanted = match["listener"]
            if wanted.get("name", listener["name"]) != listener["name"]:
                continue
            if patch["applyTo"] == "LISTENER" and change["operation"] == "MERGE":
                _merge(listener, change["value"])
                continue
            # A portNumber is compared with the chain's destination port, so it leaves out the catch-all.
            chains = [
                chain
                for chain in listener["filter_chains"]
                if wanted.get("portNumber") in (None, chain.get("filter_chain_match", {}).get("destination_port"))
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
