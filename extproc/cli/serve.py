"""`extproc serve`: the engine alone, one process per `--grpc` address under one supervisor."""

from __future__ import annotations

import argparse

from extproc.cli.addresses import engine_addresses, refuse_taken
from extproc.cli.decisions import Decisions
from extproc.cli.envoy_config import write_bootstrap
from extproc.cli.flags import add_flags, resolve_arguments
from extproc.cli.wiring import load_inspector
from extproc.config import DEFAULT_HEALTH, Config
from extproc.server import workers
from extproc.server.settings import ServerSettings


def configure(parser: argparse.ArgumentParser) -> None:
    add_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    config = resolve_arguments(arguments)
    settings = server_settings(config)
    if settings.health:
        refuse_taken("health", settings.health)  # workers tell about their own addresses
    if config.bootstrap:
        write_bootstrap(config)
    decisions = Decisions(config)
    return workers.run(settings, lambda: load_inspector(config, decisions.publish), decisions.writing)


def server_settings(config: Config) -> ServerSettings:
    """Config → what the server is told. Raises ConfigError."""
    health = config.health or DEFAULT_HEALTH
    return ServerSettings(
        addresses=engine_addresses(config),
        health="" if health == "off" else health,
        budget_us=config.time_budget * 1000,
        max_streams=config.max_streams,
        body_limit_bytes=config.body_limit,
        drain_delay_s=config.drain_delay_seconds,
        drain_grace_s=config.drain_seconds,
        upgrade_paths=config.upgrade_paths,
        routes=config.routes,
        inspect_response=config.response,
        response_body_modes=frozenset({"BUFFERED_PARTIAL"} if config.response else {"NONE"}),
        reflection=config.reflection,
        transport=config.transport,
    )
