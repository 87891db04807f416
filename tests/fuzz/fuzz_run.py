"""`make fuzz`: every target for its share of the time; executions are counted, what breaks is kept.

    python -m tests.fuzz.fuzz_run [--seconds 600] [--engine atheris|plain] [--seed N] [TARGET]...

Each target runs in a process of its own. `atheris` lets coverage guide the inputs (libFuzzer); `plain` makes them by
`fuzz_mutator` alone, several times faster and blind. Without a word, atheris gets a third of the time where it is
installed. An input that breaks a promise is kept under build/fuzz/ and printed as a line for the corpus.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import re
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.fuzz_corpus import BUILD, escape, inputs
from tests.fuzz.fuzz_mutator import mutate
from tests.fuzz.fuzz_targets import TARGETS

ATHERIS_SHARE = 1 / 3
BATCH = 200
"""Executions between two looks at the clock."""

MAX_FINDINGS = 5
"""Per target; then it is given up for this run."""

SLOW_INPUT_S = 10
"""An execution that takes longer is a finding."""

GRACE_S = 60.0


@dataclass
class Outcome:
    """Of one target with one engine. `findings`: an input and what it broke."""

    executions: int
    seconds: float
    findings: list[str]


def run_plain(name: str, seconds: float, seed: int) -> Outcome:
    """In this process. New inputs join the pool at random, so that changes add up."""
    target, pool = TARGETS[name], inputs(name)
    source = random.Random(seed)
    fixed = len(pool)
    findings: list[str] = []
    done = 0
    started = time.monotonic()
    while time.monotonic() - started < seconds and len(findings) < MAX_FINDINGS:
        for _ in range(BATCH):
            data = mutate(source.choice(pool), source.choice(pool), source)
            done += 1
            try:
                target(data)
            except Exception:
                findings.append(f"{escape(data)}\n{traceback.format_exc()}")
            if source.random() < 0.01:
                if len(pool) < 4 * fixed + 200:
                    pool.append(data)
                else:
                    pool[fixed + source.randrange(len(pool) - fixed)] = data
    return Outcome(done, time.monotonic() - started, findings)


def run_atheris(name: str, seconds: float, seed: int) -> Outcome:
    """In a child, as libFuzzer ends the process."""
    folder = BUILD / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(inputs(name)):
        (folder / f"given-{number}").write_bytes(data)
    limits = [f"-max_total_time={max(1, int(seconds))}", f"-seed={seed}", f"-timeout={SLOW_INPUT_S}", "-max_len=600"]
    limits.append(f"-artifact_prefix={BUILD}/{name}-")
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.fuzz_atheris", name, *limits, "-print_final_stats=1", folder],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds + GRACE_S,
        check=False,
    )
    count = re.search(r"number_of_executed_units: (\d+)", ended.stderr)
    findings = []
    if ended.returncode:
        kept = re.search(r"Test unit written to (\S+)", ended.stderr)
        data = escape(Path(kept[1]).read_bytes()) if kept else "no input was kept"
        findings.append(f"{data}\n{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}")
    return Outcome(int(count[1]) if count else 0, time.monotonic() - started, findings)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--engine", choices=("both", "atheris", "plain"), default="both")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    unknown = set(given.targets) - TARGETS.keys()
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    names = given.targets or list(TARGETS)
    has_atheris = importlib.util.find_spec("atheris") is not None
    if not has_atheris and given.engine == "atheris":
        parser.error("atheris is not installed: pip install atheris")
    share = {"atheris": 1.0, "plain": 0.0, "both": ATHERIS_SHARE if has_atheris else 0.0}[given.engine]
    failed = total = 0
    print(f"{'target':<18} {'engine':<8} {'executions':>12} {'per second':>11}  findings", flush=True)
    for name in names:
        seconds = given.seconds / len(names)
        outcomes = []
        if share < 1:
            outcomes.append(("plain", run_plain(name, seconds * (1 - share), given.seed)))
        if share > 0:
            outcomes.append(("atheris", run_atheris(name, seconds * share, given.seed)))
        for engine, outcome in outcomes:
            total += outcome.executions
            rate = outcome.executions / max(outcome.seconds, 0.001)
            row = f"{name:<18} {engine:<8} {outcome.executions:>12,} {rate:>11,.0f}  {len(outcome.findings)}"
            print(row, flush=True)
            for finding in outcome.findings:
                print(f"FAILED {name}: {finding}", flush=True)
        failed += any(outcome.findings for _, outcome in outcomes)
    print(f"{total:,} executions")
    print(f"{len(names) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
