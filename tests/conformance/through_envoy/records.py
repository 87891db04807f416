"""E33 and E34: what is written down of every request, and what a configuration must not say."""

from __future__ import annotations

import copy
import http.client
import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.conformance.through_envoy.bootstrap_parts import Tree, ext_proc, manager
from tests.conformance.through_envoy.ground import Site, admin_socket
from tests.conformance.through_envoy.lone_envoy import ROOT, render
from tests.e2e.conftest import free_port, wait_for

REQUIRED = ("status", "request_id", "verdict", "phase", "rule", "failed_open", "coverage", "details", "upstream")
"""Keys of a line of the access log."""

FLAGS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "response": ("--response",),
    "websocket": ("--upgrade-paths", "/ws"),
    "routes": ("--route", "/ws=stream", "--route", "/up=upload:1MiB"),
    "gRPC": ("--app-protocol", "http2"),
    "behind a proxy": ("--trusted-hops", "1"),
    "all": ("--response", "--upgrade-paths", "/ws", "--app-protocol", "http2", "--trusted-hops", "2"),
}
"""Every way in which flags change what is rendered."""


def e33(site: Site) -> None:
    """The log of every case so far: each line whole; an upstream means a final allow, a block means none."""
    site.pair.send()
    assert len(site.logs) >= 1
    # Envoy gathers lines before it writes them; a log without any would agree with everything.
    wait_for(lambda: any("\n" in log.read_text() for log in site.logs), 10, "line in the access log")
    for log in site.logs:
        for text in log.read_text().splitlines():
            line = json.loads(text)
            assert not [key for key in REQUIRED if key not in line], line
            assert str(line["failed_open"]) in ("0", "None", "False", "-"), line
            if line["upstream"] is not None:
                assert line["verdict"] == "allow", line
            if line["verdict"] == "block":
                assert line["incident"], line
                assert line["upstream"] is None, line


def e34(site: Site) -> None:
    """Every shipped and renderable configuration is valid and opens no hole; the admin is closed to outsiders."""
    shipped = {path.name: yaml.safe_load(path.read_text()) for path in (ROOT / "envoy").glob("*.yaml")}
    assert shipped
    flags = ("--listen", f"127.0.0.1:{free_port()}", "--app", "127.0.0.1:1")
    trees = shipped | {name: render(*flags, *more) for name, more in FLAGS.items()}
    for name, tree in trees.items():
        assert holes(tree) == [], name
        assert_valid(site, tree)
    for name, widen in OPENED.items():
        opened = copy.deepcopy(trees["plain"])
        widen(opened)
        assert holes(opened), f"not noticed: {name}"
    assert_admin_is_closed(site)


def assert_valid(site: Site, tree: Tree) -> None:
    file = site.fresh_folder() / "envoy.yaml"
    file.write_text(yaml.safe_dump(tree))
    command = [site.envoy, "--mode", "validate", "--disable-hot-restart", "--log-level", "warning", "-c", file]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def assert_admin_is_closed(site: Site) -> None:
    """No TCP port; on the private socket only what `up` needs. A rendered one listens on loopback alone."""
    admin = admin_socket(site.pair)
    assert admin.parent.stat().st_mode & 0o077 == 0
    for method, path in (("POST", "/quitquitquit"), ("GET", "/config_dump"), ("POST", "/logging?level=debug")):
        assert ask_admin(admin, method, path) == 403, path
    assert ask_admin(admin, "GET", "/ready") == 200
    address = render("--listen", "0.0.0.0:8000", "--app", "127.0.0.1:1")["admin"]["address"]["socket_address"]
    assert address["address"] == "127.0.0.1"


def ask_admin(admin: Path, method: str, path: str) -> int:
    connection = http.client.HTTPConnection("envoy", timeout=5)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(admin))
    try:
        connection.request(method, path)
        return connection.getresponse().status
    finally:
        connection.close()


def holes(tree: Tree) -> list[str]:
    """What of a bootstrap lets requests pass unseen or believed without reason; one sentence each."""
    found = []
    http, settings = manager(tree), ext_proc(tree)
    mode = settings["processing_mode"]
    if settings.get("failure_mode_allow"):
        found.append("fails open")
    if mode.get("request_header_mode") != "SEND" or mode.get("request_body_mode") != "BUFFERED":
        found.append("the app gets something before the verdict")
    if mode.get("request_trailer_mode") != "SEND":
        found.append("trailers are not inspected")
    if settings.get("observability_mode"):
        found.append("answers of the engine are ignored")
    if settings["mutation_rules"].get("disallow_all") is not True:
        found.append("the engine may rewrite requests")
    allowed = settings.get("allowed_override_modes", [])
    if settings.get("allow_mode_override") and (
        not allowed or any(len(entry) != 5 or "DEFAULT" in entry.values() for entry in allowed)
    ):
        found.append("an override of the mode is not spelled out")
    hosts = http["route_config"]["virtual_hosts"]
    changes = [place.get("typed_per_filter_config", {}) for host in hosts for place in (host, *host["routes"])]
    for change in filter(None, changes):
        own = change.get("extproc.ext_proc", {})
        is_whole = len(own.get("overrides", {}).get("processing_mode", range(6))) == 6
        if change.keys() != {"extproc.ext_proc"} or own.keys() != {"@type", "overrides"} or not is_whole:
            found.append("a route switches inspection off or replaces half a mode")
    if any("filters" in upgrade for upgrade in http.get("upgrade_configs", [])):
        found.append("an upgrade has filters of its own")
    if not http.get("use_remote_address") or "internal_address_config" in http:
        found.append("what the client says of its address is believed")
    if not (http.get("normalize_path") and http.get("merge_slashes")):
        found.append("the path is not normalised")
    if http.get("path_with_escaped_slashes_action") != "REJECT_REQUEST":
        found.append("escaped slashes are let in")
    if http["common_http_protocol_options"].get("headers_with_underscores_action") != "REJECT_REQUEST":
        found.append("headers with underscores are let in")
    if http["http_protocol_options"].get("accept_http_10") or http["http_protocol_options"].get("enable_trailers"):
        found.append("HTTP/1.0 or HTTP/1 trailers are let in")
    prefixes = [
        mutation.get("remove_on_match", {}).get("key_matcher", {}).get("prefix")
        for extension in http.get("early_header_mutation_extensions", [])
        for mutation in extension["typed_config"]["mutations"]
    ]
    if not {"x-waf-", "x-envoy-"} <= set(prefixes):
        found.append("headers of the inside are believed from outside")
    names = [item["name"] for item in http["http_filters"]]
    if "extproc.ext_proc" not in names[:2]:
        found.append("something runs before the inspection")
    return found


def set_in(place: Callable[[Tree], Tree], key: str, value: object) -> Callable[[Tree], None]:
    return lambda tree: place(tree).__setitem__(key, value)


OPENED: dict[str, Callable[[Tree], None]] = {
    "fail open": set_in(ext_proc, "failure_mode_allow", True),
    "streamed bodies": set_in(lambda tree: ext_proc(tree)["processing_mode"], "request_body_mode", "STREAMED"),
    "partial bodies": set_in(lambda tree: ext_proc(tree)["processing_mode"], "request_body_mode", "BUFFERED_PARTIAL"),
    "headers skipped": set_in(lambda tree: ext_proc(tree)["processing_mode"], "request_header_mode", "SKIP"),
    "trailers unseen": set_in(lambda tree: ext_proc(tree)["processing_mode"], "request_trailer_mode", "SKIP"),
    "observability": set_in(ext_proc, "observability_mode", True),
    "partial override": set_in(ext_proc, "allowed_override_modes", [{"request_body_mode": "NONE"}]),
    "free mutation": set_in(ext_proc, "mutation_rules", {}),
    "route without inspection": set_in(
        lambda tree: manager(tree)["route_config"]["virtual_hosts"][0]["routes"][-1],
        "typed_per_filter_config",
        {"extproc.ext_proc": {"disabled": True}},
    ),
    "upgrade with filters": set_in(manager, "upgrade_configs", [{"upgrade_type": "websocket", "filters": []}]),
    "client's own address": set_in(manager, "use_remote_address", False),
    "paths as sent": set_in(manager, "normalize_path", False),
    "escaped slashes": set_in(manager, "path_with_escaped_slashes_action", "KEEP_UNCHANGED"),
    "underscores": set_in(
        lambda tree: manager(tree)["common_http_protocol_options"], "headers_with_underscores_action", "ALLOW"
    ),
    "HTTP/1.0": set_in(lambda tree: manager(tree)["http_protocol_options"], "accept_http_10", True),
    "spoofed headers": set_in(manager, "early_header_mutation_extensions", []),
}
"""One change each, which `holes` must notice."""
