"""`extproc check`: loads rules, policies or configuration as the server would, and names every finding at once."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from extproc.config import resolve
from extproc.engine.ruleset import Ruleset
from extproc.model.errors import ConfigError, SecLangErrors
from extproc.policy.known_rules import RuleNames
from extproc.policy.load import expired, is_policy, load_policy
from extproc.seclang.assemble import Sources, crs_files, load_ruleset

YAML_SUFFIXES = frozenset({".yaml", ".yml"})


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="rule files, a policy or a configuration (.yaml)"
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
            findings += _check_yaml(file, names)
    for finding in findings:
        print(finding, file=sys.stderr)
    return 2 if findings else 0


def _check_yaml(file: Path, names: RuleNames | None) -> list[str]:
    """A policy says what it is by `schema:`; what does not is a configuration."""
    try:
        if is_policy(file):
            policy = load_policy(file, names.unknown if names is not None else None)
            print(f"{file}: {len(policy.scopes)} scopes, {len(policy.exclusions)} exclusions: fine")
            if policy.exclusions and names is None:
                print(
                    "notice: whether the rules of its exclusions exist is not known; name rule files or --crs DIR too"
                )
            for notice in expired(policy, time.time()):
                print(f"notice: {notice}")
        else:
            resolve({}, {}, file)
            print(f"{file}: fine")
    except ConfigError as error:
        return [str(error)]
    return []


def summary(ruleset: Ruleset) -> str:
    """How many rules, in which phases, and every notice."""
    counts = ", ".join(f"phase {phase:d}: {len(rules)}" for phase, rules in ruleset.phases.items() if rules)
    total = sum(len(rules) for rules in ruleset.phases.values())
    lines = [f"{total} rules ({counts or 'none'}), SecRuleEngine {ruleset.mode}, hash {ruleset.hash}: fine"]
    lines += [f"notice: {notice}" for notice in ruleset.notices]
    return "\n".join(lines)
