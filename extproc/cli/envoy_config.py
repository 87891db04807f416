"""`extproc envoy-config`: Envoy's bootstrap for the same flags, to stdout or a file."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from pathlib import Path

import yaml

from extproc.cli.addresses import engine_addresses
from extproc.cli.flags import add_flags, require, resolve_arguments
from extproc.cli.rate_limits import limits_of
from extproc.config import DEFAULT_ADMIN, SETTINGS, Config
from extproc.model.errors import ConfigError
from extproc.proxy.bootstrap import ACCEPTED, ProxySettings, render_text
from extproc.proxy.engine_tls import EngineTls, secrets
from extproc.proxy.holes import HOLES
from extproc.proxy.tree import load

STDOUT = "/dev/stdout"


def configure(parser: argparse.ArgumentParser) -> None:
    add_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    config = resolve_arguments(arguments)
    if config.bootstrap:
        write_bootstrap(config)
    else:
        sys.stdout.write(bootstrap_text(config))
    return 0


def bootstrap_text(config: Config) -> str:
    """Envoy's half of a pair whose engine has these settings; accepted risks are told. Raises ConfigError."""
    require(config, "listen", "app")
    # In a container stdout is where a log belongs, so only `off` means none.
    log = access_log(config.access_log or "-")
    engine = config.engine or engine_addresses(config)
    text = render_text(proxy_settings(config, engine, config.admin or DEFAULT_ADMIN, log))
    for line in risk_lines(text):
        print(f"extproc: {line}", file=sys.stderr)
    tls = engine_tls(config)
    if tls is not None and tls.secrets:
        for name, secret in secrets(tls).items():
            _write(config, "engine_secrets", Path(tls.secrets, name), yaml.safe_dump(secret, sort_keys=False))
    return text


def engine_tls(config: Config) -> EngineTls | None:
    """How Envoy is to ask the engine, None: in plain text. Raises ConfigError when something is missing."""
    given = {name: getattr(config, name) for name in ("engine_ca", "engine_cert", "engine_key")}
    if not any(given.values()):
        for name in ("engine_name", "engine_secrets"):
            if getattr(config, name):
                raise ConfigError(config.sources[name], "needs --engine-ca, --engine-cert and --engine-key")
        if config.tls_cert:
            raise ConfigError(
                config.sources["tls_cert"], "lets in Envoy with a certificate only: --engine-ca, -cert and -key"
            )
        return None
    for name, value in given.items():
        if not value:
            raise ConfigError(SETTINGS[name].flag, "is missing: both sides show a certificate, so CA, certificate, key")
    name = config.engine_name or _common_host(config.engine)
    return EngineTls(config.engine_ca, config.engine_cert, config.engine_key, name, config.engine_secrets)


def _common_host(engine: tuple[str, ...]) -> str:
    hosts = {address.rpartition(":")[0] for address in engine}
    host = hosts.pop() if len(hosts) == 1 else ""
    if not host or host.startswith("[") or host.replace(".", "").isdecimal():
        raise ConfigError(SETTINGS["engine_name"].flag, "is missing: a DNS name that the engine's certificate bears")
    return host.removesuffix(".")


def write_bootstrap(config: Config) -> None:
    """The same to the file of `bootstrap`, whole or not at all. Raises ConfigError."""
    _write(config, "bootstrap", Path(config.bootstrap), bootstrap_text(config))


def _write(config: Config, key: str, path: Path, text: str) -> None:
    """To a file that the setting `key` named, whole or not at all. Raises ConfigError."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(text)
        unfinished.replace(path)
    except OSError as error:
        raise ConfigError(config.sources[key], f"cannot be written: {error.strerror}") from error


def risk_lines(text: str) -> list[str]:
    """What of a rendered bootstrap was accepted in writing, one line each, for people."""
    return [line.removeprefix("# ") for line in text.splitlines() if line.startswith(ACCEPTED)]


def _accepted(config: Config) -> tuple[str, ...]:
    for name in config.accept_risks:
        if name not in HOLES:
            near = difflib.get_close_matches(name, HOLES, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(HOLES)}"
            raise ConfigError(config.sources["accept_risks"], f"{name} is not a risk; {hint}")
    return config.accept_risks


def access_log(written: str) -> str | None:
    """The file for Envoy to write, None for no log."""
    if written in ("", "off"):
        return None
    return STDOUT if written == "-" else written


def proxy_settings(config: Config, engine: tuple[str, ...], admin: str, log: str | None) -> ProxySettings:
    """Config and the addresses of this pair → what the bootstrap is rendered from."""
    return ProxySettings(
        listen=config.listen,
        app=config.app,
        engine=engine,
        admin=admin,
        body_limit_bytes=config.body_limit,
        time_budget_ms=config.time_budget,
        app_protocol=config.app_protocol,
        trusted_hops=config.trusted_hops,
        inspect_response=config.response,
        routes=config.routes,
        rate_limits=limits_of(config),
        request_timeout_ms=config.request_timeout,
        accepted_risks=_accepted(config),
        is_remote=bool(config.engine),
        engine_tls=engine_tls(config),
        patch=load(Path(config.envoy_patch)) if config.envoy_patch else None,
        patch_source=config.envoy_patch,
        access_log=log,
    )
