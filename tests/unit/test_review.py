"""Events read again: report, top, and the exclusion that `allow` writes."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from extproc.cli.allow import expires
from extproc.model.errors import ConfigError
from extproc.policy.load import load_policy
from extproc.review.event_file import BISECT_BYTES, EventFile, time_of
from extproc.review.exclusion import NoExclusionError, propose, reach
from extproc.review.summary import MAX_ALARMS, Summary
from extproc.review.text import lines

NOW = datetime(2027, 1, 1, tzinfo=UTC)
REPO = Path(__file__).parents[2]


def match(rule: int, variable: str, msg: str = "it matched") -> dict[str, Any]:
    return {"id": rule, "msg": msg, "variable": variable, "tags": [], "severity": "CRITICAL", "via": [], "phase": 2}


def event(number: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "schema": "extproc.decision/1",
        "time": (NOW + timedelta(seconds=number)).isoformat(),
        "incident": f"I{number}",
        "verdict": "allow",
        "mode": "monitor",
        "would": "allow",
        "coverage": "inspected",
        "coverage_reason": None,
        "method": "POST",
        "path": "/api/notes?draft=1",
        "client": "192.0.2.1",
        "route": "app",
        "duration_us": 400,
        "matches": [],
        **changes,
    }


def alarm(number: int, client: str, **changes: Any) -> dict[str, Any]:
    matches = [match(942100, "ARGS:note"), match(949110, "TX:blocking_inbound_anomaly_score")]
    return event(number, **{"client": client, "would": "block", "matches": matches, **changes})


def write(path: Path, events: list[Any]) -> Path:
    path.write_text("".join(one if isinstance(one, str) else json.dumps(one) + "\n" for one in events))
    return path


def read(path: Path, start: float = 0.0) -> list[str]:
    file = EventFile(path)
    try:
        return [one["incident"] for one in file.since(start)]
    finally:
        file.close()


def test_the_past_is_skipped_not_read(tmp_path: Path) -> None:
    count = 4 * BISECT_BYTES // 200
    file = write(tmp_path / "events", [event(number) for number in range(count)])
    assert file.stat().st_size > 4 * BISECT_BYTES
    start = (NOW + timedelta(seconds=count - 5)).timestamp()
    assert read(file, start) == [f"I{number}" for number in range(count - 5, count)]
    opened = EventFile(file)
    list(opened.since(start))
    assert opened._offset_of(start) > file.stat().st_size - 2 * BISECT_BYTES
    opened.close()


def test_what_is_no_event_is_passed_over_and_counted(tmp_path: Path) -> None:
    broken = [
        "{\n",
        "[1]\n",
        '{"schema": "x"}\n',
        json.dumps({**event(9), "time": "noon"}) + "\n",
        "x" * 3_000_000 + "\n",
    ]
    file = EventFile(write(tmp_path / "events", [event(1), *broken, event(2)]))
    assert [one["incident"] for one in file.since(0)] == ["I1", "I2"]
    assert file.broken >= 5
    file.close()


def test_a_growing_and_rotated_file_is_followed(tmp_path: Path) -> None:
    path = write(tmp_path / "events", [event(1)])
    file = EventFile(path)
    assert [one["incident"] for one in file.more()] == ["I1"]
    line = json.dumps(event(2)) + "\n"
    with path.open("a") as stream:
        stream.write(line[:20])
        stream.flush()
        assert list(file.more()) == []
        stream.write(line[20:])
    assert [one["incident"] for one in file.more()] == ["I2"]
    path.rename(tmp_path / "events.1")
    write(path, [event(3)])
    assert [one["incident"] for one in file.more()] == ["I3"]
    file.close()


def test_a_second_look_begins_anew(tmp_path: Path) -> None:
    """The last line is not whole yet when the first look ends."""
    file = EventFile(write(tmp_path / "events", [event(1), event(2), '{"schema": "extp']))
    for _ in range(2):
        assert [one["incident"] for one in file.since(0)] == ["I1", "I2"]
    assert file.broken == 0
    file.close()


def test_many_users_of_one_form_look_like_a_false_alarm_and_a_scanner_does_not() -> None:
    summary = Summary()
    for user in range(5):
        for number in range(5):
            summary.add(event(number, client=f"192.0.2.{user}"))
        summary.add(alarm(user, f"192.0.2.{user}"))
    for number in range(20):
        matches = [match(930100 + number, f"ARGS:p{number}")]
        summary.add(event(number, client="203.0.113.9", path=f"/x{number}", would="block", matches=matches))
    first, *rest = summary.alarms()
    assert (first.path, first.variable, first.rule_ids, first.requests) == ("/api/notes", "ARGS:note", (942100,), 5)
    assert first.likelihood > 0.7
    assert all(one.likelihood < 0.1 for one in rest)


def test_a_summary_says_what_happened() -> None:
    summary = Summary().add_all(
        [
            event(1),
            alarm(2, "a", verdict="block", mode="block"),
            alarm(3, "b"),
            event(4, coverage="partly", coverage_reason="stream", duration_us=9000),
        ]
    )
    data = summary.as_data()
    assert (data["requests"], data["verdicts"], data["would_block"]) == (4, {"allow": 3, "block": 1}, 2)
    assert data["incomplete"] == {"partly: stream": 1}
    assert data["rules"] == [{"id": 942100, "requests": 2, "msg": "it matched"}]
    assert data["latency_us"] == {"p50": 400, "p99": 9000}
    told = "\n".join(lines(summary, "events.jsonl"))
    assert "4 requests, 1 blocked; 1 more would be in mode block" in told
    assert "inspected whole: 75.00 % (1 partly: stream)" in told


def test_places_are_bounded() -> None:
    summary = Summary()
    for number in range(MAX_ALARMS + 7):
        summary.add(event(1, path=f"/{number}", matches=[match(1, "ARGS:a")]))
    assert (len(summary.alarms()), summary.other_alarms) == (MAX_ALARMS, 7)


def proposal(found: dict[str, Any]) -> Any:
    return propose(found, owner="me", reason="it is a note", expires=date(2027, 6, 30))


def test_the_narrowest_exclusion() -> None:
    (entry,) = proposal(alarm(1, "a")).entries
    assert entry == {
        "rules": [942100],
        "variables": ["ARGS:note"],
        "route": ["app"],
        "path": "/api/notes",
        "method": ["POST"],
        "owner": "me",
        "reason": "it is a note",
        "expires": date(2027, 6, 30),
    }


def test_variables_with_the_same_rules_share_an_entry() -> None:
    matches = [match(1, "ARGS:a"), match(2, "ARGS:a"), match(2, "ARGS:b"), match(1, "ARGS:b"), match(3, "ARGS:c")]
    entries = proposal(event(1, matches=matches)).entries
    assert [(one["rules"], one["variables"]) for one in entries] == [([1, 2], ["ARGS:a", "ARGS:b"]), ([3], ["ARGS:c"])]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "no rule matched"),
        ({"matches": [match(949110, "TX:score")]}, "no rule matched"),
        ({"matches": [match(1, "ARGS:[masked]")]}, "masked"),
        ({"matches": [match(1, "ARGS:a")], "path": "/[masked]/x"}, "path"),
        ({"matches": [match(1, "ARGS:a")], "path": "/a*b"}, "path"),
    ],
)
def test_no_exclusion_is_guessed(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(NoExclusionError, match=said):
        proposal(event(1, **changes))


def test_reach_counts_what_else_would_have_passed() -> None:
    found = proposal(alarm(1, "a"))
    worse = alarm(3, "c", matches=[match(942100, "ARGS:note"), match(930100, "ARGS:file")])
    other = alarm(4, "d", path="/api/users")
    told = reach(found, [alarm(1, "a"), alarm(2, "b"), worse, other, event(5)])
    assert (told.requests, told.clients, told.matches) == (2, 2, 3)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "extproc", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=REPO)


POLICIES = {
    "new": None,
    "no defaults": "schema: extproc.policy/1\npolicies: {}   # none yet\n",
    "no exclusions": "# ours\nschema: extproc.policy/1\ndefaults:\n  mode: block   # on\n",
    "exclusions": (
        "schema: extproc.policy/1\ndefaults:\n  exclusions:\n  # the first\n  - rules: [1]\n    owner: x\n"
        "    reason: y\n    path: /z\npolicies: {}\n"
    ),
}


@pytest.mark.parametrize("before", POLICIES.values(), ids=POLICIES)
def test_allow_writes_into_the_policy_and_leaves_the_rest(before: str | None, tmp_path: Path) -> None:
    events = write(tmp_path / "events", [alarm(1, "a"), alarm(2, "b")])
    policy = tmp_path / "waf.yaml"
    if before is not None:
        policy.write_text(before)
    done = run("allow", "I1", "--events", events, "--policy", policy, "--owner", "shop", "--expires", "30d")
    assert done.returncode == 0, done.stderr
    assert "would also have let through 1 of the recorded requests" in done.stderr
    text = policy.read_text()
    for line in (before or "").splitlines():
        assert line in text
    entry = yaml.safe_load(text)["defaults"]["exclusions"][-1]
    assert (entry["rules"], entry["variables"], entry["owner"]) == ([942100], ["ARGS:note"], "shop")
    assert entry["expires"] == datetime.now(UTC).date() + timedelta(days=30)
    load_policy(policy)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events", "waf.yaml"]


def test_allow_twice_is_refused_and_loses_nothing(tmp_path: Path) -> None:
    events = write(tmp_path / "events", [alarm(1, "a")])
    policy = tmp_path / "waf.yaml"
    assert run("allow", "I1", "--events", events, "--policy", policy).returncode == 0
    before = policy.read_text()
    done = run("allow", "I1", "--events", events, "--policy", policy)
    assert (done.returncode, policy.read_text()) == (2, before)
    assert "was not written" in done.stderr


def test_allow_dry_run_writes_nothing(tmp_path: Path) -> None:
    events = write(tmp_path / "events", [alarm(1, "a")])
    done = run("allow", "I1", "--events", events, "--policy", tmp_path / "waf.yaml", "--dry-run")
    assert yaml.safe_load(done.stdout)[0]["rules"] == [942100]
    assert not (tmp_path / "waf.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["allow", "I9", "--events", "EVENTS", "--policy", "p"], "holds no such incident"),
        (["allow", "I1", "--events", "/nowhere", "--policy", "p"], "cannot be read"),
        (["allow", "I1", "--events", "EVENTS", "--policy", "p", "--expires", "2001-01-01"], "is over"),
        (["allow", "I1", "--events", "EVENTS", "--policy", "p", "--expires", "soon"], "must be a date"),
        (["report", "--events", "EVENTS", "--since", "ten"], "must be a time"),
        (["report"], "--events"),
        (["allow", "I1", "--events", "EVENTS", "--policy", "."], "Is a directory"),
        (
            ["allow", "I1", "--events", "EVENTS", "--policy", "/nowhere/p"],
            "/nowhere/p: cannot be written: No such file",
        ),
        (["allow", "I1", "--events", "EVENTS", "--policy", "BROKEN"], "BROKEN:2: defaults must hold"),
    ],
)
def test_bad_input_is_named(arguments: list[str], said: str, tmp_path: Path) -> None:
    events = write(tmp_path / "events", [alarm(1, "a")])
    (tmp_path / "BROKEN").write_text("schema: extproc.policy/1\ndefaults: 5\n")
    places = {"EVENTS": events, "p": tmp_path / "p", "BROKEN": tmp_path / "BROKEN"}
    done = run(*[places.get(one, one) for one in arguments])
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_nothing_is_claimed_of_no_requests() -> None:
    assert list(lines(Summary(), "events.jsonl")) == ["0 requests, 0 blocked (mode: none)"]


@pytest.mark.parametrize(("before", "after"), [(None, 0o644), (0o640, 0o640)])
def test_the_engine_can_read_what_allow_wrote(before: int | None, after: int, tmp_path: Path) -> None:
    policy = tmp_path / "waf.yaml"
    if before is not None:
        policy.write_text("schema: extproc.policy/1\n")
        policy.chmod(before)
    events = write(tmp_path / "events", [alarm(1, "a")])
    assert run("allow", "I1", "--events", events, "--policy", policy).returncode == 0
    assert policy.stat().st_mode & 0o777 == after


def test_expires_never() -> None:
    assert expires("never") is None
    with pytest.raises(ConfigError):
        expires("99999d")


def test_report_and_top_in_the_terminal(tmp_path: Path) -> None:
    users = [f"192.0.2.{number}" for number in range(4)]
    clean = [event(number, client=user) for number, user in enumerate(users)]
    events = write(tmp_path / "events", ["junk\n", *clean, *(alarm(*one) for one in enumerate(users))])
    done = run("report", "--events", events)
    assert done.returncode == 0, done.stderr
    assert "likely false alarms:" in done.stdout
    assert f"extproc allow I3 --events {events}" in done.stdout
    assert "1 lines" in done.stderr
    data = json.loads(run("report", "--events", events, "--json").stdout)
    assert (data["requests"], data["lines_passed_over"]) == (8, 1)
    assert run("top", "--events", events, "--once").stdout.startswith("extproc top")


def test_time_of_reads_what_events_have() -> None:
    assert time_of({"time": "2027-01-01T00:00:00.000001Z"}) == pytest.approx(NOW.timestamp() + 1e-6)
    assert time_of({}) == 0.0
