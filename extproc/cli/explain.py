"""`extproc explain`: a request against rules: what matched, how it was decoded, what decided, what would cure it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from extproc.cli.flags import add_flags, resolve_arguments
from extproc.cli.wiring import body_settings, rule_sources, with_profile
from extproc.config import BODY_LIMIT_RANGE_BYTES, EVENTS_TO_COLLECTOR, TIME_BUDGET_RANGE_MS, Config
from extproc.engine.plan import Plan
from extproc.engine.treatment import Treat
from extproc.events.masking import Masking
from extproc.model.errors import ConfigError
from extproc.model.verdict import Mode
from extproc.policy.bind import Base, Binder
from extproc.policy.definition import PROFILES
from extproc.policy.load import load_policy
from extproc.policy.merge import Merger
from extproc.policy.model import Policy
from extproc.replay.curl import request_of
from extproc.replay.explain import MakeTreat, explain
from extproc.replay.explain_incident import find_incident, recall
from extproc.replay.explain_record import to_record
from extproc.replay.explain_text import lay_out
from extproc.replay.http1 import Request, parse_request
from extproc.seclang.assemble import load_ruleset

MAX_REQUEST_BYTES = 64 * 1024 * 1024
"""Largest request read from a file; more is hardly a request."""

ASSUMED_MODE = Mode.BLOCK
"""Without --mode: whoever asks why wants to see what the rules say."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    add_flags(parser, ("rules", "crs", "profile", "paranoia", "decode", "mode", "body_limit", "policy"))
    parser.add_argument("--request", metavar="FILE", help="a raw HTTP/1 request; - is stdin")
    parser.add_argument("--incident", metavar="ID", help="an incident of an event file, as far as it can be rebuilt")
    parser.add_argument(
        "--events", dest="event_file", type=Path, metavar="FILE", help="where --incident is to be found"
    )
    parser.add_argument("--route", default="", metavar="NAME", help="Envoy's name of the route, for --policy")
    parser.add_argument("--policy-name", default="", metavar="NAME", help="what Envoy sends as x-waf-policy")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines for people")
    parser.add_argument("--show-secrets", action="store_true", help="do not mask cookies, passwords and tokens")
    parser.add_argument(
        "curl",
        nargs=argparse.REMAINDER,
        metavar="[--] [curl] OPTIONS URL",
        help="a request as for curl; the flags above stand before it; nothing is sent",
    )


def run(arguments: argparse.Namespace) -> int:
    """0: explained, whatever the verdict; 2: wrong input."""
    words = arguments.curl[1:] if arguments.curl[:1] == ["--"] else arguments.curl
    given = [arguments.request is not None, arguments.incident is not None, bool(words)]
    if sum(given) != 1:
        raise ConfigError("extproc explain", "give one request: --request FILE, --incident ID, or curl's arguments")
    config = resolve_arguments(arguments)
    policy = load_policy(Path(config.policy)) if config.policy else None
    masking = _masking(policy, is_enabled=not arguments.show_secrets)
    if arguments.incident is not None:
        file = arguments.event_file or (Path(config.events) if config.events not in ("", EVENTS_TO_COLLECTOR) else None)
        if file is None:
            raise ConfigError("--incident", "needs --events FILE, the file that the engine wrote")
        incident = find_incident(file, arguments.incident)
        record = recall(incident, _record(config, incident.request, masking, policy))
    else:
        request = _read_request(arguments.request, words)
        head = replace(request.head, route=arguments.route, policy=arguments.policy_name)
        record = _record(config, replace(request, head=head), masking, policy)
    print(json.dumps(record) if arguments.json else lay_out(record))
    return 0


def _masking(policy: Policy | None, is_enabled: bool) -> Masking:
    if policy is None:
        return Masking(is_enabled=is_enabled)
    return Masking(policy.secret_names, is_enabled, policy.secret_looks)


def _record(config: Config, request: Request, masking: Masking, policy: Policy | None) -> dict[str, Any]:
    is_asked = "mode" in config.sources
    mode = Mode(config.mode) if is_asked else ASSUMED_MODE
    source = config.sources["mode"] if is_asked else "assumed here; `up` and `serve` default to monitor"
    plans = _plan_maker(_with_profile(config, policy, request))
    return to_record(explain(plans, mode, request, _treat_maker(policy, mode)), masking, source)


def _with_profile(config: Config, policy: Policy | None, request: Request) -> Config:
    """The settings with the rules that the policy chooses for this request."""
    if policy is None:
        return config
    head = request.head
    profile = Merger(policy).fit(head.policy, head.route, head.authority, head.path).effective.value("profile")
    return config if profile is None else with_profile(config, profile)


def _treat_maker(policy: Policy | None, mode: Mode) -> MakeTreat:
    """The policy over whatever plan the request runs through. Raises PolicyErrors."""
    if policy is None:
        return lambda plan: None

    def make(plan: Plan) -> Treat:
        profiles = dict.fromkeys(("", *PROFILES), plan)
        return Binder(policy, Base(profiles, mode, True, BODY_LIMIT_RANGE_BYTES[1], TIME_BUDGET_RANGE_MS[1])).treat

    return make


def _plan_maker(config: Config) -> Callable[[bytes], Plan]:
    """Rules as `serve` would load them, with lines in front."""
    sources = rule_sources(config)
    defaults = body_settings(config)

    def make(before: bytes) -> Plan:
        return Plan(
            load_ruleset(replace(sources, preamble=sources.preamble + b"\n" + before), defaults),
            has_views=config.decode == "nested",
        )

    return make


def _read_request(file: str | None, words: list[str]) -> Request:
    if file is None:
        return parse_request(request_of([os.fsencode(word) for word in words]))
    try:
        if file == "-":
            raw = sys.stdin.buffer.read(MAX_REQUEST_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                raw = stream.read(MAX_REQUEST_BYTES + 1)
    except OSError as error:
        raise ConfigError("--request", f"{file} cannot be read: {error.strerror}") from error
    if len(raw) > MAX_REQUEST_BYTES:
        raise ConfigError("--request", f"{file} is larger than {MAX_REQUEST_BYTES} bytes")
    request = parse_request(raw)
    if not request.head.method or not request.head.path:
        raise ConfigError("--request", f"{file} begins with no request line such as: GET /path HTTP/1.1")
    return request
