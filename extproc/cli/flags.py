"""Settings as flags: `Config`'s definitions → argparse, and what was given → `Config`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from extproc.config import FILE_VARIABLE, SETTINGS, Config, Setting, resolve, shown_default
from extproc.model.errors import ConfigError


def add_flags(parser: argparse.ArgumentParser, names: Iterable[str] = SETTINGS) -> None:
    """`--config FILE`, and one flag per named key, else all; a flag that is not given leaves no trace.

    The commands around a pair take all keys, so that one line of flags serves `up`, `serve` and `envoy-config`.
    """
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file with the same keys (EXTPROC_CONFIG)")
    for name in names:
        definition = SETTINGS[name]
        if definition.is_switch:
            parser.add_argument(
                definition.flag,
                dest=name,
                action=argparse.BooleanOptionalAction,
                default=argparse.SUPPRESS,
                help=definition.help,
            )
        else:
            parser.add_argument(
                definition.flag,
                dest=name,
                action="append" if definition.is_repeatable else "store",
                default=argparse.SUPPRESS,
                metavar=definition.metavar or ("N" if isinstance(definition.default, int) else name.upper()),
                help=_help(definition),
            )


def _help(definition: Setting) -> str:
    default = shown_default(definition)
    notes = [f"default: {default}"] * bool(default) + ["may repeat"] * definition.is_repeatable
    return (definition.help + (f" ({'; '.join(notes)})" if notes else "")).replace("%", "%%")


def given_flags(arguments: argparse.Namespace) -> dict[str, object]:
    """The settings that stand on the command line, by key, as written."""
    return {name: value for name, value in vars(arguments).items() if name in SETTINGS}


def resolve_arguments(arguments: argparse.Namespace, environment: Mapping[str, str] | None = None) -> Config:
    """Command line over environment over file. Raises ConfigError."""
    return resolve(given_flags(arguments), os.environ if environment is None else environment, arguments.config)


def config_file(arguments: argparse.Namespace, environment: Mapping[str, str] | None = None) -> Path | None:
    """The configuration file that `resolve_arguments` reads, None if there is none."""
    named = (os.environ if environment is None else environment).get(FILE_VARIABLE, "")
    return arguments.config or (Path(named) if named else None)


def require(config: Config, *names: str) -> None:
    """Raises ConfigError for the first of `names` that was not set."""
    for name in names:
        if not getattr(config, name):
            definition = SETTINGS[name]
            raise ConfigError(
                definition.flag, f"is missing ({definition.help}); write {definition.flag} {EXAMPLES[name]}"
            )


EXAMPLES = {"listen": "127.0.0.1:8080", "app": "127.0.0.1:3000"}
"""What `require` proposes."""
