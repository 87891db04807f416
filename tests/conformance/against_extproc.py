"""`make conformance`: the whole suite against extproc, with its shipped rules and free ports.

    python -m tests.conformance.against_extproc [--part PART]... [--write-docs] [OPTION OF PYTEST]...

Part `G`, at gRPC level, runs in `.venv-official` against `extproc serve`, which `extproc_control` starts and disturbs;
part `E` in the ordinary environment, through `extproc up` with a real Envoy. `configurations` asks the quick cases of
E of everything else that a pair can be rendered as, `attachments` all cases of Envoys that are somebody else's,
`faults` whether E finds Envoys that are configured wrongly. The runs write JUnit XML under build/; `--write-docs` puts
the tables of a whole run into docs/CONFORMANCE.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

from tests.conformance.docs_table import (
    ATTACHED_TABLE,
    CASES_TABLE,
    CONFIGURATIONS_TABLE,
    case_lines,
    read_rows,
    write_table,
)
from tests.conformance.through_envoy.configurations import ATTACHED, CONFIGURATIONS, Configuration
from tests.conformance.through_envoy.envoy_cases import CASES
from tests.conformance.through_envoy.envoy_fault_table import LONG, PAGE, check
from tests.conformance.through_envoy.faulty_envoys import FAULTS

ROOT = Path(__file__).resolve().parents[2]
SUITE = ROOT / "tests" / "conformance"
BUILD = ROOT / "build"
OFFICIAL = ROOT / ".venv-official" / "bin" / "python"
OPEN_STREAMS = 10_000
STREAMS_IN_A_ROW = 100_000

PARTS = ("G", "E", "configurations", "attachments", "faults")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.against_extproc")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part")
    parser.add_argument("--write-docs", action="store_true", help="the tables into docs/CONFORMANCE.md")
    given, options = parser.parse_known_args(arguments)
    if not OFFICIAL.exists():
        sys.stderr.write("conformance: needs .venv-official; `make conformance` makes it\n")
        return 2
    BUILD.mkdir(exist_ok=True)
    parts = given.part or PARTS
    runs: dict[str, list[str]] = {}
    if "G" in parts:
        runs["G"] = grpc_part()
    if "E" in parts:
        runs["E"] = envoy_part("plain")
    if "configurations" in parts:
        quick = " or ".join(case.number for case in CASES if case.number not in LONG)
        runs |= {name: [*envoy_part(name), "-k", quick] for name in CONFIGURATIONS if name != "plain"}
    if "attachments" in parts:
        runs |= {name: envoy_part(name) for name in ATTACHED}
    counts = Counter[str]()
    rows: dict[str, list[tuple[str, str, str]]] = {}
    for name, command in runs.items():
        report = BUILD / f"conformance-{name}.xml"
        report.unlink(missing_ok=True)
        subprocess.run([*command, "-q", f"--junitxml={report}", *options], cwd=ROOT)
        rows[name] = read_rows(report) if report.exists() else [(name, "the suite itself", "FAILED")]
        counts.update(word_of(result) for _, _, result in rows[name])
    if "faults" in parts:
        missed = check()
        sys.stdout.writelines(f"faulty Envoy not found: {line}\n" for line in missed)
        counts.update(passed=len(FAULTS) - len(missed), failed=len(missed))
    if given.write_docs and {"G", "E"} <= rows.keys():
        write_table(PAGE, CASES_TABLE, case_lines(rows["G"] + rows["E"]))
    if given.write_docs and "configurations" in parts:
        write_table(PAGE, CONFIGURATIONS_TABLE, configuration_lines(CONFIGURATIONS, rows))
    if given.write_docs and "attachments" in parts:
        write_table(PAGE, ATTACHED_TABLE, configuration_lines(ATTACHED, rows))
    sys.stdout.write(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped\n")
    return 1 if counts["failed"] else 0


def word_of(result: str) -> str:
    """A case that was not applicable was skipped."""
    return {"passed": "passed", "FAILED": "failed"}.get(result, "skipped")


def configuration_lines(
    configurations: dict[str, Configuration], rows: dict[str, list[tuple[str, str, str]]]
) -> list[str]:
    """What else was asked, and what it came to."""
    lines = ["| configuration | settings | came to | not asked |", "|---|---|---|---|"]
    for name, configuration in configurations.items():
        if name in rows:
            counts = Counter(word_of(result) for _, _, result in rows[name])
            shown = {key: value for key, value in configuration.environment.items() if key != "PYTHONPATH"}
            settings = ", ".join(f"`{key}={value}`" for key, value in shown.items())
            by_reason: defaultdict[str, list[str]] = defaultdict(list)
            for number, reason in configuration.differs.items():
                by_reason[reason].append(number)
            differs = "; ".join(f"{', '.join(numbers)}: {reason}" for reason, numbers in by_reason.items())
            lines.append(f"| {name} | {settings} | {counts['passed']} passed, {counts['failed']} failed | {differs} |")
    return lines


def grpc_part() -> list[str]:
    control = f"{sys.executable} -m tests.conformance.extproc_control"
    load = [f"--open-streams={OPEN_STREAMS}", f"--streams-in-a-row={STREAMS_IN_A_ROW}"]
    return [str(OFFICIAL), "-m", "pytest", str(SUITE), f"--control={control}", *load]


def envoy_part(configuration: str) -> list[str]:
    return [sys.executable, "-m", "pytest", str(SUITE / "through_envoy"), f"--configuration={configuration}"]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
