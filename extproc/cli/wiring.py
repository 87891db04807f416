"""Where the parts meet: settings → rules → engine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib import resources
from pathlib import Path

from extproc.config import SETTINGS, Config
from extproc.engine.inspector import EngineInspector, EngineSettings
from extproc.engine.plan import Plan
from extproc.engine.ruleset import BodySettings
from extproc.events.masking import Masking
from extproc.model.errors import ConfigError
from extproc.model.route import Beyond, Route
from extproc.model.verdict import Decision, Mode
from extproc.seclang.assemble import Sources, crs_files, load_ruleset

SHIPPED = "rules"
"""Folder of the package with the shipped sets, NAME.conf each."""

CRS_PREAMBLE = r"""
SecRuleEngine On
SecRequestBodyAccess On
SecAction "id:899990,phase:1,pass,nolog,t:none,\
setvar:tx.blocking_paranoia_level={paranoia},setvar:tx.detection_paranoia_level={paranoia}"
SecRule REQBODY_ERROR "!@eq 0" "id:899991,phase:2,deny,status:400,t:none,\
msg:'The body is not what it says it is',logdata:'%{{REQBODY_ERROR_MSG}}',severity:ERROR"
SecRule MULTIPART_STRICT_ERROR|MULTIPART_UNMATCHED_BOUNDARY "@eq 1" "id:899992,phase:2,deny,status:400,t:none,\
msg:'Multipart body that parsers read differently',logdata:'%{{MATCHED_VAR_NAME}}',severity:ERROR"
"""
"""Before a Core Rule Set, which leaves engine and body access to its user (its INSTALL, *ModSecurity*)."""


def load_inspector(config: Config, publish: Callable[[Decision], None]) -> EngineInspector:
    """Loads the rules that `config` names and says the effective mode on stderr.

    `publish` gets each decision. Raises ConfigError or SecLangErrors.
    """
    sources = rule_sources(config)
    ruleset = load_ruleset(sources, body_settings(config), cache_directory())
    settings = EngineSettings(
        mode=Mode(config.mode),
        inspect_response=config.response,
        bodies_by_route=route_bodies(config.routes, ruleset.bodies),
    )
    print(f"extproc: {describe_mode(config, ruleset.mode)}", file=sys.stderr, flush=True)
    masking = Masking()
    plan = Plan(
        ruleset,
        is_secret=lambda collection, key: masking.is_secret_variable(f"{collection}:{key.decode('latin-1')}"),
        is_secret_value=lambda value: bool(masking.find(value)[0]),
    )
    return EngineInspector(plan, settings, publish)


def body_settings(config: Config) -> BodySettings:
    """Which bodies are read, and how: own rules believe a body more than its label."""
    return BodySettings(
        is_response_read=config.response,
        is_type_guessed=not config.crs,
        request_limit_bytes=config.body_limit,
    )


def route_bodies(routes: Iterable[Route], general: BodySettings) -> dict[str, BodySettings]:
    """Of the routes with a body limit of their own, by name; what is not theirs is as the rules say."""
    return {
        route.name: replace(
            general,
            request_limit_bytes=route.body_limit_bytes,
            is_request_excess_partial=route.beyond is Beyond.PASS,
            is_cut_forgiven=route.beyond is Beyond.PASS,
        )
        for route in routes
        if route.body_limit_bytes
    }


def cache_directory() -> Path | None:
    """Where what the prefilter learnt of patterns is kept between starts; None if there is no home to keep it in.

    A folder that cannot be written (a read-only root) costs nothing but the second it would have saved.
    """
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        return None
    return Path(home) / "extproc"


def rule_sources(config: Config) -> Sources:
    """The files that `rules`, `crs` and `profile` stand for. Raises ConfigError."""
    if config.policy:
        raise ConfigError(config.sources["policy"], "policy files are not known to this version; leave it out")
    if config.profile.startswith("crs") and not config.crs:
        raise ConfigError(config.sources["profile"], f"{config.profile} needs the Core Rule Set: add --crs DIR")
    files = tuple(_rule_file(name, config.sources["rules"]) for name in config.rules)
    if config.crs:
        try:
            crs = crs_files(Path(config.crs))
        except FileNotFoundError as error:
            raise ConfigError(config.sources["crs"], str(error)) from error
        return Sources((*crs, *files), preamble=CRS_PREAMBLE.format(paranoia=config.paranoia).encode())
    return Sources(files or (_rule_file(config.profile, SETTINGS["profile"].flag),))


def _rule_file(name: str, source: str) -> Path:
    """A file, else the shipped set of that name."""
    if Path(name).is_file():
        return Path(name)
    shipped = Path(str(resources.files("extproc"))) / SHIPPED
    if (shipped / f"{name}.conf").is_file() and "/" not in name:
        return shipped / f"{name}.conf"
    known = ", ".join(sorted(path.stem for path in shipped.glob("*.conf"))) or "none"
    raise ConfigError(source, f"{name} is neither a file nor a shipped set; shipped are: {known}")


def describe_mode(config: Config, rules: Mode) -> str:
    """The effective mode in words, and who decided it. `rules` is what SecRuleEngine says."""
    asked = Mode(config.mode)
    source = config.sources.get("mode", "default")
    effective = Mode.weakest(asked, rules)
    meaning = {
        Mode.OFF: "nothing is inspected",
        Mode.MONITOR: "nothing is blocked, only reported",
        Mode.BLOCK: "what the rules deny is blocked",
    }[effective]
    why = source if effective is asked else f"SecRuleEngine is weaker than {asked} ({source})"
    if effective is Mode.MONITOR and source == "default":
        why += f"; {SETTINGS['mode'].flag} block blocks"
    return f"mode {effective}: {meaning} ({why})"
