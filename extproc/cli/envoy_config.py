"""`extproc envoy-config`: Envoy's bootstrap for the same flags, to stdout or a file."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from pathlib import Path

from extproc.cli.addresses import engine_addresses
from extproc.cli.flags import add_flags, require, resolve_arguments
from extproc.cli.rate_limits import limits_of
from extproc.config import DEFAULT_ADMIN, Config
from extproc.model.errors import ConfigError
from extproc.proxy.bootstrap import ACCEPTED, ProxySettings, render_text
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
    text = render_text(proxy_settings(config, engine_addresses(config), config.admin or DEFAULT_ADMIN, log))
    for line in risk_lines(text):
        print(f"extproc: {line}", file=sys.stderr)
    return text


def write_bootstrap(config: Config) -> None:
    """The same to the file of `bootstrap`, whole or not at all. Raises ConfigError."""
    text = bootstrap_text(config)
    path = Path(config.bootstrap)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(text)
        unfinished.replace(path)
    except OSError as error:
        raise ConfigError(config.sources["bootstrap"], f"cannot be written: {error.strerror}") from error


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
        patch=load(Path(config.envoy_patch)) if config.envoy_patch else None,
        patch_source=config.envoy_patch,
        access_log=log,
    )
