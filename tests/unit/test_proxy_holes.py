"""The table of holes: each is found where it is opened, none in what is rendered, and nobody's file breaks it."""

from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from extproc.model.errors import ConfigError
from extproc.model.route import Beyond, Profile, Route
from extproc.proxy.bootstrap import ProxySettings, render, render_text
from extproc.proxy.holes import HOLES, describe_holes, find_holes
from extproc.proxy.tree import NODES_LIMIT, load, normalise, read

ROOT = Path(__file__).parents[2]
Tree = dict[str, Any]

ROUTES = (
    Route("/ws", "/ws", profile=Profile.STREAM),
    Route("/up", "/up", profile=Profile.UPLOAD, body_limit_bytes=1_000_000),
)
SETTINGS = ProxySettings(
    listen="0.0.0.0:8000",
    app="127.0.0.1:8080",
    engine=("127.0.0.1:9002",),
    admin="127.0.0.1:9901",
    body_limit_bytes=131_072,
    time_budget_ms=500,
    access_log="/dev/stdout",
    routes=ROUTES,
)
BASE = render(SETTINGS)

PASSING = (Route("/up", "/up", profile=Profile.UPLOAD, body_limit_bytes=1_000_000, beyond=Beyond.PASS),)


def manager(tree: Tree) -> Tree:
    return tree["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]


def ext_proc(tree: Tree) -> Tree:
    return next(item for item in manager(tree)["http_filters"] if item["name"] == "extproc.ext_proc")["typed_config"]


def mode(tree: Tree) -> Tree:
    return ext_proc(tree)["processing_mode"]


def route(name: str) -> Callable[[Tree], Tree]:
    return lambda tree: next(
        r for r in manager(tree)["route_config"]["virtual_hosts"][0]["routes"] if r["name"] == name
    )


def stream(tree: Tree) -> Tree:
    return route("/ws")(tree)["typed_per_filter_config"]["extproc.ext_proc"]


def host(tree: Tree) -> Tree:
    return manager(tree)["route_config"]["virtual_hosts"][0]


def cluster(name: str) -> Callable[[Tree], Tree]:
    return lambda tree: next(item for item in tree["static_resources"]["clusters"] if item["name"] == name)


def put(place: Callable[[Tree], Tree], **values: Any) -> Callable[[Tree], None]:
    return lambda tree: place(tree).update(values)


def drop(place: Callable[[Tree], Tree], *keys: str) -> Callable[[Tree], None]:
    def change(tree: Tree) -> None:
        for key in keys:
            del place(tree)[key]

    return change


def whole(tree: Tree) -> Tree:
    return tree


PER_ROUTE = {"@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute", "disabled": True}
OFF = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}
LUA = {"name": "lua", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"}}
UNPACK = {
    "name": "unpack",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.decompressor.v3.Decompressor"},
}
ELSEWHERE = {"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "10.0.0.1"}}}}]}
OPEN_MODE = {"request_body_mode": "NONE"}
HALF = {"processing_mode": OPEN_MODE}
GUARD_OFF = {"envoy.reloadable_features.ext_proc_fail_close_spurious_resp": False}


def elsewhere(tree: Tree, transport: Tree) -> None:
    """The engine's cluster leads to another machine, with this transport socket."""
    found = cluster("extproc")(tree)
    found["load_assignment"]["endpoints"] = [ELSEWHERE]
    found["transport_socket"] = {"typed_config": transport}


def options(name: str) -> Callable[[Tree], Tree]:
    return lambda tree: manager(tree)[name]


def filters(tree: Tree) -> list[Tree]:
    return manager(tree)["http_filters"]


ON = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}}


def only_on(*names: str, is_off: str = "") -> Callable[[Tree], None]:
    """The filter is off, and these routes switch it on."""

    def change(tree: Tree) -> None:
        filters(tree)[1]["disabled"] = True
        for one in host(tree)["routes"]:
            one.pop("typed_per_filter_config", None)
            if one["name"] in names:
                one["typed_per_filter_config"] = {"extproc.ext_proc": OFF if one["name"] == is_off else ON}

    return change


OPENED: list[tuple[str, str, Callable[[Tree], Any]]] = [
    ("uninspected-listener", "no filter", lambda tree: filters(tree).pop(1)),
    ("uninspected-listener", "filter off", lambda tree: filters(tree)[1].update(disabled=True)),
    ("uninspected-listener", "off but for one route", only_on("ambiguous-host")),
    ("uninspected-listener", "on, and off again for a route", only_on("ambiguous-host", "app", is_off="app")),
    ("uninspected-listener", "no listener", lambda tree: tree["static_resources"].pop("listeners")),
    (
        "disabled-route",
        "by ext_proc",
        put(route("app"), typed_per_filter_config={"x": {**PER_ROUTE, "disabled": True}}),
    ),
    ("disabled-route", "by switch", put(route("app"), typed_per_filter_config={"extproc.ext_proc": OFF})),
    ("disabled-route", "host", put(host, typed_per_filter_config={"extproc.ext_proc": OFF})),
    ("upgrade-filters", "", put(manager, upgrade_configs=[{"upgrade_type": "websocket", "filters": [LUA]}])),
    ("fail-open", "filter", put(ext_proc, failure_mode_allow=True)),
    ("fail-open", "route", lambda tree: stream(tree)["overrides"].update(failure_mode_allow=True)),
    ("observability-mode", "", put(ext_proc, observability_mode=True)),
    ("no-blocks", "", put(ext_proc, disable_immediate_response=True)),
    ("runtime-guards", "", put(whole, layered_runtime={"layers": [{"name": "a", "static_layer": GUARD_OFF}]})),
    ("head-unseen", "", put(mode, request_header_mode="SKIP")),
    ("body-unseen", "filter", put(mode, request_body_mode="NONE")),
    ("body-unseen", "unset", drop(mode, "request_body_mode")),
    ("body-unseen", "host", put(host, typed_per_filter_config={"extproc.ext_proc": {"overrides": HALF}})),
    ("body-forwarded", "streamed", put(mode, request_body_mode="STREAMED")),
    ("body-forwarded", "duplex", put(mode, request_body_mode="FULL_DUPLEX_STREAMED")),
    ("body-forwarded", "early", put(ext_proc, send_body_without_waiting_for_header_response=True)),
    ("partial-body", "filter", put(mode, request_body_mode="BUFFERED_PARTIAL")),
    ("trailers-unseen", "skip", put(mode, request_trailer_mode="SKIP")),
    ("trailers-unseen", "unset", drop(mode, "request_trailer_mode")),
    ("trailers-unseen", "HTTP/1", put(options("http_protocol_options"), enable_trailers=True)),
    ("partial-override", "", lambda tree: stream(tree)["overrides"].update(processing_mode=dict(OPEN_MODE))),
    ("wide-override", "any", drop(ext_proc, "allowed_override_modes")),
    ("wide-override", "half", put(ext_proc, allowed_override_modes=[dict(OPEN_MODE)])),
    (
        "wide-override",
        "streamed",
        lambda tree: ext_proc(tree)["allowed_override_modes"][0].update(request_body_mode="STREAMED"),
    ),
    ("hidden-headers", "", put(ext_proc, forward_rules={"disallowed_headers": {"patterns": [{"exact": "cookie"}]}})),
    ("paths-as-sent", "normal", put(manager, normalize_path=False)),
    ("paths-as-sent", "slashes", drop(manager, "merge_slashes")),
    ("escaped-slashes", "kept", put(manager, path_with_escaped_slashes_action="KEEP_UNCHANGED")),
    ("escaped-slashes", "unset", drop(manager, "path_with_escaped_slashes_action")),
    ("underscores", "", put(options("common_http_protocol_options"), headers_with_underscores_action="ALLOW")),
    ("http10", "", put(options("http_protocol_options"), accept_http_10=True)),
    ("chunked-length", "", put(options("http_protocol_options"), allow_chunked_length=True)),
    ("two-hosts", "", lambda tree: host(tree).update(routes=host(tree)["routes"][2:])),
    ("changed-after", "lua", lambda tree: filters(tree).insert(2, LUA)),
    ("changed-after", "unpacked before", lambda tree: filters(tree).insert(0, UNPACK)),
    ("client-address", "forged", put(manager, use_remote_address=False)),
    ("client-address", "internal", put(manager, internal_address_config={"unix_sockets": False})),
    ("inside-headers", "", put(manager, early_header_mutation_extensions=[])),
    ("free-mutation", "", drop(ext_proc, "mutation_rules")),
    ("rerouted", "", drop(ext_proc, "route_cache_action")),
    ("open-admin", "", put(whole, admin={"address": {"socket_address": {"address": "0.0.0.0", "port_value": 1}}})),
    ("open-engine", "", put(lambda tree: cluster("extproc")(tree)["load_assignment"], endpoints=[ELSEWHERE])),
    ("open-engine", "without a CA", lambda tree: elsewhere(tree, {"@type": "x.UpstreamTlsContext"})),
    ("open-engine", "raw", lambda tree: elsewhere(tree, {"@type": "x.RawBuffer"})),
    ("slow-clients", "heads", drop(manager, "request_headers_timeout")),
    ("slow-clients", "bodies", put(manager, request_timeout="0s")),
    ("slow-clients", "silence", put(manager, stream_idle_timeout="0s")),
    ("timeouts-disordered", "equal", put(ext_proc, message_timeout="0.5s")),
    ("timeouts-disordered", "unset", drop(ext_proc, "message_timeout")),
    ("few-streams", "unset", drop(cluster("extproc"), "circuit_breakers")),
    ("few-streams", "few", put(cluster("extproc"), circuit_breakers={"thresholds": [{"max_requests": 1024}]})),
    ("no-engine", "", put(cluster("extproc"), name="other")),
    ("no-alarm", "metadata", drop(ext_proc, "metadata_options")),
    ("no-alarm", "log", drop(manager, "access_log")),
]


@pytest.mark.parametrize(("name", "_how", "change"), OPENED, ids=[f"{name} {how}" for name, how, _ in OPENED])
def test_an_opened_hole_is_found(name: str, _how: str, change: Callable[[Tree], Any]) -> None:
    tree = copy.deepcopy(BASE)
    change(tree)
    assert name in {finding.name for finding in find_holes(read(tree, 500))}


@pytest.mark.parametrize(
    "validation",
    [
        {"validation_context": {"trusted_ca": {"filename": "/ca"}}},
        {"combined_validation_context": {"default_validation_context": {}}},
        {"validation_context_sds_secret_config": {"name": "ROOTCA"}},
    ],
)
def test_an_engine_asked_by_tls_is_none(validation: Tree) -> None:
    tree = copy.deepcopy(BASE)
    elsewhere(tree, {"@type": "x.UpstreamTlsContext", "common_tls_context": validation})
    assert "open-engine" not in {finding.name for finding in find_holes(read(tree, 500))}


def test_every_hole_can_be_found() -> None:
    assert {name for name, _, _ in OPENED} | {"stream-route"} == set(HOLES)


def test_nothing_is_found_but_what_was_declared() -> None:
    assert [str(finding.where) for finding in find_holes(read(BASE, 500))] == ["listener ingress, route /ws"]


def test_the_same_in_the_json_form_of_protobuf() -> None:
    """Keys in lowerCamelCase, as Envoy's own dumps and others' tools write them."""

    def camel(value: Any) -> Any:
        if isinstance(value, dict):
            return {_camel(key): camel(item) for key, item in value.items()}
        return [camel(item) for item in value] if isinstance(value, list) else value

    def _camel(key: str) -> str:
        first, *rest = key.split("_")
        return key if "." in key or "@" in key else first + "".join(word.title() for word in rest)

    tree = copy.deepcopy(BASE)
    ext_proc(tree)["failure_mode_allow"] = True
    found = find_holes(read(normalise(camel(tree)), 500))
    assert {finding.name for finding in found} == {"stream-route", "fail-open"}


def test_a_filter_that_every_route_switches_on_asks() -> None:
    tree = copy.deepcopy(BASE)
    only_on(*(one["name"] for one in host(tree)["routes"]))(tree)
    assert "uninspected-listener" not in {finding.name for finding in find_holes(read(normalise(tree), 500))}


def test_the_document_has_the_table() -> None:
    text = (ROOT / "docs" / "SECURITY.md").read_text(encoding="utf-8")
    assert describe_holes() in text, "put the output of extproc.proxy.holes.describe_holes() there"


ODD: list[Any] = [
    {},
    {"static_resources": None},
    {"static_resources": {"listeners": {"a": 1}}},
    {"static_resources": {"listeners": [None, {"filter_chains": [{"filters": [1, {"typed_config": []}]}]}]}},
    {"static_resources": {"clusters": [{"name": ["x"]}, 7]}},
]


@pytest.mark.parametrize("tree", ODD, ids=lambda tree: json.dumps(tree)[:60])
def test_odd_shapes_are_no_fault(tree: Any) -> None:
    assert "uninspected-listener" in {finding.name for finding in find_holes(read(normalise(tree), 500))}


def test_each_part_of_a_good_file_may_be_of_another_shape() -> None:
    """Every value replaced once by a list, a text, a mapping: found or not, never an exception."""
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            places.append((value, key))
            if isinstance(item, dict | list):
                walk(item)

    tree = copy.deepcopy(BASE)
    walk(tree)
    for place, key in places:
        before = place[key]
        for odd in ([1], "odd", {"a": {}}):
            place[key] = odd
            find_holes(read(tree, 500))
        place[key] = before


def test_the_nodes_of_a_tree_have_a_limit(tmp_path: Path) -> None:
    assert len(normalise([0] * (NODES_LIMIT - 1))) == NODES_LIMIT - 1
    with pytest.raises(ValueError, match="more than"):
        normalise([0] * NODES_LIMIT)
    laughs = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    (tmp_path / "laughs.yaml").write_text(laughs)
    with pytest.raises(ConfigError, match="more than"):
        load(tmp_path / "laughs.yaml")


# What a running Envoy tells of itself


def dumped(tree: Tree) -> Tree:
    """The same as `/config_dump` tells it: routes and clusters over xDS, fields of value 0 left out."""
    tree = without_zeros(tree)
    manager(tree)["rds"] = {"route_config_name": "local"}
    routes = manager(tree).pop("route_config")
    [listener] = tree["static_resources"]["listeners"]
    here, there = tree["static_resources"]["clusters"]
    prefix = "type.googleapis.com/envoy.admin.v3."
    return {
        "configs": [
            {"@type": prefix + "BootstrapConfigDump", "bootstrap": {"admin": tree["admin"]}},
            {
                "@type": prefix + "ClustersConfigDump",
                "static_clusters": [{"cluster": here}],
                "dynamic_active_clusters": [{"cluster": there}],
            },
            {
                "@type": prefix + "ListenersConfigDump",
                "dynamic_listeners": [
                    {"name": "in", "active_state": {"listener": listener}},
                    {"name": "out", "active_state": {"listener": OUTBOUND}},
                ],
            },
            {"@type": prefix + "RoutesConfigDump", "dynamic_route_configs": [{"route_config": routes}]},
        ]
    }


OUTBOUND = {
    "name": "out",
    "traffic_direction": "OUTBOUND",
    "filter_chains": [{"filters": [{"typed_config": {"@type": "x.HttpConnectionManager"}}]}],
}


def without_zeros(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_zeros(item) for key, item in value.items() if item not in ("NONE", False)}
    return [without_zeros(item) for item in value] if isinstance(value, list) else value


def test_what_comes_over_xds_is_in_a_dump(tmp_path: Path) -> None:
    assert [finding.name for finding in find_holes(read(dumped(BASE), 500))] == ["stream-route"]
    for name, how, change in OPENED:
        if name in ("runtime-guards", "no-engine") or how in ("no listener", "unset", "host"):
            continue  # not in this dump, or nothing that a dump tells apart
        tree = copy.deepcopy(BASE)
        change(tree)
        found = {finding.name for finding in find_holes(read(dumped(tree), 500))}
        assert name in found, (name, how)
    file = tmp_path / "dump.json"
    file.write_text(json.dumps(dumped(BASE)))
    ended = extproc("check", str(file))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.endswith(f"{file}: fine\n")


# The renderer


def test_what_opens_a_hole_is_refused_with_the_sentence_that_says_so() -> None:
    with pytest.raises(ConfigError) as raised:
        render_text(dataclasses.replace(SETTINGS, routes=PASSING))
    assert HOLES["partial-body"].opens in raised.value.message
    assert "route /up" in raised.value.message
    assert "--accept-risk partial-body" in raised.value.message


def test_what_is_accepted_in_writing_is_rendered_and_told() -> None:
    text = render_text(dataclasses.replace(SETTINGS, routes=PASSING, accepted_risks=("partial-body", "fail-open")))
    told = [line for line in text.splitlines() if line.startswith("# Accepted in writing: ")]
    assert len(told) == 2
    assert HOLES["partial-body"].opens in told[0]
    assert told[1].endswith("fail-open, which nothing opens; take the acceptance out.")


MANAGER = "envoy.filters.network.http_connection_manager"


def over_manager(**values: Any) -> Tree:
    """A patch of the connection manager."""
    chain = {"filters": [{"name": MANAGER, "typed_config": values}]}
    return {"static_resources": {"listeners": [{"name": "ingress", "filter_chains": [chain]}]}}


def over_filter(name: str, **values: Any) -> Tree:
    return over_manager(http_filters=[{"name": name, **values}])


def test_a_patch_is_laid_over() -> None:
    tls = {"name": "tls", "typed_config": {"a": "b"}}
    patch = {
        "static_resources": {
            "listeners": [{"name": "ingress", "filter_chains": [{"transport_socket": tls}]}],
            "clusters": [{"name": "app", "connect_timeout": "9s"}, {"name": "tracing"}],
        },
        "overload_manager": None,
        "node": {"id": "a"},
    }
    tree = render(dataclasses.replace(SETTINGS, patch=patch, patch_source="p.yaml"))
    [chain] = tree["static_resources"]["listeners"][0]["filter_chains"]
    assert chain["transport_socket"] == tls
    assert chain["filters"] == BASE["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
    clusters = {item["name"]: item for item in tree["static_resources"]["clusters"]}
    assert list(clusters) == ["app", "tracing", "extproc"]
    assert clusters["app"] == cluster("app")(BASE) | {"connect_timeout": "9s"}
    assert "overload_manager" not in tree
    assert tree["node"] == {"id": "a"}


def test_a_new_filter_stands_before_the_router_and_a_new_route_before_the_catch_all() -> None:
    new = {"name": "new"}
    patch = over_manager(http_filters=[new], route_config={"virtual_hosts": [{"name": "app", "routes": [new]}]})
    tree = render(dataclasses.replace(SETTINGS, patch=patch, patch_source="p.yaml"))
    assert [item["name"] for item in filters(tree)][-2:] == ["new", "envoy.filters.http.router"]
    assert [item["name"] for item in host(tree)["routes"]][-2:] == ["new", "app"]


@pytest.mark.parametrize(
    ("patch", "name"),
    [
        (over_manager(normalize_path=False), "paths-as-sent"),
        (
            over_manager(http_filters=[{"name": "extproc.ext_proc", "typed_config": {"failure_mode_allow": True}}]),
            "fail-open",
        ),
        (over_manager(http_filters=[{"name": "envoy.filters.http.router"}]), None),
        (over_manager(http_filters=[{"name": "extproc.ext_proc", "disabled": True}]), "uninspected-listener"),
    ],
    ids=["path", "fail open", "nothing", "off"],
)
def test_a_patch_cannot_open_a_hole_unnoticed(patch: Tree, name: str | None) -> None:
    settings = dataclasses.replace(SETTINGS, patch=patch, patch_source="p.yaml")
    if name is None:
        render_text(settings)
        return
    with pytest.raises(ConfigError, match=f"--accept-risk {name}"):
        render_text(settings)
    assert f"# Accepted in writing: {name}" in render_text(dataclasses.replace(settings, accepted_risks=(name,)))


def test_a_patch_of_another_shape_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"p.yaml: static_resources.listeners must be a list"):
        render_text(dataclasses.replace(SETTINGS, patch={"static_resources": {"listeners": {}}}, patch_source="p.yaml"))


# The commands


def extproc(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "extproc", *arguments], capture_output=True, text=True)


def test_check_reads_anybodys_bootstrap(tmp_path: Path) -> None:
    tree = copy.deepcopy(BASE)
    ext_proc(tree)["failure_mode_allow"] = True
    theirs, ours = tmp_path / "theirs.json", tmp_path / "ours.yaml"
    theirs.write_text(json.dumps(tree))
    ours.write_text(render_text(SETTINGS))
    found = extproc("check", str(theirs), str(ours))
    assert found.returncode == 2
    assert found.stderr.startswith(f"{theirs}: fail-open (S2, S7): listener ingress, filter extproc.ext_proc: ")
    assert f"{ours}: fine" in found.stdout
    assert f"notice: {ours}: stream-route" in found.stdout
    accepted = extproc("check", str(theirs), "--accept-risk", "fail-open")
    assert (accepted.returncode, accepted.stderr) == (0, "")
    assert f"notice: {theirs}: fail-open" in accepted.stdout


def test_check_holds_a_configuration_against_the_holes_it_would_render(tmp_path: Path) -> None:
    file = tmp_path / "waf.yaml"
    file.write_text("routes: ['/up=upload:pass']\n")
    refused = extproc("check", str(file))
    assert refused.returncode == 2
    assert "partial-body" in refused.stderr
    file.write_text("routes: ['/up=upload:pass']\naccept_risks: [partial-body]\n")
    accepted = extproc("check", str(file))
    assert accepted.returncode == 0
    assert "notice:" in accepted.stdout
    assert HOLES["partial-body"].opens in accepted.stdout


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--route", "/up=upload:pass"), "opens 1 hole that nobody accepted"),
        (("--accept-risk", "fail-opn"), "--accept-risk: fail-opn is not a risk; did you mean fail-open?"),
        (("--envoy-patch", "/nowhere/p.yaml"), "cannot be read"),
    ],
)
def test_wrong_input_ends_with_2(flags: tuple[str, ...], sentence: str) -> None:
    ended = extproc("envoy-config", "--listen", "127.0.0.1:1", "--app", "127.0.0.1:2", *flags)
    assert ended.returncode == 2
    assert sentence in ended.stderr
    assert ended.stdout == ""


def test_what_was_accepted_is_told_each_time(tmp_path: Path) -> None:
    flags = ("--listen", "127.0.0.1:1", "--app", "127.0.0.1:2", "--route", "/up=upload:pass")
    ended = extproc("envoy-config", *flags, "--accept-risk", "partial-body", "--bootstrap", str(tmp_path / "e.yaml"))
    assert ended.returncode == 0
    assert ended.stderr.startswith("extproc: Accepted in writing: partial-body")
    assert "# Accepted in writing: partial-body" in (tmp_path / "e.yaml").read_text()


def test_a_patched_bootstrap_is_one_of_envoys(tmp_path: Path) -> None:
    patch = tmp_path / "p.yaml"
    patch.write_text("staticResources: {listeners: [{name: ingress, perConnectionBufferLimitBytes: 4096}]}\n")
    flags = ("--listen", "127.0.0.1:1", "--app", "127.0.0.1:2", "--envoy-patch", str(patch))
    tree = yaml.safe_load(extproc("envoy-config", *flags).stdout)
    assert tree["static_resources"]["listeners"][0]["per_connection_buffer_limit_bytes"] == 4096
