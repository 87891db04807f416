"""The bootstrap: what the settings change, what they cannot, and that Envoy takes every form of it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import re2

from extproc.model.errors import ConfigError
from extproc.model.route import Beyond, Profile, Route
from extproc.proxy.binary import find_envoy
from extproc.proxy.bootstrap import READY_PATH, ProxySettings, render, render_text
from extproc.proxy.engine_tls import EngineTls
from extproc.proxy.engine_tls import secrets as secret_files
from extproc.proxy.rate_limits import LimitedPlace, LocalLimit
from extproc.proxy.routes import AMBIGUOUS, render_route
from extproc.server.upgrade import AMBIGUOUS as AMBIGUOUS_MARKS
from extproc.server.upgrade import is_ambiguous

ROOT = Path(__file__).parents[2]

PLAIN = ProxySettings(
    listen="0.0.0.0:8000",
    app="127.0.0.1:8080",
    engine=("127.0.0.1:9002",),
    admin="127.0.0.1:9901",
    body_limit_bytes=131_072,
    time_budget_ms=500,
)

ROUTES = (
    Route("/ws", "/ws", profile=Profile.STREAM),
    Route("files", "/", "*.example.com", profile=Profile.UPLOAD, body_limit_bytes=20_000_000, policy="files"),
    Route("/a", "/a", is_exact=True),
    Route("/video", "/video", profile=Profile.UPLOAD, body_limit_bytes=200_000, beyond=Beyond.PASS),
)

MANY = {"routes": ROUTES, "accepted_risks": ("partial-body",)}

LIMITS = tuple(
    LocalLimit(f"p{number}", (LimitedPlace(("*.shop.example",), ("/a/*/b/**",)),), 5, 1000, 5, number > 0, number < 2)
    for number in range(3)
)

FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "sockets": {"engine": ("unix:/run/extproc/0.sock", "unix:/run/extproc/1.sock"), "admin": "unix:/run/admin.sock"},
    "response": {"inspect_response": True},
    "routes": {"routes": ROUTES[:3]},
    "rate limits": {"rate_limits": LIMITS},
    "all": {"inspect_response": True, "access_log": "/dev/stdout", "trusted_hops": 2, **MANY},
    "app by name": {"app": "app.internal:80"},
    "http2 app": {"app_protocol": "http2"},
    "ipv6": {"listen": "[::]:8000", "app": "[::1]:8080", "engine": ("[::1]:9002",)},
}

WAYS = {
    "pair.yaml": ["--listen", "127.0.0.1:8080", "--app", "127.0.0.1:3000"],
    "sidecar.yaml": ["--listen", "0.0.0.0:8000", "--app", "127.0.0.1:8080"],
}
"""envoy/: one file per way of running, and the flags that it is written with."""


def manager(tree: dict[str, Any]) -> dict[str, Any]:
    return tree["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]


def ext_proc(tree: dict[str, Any]) -> dict[str, Any]:
    return next(item for item in manager(tree)["http_filters"] if item["name"] == "extproc.ext_proc")["typed_config"]


def cluster(tree: dict[str, Any], name: str) -> dict[str, Any]:
    return next(item for item in tree["static_resources"]["clusters"] if item["name"] == name)


def form(name: str) -> dict[str, Any]:
    return render(dataclasses.replace(PLAIN, **FORMS[name]))


@pytest.mark.parametrize("name", FORMS)
def test_no_form_lets_anything_pass_unseen(name: str) -> None:
    tree = form(name)
    settings = ext_proc(tree)
    assert settings["failure_mode_allow"] is False
    assert settings["processing_mode"]["request_header_mode"] == "SEND"
    assert settings["processing_mode"]["request_body_mode"] == "BUFFERED"
    assert settings["processing_mode"]["request_trailer_mode"] == "SEND"
    assert settings["stat_prefix"] == "waf"
    assert settings["grpc_service"]["envoy_grpc"]["cluster_name"] == "extproc"
    filters = [item["name"] for item in manager(tree)["http_filters"]]
    limits = [item for item in filters if item.startswith("extproc.rate_limit")]
    assert filters == ["envoy.filters.http.health_check", *limits, "extproc.ext_proc", "envoy.filters.http.router"]
    # Per-route settings of ext_proc replace the whole mode, and an upgrade's own filters skip the chain.
    [host] = manager(tree)["route_config"]["virtual_hosts"]
    assert "typed_per_filter_config" not in host
    assert "typed_per_filter_config" not in host["routes"][-1]
    own = [route["typed_per_filter_config"] for route in host["routes"] if "typed_per_filter_config" in route]
    for settings in own:
        assert settings.keys() == {"extproc.ext_proc"}
        overrides = settings["extproc.ext_proc"]["overrides"]
        assert overrides.keys() <= {"processing_mode", "grpc_initial_metadata"}
        assert len(overrides.get("processing_mode", range(6))) == 6
    assert manager(tree)["upgrade_configs"] == [{"upgrade_type": "websocket"}]


def test_the_names_that_others_rely_on() -> None:
    tree = form("plain")
    health = manager(tree)["http_filters"][0]["typed_config"]
    assert health["headers"] == [{"name": ":path", "string_match": {"exact": READY_PATH}}]
    assert list(health["cluster_min_healthy_percentages"]) == ["extproc"]
    assert ext_proc(tree)["metadata_options"]["receiving_namespaces"]["untyped"] == ["waf"]


def test_body_limit_and_time() -> None:
    tree = form("plain")
    assert tree["static_resources"]["listeners"][0]["per_connection_buffer_limit_bytes"] == 131_072
    assert ext_proc(tree)["message_timeout"] == "1.500s"


def test_envoy_waits_for_the_most_patient_route() -> None:
    patient = (dataclasses.replace(ROUTES[1], time_budget_ms=20_000),)
    assert ext_proc(render(dataclasses.replace(PLAIN, routes=patient)))["message_timeout"] == "21.000s"


def test_one_endpoint_per_worker() -> None:
    [group] = cluster(form("sockets"), "extproc")["load_assignment"]["endpoints"]
    assert [item["endpoint"]["address"]["pipe"]["path"] for item in group["lb_endpoints"]] == [
        "/run/extproc/0.sock",
        "/run/extproc/1.sock",
    ]


UPGRADED = ("NONE", "SKIP", "SKIP", "NONE", "SKIP")
UPGRADED_SEEN = ("NONE", "SKIP", "SEND", "NONE", "SKIP")
FLOWING = ("BUFFERED", "SEND", "SEND", "NONE", "SKIP")
OVERRIDES = {
    "plain": [UPGRADED],
    "routes": [UPGRADED],
    "response": [UPGRADED_SEEN, FLOWING],
    "all": [UPGRADED_SEEN, FLOWING, ("BUFFERED_PARTIAL", *FLOWING[1:])],
}


@pytest.mark.parametrize("name", OVERRIDES)
def test_the_engine_may_ask_for_these_modes_and_no_other(name: str) -> None:
    settings = ext_proc(form(name))
    assert settings["allow_mode_override"] is True
    fields = ("request_body_mode", "request_trailer_mode", "response_header_mode", "response_body_mode")
    found = settings["allowed_override_modes"]
    assert [tuple(mode[field] for field in (*fields, "response_trailer_mode")) for mode in found] == OVERRIDES[name]
    assert {len(mode) for mode in found} == {5}


MARKS = [mark.decode() for mark in AMBIGUOUS_MARKS]
PLAIN_PATHS = ["/ws", "/ws/a.b", "/ws/a%20b", "/ws?a=;", "/ws?next=/../x%2f", "/%c3%a4", "/ws/~a!$&'()*+,=:@b"]


@pytest.mark.parametrize("path", [*(f"/ws/{mark}/a" for mark in MARKS), *(f"/ws{mark.upper()}?a=b" for mark in MARKS)])
def test_no_relaxed_route_takes_a_path_that_may_mean_another(path: str) -> None:
    """What the engine takes for ambiguous, Envoy's routes do as well, in the language of its patterns."""
    assert is_ambiguous(path.encode())
    assert re2.fullmatch(AMBIGUOUS, path)


@pytest.mark.parametrize("path", PLAIN_PATHS)
def test_a_plain_path_is_no_other(path: str) -> None:
    assert not is_ambiguous(path.encode())
    assert not re2.fullmatch(AMBIGUOUS, path)


@pytest.mark.parametrize(
    ("host", "authority", "fits"),
    [
        ("a.com", "a.com", True),
        ("a.com", "A.com:8080", True),
        ("a.com", "b.a.com", False),
        ("a.com", "a.com.evil.org", False),
        ("a.com", "axcom", False),
        ("*.a.com", "b.a.com", True),
        ("*.a.com", "c.b.a.com:1", True),
        ("*.a.com", "a.com", False),
        ("*.a.com", "evil.org:80.a.com", False),
    ],
)
def test_a_host_is_the_whole_name(host: str, authority: str, fits: bool) -> None:
    [header] = render_route(Route("r", "/", host), False)["match"]["headers"]
    assert header["name"] == ":authority"
    assert bool(re2.fullmatch(header["string_match"]["safe_regex"]["regex"], authority)) is fits


def test_responses_only_when_asked_for() -> None:
    mode = ext_proc(form("plain"))["processing_mode"]
    assert (mode["response_header_mode"], mode["response_body_mode"]) == ("SKIP", "NONE")
    mode = ext_proc(form("response"))["processing_mode"]
    assert (mode["response_header_mode"], mode["response_body_mode"]) == ("SEND", "BUFFERED_PARTIAL")


def test_the_admin_offers_more_on_a_private_socket_only() -> None:
    assert [list(path.values()) for path in form("plain")["admin"]["allow_paths"]] == [["/ready"], ["/stats"]]
    assert len(form("sockets")["admin"]["allow_paths"]) == 4


def test_a_name_of_an_app_is_looked_up() -> None:
    assert cluster(form("app by name"), "app")["type"] == "STRICT_DNS"
    assert cluster(form("ipv6"), "app")["type"] == "STATIC"


@pytest.mark.parametrize(
    ("name", "spoken"), [("plain", "http_protocol_options"), ("http2 app", "http2_protocol_options")]
)
def test_the_app_is_spoken_to_in_its_protocol(name: str, spoken: str) -> None:
    [options] = cluster(form(name), "app")["typed_extension_protocol_options"].values()
    assert options["explicit_http_config"] == {spoken: {}}


TLS = EngineTls("/tls/ca.crt", "/tls/tls.crt", "/tls/tls.key", "engine.ns.svc")
CENTRAL = {"engine": ("engine.ns.svc:9002",), "is_remote": True}


@pytest.mark.parametrize("secrets", ["", "/etc/envoy"])
def test_an_engine_elsewhere_is_asked_by_tls_with_both_certificates(secrets: str) -> None:
    tls = dataclasses.replace(TLS, secrets=secrets)
    tree = render(dataclasses.replace(PLAIN, **CENTRAL, engine_tls=tls))
    found = cluster(tree, "extproc")
    assert (found["type"], found["connect_timeout"]) == ("STRICT_DNS", "1s")
    assert "outlier_detection" not in found
    config = found["transport_socket"]["typed_config"]
    common = config["common_tls_context"]
    assert (config["sni"], common["alpn_protocols"]) == ("engine.ns.svc", ["h2"])
    names = [{"san_type": "DNS", "matcher": {"exact": "engine.ns.svc"}}]
    if secrets:
        validation = common["combined_validation_context"]
        assert validation["default_validation_context"] == {"match_typed_subject_alt_names": names}
        paths = [
            one["sds_config"]["path_config_source"]["path"]
            for one in (
                *common["tls_certificate_sds_secret_configs"],
                validation["validation_context_sds_secret_config"],
            )
        ]
        assert paths == [f"/etc/envoy/{name}" for name in secret_files(tls)]
        assert tree["node"]["id"]
    else:
        assert common["validation_context"] == {
            "trusted_ca": {"filename": "/tls/ca.crt"},
            "match_typed_subject_alt_names": names,
        }
        assert "node" not in tree
    assert ext_proc(tree)["grpc_service"]["retry_policy"]["num_retries"] > 2
    assert ext_proc(tree)["failure_mode_allow"] is False


def test_an_engine_elsewhere_in_plain_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="open-engine"):
        render(dataclasses.replace(PLAIN, **CENTRAL))
    accepted = dataclasses.replace(PLAIN, **CENTRAL, accepted_risks=("open-engine",))
    assert "transport_socket" not in cluster(render(accepted), "extproc")


def test_files_of_secrets_watch_the_folders_of_the_certificates() -> None:
    client, authority = (one["resources"][0] for one in secret_files(TLS).values())
    assert client["tls_certificate"]["watched_directory"] == {"path": "/tls"}
    assert authority["validation_context"]["watched_directory"] == {"path": "/tls"}


def test_no_value_can_change_the_structure() -> None:
    odd = 'a"b: {c}\n#if x\n${d}'
    tree = render(dataclasses.replace(PLAIN, access_log=odd))
    assert manager(tree)["access_log"][0]["typed_config"]["path"] == odd
    assert len(manager(tree)["http_filters"]) == 3


@pytest.mark.parametrize("name", FORMS)
def test_no_mark_of_the_template_is_left(name: str) -> None:
    text = render_text(dataclasses.replace(PLAIN, **FORMS[name]))
    assert "${" not in text
    assert not [line for line in text.splitlines() if line.startswith(("#if", "#endif"))]


@pytest.mark.parametrize("file", WAYS)
def test_the_files_of_envoy_are_current(file: str) -> None:
    command = [sys.executable, "-m", "extproc", "envoy-config", *WAYS[file]]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("EXTPROC_")}
    written = subprocess.run(command, capture_output=True, text=True, check=True, env=clean).stdout
    assert (ROOT / "envoy" / file).read_text(encoding="utf-8") == written, f"write it anew: {' '.join(command[2:])}"


def test_every_file_of_envoy_is_one_of_these() -> None:
    assert {path.name for path in (ROOT / "envoy").iterdir()} == set(WAYS)


@pytest.fixture(scope="session")
def envoy() -> Path:
    try:
        return find_envoy(os.environ.get("EXTPROC_ENVOY", ""))
    except ConfigError as error:
        pytest.skip(f"needs Envoy: {error}")


def validate(envoy: Path, file: Path) -> None:
    command = [str(envoy), "--mode", "validate", "--disable-hot-restart", "--log-level", "warning", "-c", str(file)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    # A field that is deprecated or unknown is only a warning.
    assert "deprecated" not in ended.stderr.lower()
    assert "unknown field" not in ended.stderr.lower()


@pytest.mark.envoy
@pytest.mark.parametrize("name", FORMS)
def test_envoy_takes_every_form(envoy: Path, tmp_path: Path, name: str) -> None:
    file = tmp_path / "envoy.yaml"
    file.write_text(render_text(dataclasses.replace(PLAIN, **FORMS[name])))
    validate(envoy, file)


@pytest.mark.envoy
@pytest.mark.parametrize("file", WAYS)
def test_envoy_takes_the_files(envoy: Path, file: str) -> None:
    validate(envoy, ROOT / "envoy" / file)
