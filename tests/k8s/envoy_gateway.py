"""What Envoy Gateway makes of its policies that we ship: a listener of our own by its rules.

One listener, one route, one app, and the engine, set as the gateway sets them where nobody configured anything. Only
the fields that our policies use are known; another one is an error.
Source: the documentation and the source of Envoy Gateway 1.9; behaviour that differs is not claimed.
"""

from __future__ import annotations

from typing import Any

Tree = dict[str, Any]

TYPES = "type.googleapis.com/envoy"
LISTENER_PORT = 10080
BUFFER_BYTES = 32_768
"""Of a listener and of a cluster, if nobody says another one."""

BODY_MODES = {"Buffered": "BUFFERED", "BufferedPartial": "BUFFERED_PARTIAL", "Streamed": "STREAMED"}
UNITS = {"Ki": 1024, "Mi": 1024 * 1024}


def gateway(extension: Tree, client: Tree | None = None) -> Tree:
    """Bootstrap of the gateway's proxy. The clusters `httproute/default/hello/rule/0` and that of the engine's Service
    have no endpoints yet."""
    (processor,) = extension["spec"]["extProc"]
    (backend,) = processor["backendRefs"]
    name = f"envoy.filters.http.ext_proc/envoyextensionpolicy/default/{extension['metadata']['name']}/extproc/0"
    app = "httproute/default/hello/rule/0"
    route = {
        "name": "httproute/default/hello/rule/0/match/0/*",
        "match": {"prefix": "/"},
        "route": {"cluster": app, "upgrade_configs": [{"upgrade_type": "websocket"}]},
        "typed_per_filter_config": {name: {"@type": f"{TYPES}.config.route.v3.FilterConfig", "config": {}}},
    }
    filters = [
        {"name": name, "disabled": True, "typed_config": ext_proc(processor, backend["name"])},
        {
            "name": "envoy.filters.http.router",
            "typed_config": {
                "@type": f"{TYPES}.extensions.filters.http.router.v3.Router",
                "suppress_envoy_headers": True,
            },
        },
    ]
    manager: Tree = {
        "@type": f"{TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": f"http-{LISTENER_PORT}",
        "use_remote_address": True,
        "server_header_transformation": "PASS_THROUGH",
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
        "http2_protocol_options": {
            "max_concurrent_streams": 100,
            "initial_stream_window_size": 65_536,
            "initial_connection_window_size": 1_048_576,
        },
        "route_config": {
            "name": "default/eg/http",
            "ignore_port_in_host_matching": True,
            "virtual_hosts": [{"name": "default/eg/http/*", "domains": ["*"], "routes": [route]}],
        },
        "http_filters": filters,
    }
    listener: Tree = {
        "name": "default/eg/http",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": LISTENER_PORT}},
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    if client is not None:
        _apply_client(client["spec"], listener, manager)
    clusters = [_cluster(app, {}), _engine_cluster(backend["name"], processor.get("backendSettings", {}))]
    return {
        "node": {"id": "envoy-default-eg", "cluster": "default/eg"},
        "static_resources": {"listeners": [listener], "clusters": clusters},
    }


def ext_proc(processor: Tree, cluster: str) -> Tree:
    """Settings of the filter. Raises ValueError for a field that is not known here."""
    _known(processor, "backendRefs backendSettings messageTimeout failOpen statusOnError processingMode metadata")
    mode = processor["processingMode"]
    _known(mode, "allowModeOverride request")
    _known(mode["request"], "body attributes")
    return {
        "@type": f"{TYPES}.extensions.filters.http.ext_proc.v3.ExternalProcessor",
        "grpc_service": {
            "envoy_grpc": {"cluster_name": cluster, "authority": f"{cluster}.default:9002"},
            "timeout": "10s",
        },
        "failure_mode_allow": processor["failOpen"],
        "message_timeout": f"{int(processor['messageTimeout'].removesuffix('ms')) / 1000:.3f}s",
        "status_on_error": {"code": processor["statusOnError"]},
        "allow_mode_override": mode["allowModeOverride"],
        "processing_mode": {
            "request_header_mode": "SEND",
            "request_body_mode": BODY_MODES[mode["request"]["body"]],
            "request_trailer_mode": "SKIP",
            "response_header_mode": "SKIP",
            "response_body_mode": "NONE",
            "response_trailer_mode": "SKIP",
        },
        "request_attributes": mode["request"]["attributes"],
        "metadata_options": {"receiving_namespaces": {"untyped": processor["metadata"]["writableNamespaces"]}},
    }


def _apply_client(spec: Tree, listener: Tree, manager: Tree) -> None:
    _known(spec, "targetRefs connection path headers timeout")
    _known(spec["connection"], "bufferLimit")
    listener["per_connection_buffer_limit_bytes"] = _bytes(spec["connection"]["bufferLimit"])
    actions = {"RejectRequest": "REJECT_REQUEST"}
    manager["path_with_escaped_slashes_action"] = actions[spec["path"]["escapedSlashesAction"]]
    headers = spec["headers"]
    _known(headers, "withUnderscoresAction earlyRequestHeaders")
    manager["common_http_protocol_options"]["headers_with_underscores_action"] = actions[
        headers["withUnderscoresAction"]
    ]
    matchers = []
    for one in headers["earlyRequestHeaders"]["removeOnMatch"]:
        if one["type"] != "Prefix":
            raise ValueError(f"{one['type']} is not known here")
        matchers.append({"remove_on_match": {"key_matcher": {"prefix": one["value"], "ignore_case": True}}})
    manager["early_header_mutation_extensions"] = [
        {
            "name": "envoy.http.early_header_mutation.header_mutation",
            "typed_config": {
                "@type": f"{TYPES}.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                "mutations": matchers,
            },
        }
    ]
    times = spec["timeout"]["http"]
    _known(times, "requestHeadersReceivedTimeout requestReceivedTimeout streamIdleTimeout")
    manager["request_headers_timeout"] = times["requestHeadersReceivedTimeout"]
    manager["request_timeout"] = times["requestReceivedTimeout"]
    manager["stream_idle_timeout"] = times["streamIdleTimeout"]


def _engine_cluster(name: str, settings: Tree) -> Tree:
    _known(settings, "circuitBreaker")
    limits = settings.get("circuitBreaker", {})
    words = {
        "maxConnections": "max_connections",
        "maxPendingRequests": "max_pending_requests",
        "maxParallelRequests": "max_requests",
    }
    cluster = _cluster(name, {words[key]: value for key, value in limits.items()})
    cluster["typed_extension_protocol_options"] = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": f"{TYPES}.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    return cluster


def _cluster(name: str, limits: Tree) -> Tree:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "circuit_breakers": {"thresholds": [{"max_retries": 1024, **limits}]},
        "load_assignment": {"cluster_name": name, "endpoints": []},
    }


def _bytes(quantity: str) -> int:
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


def _known(settings: Tree, names: str) -> None:
    if unknown := settings.keys() - set(names.split()):
        raise ValueError(f"{sorted(unknown)} is not known here")
