"""The known ways past a firewall that Envoy asks, as a table: how each is found in a bootstrap, opens what, cured how.

Numbers are those of docs/SECURITY.md. A test takes the whole bootstrap and yields places, in words; it sees what is in
the file, not what comes over xDS. Source: behaviour of Envoy 1.40, run or read.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from extproc.model.route import Beyond, Modes, Profile, Route, overrides
from extproc.proxy.tree import (
    Bootstrap,
    Manager,
    Place,
    Tree,
    dict_at,
    dicts_at,
    is_a,
    list_at,
    seconds,
)

Places: TypeAlias = Iterator[str]

DEFAULT_MESSAGE_TIMEOUT_S = 0.2
DEFAULT_MAX_REQUESTS = 1024
"""Envoy's own, where a file says nothing."""


@dataclass(frozen=True, slots=True)
class Hole:
    """`opens` and `cure` are sentences. `is_declared`: what is there was meant, so it is told and not refused."""

    numbers: tuple[str, ...]
    find: Callable[[Bootstrap], Places]
    opens: str
    cure: str
    is_declared: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """A hole in a bootstrap, and where."""

    name: str
    where: str

    @property
    def hole(self) -> Hole:
        return HOLES[self.name]

    @property
    def told(self) -> str:
        """What is open, where: one line."""
        return " ".join(f"{self.name} ({', '.join(self.hole.numbers)}): {self.where}: {self.hole.opens}".split())

    def __str__(self) -> str:
        return f"{self.told}; mend it by: {self.hole.cure}"


def find_holes(bootstrap: Bootstrap) -> list[Finding]:
    """All of them, in the order of the table."""
    return [Finding(name, where) for name, hole in HOLES.items() for where in dict.fromkeys(hole.find(bootstrap))]


# What is not asked at all


def _uninspected(bootstrap: Bootstrap) -> Places:
    for manager in bootstrap.managers:
        if all(place.value.get("disabled") for place in manager.filters):
            yield from _not_switched_on(manager)
    if not bootstrap.managers:
        yield "no listener with an HTTP connection manager"


def _not_switched_on(manager: Manager) -> Places:
    """Where no filter asks by itself: routes may switch one on, as Envoy Gateway writes them."""
    names = [place.value.get("name") for place in manager.filters]
    unseen, is_any_on = [], False
    for host in manager.hosts:
        for route in dicts_at(host.value, "routes"):
            changes = {
                **dict_at(host.value, "typed_per_filter_config"),
                **dict_at(route, "typed_per_filter_config"),
            }
            if any(name in names and not dict_at(changes, name).get("disabled") for name in changes):
                is_any_on = True
            elif "route" in route:  # what Envoy answers by itself reaches no app
                unseen.append(f"{manager.where}, route {route.get('name') or route.get('match')}")
    yield from unseen if is_any_on else [manager.where]


def _disabled_route(bootstrap: Bootstrap) -> Places:
    for manager in bootstrap.managers:
        for place, change in manager.overrides():
            if change.get("disabled"):
                yield place.where


def _upgrade_filters(bootstrap: Bootstrap) -> Places:
    for manager in bootstrap.managers:
        for upgrade in dicts_at(manager.value, "upgrade_configs"):
            if list_at(upgrade, "filters"):
                yield f"{manager.where}, upgrade {upgrade.get('upgrade_type')}"


# What happens when there is no answer


def _fail_open(bootstrap: Bootstrap) -> Places:
    for _, place, settings in bootstrap.guarded():
        if settings.get("failure_mode_allow"):
            yield place.where
    for place, change in _overrides(bootstrap):
        if change.get("failure_mode_allow"):
            yield place.where


def _observability(bootstrap: Bootstrap) -> Places:
    yield from _where_set(bootstrap, "observability_mode")


def _no_blocks(bootstrap: Bootstrap) -> Places:
    yield from _where_set(bootstrap, "disable_immediate_response")


def _runtime_guards(bootstrap: Bootstrap) -> Places:
    layers = dicts_at(dict_at(bootstrap.tree, "layered_runtime"), "layers")
    for layer in layers:
        for name, value in dict_at(layer, "static_layer").items():
            if name in GUARDS and value in (False, "false", 0):
                yield f"runtime {name}"


GUARDS = frozenset(
    f"envoy.reloadable_features.ext_proc_{name}"
    for name in ("fail_close_spurious_resp", "report_client_creation_error")
)


# How much is asked about


def _head_unseen(bootstrap: Bootstrap) -> Places:
    for place, mode, _ in _modes(bootstrap):
        if mode.get("request_header_mode") == "SKIP":
            yield place.where


def _body_unseen(bootstrap: Bootstrap) -> Places:
    for place, mode, is_route in _modes(bootstrap):
        if mode.get("request_body_mode", "NONE") == "NONE" and not (is_route and not _missing(bootstrap, mode)):
            yield place.where


def _stream_route(bootstrap: Bootstrap) -> Places:
    for place, mode, is_route in _modes(bootstrap):
        if is_route and not _missing(bootstrap, mode) and mode.get("request_body_mode", "NONE") == "NONE":
            yield place.where


def _body_forwarded(bootstrap: Bootstrap) -> Places:
    for place, mode, _ in _modes(bootstrap):
        if mode.get("request_body_mode") in ("STREAMED", "FULL_DUPLEX_STREAMED", "GRPC"):
            yield f"{place.where}: {mode['request_body_mode']}"
    yield from _where_set(bootstrap, "send_body_without_waiting_for_header_response")


def _partial_body(bootstrap: Bootstrap) -> Places:
    for place, mode, _ in _modes(bootstrap):
        if mode.get("request_body_mode") == "BUFFERED_PARTIAL":
            yield place.where


def _trailers_unseen(bootstrap: Bootstrap) -> Places:
    for place, mode, is_route in _modes(bootstrap):
        is_stream = is_route and mode.get("request_body_mode", "NONE") == "NONE"
        if mode.get("request_trailer_mode") != "SEND" and not is_stream:
            yield place.where
    for manager in _guarded_managers(bootstrap):
        if dict_at(manager.value, "http_protocol_options").get("enable_trailers"):
            yield f"{manager.where}, HTTP/1 trailers"


def _partial_override(bootstrap: Bootstrap) -> Places:
    for place, change in _overrides(bootstrap):
        mode = dict_at(change, "processing_mode")
        missing = _missing(bootstrap, mode) if "processing_mode" in change else []
        if missing:
            yield f"{place.where}, without {', '.join(missing)}"


def _wide_override(bootstrap: Bootstrap) -> Places:
    for _, place, settings in bootstrap.guarded():
        if not settings.get("allow_mode_override"):
            continue
        allowed = dicts_at(settings, "allowed_override_modes")
        if not allowed:
            yield f"{place.where}: any"
        for entry in allowed:
            if tuple(str(entry.get(name, _UNSET[name])) for name in Modes._fields[1:]) not in ASKED_FOR:
                yield f"{place.where}: {entry}"


_UNSET = {name: "NONE" if "body" in name else "DEFAULT" for name in Modes._fields}
"""What Envoy takes a field for that is not there."""


def _missing(bootstrap: Bootstrap, mode: Tree) -> list[str]:
    """Fields of a processing mode that are not written out."""
    return [name for name in Modes._fields if name not in mode and not (bootstrap.is_dump and "body" in name)]


def _asked_for() -> frozenset[tuple[str, ...]]:
    """Every override that an engine of ours asks for, whatever its routes."""
    some = (Route("", "/", profile=Profile.UPLOAD, beyond=Beyond.PASS),)
    return frozenset(tuple(mode[1:]) for seen in (False, True) for mode in overrides(some, seen))


ASKED_FOR = _asked_for()


def _hidden_headers(bootstrap: Bootstrap) -> Places:
    yield from _where_set(bootstrap, "forward_rules")


# What is understood otherwise by the app


def _paths_as_sent(bootstrap: Bootstrap) -> Places:
    for manager in _guarded_managers(bootstrap):
        if not manager.value.get("normalize_path") or not manager.value.get("merge_slashes"):
            yield manager.where


def _escaped_slashes(bootstrap: Bootstrap) -> Places:
    safe = ("REJECT_REQUEST", "UNESCAPE_AND_REDIRECT", "UNESCAPE_AND_FORWARD")
    for manager in _guarded_managers(bootstrap):
        if manager.value.get("path_with_escaped_slashes_action") not in safe:
            yield manager.where


def _underscores(bootstrap: Bootstrap) -> Places:
    for manager in _guarded_managers(bootstrap):
        options = dict_at(manager.value, "common_http_protocol_options")
        if options.get("headers_with_underscores_action") not in ("REJECT_REQUEST", "DROP_HEADER"):
            yield manager.where


def _http10(bootstrap: Bootstrap) -> Places:
    for manager in _guarded_managers(bootstrap):
        if dict_at(manager.value, "http_protocol_options").get("accept_http_10"):
            yield manager.where


def _chunked_length(bootstrap: Bootstrap) -> Places:
    for manager in _guarded_managers(bootstrap):
        if dict_at(manager.value, "http_protocol_options").get("allow_chunked_length"):
            yield manager.where


def _two_hosts(bootstrap: Bootstrap) -> Places:
    for manager in _guarded_managers(bootstrap):
        matches = [dict_at(route.value, "match") for route in manager.routes[:2]]
        headers = [header for match in matches for header in dicts_at(match, "headers")]
        if manager.routes and not [header for header in headers if header.get("name") in (":authority", "host")]:
            yield manager.where


def _changed_after(bootstrap: Bootstrap) -> Places:
    for manager in _guarded_managers(bootstrap):
        items = dicts_at(manager.value, "http_filters")
        last = max(items.index(place.value) for place in manager.filters)
        for item in items[last + 1 :]:
            kind = str(dict_at(item, "typed_config").get("@type", "")).rpartition(".")[2]
            if kind in CHANGERS:
                yield f"{manager.where}, filter {item.get('name')}"
        for item in items[:last]:
            if is_a(dict_at(item, "typed_config"), "decompressor.v3.Decompressor"):
                yield f"{manager.where}, filter {item.get('name')} (a body over its ratio is cut in silence)"


CHANGERS = frozenset({"Lua", "LuaPerRoute", "HeaderMutation", "Wasm", "Decompressor", "GrpcJsonTranscoder"})
"""Types of filters that give the app another request than the one that was inspected."""


# Who is believed


def _client_address(bootstrap: Bootstrap) -> Places:
    for manager in _guarded_managers(bootstrap):
        if not manager.value.get("use_remote_address"):
            yield manager.where
        internal = manager.value.get("internal_address_config")
        if isinstance(internal, dict) and not list_at(internal, "cidr_ranges"):
            yield f"{manager.where}: internal_address_config without cidr_ranges"


def _inside_headers(bootstrap: Bootstrap) -> Places:
    for manager in _guarded_managers(bootstrap):
        removed = [
            str(dict_at(mutation, "remove_on_match", "key_matcher").get("prefix", ""))
            for extension in dicts_at(manager.value, "early_header_mutation_extensions")
            for mutation in dicts_at(dict_at(extension, "typed_config"), "mutations")
        ]
        if not [prefix for prefix in removed if prefix and "x-waf-".startswith(prefix.lower())]:
            yield manager.where


def _free_mutation(bootstrap: Bootstrap) -> Places:
    for _, place, settings in bootstrap.guarded():
        if dict_at(settings, "mutation_rules").get("disallow_all") not in (True, {"value": True}):
            yield place.where


def _rerouted(bootstrap: Bootstrap) -> Places:
    for _, place, settings in bootstrap.guarded():
        if settings.get("route_cache_action") != "RETAIN" and not settings.get("disable_clear_route_cache"):
            yield place.where


def _open_admin(bootstrap: Bootstrap) -> Places:
    address = dict_at(bootstrap.tree, "admin", "address", "socket_address")
    if address and not _is_loopback(str(address.get("address", ""))):
        yield f"admin on {address.get('address')}"


def _open_engine(bootstrap: Bootstrap) -> Places:
    for name, cluster in _engine_clusters(bootstrap):
        for group in dicts_at(dict_at(cluster, "load_assignment"), "endpoints"):
            for item in dicts_at(group, "lb_endpoints"):
                address = dict_at(item, "endpoint", "address", "socket_address")
                if address and not _is_loopback(str(address.get("address", ""))) and not _is_verified(cluster):
                    yield f"cluster {name}, {address.get('address')}"


def _is_verified(cluster: Tree) -> bool:
    """Does Envoy ask by TLS, and look at who answers? What a mesh brings over SDS or of its own is believed."""
    config = dict_at(cluster, "transport_socket", "typed_config")
    if not is_a(config, "UpstreamTlsContext"):
        return "transport_socket" in cluster and not is_a(config, "RawBuffer")
    common = dict_at(config, "common_tls_context")
    validation = dict_at(common, "validation_context")
    kinds = ("combined_validation_context", "validation_context_sds_secret_config")
    return any(kind in common for kind in kinds) or "trusted_ca" in validation


# Time and number


def _slow_clients(bootstrap: Bootstrap) -> Places:
    for manager in _guarded_managers(bootstrap):
        for name in ("request_headers_timeout", "request_timeout"):
            if not seconds(manager.value.get(name)):
                yield f"{manager.where}: no {name}"
        if seconds(manager.value.get("stream_idle_timeout")) == 0:
            yield f"{manager.where}: stream_idle_timeout is off"


def _timeouts_disordered(bootstrap: Bootstrap) -> Places:
    for _, place, settings in bootstrap.guarded():
        timeout = seconds(settings.get("message_timeout")) or DEFAULT_MESSAGE_TIMEOUT_S
        if timeout * 1000 <= bootstrap.budget_ms:
            yield f"{place.where}: message_timeout of {timeout:g}s, time budget of {bootstrap.budget_ms} ms"


def _few_streams(bootstrap: Bootstrap) -> Places:
    for name, cluster in _engine_clusters(bootstrap):
        thresholds = dicts_at(dict_at(cluster, "circuit_breakers"), "thresholds")
        requests = [threshold.get("max_requests") for threshold in thresholds] or [None]
        if any(not isinstance(number, int) or number <= DEFAULT_MAX_REQUESTS for number in requests):
            yield f"cluster {name}"


def _no_engine(bootstrap: Bootstrap) -> Places:
    has_discovery = "dynamic_resources" in bootstrap.tree
    for _, place, settings in bootstrap.guarded():
        name = dict_at(settings, "grpc_service", "envoy_grpc").get("cluster_name")
        if name is not None and str(name) not in bootstrap.clusters and not has_discovery:
            yield f"{place.where}: cluster {name}"


# What is told


def _no_alarm(bootstrap: Bootstrap) -> Places:
    for manager, place, settings in bootstrap.guarded():
        if "waf" not in list_at(dict_at(settings, "metadata_options", "receiving_namespaces"), "untyped"):
            yield f"{place.where}: the namespace waf is not received"
        elif "DYNAMIC_METADATA(waf:verdict)" not in str(manager.value.get("access_log", "")):
            yield f"{manager.where}: no access log with the verdict"


# The parts that several tests look at


def _guarded_managers(bootstrap: Bootstrap) -> Iterator[Manager]:
    return (manager for manager in bootstrap.managers if manager.filters)


def _overrides(bootstrap: Bootstrap) -> Iterator[tuple[Place, Tree]]:
    for manager in bootstrap.managers:
        for place, change in manager.overrides():
            yield place, dict_at(change, "overrides")


def _modes(bootstrap: Bootstrap) -> Iterator[tuple[Place, Tree, bool]]:
    """Every processing mode in force: (where, the mode as written, does it belong to a route)."""
    for _, place, settings in bootstrap.guarded():
        yield place, dict_at(settings, "processing_mode"), False
    for place, change in _overrides(bootstrap):
        if "processing_mode" in change:
            yield place, dict_at(change, "processing_mode"), "match" in place.value


def _where_set(bootstrap: Bootstrap, key: str) -> Places:
    for _, place, settings in bootstrap.guarded():
        if settings.get(key):
            yield place.where


def _engine_clusters(bootstrap: Bootstrap) -> Iterator[tuple[str, Tree]]:
    names = [
        dict_at(settings, "grpc_service", "envoy_grpc").get("cluster_name") for _, _, settings in bootstrap.guarded()
    ]
    return ((name, cluster) for name, cluster in bootstrap.clusters.items() if name in names)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


HOLES: dict[str, Hole] = {
    "uninspected-listener": Hole(
        ("S2", "S22"),
        _uninspected,
        "requests reach the app without being inspected",
        "add the ext_proc filter to its HTTP filters, or take the listener out",
    ),
    "disabled-route": Hole(
        ("S8",),
        _disabled_route,
        "requests of this route, and whatever can be made to look like one, pass uninspected",
        "take `disabled` out; a route for streams still inspects the head",
    ),
    "upgrade-filters": Hole(
        ("S9",),
        _upgrade_filters,
        "the upgrade's own filters replace the chain, so its handshake and frames pass uninspected",
        "leave `filters` out",
    ),
    "fail-open": Hole(
        ("S2", "S7"),
        _fail_open,
        "whoever can slow, crash or overload the engine gets every request through uninspected",
        "leave failure_mode_allow false",
    ),
    "observability-mode": Hole(
        ("S2",),
        _observability,
        "the engine's answers are ignored, nothing is ever blocked",
        "leave it out; use --mode monitor",
    ),
    "no-blocks": Hole(
        ("S2",),
        _no_blocks,
        "a block is a protocol error: the client gets a 500, or the request passes if failures are open",
        "leave disable_immediate_response out",
    ),
    "runtime-guards": Hole(
        ("S1",), _runtime_guards, "a broken answer of the engine lets the request pass", "leave the guard on"
    ),
    "head-unseen": Hole(
        ("S5",),
        _head_unseen,
        "requests without a body are not inspected, others reach the app before they are",
        "request_header_mode: SEND",
    ),
    "body-unseen": Hole(
        ("S5", "S12"),
        _body_unseen,
        "bodies reach the app uninspected",
        "request_body_mode: BUFFERED; for streams a route with all six modes written out",
    ),
    "stream-route": Hole(
        ("S10", "S12"),
        _stream_route,
        "bodies and frames of this route reach the app uninspected, as declared",
        "mean it, and name no more paths than needed",
        is_declared=True,
    ),
    "body-forwarded": Hole(
        ("S5",),
        _body_forwarded,
        "the beginning of a body is at the app before its end was inspected",
        "request_body_mode: BUFFERED",
    ),
    "partial-body": Hole(
        ("S3", "S4"),
        _partial_body,
        "what lies beyond the limit of a body reaches the app uninspected",
        "request_body_mode: BUFFERED, which refuses it with 413 (of a route: beyond: refuse)",
    ),
    "trailers-unseen": Hole(
        ("S19",),
        _trailers_unseen,
        "trailers reach the app uninspected",
        "request_trailer_mode: SEND, and enable_trailers left out",
    ),
    "partial-override": Hole(
        ("S8",),
        _partial_override,
        "an override replaces the whole mode, and a field left out falls back to Envoy's default: no body, no trailers",
        "write out all six modes",
    ),
    "wide-override": Hole(
        ("S8", "S11"),
        _wide_override,
        "the engine may switch off more of the inspection than upgrades and downloads need",
        "list in allowed_override_modes what `extproc envoy-config` lists, every field written out",
    ),
    "hidden-headers": Hole(
        ("S15",),
        _hidden_headers,
        "headers that the app gets are hidden from the inspection",
        "leave forward_rules out",
    ),
    "paths-as-sent": Hole(
        ("S13",),
        _paths_as_sent,
        "`/a/../b` and `//b` are inspected and routed as one path and served as another",
        "normalize_path: true, merge_slashes: true",
    ),
    "escaped-slashes": Hole(
        ("S13",),
        _escaped_slashes,
        "`/a%2f..%2fb` matches the route of `/a` and may be served as `/b`",
        "path_with_escaped_slashes_action: REJECT_REQUEST",
    ),
    "underscores": Hole(
        ("S14",),
        _underscores,
        "`x_user` is another header to the rules and the same as `x-user` to a CGI or WSGI app",
        "headers_with_underscores_action: REJECT_REQUEST",
    ),
    "http10": Hole(
        ("S18",),
        _http10,
        "HTTP/1.0 requests have no Host and no framing to rely on",
        "accept_http_10: false",
    ),
    "chunked-length": Hole(
        ("S17",),
        _chunked_length,
        "a request with Content-Length and chunks means two things to two servers (request smuggling)",
        "leave allow_chunked_length out",
    ),
    "two-hosts": Hole(
        ("S15",),
        _two_hosts,
        "two Host headers are joined with a comma and let in; which one the app obeys is anyone's guess",
        "make the first route answer 400 where `:authority` contains a comma or is empty",
    ),
    "changed-after": Hole(
        ("S24",),
        _changed_after,
        "the app gets another request than the one that was inspected",
        "put the filter before ext_proc; leave unpacking to the engine",
    ),
    "client-address": Hole(
        ("S20",),
        _client_address,
        "a client can forge its address, and x-request-id and x-envoy-* with it",
        "use_remote_address: true, xff_num_trusted_hops as many as proxies are in front, no internal_address_config",
    ),
    "inside-headers": Hole(
        ("S21",),
        _inside_headers,
        "a client can write x-waf-* itself, and the app believes that the firewall did",
        "remove the prefix x-waf- in early_header_mutation_extensions",
    ),
    "free-mutation": Hole(
        ("S23",),
        _free_mutation,
        "a broken engine could rewrite paths and credentials of requests",
        "mutation_rules: disallow_all with an allow_expression, as `extproc envoy-config` writes them",
    ),
    "rerouted": Hole(
        ("S8",),
        _rerouted,
        "a request may be routed anew after its inspection, and escape the settings of its new route",
        "route_cache_action: RETAIN",
    ),
    "open-admin": Hole(
        ("S23",),
        _open_admin,
        "whoever reaches the admin reads the configuration and stops Envoy",
        "an address of loopback or a pipe, and allow_paths",
    ),
    "open-engine": Hole(
        ("S23",),
        _open_engine,
        "requests travel to the engine in the clear, and whoever is in between reads and answers them",
        "a unix socket, loopback, or a transport_socket with TLS that trusts a CA",
    ),
    "slow-clients": Hole(
        ("S26", "S27"),
        _slow_clients,
        "clients that send slowly hold buffers and streams for as long as they like",
        "set request_headers_timeout, request_timeout and stream_idle_timeout",
    ),
    "timeouts-disordered": Hole(
        ("S6",),
        _timeouts_disordered,
        "Envoy gives up before the engine's own verdict is due, so that slow requests are errors and not decisions",
        "message_timeout above the engine's --time-budget",
    ),
    "few-streams": Hole(
        ("S7",),
        _few_streams,
        "the 1,025th request at a time is an error, an outage that anyone can cause",
        "circuit_breakers with max_requests well above the load",
    ),
    "no-engine": Hole(
        ("S7",),
        _no_engine,
        "the cluster does not exist, so every request is an error; Envoy does not notice at start",
        "name a cluster of the file",
    ),
    "no-alarm": Hole(
        ("S1", "S28"),
        _no_alarm,
        "a request that passed without a verdict leaves no trace",
        "receive the namespace waf, and log %DYNAMIC_METADATA(waf:verdict)% beside %UPSTREAM_HOST%",
        is_declared=True,
    ),
}
"""Every hole that a bootstrap can show, by the name to accept it with."""


def describe_holes() -> str:
    """The table of docs/SECURITY.md, Markdown."""
    rows = ["| name | holes | what it opens | mended by |", "|---|---|---|---|"]
    for name, hole in HOLES.items():
        told = " (told, not refused)" if hole.is_declared else ""
        rows.append(f"| `{name}`{told} | {', '.join(hole.numbers)} | {hole.opens} | {hole.cure} |")
    return "\n".join(rows) + "\n"
