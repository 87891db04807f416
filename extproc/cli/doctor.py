"""`extproc doctor`: is the pair well? Plain sentences; 1 if something is bad."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from extproc.attachment.settings import ENGINE, HEALTH_PORT, LISTEN_PORT
from extproc.config import SETTINGS
from extproc.doctor.questions import Grade, Patient, ask_all
from extproc.model.errors import ConfigError, ExtprocError

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
        for name in ("envoy", "health", "app")
        if getattr(arguments, name)
    }
    for name in ("path", "websocket", "event_stream"):
        if getattr(arguments, name) and not getattr(arguments, name).startswith("/"):
            raise ConfigError(f"--{name.replace('_', '-')}", "must be a path that begins with /")
    patient = Patient(
        **addresses, path=arguments.path, websocket=arguments.websocket, event_stream=arguments.event_stream
    )
    findings = []
    for finding in ask_all(patient):
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
    for name in ("envoy", "health", "app", "path", "websocket", "event_stream"):
        if getattr(arguments, name):
            command.append(f"--{name.replace('_', '-')}={getattr(arguments, name)}")
    command += ["--json"] if arguments.json else []
    try:
        return 1 if subprocess.run(command, check=False, stdout=sys.stdout, stderr=sys.stderr).returncode else 0
    except FileNotFoundError as error:
        raise ExtprocError("kubectl is not on PATH") from error
