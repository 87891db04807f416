"""`extproc serve`: the engine alone, one process per `--grpc` address under one supervisor."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from extproc.cli.addresses import engine_addresses, refuse_taken
from extproc.cli.decisions import Decisions
from extproc.cli.envoy_config import write_bootstrap
from extproc.cli.flags import add_flags, config_file, resolve_arguments
from extproc.cli.rehearsal import compare, rehearse
from extproc.cli.telemetry import Telemetry
from extproc.cli.wiring import load_inspector
from extproc.config import DEFAULT_HEALTH, DEFAULT_METRICS, EVENTS_TO_COLLECTOR, SETTINGS, Config
from extproc.events import reload
from extproc.events.faults import install as install_faults
from extproc.events.masking import Masking
from extproc.model.errors import ConfigError
from extproc.model.inspection import Inspector
from extproc.model.verdict import Decision
from extproc.server import supervisor
from extproc.server.generation import Attempt, Loaded
from extproc.server.pages import Held
from extproc.server.process import say
from extproc.server.reloads import ReloadStatus, SharedStatus
from extproc.server.settings import ServerSettings, TlsSettings
from extproc.server.tls import load_identity

NAME = "serve"
"""Of the command; `up` runs it in a fork of itself."""

LIVE = ("rules", "crs", "profile", "paranoia", "decode", "mode", "policy", "shadow", "upgrade_paths")
"""Settings of the file that a reload takes up. The others are Envoy's too, or were opened at the start."""


def configure(parser: argparse.ArgumentParser) -> None:
    add_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    config = resolve_arguments(arguments)
    settings = server_settings(config)
    if settings.tls is not None:
        load_identity(settings.tls)  # what is wrong with the files is told once, before there are workers
    if settings.health:
        refuse_taken("health", settings.health)  # workers tell about their own addresses
    if config.bootstrap:
        write_bootstrap(config)
    if settings.metrics:
        refuse_taken("metrics", settings.metrics)
    decisions = Decisions(config)
    status = SharedStatus()
    telemetry = Telemetry(config, status)

    def publish(decision: Decision, masking: Masking) -> None:
        telemetry.count(decision)
        decisions.publish(decision, masking)

    @contextlib.contextmanager
    def enter(inspector: Inspector, number: int) -> Iterator[Held]:
        with (
            decisions.writing(),
            telemetry.serving(number, decisions) as held,
        ):
            yield held

    def load(attempt: Attempt) -> Loaded:
        file = config_file(arguments)
        if file is not None:
            attempt.files.file(file)
        now = config if attempt.number == 1 else renewed(config, resolve_arguments(arguments))
        inspector = load_inspector(now, publish, attempt.files)
        telemetry.mode = inspector.mode.value
        outcome = rehearse(inspector)
        return Loaded(inspector, server_settings(now), outcome, compare(outcome, attempt.baseline))

    def tell(status: ReloadStatus, why: str) -> None:
        if config.events and config.events != EVENTS_TO_COLLECTOR:  # there the gauge says it
            reload.write(
                config.events,
                time=time.time(),
                outcome=status.outcome,
                why=why,
                generation=status.generation,
                ruleset=status.ruleset,
                reason=status.reason,
                rehearsal=status.rehearsal,
            )

    install_faults(Masking())
    try:
        return supervisor.run(settings, load, enter, status, tell)
    finally:
        telemetry.close()


def renewed(running: Config, found: Config) -> Config:
    """`running` with what a reload may change of `found`; says which other changes wait for a restart."""
    waiting = [name for name in SETTINGS if name not in LIVE and getattr(running, name) != getattr(found, name)]
    if waiting:
        say(f"changed in the configuration, and in effect from the next start on: {', '.join(waiting)}")
    sources = {**running.sources, **{name: found.sources[name] for name in LIVE if name in found.sources}}
    return replace(running, sources=sources, **{name: getattr(found, name) for name in LIVE})


def server_settings(config: Config) -> ServerSettings:
    """Config → what the server is told. Raises ConfigError."""
    health, metrics = config.health or DEFAULT_HEALTH, config.metrics or DEFAULT_METRICS
    return ServerSettings(
        addresses=engine_addresses(config),
        health="" if health == "off" else health,
        metrics="" if metrics == "off" else metrics,
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
        watch_s=config.watch_seconds,
        connection_age_s=config.connection_age_seconds,
        connection_grace_s=config.connection_grace_seconds,
        tls=tls_settings(config),
    )


def tls_settings(config: Config) -> TlsSettings | None:
    """The files of TLS, None for plain text. Raises ConfigError when some of them are missing."""
    given = {name: getattr(config, name) for name in ("tls_cert", "tls_key", "tls_client_ca")}
    if not any(given.values()):
        if config.tls_client_names:
            raise ConfigError(config.sources["tls_client_names"], "needs --tls-cert, --tls-key and --tls-client-ca")
        return None
    for name, value in given.items():
        if not value:
            why = "; without a CA for them anybody could call" if name == "tls_client_ca" else ""
            raise ConfigError(SETTINGS[name].flag, f"is missing: TLS needs certificate, key and the clients' CA{why}")
    return TlsSettings(
        Path(config.tls_cert), Path(config.tls_key), Path(config.tls_client_ca), frozenset(config.tls_client_names)
    )
