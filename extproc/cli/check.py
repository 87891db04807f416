"""`extproc check`: loads rules, policies or configuration as the server would, and names every finding at once.

Envoy's own configuration, anybody's, is held against the table of known holes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from extproc.cli.envoy_config import STDOUT, proxy_settings, risk_lines
from extproc.cli.flags import EXAMPLES
from extproc.config import DEFAULT_ADMIN, DEFAULT_GRPC, SETTINGS, resolve
from extproc.engine.ruleset import Ruleset
from extproc.model.errors import ConfigError, SecLangErrors
from extproc.model.verdict import Mode
from extproc.policy.known_rules import RuleNames
from extproc.policy.load import expired, is_policy, load_policy, require_rules
from extproc.policy.openapi import ApiDocument, is_api, load_api
from extproc.proxy.bootstrap import render_text
from extproc.proxy.holes import HOLES, find_holes
from extproc.proxy.tree import is_bootstrap, load, read
from extproc.seclang.assemble import Sources, crs_files, load_ruleset

YAML_SUFFIXES = frozenset({".yaml", ".yml", ".json"})

RULE_ENGINE = {Mode.OFF: "Off", Mode.MONITOR: "DetectionOnly", Mode.BLOCK: "On"}
"""As the directive is written."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="rule files; a policy, a configuration, an OpenAPI document, Envoy's bootstrap or dump (.yaml, .json)",
    )
    parser.add_argument(
        "--accept-risk",
        action="append",
        default=[],
        choices=HOLES,
        metavar="NAME",
        help="a hole that Envoy's bootstrap may show; may repeat",
    )
    parser.add_argument("--crs", type=Path, metavar="DIR", help="a Core Rule Set checkout, loaded before the files")


def run(arguments: argparse.Namespace) -> int:
    """0: all fine; 2: findings, one a line on stderr."""
    if not arguments.files and arguments.crs is None:
        raise ConfigError("extproc check", "name rule files, a policy or configuration (.yaml), or --crs DIR")
    findings: list[str] = []
    rules = [file for file in arguments.files if file.suffix not in YAML_SUFFIXES]
    names: RuleNames | None = None
    if rules or arguments.crs is not None:
        try:
            crs = crs_files(arguments.crs) if arguments.crs is not None else ()
            ruleset = load_ruleset(Sources((*crs, *rules)))
            print(summary(ruleset))
            names = RuleNames(rule for some in ruleset.phases.values() for rule in some)
        except FileNotFoundError as error:
            findings.append(str(error))
        except SecLangErrors as errors:
            findings += [str(finding) for finding in errors.findings]
    for file in arguments.files:
        if file.suffix in YAML_SUFFIXES:
            findings += _check_yaml(file, names, arguments.accept_risk)
    for finding in findings:
        print(finding, file=sys.stderr)
    return 2 if findings else 0


def _check_yaml(file: Path, names: RuleNames | None, accepted: Collection[str]) -> list[str]:
    """A policy says what it is by `schema:`, a bootstrap by `static_resources`, an API by `openapi:`.

    Anything else is a configuration.
    """
    try:
        if is_bootstrap(file):
            return check_bootstrap(file, accepted)
        if is_policy(file):
            policy = load_policy(file)
            if names is not None:
                require_rules(policy, names.unknown)
            print(f"{file}: {len(policy.scopes)} scopes, {len(policy.exclusions)} exclusions: fine")
            if policy.exclusions and names is None:
                print(
                    "notice: whether the rules of its exclusions exist is not known; name rule files or --crs DIR too"
                )
            for scope in policy.scopes:
                if "openapi" in scope.given:
                    api: ApiDocument = scope.given["openapi"].value
                    print(f"{policy.place(scope.given['openapi'].line)}: {api}")
                    _tell_left(api)
            for notice in expired(policy, time.time()):
                print(f"notice: {notice}")
        elif is_api(file):
            api = load_api(file)
            print(f"{api}: fine")
            _tell_left(api)
        else:
            _check_config(file)
    except ConfigError as error:
        return [str(error)]
    return []


def _tell_left(api: ApiDocument) -> None:
    for left in api.left:
        print(f"notice: {api.name}: not taken: {left}")


def check_bootstrap(file: Path, accepted: Collection[str]) -> list[str]:
    """The holes of somebody's Envoy that are not accepted; the others are told. Raises ConfigError."""
    bootstrap = read(load(file), SETTINGS["time_budget"].default)
    found = find_holes(bootstrap)
    refused = [finding for finding in found if not finding.hole.is_declared and finding.name not in accepted]
    for finding in found:
        if finding not in refused:
            print(f"notice: {file}: {finding.told}")
    if not refused:
        print(f"{file}: fine{'' if bootstrap.is_dump else ', as far as it is in the file; what comes over xDS is not'}")
    return [f"{file}: {finding}" for finding in refused]


def _check_config(file: Path) -> None:
    config = resolve({}, {}, file)
    # Addresses change nothing about holes, and may well come from flags.
    config = replace(config, listen=config.listen or EXAMPLES["listen"], app=config.app or EXAMPLES["app"])
    text = render_text(proxy_settings(config, DEFAULT_GRPC, DEFAULT_ADMIN, STDOUT))
    for line in risk_lines(text):
        print(f"notice: {file}: {line}")
    print(f"{file}: fine")


def summary(ruleset: Ruleset) -> str:
    """How many rules, in which phases, and every notice."""
    counts = ", ".join(f"phase {phase:d}: {len(rules)}" for phase, rules in ruleset.phases.items() if rules)
    total = sum(len(rules) for rules in ruleset.phases.values())
    lines = [
        f"{total} rules ({counts or 'none'}), SecRuleEngine {RULE_ENGINE[ruleset.mode]}, hash {ruleset.hash}: fine"
    ]
    lines += [f"notice: {notice}" for notice in ruleset.notices]
    return "\n".join(lines)
