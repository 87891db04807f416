"""`extproc doctor`: is the pair well? Plain sentences; 1 if something is bad."""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from extproc.attachment.settings import ENGINE, HEALTH_PORT, LISTEN_PORT
from extproc.config import SETTINGS
from extproc.doctor.central import Central, ask_central
from extproc.doctor.questions import Finding, Grade, Patient, ask_all
from extproc.model.errors import ConfigError, ExtprocError

ENGINE_FILES = ("engine_ca", "engine_cert", "engine_key")
"""Flags with which a shared engine is asked as a proxy asks it."""

MARKS = {Grade.FINE: "ok  ", Grade.UNKNOWN: "-   ", Grade.WARNING: "warn", Grade.BAD: "BAD "}


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    envoy, health = f"127.0.0.1:{LISTEN_PORT}", f"127.0.0.1:{HEALTH_PORT}"
    add("--envoy", default=envoy, metavar="ADDR", help=f"where clients connect (default, as in a pod: {envoy})")
    add("--health", default=health, metavar="ADDR", help=f"the engine's health port (default: {health})")
    add("--app", default="", metavar="ADDR", help="the app's own address, to look for ways around and to compare times")
    add("--path", default="/", metavar="PATH", help="one that the app answers (default: /)")
    add("--websocket", default="", metavar="PATH", help="one on which WebSockets are allowed")
    add("--event-stream", default="", metavar="PATH", help="one that answers server-sent events")
    add("--engine", default="", metavar="ADDR", help="ask a shared engine at its own port, instead of a pair")
    add("--engine-ca", default="", metavar="FILE", help="and as a proxy: the CA of its certificate")
    add("--engine-cert", default="", metavar="FILE", help="the proxy's certificate")
    add("--engine-key", default="", metavar="FILE", help="the key of that")
    add("--engine-name", default="", metavar="NAME", help="in the engine's certificate (default: the host of --engine)")
    add("--pod", default="", metavar="NAME", help="ask inside this pod, by kubectl exec")
    add("--namespace", "-n", default="", metavar="NAME", help="of the pod")
    add("--json", action="store_true", help="the findings as JSON")


def run(arguments: argparse.Namespace) -> int:
    if arguments.pod:
        return _in_pod(arguments)
    if arguments.namespace:
        raise ConfigError("--namespace", "is that of a pod; add --pod NAME")
    addresses = {
        name: _address(f"--{name}", getattr(arguments, name))
        for name in ("envoy", "health", "app", "engine")
        if getattr(arguments, name)
    }
    for name in ("path", "websocket", "event_stream"):
        if getattr(arguments, name) and not getattr(arguments, name).startswith("/"):
            raise ConfigError(f"--{name.replace('_', '-')}", "must be a path that begins with /")
    findings = []
    for finding in _ask(arguments, addresses):
        findings.append(finding)
        if not arguments.json:
            print(f"{MARKS[finding.grade]}  {finding.question} {finding.sentence}", flush=True)
    bad = sum(finding.grade is Grade.BAD for finding in findings)
    if arguments.json:
        rows = [{"question": one.question, "grade": one.grade.value, "sentence": one.sentence} for one in findings]
        print(json.dumps(rows, indent=2))
    else:
        warned = sum(finding.grade is Grade.WARNING for finding in findings)
        print(f"{len(findings)} questions, {warned} warnings, {bad} bad")
    return 1 if bad else 0


def _ask(arguments: argparse.Namespace, addresses: dict[str, str]) -> Iterator[Finding]:
    """A shared engine, if one is named, else a pair. Raises ConfigError."""
    engine = addresses.pop("engine", "")
    if not engine:
        if any(getattr(arguments, name) for name in ENGINE_FILES):
            raise ConfigError("--engine", "is missing; its files alone say not whom to ask")
        paths = {name: getattr(arguments, name) for name in ("path", "websocket", "event_stream")}
        return ask_all(Patient(**addresses, **paths))
    given = {name: getattr(arguments, name) for name in ENGINE_FILES}
    if any(given.values()):
        for name, value in given.items():
            if not Path(value).is_file():
                flag = f"--{name.replace('_', '-')}"
                raise ConfigError(
                    flag, f"{value} is no file" if value else "is missing: a proxy has CA, certificate, key"
                )
    central = Central(engine, arguments.engine_ca, arguments.engine_cert, arguments.engine_key, arguments.engine_name)
    return ask_central(central, datetime.datetime.now(datetime.UTC))


def _address(flag: str, written: str) -> str:
    try:
        return str(SETTINGS["app"].read(written))
    except ValueError as error:
        raise ConfigError(flag, str(error)) from error


def _in_pod(arguments: argparse.Namespace) -> int:
    """The same questions, asked by the engine's container, where loopback is the pod's."""
    command = ["kubectl", "exec", arguments.pod, "-c", ENGINE]
    if arguments.namespace:
        command += ["-n", arguments.namespace]
    command += ["--", "python", "-m", "extproc", "doctor"]
    asked = ("envoy", "health", "app", "path", "websocket", "event_stream", "engine", *ENGINE_FILES, "engine_name")
    for name in asked:
        if getattr(arguments, name):
            command.append(f"--{name.replace('_', '-')}={getattr(arguments, name)}")
    command += ["--json"] if arguments.json else []
    try:
        return 1 if subprocess.run(command, check=False, stdout=sys.stdout, stderr=sys.stderr).returncode else 0
    except FileNotFoundError as error:
        raise ExtprocError("kubectl is not on PATH") from error
