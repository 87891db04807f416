"""Where the parts meet: settings → rules → engine."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TypeAlias

from extproc.config import SETTINGS, Config
from extproc.engine.inspector import EngineInspector, EngineSettings
from extproc.engine.plan import Plan
from extproc.engine.ruleset import BodySettings, Ruleset
from extproc.events.masking import Masking
from extproc.model.errors import ConfigError
from extproc.model.files import FilesRead
from extproc.model.route import Beyond, Route
from extproc.model.verdict import Decision, Mode
from extproc.policy.bind import Base, Binder
from extproc.policy.known_rules import RuleNames
from extproc.policy.load import expired, load_policy, require_rules
from extproc.policy.model import DEFAULTS, Policy
from extproc.policy.shapes import nearest
from extproc.seclang.assemble import Sources, crs_files, load_ruleset

SHIPPED = "rules"
"""Folder of the package with the shipped sets, NAME.conf each."""

PARANOIA_PREAMBLE = r"""
SecRuleEngine On
SecRequestBodyAccess On
SecAction "id:899990,phase:1,pass,nolog,t:none,\
setvar:tx.blocking_paranoia_level={paranoia},setvar:tx.detection_paranoia_level={paranoia}"
"""
"""Before a Core Rule Set, which leaves engine and body access to its user (its INSTALL, *ModSecurity*)."""

CRS_PREAMBLE = (
    PARANOIA_PREAMBLE
    + r"""
SecRule REQBODY_ERROR "!@eq 0" "id:899991,phase:2,deny,status:400,t:none,\
msg:'The body is not what it says it is',logdata:'%{{REQBODY_ERROR_MSG}}',severity:ERROR"
SecRule MULTIPART_STRICT_ERROR|MULTIPART_UNMATCHED_BOUNDARY "@eq 1" "id:899992,phase:2,deny,status:400,t:none,\
msg:'Multipart body that parsers read differently',logdata:'%{{MATCHED_VAR_NAME}}',severity:ERROR"
"""
)
"""Where it is alone: what its own documentation asks for of bodies that cannot be read. The own rules have theirs."""

OWN_AND_CRS = "own+crs"
"""Profile: the own rules, and of the Core Rule Set those that are quiet."""

NEEDS_CRS = frozenset({"crs", "crs-api", OWN_AND_CRS})
"""Profiles that need --crs."""


Publish: TypeAlias = Callable[[Decision, Masking], None]
"""What takes each decision, and how it is to be masked."""


def load_inspector(config: Config, publish: Publish, files: FilesRead | None = None) -> EngineInspector:
    """Loads the rules and the policy that `config` names and says the effective modes on stderr.

    `publish` gets each decision; `files` notes what was read. Raises ConfigError (PolicyErrors) or SecLangErrors.
    """
    policy = load_policy(Path(config.policy), files) if config.policy else None
    masking = Masking() if policy is None else Masking(policy.secret_names, extra_looks=policy.secret_looks)
    sources = rule_sources(config, files)
    plans = {"": _plan(load_ruleset(sources, body_settings(config), cache_directory(), files), masking, config)}
    ruleset = plans[""].ruleset
    for profile in sorted(_profiles(policy)):
        if profile in NEEDS_CRS and not config.crs:
            continue  # the binder says it, with the line
        alone = with_profile(config, profile)
        others = rule_sources(alone, files)
        if others == sources:
            plans[profile] = plans[""]
        else:
            plans[profile] = _plan(
                load_ruleset(others, body_settings(alone), cache_directory(), files), masking, config
            )
    shadow_files = tuple(rule_file(name, config.sources["shadow"]) for name in config.shadow)
    shadow_files += policy.shadow_rules if policy is not None else ()
    shadow = None
    if shadow_files:
        shadow = _plan(load_ruleset(Sources(shadow_files), ruleset.bodies, cache_directory(), files), masking, config)
    settings = EngineSettings(
        mode=Mode(config.mode),
        inspect_response=config.response,
        bodies_by_route=route_bodies(config.routes, ruleset.bodies),
    )
    _say(describe_mode(config, ruleset.mode))
    _refuse_unknown_policies(config, policy)
    treat = None
    if policy is not None:
        every = [*plans.values(), *((shadow,) if shadow is not None else ())]
        require_rules(policy, RuleNames(rule for plan in every for rule in plan.rules).unknown)
        binder = Binder(
            policy,
            Base(
                plans=plans,
                mode=settings.mode,
                inspect_response=config.response,
                body_limit_bytes=max((config.body_limit, *(route.body_limit_bytes for route in config.routes))),
                time_budget_ms=config.time_budget,
                bodies_by_route=settings.bodies_by_route,
                shadow=shadow,
            ),
        )
        for line in describe_policy(binder, time.time()):
            _say(line)
        treat = binder.treat
    if shadow is not None:
        rules = len(shadow.rules)
        _say(f"shadow rules: {rules} run beside the others and decide nothing; hash {shadow.ruleset.hash}")
    return EngineInspector(plans[""], settings, lambda decision: publish(decision, masking), treat=treat, shadow=shadow)


def with_profile(config: Config, profile: str) -> Config:
    """The settings with another rule set, whole."""
    sources = {**config.sources, "profile": f"profile {profile} of the policy"}
    return replace(config, profile=profile, rules=(), crs=config.crs if profile in NEEDS_CRS else "", sources=sources)


def _refuse_unknown_policies(config: Config, policy: Policy | None) -> None:
    """A route that names a policy which is not there would silently run under the defaults alone."""
    known = [scope.name for scope in policy.scopes if scope.name != DEFAULTS] if policy is not None else []
    for route in config.routes:
        if route.policy and route.policy not in known:
            hint = nearest(route.policy, known) if known else f"name a file with {SETTINGS['policy'].flag}"
            raise ConfigError(
                config.sources.get("routes", SETTINGS["routes"].flag),
                f"{route.name} asks for the policy {route.policy}, which there is not; {hint}",
            )


def _plan(ruleset: Ruleset, masking: Masking, config: Config) -> Plan:
    return Plan(
        ruleset,
        has_views=config.decode == "nested",
        is_secret=lambda collection, key: masking.is_secret_variable(f"{collection}:{key.decode('latin-1')}"),
        is_secret_value=lambda value: bool(masking.find(value)[0]),
    )


def _profiles(policy: Policy | None) -> set[str]:
    scopes = policy.scopes if policy is not None else ()
    return {scope.given["profile"].value for scope in scopes if "profile" in scope.given}


def describe_policy(binder: Binder, now: float) -> list[str]:
    """What a policy changes, for the start: the mode of each scope that names one, and what has expired."""
    policy = binder.policy
    said = [f"policy {policy.file}: {len(policy.scopes)} scopes, {len(policy.exclusions)} exclusions"]
    for name, asked, effective in binder.modes():
        why = (
            "" if effective is asked else f" (it asks for {asked}; {SETTINGS['mode'].flag} or SecRuleEngine is weaker)"
        )
        said.append(f"policy {name}: mode {effective}{why}")
    return said + binder.without_effect() + expired(policy, now)


def _say(line: str) -> None:
    print(f"extproc: {line}", file=sys.stderr, flush=True)


def body_settings(config: Config) -> BodySettings:
    """Which bodies are read, and how: own rules believe a body more than its label."""
    return BodySettings(
        is_response_read=config.response,
        is_type_guessed=not config.crs or config.profile == OWN_AND_CRS,
        request_limit_bytes=config.body_limit,
        response_limit_bytes=response_limit(config),
        response_types=frozenset(kind.encode() for kind in config.response_types),
    )


def response_limit(config: Config) -> int:
    """Bytes. Raises ConfigError when Envoy would not hold as much."""
    if config.response_limit > config.body_limit:
        raise ConfigError(
            config.sources["response_limit"],
            f"must be at most body_limit, {config.body_limit} bytes: Envoy holds as much of either",
        )
    return config.response_limit or config.body_limit


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


def rule_sources(config: Config, files: FilesRead | None = None) -> Sources:
    """The files that `rules`, `crs` and `profile` stand for; `files` notes what was looked for. Raises ConfigError."""
    if files is not None:
        for name in config.rules:
            files.file(Path(name))  # before anybody finds that it is not there
    if config.profile in NEEDS_CRS and not config.crs:
        raise ConfigError(config.sources["profile"], f"{config.profile} needs the Core Rule Set: add --crs DIR")
    own = tuple(rule_file(name, config.sources["rules"]) for name in config.rules)
    if config.crs:
        try:
            crs = crs_files(Path(config.crs), files)
        except FileNotFoundError as error:
            raise ConfigError(config.sources["crs"], str(error)) from error
        if config.profile == OWN_AND_CRS:
            flag = SETTINGS["profile"].flag
            files_named = (*(own or (rule_file("own", flag),)), *crs, rule_file(OWN_AND_CRS, flag))
            return Sources(files_named, preamble=PARANOIA_PREAMBLE.format(paranoia=config.paranoia).encode())
        before = (rule_file(config.profile, SETTINGS["profile"].flag),) if config.profile == "crs-api" else ()
        return Sources((*before, *crs, *own), preamble=CRS_PREAMBLE.format(paranoia=config.paranoia).encode())
    return Sources(own or (rule_file(config.profile, SETTINGS["profile"].flag),))


def rule_file(name: str, source: str) -> Path:
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
