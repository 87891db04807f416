"""`make conformance`: the whole suite against extproc, with its shipped rules and free ports.

    python -m tests.conformance.against_extproc [--part G|E] [--write-docs] [OPTION OF THE SUITE]...

Part G, at gRPC level, runs in `.venv-official` against `extproc serve`, which `extproc_control` starts and disturbs;
part E in the ordinary environment, through `extproc up` with a real Envoy. Both write JUnit XML under build/;
`--write-docs` puts the table of a whole run into docs/CONFORMANCE.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.conformance.docs_table import read_rows, write_table

ROOT = Path(__file__).resolve().parents[2]
SUITE = ROOT / "tests" / "conformance"
BUILD = ROOT / "build"
OFFICIAL = ROOT / ".venv-official" / "bin" / "python"
OPEN_STREAMS = 10_000
STREAMS_IN_A_ROW = 100_000

REPORTS = {"G": BUILD / "conformance.xml", "E": BUILD / "conformance-envoy.xml"}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.against_extproc")
    parser.add_argument("--part", choices=REPORTS, action="append", help="only this part")
    parser.add_argument("--write-docs", action="store_true", help="the table into docs/CONFORMANCE.md")
    given, options = parser.parse_known_args(arguments)
    if not OFFICIAL.exists():
        sys.stderr.write("conformance: needs .venv-official; `make conformance` makes it\n")
        return 2
    BUILD.mkdir(exist_ok=True)
    commands = {"G": grpc_part(), "E": envoy_part()}
    parts = given.part or list(commands)
    codes = []
    for part in parts:
        REPORTS[part].unlink(missing_ok=True)
        command = [*commands[part], "-q", f"--junitxml={REPORTS[part]}", *options]
        codes.append(subprocess.run(command, cwd=ROOT).returncode)
    reports = [REPORTS[part] for part in parts if REPORTS[part].exists()]
    if given.write_docs:
        write_table(ROOT / "docs" / "CONFORMANCE.md", reports)
    sys.stdout.write(closing_line(reports) + "\n")
    return max(codes)


def grpc_part() -> list[str]:
    control = f"{sys.executable} -m tests.conformance.extproc_control"
    load = [f"--open-streams={OPEN_STREAMS}", f"--streams-in-a-row={STREAMS_IN_A_ROW}"]
    return [str(OFFICIAL), "-m", "pytest", str(SUITE), f"--control={control}", *load]


def envoy_part() -> list[str]:
    return [sys.executable, "-m", "pytest", str(SUITE / "through_envoy")]


def closing_line(reports: list[Path]) -> str:
    """What all cases of all reports came to. A case that was not applicable was skipped."""
    results = (result for report in reports for _, _, result in read_rows(report))
    counts = Counter(result if result in ("passed", "FAILED") else "skipped" for result in results)
    return f"{counts['passed']} passed, {counts['FAILED']} failed, {counts['skipped']} skipped"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
