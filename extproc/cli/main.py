"""The `extproc` command: finds the subcommand, keeps the exit codes, turns faults into sentences.

A command is a module with `configure(parser)` and `run(arguments) -> int`; it is imported only when asked for,
so that `extproc check` starts without gRPC.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple, NoReturn, Protocol, cast

from extproc import __version__, compiled
from extproc.model.errors import ConfigError, ExtprocError, PolicyErrors, SecLangError, SecLangErrors

OK, FAILED, WRONG_INPUT = 0, 1, 2
"""The exit codes of every command."""


class Command(NamedTuple):
    """Where a subcommand lives, and its line in `extproc --help`."""

    module: str
    summary: str


COMMANDS: dict[str, Command] = {
    "up": Command("extproc.cli.up", "the pair in the foreground: the engine, and a real Envoy in front of the app"),
    "serve": Command("extproc.cli.serve", "the engine alone: the gRPC server that Envoy asks"),
    "test": Command("extproc.cli.rule_tests", "run go-ftw tests against rules, without a server"),
    "check": Command("extproc.cli.check", "load rules or a configuration as the server would, and name every finding"),
    "explain": Command("extproc.cli.explain", "why a request is blocked or not: matches, decoding, what would cure it"),
    "report": Command("extproc.cli.report", "what the events of some time say, likely false alarms first"),
    "top": Command("extproc.cli.top", "the same, live in the terminal"),
    "allow": Command("extproc.cli.allow", "write the exclusion that cures a false alarm into the policy"),
    "doctor": Command("extproc.cli.doctor", "is the pair well? traffic, attacks, ways around it, milliseconds"),
    "attach": Command("extproc.cli.attach", "put the pair beside an app: Kubernetes manifests in, patched ones out"),
    "detach": Command("extproc.cli.detach", "take the pair out of manifests again, to the byte"),
    "policy": Command("extproc.cli.policy", "what a policy says of a request and where; the schema of policy files"),
    "inject-certificate": Command(
        "extproc.cli.inject_certificate", "the injector's certificate, where there is no cert-manager"
    ),
    "inject-server": Command(
        "extproc.cli.inject_server", "the admission webhook that puts the pair into labelled pods"
    ),
    "envoy-config": Command("extproc.cli.envoy_config", "print Envoy's bootstrap for the same flags"),
}


class CommandModule(Protocol):
    """What main expects of a command's module."""

    def configure(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, arguments: argparse.Namespace) -> int: ...


class _Parser(argparse.ArgumentParser):
    """Answers wrong usage with one sentence instead of a page."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(self.prog, f"{message}; see `{self.prog} --help`")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. 0 done, 1 failed at run time, 2 wrong input."""
    try:
        return _dispatch(list(sys.argv[1:] if argv is None else argv))
    except (ConfigError, SecLangError, SecLangErrors) as error:
        _complain(error)
        return WRONG_INPUT
    except ExtprocError as error:
        _complain(error)
        return FAILED
    except KeyboardInterrupt:
        return FAILED
    except BrokenPipeError:
        # The reader of our output left (`| head`). Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        # Disk full, no descriptors, no permission: the system's own sentence, which no traceback makes clearer.
        _complain(ExtprocError(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"))
        return FAILED


def _dispatch(argv: list[str]) -> int:
    name = argv[0] if argv else "--help"
    if name in ("-h", "--help"):
        print(_overview())
        return OK if argv else WRONG_INPUT
    if name == "--version":
        form = "compiled" if compiled.why_plain is None else f"from source: {compiled.why_plain}"
        print(f"extproc {__version__} (hot modules {form})")
        return OK
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean `extproc {near[0]}`?" if near else "`extproc --help` names them"
        raise ConfigError("extproc", f"{name!r} is not a command; {hint}")
    command = COMMANDS[name]
    module = cast(CommandModule, importlib.import_module(command.module))
    parser = _Parser(prog=f"extproc {name}", description=command.summary, allow_abbrev=False)
    module.configure(parser)
    return module.run(parser.parse_args(argv[1:]))


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = ["usage: extproc COMMAND [FLAGS]", "", "commands (`extproc COMMAND --help` for the flags of one):"]
    lines += [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(lines)


def _complain(error: ExtprocError) -> None:
    text = str(error)
    has_origin = isinstance(error, SecLangError | SecLangErrors | PolicyErrors) or text.startswith("extproc")
    print(text if has_origin else f"extproc: {text}", file=sys.stderr)
