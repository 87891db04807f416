"""`extproc allow INCIDENT`: writes the narrowest exclusion that cures a false alarm into the policy."""

from __future__ import annotations

import argparse
import getpass
import sys
import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from extproc.attachment import yaml_text
from extproc.attachment.operations import Operation, look
from extproc.cli.report import add_events
from extproc.model.errors import ConfigError, PolicyErrors
from extproc.policy.load import load_policy
from extproc.review.event_file import Event, EventFile, path_of
from extproc.review.exclusion import NoExclusionError, Reach, as_lines, propose, reach

DEFAULT_DAYS = 90
MAX_DAYS = 3650

NEW_POLICY = "schema: extproc.policy/1\ndefaults:\n  exclusions:\n"

NEW_POLICY_MODE = 0o644
"""A policy holds no secrets, and the engine that reads it may be another user."""


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("incident", metavar="INCIDENT", help="the id that the client was shown")
    add_events(parser)
    add("--policy", type=Path, required=True, metavar="FILE", help="is written; made if it is not there")
    add("--owner", default="", metavar="NAME", help="who answers for the exclusion (default: your user name)")
    add("--reason", default="", metavar="TEXT", help="why (default: the incident)")
    add(
        "--expires",
        default=f"{DEFAULT_DAYS}d",
        metavar="DATE|Nd|never",
        help=f"its last day (default: {DEFAULT_DAYS}d)",
    )
    add("--dry-run", action="store_true", help="show it, write nothing")


def run(arguments: argparse.Namespace) -> int:
    event, events = _find(arguments.events, arguments.incident)
    reason = arguments.reason or f"false alarm, incident {arguments.incident}"
    try:
        proposal = propose(event, owner=arguments.owner or _user(), reason=reason, expires=expires(arguments.expires))
    except NoExclusionError as error:
        raise ConfigError(arguments.incident, str(error)) from error
    print("\n".join(as_lines(proposal.entries)))
    print(_reach_line(reach(proposal, events)), file=sys.stderr)
    if arguments.dry_run:
        return 0
    _write(arguments.policy, list(proposal.entries))
    print(f"extproc: written to {arguments.policy}; a running engine takes it up by itself", file=sys.stderr)
    return 0


def _find(path: Path, incident: str) -> tuple[Event, list[Event]]:
    """The event, and all others on the same path. Raises ConfigError."""
    file = EventFile(path)
    found: Event | None = None
    try:
        for event in file.since(0):
            if event.get("incident") == incident:
                found = event
        if found is None:
            raise ConfigError(incident, f"{path} holds no such incident")
        events = [one for one in file.since(0) if path_of(one) == path_of(found)]
    finally:
        file.close()
    return found, events


def _reach_line(found: Reach) -> str:
    if found.requests <= 1:
        return "extproc: of the recorded requests it would have let through this one alone"
    others = found.requests - 1
    return f"extproc: it would also have let through {others} of the recorded requests, of {found.clients} client(s)"


def expires(written: str) -> date | None:
    """`2027-06-30`, `30d` or `never`. Raises ConfigError."""
    if written == "never":
        return None
    today = datetime.now(UTC).date()
    if written.endswith("d") and written[:-1].isdecimal() and 0 < int(written[:-1]) <= MAX_DAYS:
        return today + timedelta(days=int(written[:-1]))
    try:
        found = date.fromisoformat(written)
    except ValueError:
        raise ConfigError("--expires", f"must be a date such as 2027-06-30, 30d or never, not {written!r}") from None
    if found < today:
        raise ConfigError("--expires", f"{written} is over")
    return found


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def _write(policy: Path, entries: list[dict[str, Any]]) -> None:
    """Into `defaults.exclusions`, every other byte as it was; a policy that would not load is not written."""
    text, mode = NEW_POLICY, NEW_POLICY_MODE
    if policy.exists():
        load_policy(policy)
        text, mode = policy.read_text(encoding="utf-8"), policy.stat().st_mode & 0o777
    try:
        text = _with_entries(text, entries)
    except yaml_text.YamlTextError as error:
        raise ConfigError(str(policy), f"{error}; put the lines above there by hand") from error
    # Beside the policy, because the files that it names are relative to it.
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=policy.parent, prefix=f".{policy.name}.", suffix=".yaml", delete=False, encoding="utf-8"
        ) as unfinished:
            unfinished.write(text)
    except OSError as error:
        raise ConfigError(str(policy), f"cannot be written: {error.strerror}") from error
    written = Path(unfinished.name)
    try:
        written.chmod(mode)
        load_policy(written)
        written.replace(policy)
    except PolicyErrors as errors:
        told = str(errors).replace(str(written), str(policy))
        raise ConfigError(str(policy), f"would not load any more, so it was not written:\n{told}") from errors
    finally:
        written.unlink(missing_ok=True)


def _with_entries(text: str, entries: list[dict[str, Any]]) -> str:
    data = yaml_text.load(text)
    if not isinstance(data, dict):
        raise yaml_text.YamlTextError("is no policy")
    path = ("defaults", "exclusions")
    if look(data, "defaults") is None:
        return yaml_text.edit(text, [Operation("add", ("defaults",), {"exclusions": entries})])
    if "exclusions" not in data["defaults"]:
        return yaml_text.edit(text, [Operation("add", path, entries)])
    return yaml_text.edit(text, [Operation("add", (*path, "-"), entry) for entry in entries])
