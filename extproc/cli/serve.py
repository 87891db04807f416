"""`extproc serve`: the engine alone, one process per `--grpc` address under one supervisor."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace

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
from extproc.model.inspection import Inspector
from extproc.model.verdict import Decision
from extproc.server import supervisor
from extproc.server.generation import Attempt, Loaded
from extproc.server.pages import Held
from extproc.server.process import say
from extproc.server.reloads import ReloadStatus, SharedStatus
from extproc.server.settings import ServerSettings

NAME = "serve"
"""Of the command; `up` runs it in a fork of itself."""

LIVE = ("rules", "crs", "profile", "paranoia", "mode", "policy", "shadow", "upgrade_paths")
"""Settings of the file that a reload takes up. The others are Envoy's too, or were opened at the start."""


def configure(parser: argparse.ArgumentParser) -> None:
    add_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    config = resolve_arguments(arguments)
    settings = server_settings(config)
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
    )
