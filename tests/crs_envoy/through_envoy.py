"""`make crs`, second half: the Core Rule Set's tests over raw sockets through a real pair.

    python -m tests.crs_envoy.through_envoy [--every N] [--only TITLE]... [--report FILE]

`extproc up --crs DIR --response` in monitor mode at paranoia level 4, in front of an app that reflects. Each test's
bytes go to Envoy as they are; what matched is read from the decision events, by the id that Envoy gave the request.
What Envoy refuses or changes before the engine sees it is listed in overrides.yaml, one by one, with its reason.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from extproc.replay.ftw import Case, Stage, read_cases
from tests.crs_envoy.reflecting_app import ReflectingApp
from tests.e2e.conftest import PairProcess, start_up

ROOT = Path(__file__).parents[2]
CRS = Path(os.environ.get("CRS_DIR") or ROOT.parent / "shared" / "crs")
OVERRIDES = Path(__file__).with_name("overrides.yaml")

MAX_OVERRIDES = 40
BAR = 0.995
"""Share of all tests that must pass, those with an override held against it."""

CONNECTIONS = 4
ANSWER_LIMIT_S = 8.0
"""A request that never ends (a length longer than its body) is given up then."""

EVENT_LIMIT_S = 10.0
"""For the last events to be on disk."""

SETTINGS = """
SecAction "id:7000001,phase:1,pass,nolog,t:none,\\
setvar:tx.arg_name_length=100,setvar:tx.arg_length=400,setvar:tx.total_arg_length=6400,setvar:tx.max_file_size=64100,\\
setvar:tx.combined_file_sizes=65535,setvar:tx.crs_validate_utf8_encoding=1"
"""
"""What the tests expect of crs-setup.conf, where a user would write it."""

FLAGS = (
    *("--workers", "2", "--paranoia", "4", "--body-limit", "1MiB"),
    *("--time-budget", "10s", "--lines", "off"),
)
"""The time budget is that of a test on a busy machine; what is asked here is which rules match."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What one stage brought: `status` 0 and `request_id` "" when Envoy closed without an answer."""

    status: int
    request_id: str


@dataclass(frozen=True, slots=True)
class Result:
    """`failures` are sentences; `override` the reason under which another outcome was expected."""

    case: Case
    failures: tuple[str, ...]
    override: str = ""

    @property
    def is_positive(self) -> bool:
        return any(stage.expect_ids or stage.match_regex for stage in self.case.stages)


def exchange(port: int, raw: bytes) -> Exchange:
    """Bytes in, the head of the answer out."""
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_LIMIT_S) as connection:
            connection.sendall(raw)
            while b"\r\n\r\n" not in answer:
                piece = connection.recv(65_536)
                if not piece:
                    break
                answer += piece
    except OSError:
        pass  # refused with a reset, or no answer in time: what came before it counts
    status = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
    name = re.search(rb"\r\nx-request-id: ([^\r]*)", answer)
    return Exchange(int(status[1]) if status else 0, name[1].decode() if name else "")


def send_all(port: int, cases: Sequence[Case]) -> dict[str, list[Exchange]]:
    """Every stage of every case, a few connections at a time, each closed after its answer."""
    found: dict[str, list[Exchange]] = {}
    pending = iter(cases)
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                case = next(pending, None)
            if case is None:
                return
            found[case.title] = [exchange(port, stage.raw) for stage in case.stages]

    workers = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return found


def log_text(event: dict[str, Any]) -> str:
    """The matches as a ModSecurity log would spell them."""
    return "\n".join(
        f'[id "{match["id"]}"] [msg "{match["msg"]}"] [data "{match["logdata"]}"] at {match["variable"]}.'
        for match in event["matches"]
    )


def judge(stage: Stage, seen: Exchange, event: dict[str, Any] | None, coverage: str = "inspected") -> Iterable[str]:
    """What is wrong with one stage. `expect_error` allows for a connection that ends without an answer."""
    is_about_rules = bool(stage.expect_ids or stage.no_expect_ids or stage.match_regex or stage.no_match_regex)
    if event is None and is_about_rules:
        yield f"refused by Envoy with {seen.status or 'a closed connection'}"
        return
    matched = set(event["rule_ids"]) if event else set()
    yield from (f"rule {rule} did not match" for rule in stage.expect_ids if rule not in matched)
    yield from (f"rule {rule} matched" for rule in stage.no_expect_ids if rule in matched)
    text = log_text(event) if event else ""
    if stage.match_regex and not re.search(stage.match_regex, text):
        yield f"nothing in the log matches {stage.match_regex!r}"
    if stage.no_match_regex and re.search(stage.no_match_regex, text):
        yield f"the log matches {stage.no_match_regex!r}"
    if event is not None and event["coverage"] != coverage:
        yield f"coverage {event['coverage']}: {event['coverage_reason']}"
    if is_about_rules:
        return
    if stage.expect_error and seen.status:
        yield f"status {seen.status}, expected a closed connection"
    if stage.status is not None and seen.status != stage.status:
        yield f"status {seen.status or 'none, closed'}, expected {stage.status}"


def is_front_ends(case: Case) -> bool:
    """A test that asks for the front end's own refusal, of no rule.

    While responses are inspected Envoy closes instead of answering (envoyproxy/envoy#29440): such tests go to a
    pair that does not inspect them.
    """
    return all(
        (stage.status or 0) >= 400 and not (stage.expect_ids or stage.no_expect_ids or stage.match_regex)
        for stage in case.stages
    )


def read_overrides() -> dict[str, dict[str, Any]]:
    """Title → what Envoy makes of it: `reason`, `closed`, `status`, `expect_ids`, `no_expect_ids`, `coverage`."""
    written: dict[str, dict[str, Any]] = yaml.safe_load(OVERRIDES.read_text(encoding="utf-8")) or {}
    if len(written) > MAX_OVERRIDES:
        raise ValueError(f"{len(written)} overrides, at most {MAX_OVERRIDES}")
    if not all(override.get("reason") for override in written.values()):
        raise ValueError("an override has no reason")
    return written


def overridden(stage: Stage, override: dict[str, Any]) -> Stage:
    """The stage with the outcome that the override names in place of its own."""
    return replace(
        stage,
        expect_ids=tuple(override.get("expect_ids", ())),
        no_expect_ids=tuple(override.get("no_expect_ids", ())),
        status=override.get("status"),
        match_regex=None,
        no_match_regex=None,
        expect_error=bool(override.get("closed")),
    )


def run(cases: Sequence[Case], overrides: dict[str, dict[str, Any]]) -> list[Result]:
    """All cases, each through the pair that it is for."""
    own = [case for case in cases if is_front_ends(case) and case.title not in overrides]
    others = [case for case in cases if case not in own]
    results = run_through(others, overrides, "--response") + run_through(own, overrides)
    return sorted(results, key=lambda result: cases.index(result.case))


def run_through(cases: Sequence[Case], overrides: dict[str, dict[str, Any]], *more: str) -> list[Result]:
    """Cases through one pair with these flags."""
    if not cases:
        return []
    with ReflectingApp() as app, tempfile.TemporaryDirectory() as folder:
        pair = start_up(Path(folder), app.port, *FLAGS, *more, f"--crs={checkout(Path(folder))}", mode="monitor")
        try:
            pair.await_start()
            seen = send_all(pair.port, cases)
            events = await_events(pair, {one.request_id for stages in seen.values() for one in stages})
        finally:
            pair.stop()
    return [judge_case(case, seen[case.title], events, overrides.get(case.title)) for case in cases]


def checkout(folder: Path) -> Path:
    """A rule set with a crs-setup.conf of these tests: the example and SETTINGS."""
    made = folder / "crs"
    made.mkdir()
    (made / "crs-setup.conf").write_bytes((CRS / "crs-setup.conf.example").read_bytes() + SETTINGS.encode())
    (made / "rules").symlink_to((CRS / "rules").resolve())
    return made


def await_events(pair: PairProcess, wanted: set[str]) -> dict[str, dict[str, Any]]:
    """Events by request id, once those of all answered requests are there or time is up."""
    deadline = time.monotonic() + EVENT_LIMIT_S
    while True:
        events = {event["request_id"]: event for event in pair.events}
        if wanted - {""} <= events.keys() or time.monotonic() > deadline:
            return events
        time.sleep(0.2)


def judge_case(
    case: Case, seen: Sequence[Exchange], events: dict[str, dict[str, Any]], override: dict[str, Any] | None
) -> Result:
    failures: list[str] = []
    for number, (stage, one) in enumerate(zip(case.stages, seen, strict=True), 1):
        wanted = overridden(stage, override) if override else stage
        prefix = f"stage {number}: " if len(case.stages) > 1 else ""
        coverage = (override or {}).get("coverage", "inspected")
        failures += [prefix + failure for failure in judge(wanted, one, events.get(one.request_id), coverage)]
    return Result(case, tuple(failures), override["reason"] if override else "")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crs_envoy.through_envoy")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="one test in N")
    parser.add_argument("--only", action="append", default=[], metavar="TITLE")
    parser.add_argument("--report", type=Path, default=ROOT / "build" / "crs-envoy.json", metavar="FILE")
    given = parser.parse_args(arguments)
    if not (CRS / "rules").is_dir():
        print(f"no Core Rule Set in {CRS}; set CRS_DIR", file=sys.stderr)
        return 2
    cases = [case for case in read_cases([CRS / "tests"]) if not given.only or case.title in given.only]
    started = time.monotonic()
    results = run(cases[:: given.every], read_overrides())
    return report(results, given.report, time.monotonic() - started)


def report(results: Sequence[Result], file: Path, took_s: float) -> int:
    failed = [result for result in results if result.failures]
    share = 1 - len(failed) / len(results)
    for result in results:
        if result.override and not result.failures:
            print(f"OVERRIDE {result.case.title}: {' '.join(result.override.split())}")
    for result in failed:
        print(f"FAILED {result.case.title}: {'; '.join(result.failures)}")
    counts = {}
    for name, wanted in (("positives", True), ("negatives", False)):
        group = [result for result in results if result.is_positive is wanted]
        counts[name] = {"passed": sum(1 for result in group if not result.failures), "of": len(group)}
    file.parent.mkdir(exist_ok=True)
    figures = {
        "share": share,
        "bar": BAR,
        "seconds": round(took_s, 1),
        **counts,
        "overrides": [result.case.title for result in results if result.override],
        "failed": {result.case.title: list(result.failures) for result in failed},
    }
    file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    told = ", ".join(f"{name} {count['passed']}/{count['of']}" for name, count in counts.items())
    is_passed = share >= BAR
    print(f"{told}; {took_s:.0f} s; {share:.2%} / {BAR:.1%} / {'pass' if is_passed else 'FAIL'}")
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed, 0 skipped")
    return 0 if is_passed else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
