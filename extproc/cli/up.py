"""`extproc up`: the pair in the foreground, engine and a real Envoy in front of one app."""

from __future__ import annotations

import argparse
import http.client
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from extproc.cli import serve
from extproc.cli.addresses import engine_addresses, free_address, refuse_taken
from extproc.cli.envoy_config import access_log, proxy_settings, risk_lines
from extproc.cli.flags import add_flags, given_flags, require, resolve_arguments
from extproc.cli.main import main
from extproc.cli.open_files import raise_limit
from extproc.cli.pair import Pair, PairPlan
from extproc.cli.private_folder import private_folder
from extproc.config import SETTINGS, SOCKET_PATH_LIMIT_BYTES, Config
from extproc.model.errors import ConfigError
from extproc.model.verdict import Mode
from extproc.proxy.admin import Admin
from extproc.proxy.binary import envoy_arguments, envoy_threads, find_envoy
from extproc.proxy.bootstrap import render_text
from extproc.server.settings import default_workers

NOT_HERE = (
    *("tls_cert", "tls_key", "tls_client_ca", "tls_client_names"),
    *("engine", "engine_ca", "engine_cert", "engine_key", "engine_name", "engine_secrets"),
)
"""Settings of an engine that is asked over a network."""

PROBE_TIMEOUT_S = 1.0
"""For one question to the engine's health port, or one try to reach the app."""


def configure(parser: argparse.ArgumentParser) -> None:
    add_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    config = resolve_arguments(arguments)
    require(config, "listen", "app")
    if config.listen == config.app:
        raise ConfigError(SETTINGS["app"].flag, f"{config.app} is where Envoy is to listen; name the app's own port")
    for name in NOT_HERE:
        if name in config.sources:
            raise ConfigError(config.sources[name], "is for an engine elsewhere: only its Envoy asks that of `up`")
    binary = find_envoy(config.envoy)
    refuse_taken("listen", config.listen)
    if (told := raise_limit()) is not None:
        _say(told)
    with private_folder() as folder:
        return Pair(_plan(config, given_flags(arguments), arguments.config, binary, folder)).run()


def _plan(config: Config, flags: Mapping[str, object], file: Path | None, binary: Path, folder: Path) -> PairPlan:
    """Addresses nobody else can have: sockets in `folder`, and a free port for health."""
    if config.grpc:
        engine = engine_addresses(config)
    else:
        engine = tuple(f"unix:{folder}/engine-{number}.sock" for number in range(config.workers or default_workers()))
    if len(engine[-1].removeprefix("unix:").encode()) > SOCKET_PATH_LIMIT_BYTES:
        raise ConfigError("TMPDIR", f"{folder} is too long a path for a unix socket; set a shorter TMPDIR")
    health = config.health if config.health not in ("", "off") else free_address()
    metrics = config.metrics or free_address()
    admin_path = folder / "admin.sock"
    bootstrap = folder / "envoy.yaml"
    settings = proxy_settings(config, engine, f"unix:{admin_path}", access_log(config.access_log))
    text = render_text(settings)
    bootstrap.write_text(text, encoding="utf-8")
    for line in risk_lines(text):
        _say(line)
    own: dict[str, object] = {
        "lines": "all" if config.lines == "auto" else config.lines,
        "grpc": list(engine),
        "workers": len(engine),
        "health": health,
        "metrics": metrics,
        "drain_delay_seconds": 0,  # Envoy is gone before the engine is asked to go
    }
    return PairPlan(
        engine=lambda: main([serve.NAME, *_as_flags({**flags, **own}, file)]),
        envoy=envoy_arguments(binary, bootstrap, envoy_threads(len(engine))),
        envoy_log=folder / "envoy.log",
        admin=Admin(admin_path),
        is_engine_ready=lambda: _is_ready(health),
        announce=lambda: _announce(config, engine, health, metrics, admin_path),
        say=_say,
        drain_seconds=config.drain_seconds,
        engine_stop_seconds=config.drain_seconds,
    )


def _as_flags(values: Mapping[str, object], file: Path | None) -> list[str]:
    """Back to a command line, so that the engine tells the origin of each setting as the user wrote it."""
    written = ["--config", str(file)] if file is not None else []
    for name, value in values.items():
        definition = SETTINGS[name]
        if definition.is_switch:
            written.append(definition.flag if value else f"--no-{definition.flag.removeprefix('--')}")
        else:
            items = value if isinstance(value, list) else [value]
            written += [f"{definition.flag}={item}" for item in items]
    return written


def _is_ready(health: str) -> bool:
    connection = http.client.HTTPConnection(health, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _announce(config: Config, engine: tuple[str, ...], health: str, metrics: str, admin: Path) -> None:
    port = config.listen.rpartition(":")[2]
    host = config.listen.removesuffix(f":{port}")
    url = f"http://{ {'0.0.0.0': '127.0.0.1', '[::]': '[::1]'}.get(host, host) }:{port}"  # noqa: S104  # not bound
    _say(f"listening on {config.listen}, in front of {config.app}")
    _say(f"engine {', '.join(engine)}; health http://{health}/readyz")
    _say(f"status http://{health}/status; metrics http://{health if metrics == 'off' else metrics}/metrics")
    _say(f"Envoy's admin: curl --unix-socket {admin} http://envoy/stats")
    if not _is_reachable(config.app):
        _say(f"the app at {config.app} does not answer yet; until it does, clients get 503")
    _say("try, in another terminal:")
    for line in trials(config, url):
        _say(f"  {line}")


def trials(config: Config, url: str) -> tuple[str, ...]:
    """Three commands for the user to paste, each with what will come of it."""
    is_blocking = config.mode == Mode.BLOCK
    outcome = "403 with an incident id" if is_blocking else "the app answers; the line below says what would have been"
    in_body = "403, seen in the body" if is_blocking else "the same, seen in the body"
    if is_blocking and (config.policy or config.rules):  # both can weaken the mode, for some requests or for all
        outcome += ", unless policy or rules only watch there"
    return (
        f"curl -i '{url}/hello'                  # the app's own answer",
        f"curl -i '{url}/?q=%27%20OR%201=1--'    # {outcome}",
        f"curl -i {url}/login -d 'user=a&pw=<script>alert(1)</script>'    # {in_body}",
    )


def _is_reachable(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_TIMEOUT_S):
            return True
    except OSError:
        return False


def _say(line: str) -> None:
    print(f"extproc: {line}", file=sys.stderr, flush=True)
