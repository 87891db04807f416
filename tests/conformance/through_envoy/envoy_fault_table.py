"""The table of faulty Envoys in docs/CONFORMANCE.md: every configuration with a fault, and the cases that find it.

    python -m tests.conformance.through_envoy.envoy_fault_table [--check]        (some minutes)

Each fault meets the quick cases and those that are meant for it. With `--check` nothing is written: every fault is to
be found by its rarest case of the table.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.conformance.docs_table import ENVOYS_TABLE, found_lines, read_found, read_rows, write_table
from tests.conformance.through_envoy.envoy_cases import CASES
from tests.conformance.through_envoy.faulty_envoys import FAULTS, VARIABLE

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "CONFORMANCE.md"

AT_A_TIME = 4
"""Runs of the suite. Most of their time goes by in waiting."""

STATIC = "E34"
"""Reads configurations, and is asked last: a fault is to be found by what it does."""

LONG = {"E05", "E06", "E07", "E09", "E22", "E23", "E26", "E27", "E30", "E31", "E33"}
"""Take long, or start servers of their own; only for whom they are meant."""

MEANT_FOR = {
    "fail-open": {"E05", "E06", "E07"},
    "few-streams": {"E09"},
    "patient": {"E22"},
    "no-metadata": {"E33"},
    "watching-only": {"E05"},
    "own-status": {"E27"},
}


def find(fault: str, numbers: set[str]) -> dict[str, str]:
    """Case → what it came to, in a run of its own."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        suite = [sys.executable, "-m", "pytest", "tests/conformance/through_envoy", "-q", "-p", "no:cacheprovider"]
        path = f"{ROOT / 'tests' / 'conformance' / 'through_envoy' / 'changed_envoy'}:{ROOT}"
        environment = {**os.environ, VARIABLE: fault, "PYTHONPATH": path}
        command = [*suite, "-k", " or ".join(sorted(numbers)), f"--junitxml={report}"]
        subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return {number: result for number, _, result in read_rows(report)}


def write() -> None:
    quick = {case.number for case in CASES} - LONG
    wanted = {name: quick | MEANT_FOR.get(name, set()) for name in FAULTS}
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        found = dict(zip(wanted, pool.map(find, wanted, wanted.values()), strict=True))
    says = {name: " ".join((change.__doc__ or "").split()) for name, change in FAULTS.items()}
    write_table(PAGE, ENVOYS_TABLE, found_lines("Envoy", says, found))


def check() -> list[str]:
    """Faults that the rarest of their cases did not find."""
    table = read_found(PAGE, ENVOYS_TABLE)
    often = Counter(case for cases in table.values() for case in cases)
    rarest = {
        fault: min((case for case in cases if case != STATIC), key=lambda case: often[case], default=STATIC)
        for fault, cases in table.items()
    }
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        told = pool.map(lambda fault: find(fault, {rarest[fault]}), rarest)
        return [
            f"{fault}: {rarest[fault]}"
            for fault, one in zip(rarest, told, strict=True)
            if set(one.values()) != {"FAILED"}
        ]


def main(arguments: list[str]) -> int:
    if arguments != ["--check"]:
        write()
        return 0
    missed = check()
    for line in missed:
        sys.stderr.write(f"not found: {line}\n")
    sys.stdout.write(f"{len(FAULTS) - len(missed)} passed, {len(missed)} failed, 0 skipped\n")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
