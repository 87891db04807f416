"""Envoy configurations with one fault each, which the cases through Envoy must find.

    FAULTY_ENVOY=NAME PYTHONPATH=tests/conformance/through_envoy/changed_envoy:. pytest tests/conformance/through_envoy

FAULTS are edits of the bootstrap that `extproc up` renders; each opens a hole or breaks traffic.
"""

from __future__ import annotations

from collections.abc import Callable

import yaml

from tests.conformance.through_envoy.bootstrap_parts import Tree, cluster, ext_proc, manager

VARIABLE = "FAULTY_ENVOY"


def faulty(text: str, name: str) -> str:
    """A bootstrap with that fault."""
    tree: Tree = yaml.safe_load(text)
    FAULTS[name](tree)
    return yaml.safe_dump(tree)


def fail_open(tree: Tree) -> None:
    """Lets requests pass while the engine is away or broken."""
    ext_proc(tree)["failure_mode_allow"] = True


def no_bodies(tree: Tree) -> None:
    """Does not send bodies to the engine."""
    ext_proc(tree)["processing_mode"]["request_body_mode"] = "NONE"


def no_trailers(tree: Tree) -> None:
    """Does not send trailers to the engine."""
    ext_proc(tree)["processing_mode"]["request_trailer_mode"] = "SKIP"


def no_headers(tree: Tree) -> None:
    """Does not send heads to the engine, so requests without a body are unseen."""
    ext_proc(tree)["processing_mode"]["request_header_mode"] = "SKIP"


def watching_only(tree: Tree) -> None:
    """Tells the engine and does not wait for what it says."""
    ext_proc(tree)["observability_mode"] = True


def no_override(tree: Tree) -> None:
    """Takes no override of the mode: WebSocket hangs."""
    ext_proc(tree)["allow_mode_override"] = False


def own_status(tree: Tree) -> None:
    """Answers 500 without a body when the engine is away, as Envoy does by itself."""
    del ext_proc(tree)["status_on_error"]
    manager(tree)["local_reply_config"]["mappers"] = []


def few_streams(tree: Tree) -> None:
    """Has Envoy's own circuit breaker: 1,024 requests at the engine."""
    cluster(tree, "extproc")["circuit_breakers"] = {"thresholds": [{"max_requests": 1024}]}


def believes_addresses(tree: Tree) -> None:
    """Takes the client's address from what the client writes."""
    manager(tree)["use_remote_address"] = False


def believes_headers(tree: Tree) -> None:
    """Leaves headers that only the inside may set."""
    del manager(tree)["early_header_mutation_extensions"]


def plain_paths(tree: Tree) -> None:
    """Passes paths on as they came."""
    http = manager(tree)
    http["normalize_path"] = http["merge_slashes"] = False
    http["path_with_escaped_slashes_action"] = "KEEP_UNCHANGED"


def underscores(tree: Tree) -> None:
    """Passes headers with an underscore on."""
    manager(tree)["common_http_protocol_options"]["headers_with_underscores_action"] = "ALLOW"


def old_http(tree: Tree) -> None:
    """Takes HTTP/1.0."""
    manager(tree)["http_protocol_options"]["accept_http_10"] = True


def seen_trailers(tree: Tree) -> None:
    """Passes trailers of HTTP/1 on."""
    manager(tree)["http_protocol_options"]["enable_trailers"] = True


def any_host(tree: Tree) -> None:
    """Passes on what has two Hosts or none."""
    routes = manager(tree)["route_config"]["virtual_hosts"][0]["routes"]
    routes[:] = [route for route in routes if "direct_response" not in route]


def patient(tree: Tree) -> None:
    """Waits for slow senders for as long as they like."""
    http = manager(tree)
    for key in ("request_headers_timeout", "request_timeout", "stream_idle_timeout"):
        http[key] = "0s"


def health_prefix(tree: Tree) -> None:
    """Answers everything below the health path itself."""
    [health] = [item for item in manager(tree)["http_filters"] if item["name"].endswith("health_check")]
    path = health["typed_config"]["headers"][0]["string_match"]
    health["typed_config"]["headers"][0]["string_match"] = {"prefix": path["exact"]}


def websockets_unseen(tree: Tree) -> None:
    """Has filters of their own for upgrades, without the engine."""
    router = next(item for item in manager(tree)["http_filters"] if item["name"].endswith("router"))
    manager(tree)["upgrade_configs"] = [{"upgrade_type": "websocket", "filters": [router]}]


def no_metadata(tree: Tree) -> None:
    """Does not keep what the engine says of a request, so the log has no verdict."""
    del ext_proc(tree)["metadata_options"]


def open_admin(tree: Tree) -> None:
    """Lets whoever reaches the admin do all that it can."""
    del tree["admin"]["allow_paths"]


def own_answers_seen(tree: Tree) -> None:
    """Sends responses to the engine, Envoy's own among them: a client with a malformed request gets no answer."""
    ext_proc(tree)["processing_mode"]["response_header_mode"] = "SEND"


def small_buffer(tree: Tree) -> None:
    """Takes bodies of half the limit."""
    listener = tree["static_resources"]["listeners"][0]
    listener["per_connection_buffer_limit_bytes"] //= 2


FAULTS: dict[str, Callable[[Tree], None]] = {
    "fail-open": fail_open,
    "no-bodies": no_bodies,
    "no-trailers": no_trailers,
    "no-headers": no_headers,
    "watching-only": watching_only,
    "no-override": no_override,
    "own-status": own_status,
    "few-streams": few_streams,
    "believes-addresses": believes_addresses,
    "believes-headers": believes_headers,
    "plain-paths": plain_paths,
    "underscores": underscores,
    "old-http": old_http,
    "seen-trailers": seen_trailers,
    "any-host": any_host,
    "patient": patient,
    "health-prefix": health_prefix,
    "websockets-unseen": websockets_unseen,
    "no-metadata": no_metadata,
    "open-admin": open_admin,
    "own-answers-seen": own_answers_seen,
    "small-buffer": small_buffer,
}
"""In the order of the table in the docs."""
