"""Memory of one worker and time to load the Core Rule Set: `python -m tests.bench.memory`.

The worker is `extproc serve --workers 1` with paranoia level 1, asked over gRPC as Envoy asks it: every kind of
request of the bench with values that are new each time, and the mix of a site's day. Loading is done in a new
process each time, from files to a plan, without the literal cache and with one that is warm.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc

from extproc.engine.plan import Plan
from extproc.seclang.assemble import Sources, load_ruleset
from tests.bench.asker import OPTIONS, ask, messages
from tests.bench.engines import CRS, Missing, seclang_of
from tests.bench.processes import Process, accepts, free_port, python
from tests.bench.report import Report, median
from tests.bench.server import Asked
from tests.bench.traffic import KINDS, Source, mixed

RULES = "crs-pl1"

RSS_BAR_MIB = 110.0
"""Resident memory of the worker after all requests."""

SHARED_BAR_PERCENT = 40.0
"""Of the plan, by each of two workers."""

LOAD_BAR_S, CACHED_BAR_S = 1.5, 0.3
"""CPU time from files to a plan; with a warm cache."""

REQUESTS = 10_000
LARGE_SHARE = 50
"""One in so many is of the 64 KiB kind; the others take turns."""

AT_A_TIME = 8
LOADS = 5


def varied(count: int) -> Iterator[Sequence[bytes]]:
    """Requests in the order in which they are asked."""
    source = Source("memory")
    small = [make for name, make in KINDS.items() if "64" not in name]
    large = [make for name, make in KINDS.items() if "64" in name]
    makers = [*small, *[mixed] * len(small)]
    for number in range(count):
        make = large[0] if number % LARGE_SHARE == 0 else makers[number % len(makers)]
        yield messages(source.take(make, 1)[0])


def resident_mib(pid: int) -> float:
    """VmRSS of one process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


async def measure_worker(report: Report, requests: int, folder: Path) -> None:
    """Rows on the memory of the worker, the larger of the server's processes."""
    asked = Asked(RULES, folder)
    try:
        await asked.open()
        before = {pid: resident_mib(pid) for pid in asked.process.pids()}
        await ask(asked.channel, varied(requests), AT_A_TIME)
        after = {pid: resident_mib(pid) for pid in asked.process.pids()}
    finally:
        await asked.close()
    report.row("worker when ready", max(before.values()), unit="MiB")
    report.row(f"worker after {requests:,} requests", max(after.values()), RSS_BAR_MIB, "MiB")
    report.raw["resident_mib"] = {"ready": sorted(before.values()), "after": sorted(after.values())}


def mapped_mib(pid: int) -> dict[str, float]:
    """Sums over all mappings of a process (proc(5), smaps_rollup): `Pss`, `Anonymous`, `Shared_Dirty` and so on."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(size.split()[0]) / 1024 for name, _, size in (line.partition(":") for line in lines)}


async def measure_sharing(report: Report, requests: int, folder: Path) -> None:
    """How much of the plan two workers still share after requests.

    The plan is what the rules' process has beyond the supervisor it was forked from. Shared is what of a worker's
    written pages another process maps too, less all that the supervisor could share: the lower bound.
    """
    ports = [free_port(), free_port()]
    argv = ["serve", "--workers", "2", "--mode", "block", "--crs", str(CRS), "--paranoia", "1"]
    argv += ["--health", "off", "--metrics", "off"]
    process = Process(
        "sharing", python("-m", "extproc", *argv, *(f"--grpc=127.0.0.1:{port}" for port in ports)), folder
    )
    try:
        process.await_ready(lambda: all(accepts(port) for port in ports))
        for port in ports:
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS)
            await ask(channel, varied(requests), AT_A_TIME)
            await channel.close()
        supervisor, generation, *workers = (mapped_mib(pid) for pid in process.pids())
    finally:
        process.stop()
    plan = generation["Anonymous"] - supervisor["Anonymous"]
    shared = [max(0.0, worker["Shared_Dirty"] - supervisor["Anonymous"]) / plan for worker in workers]
    report.row("plan, beyond the supervisor", plan, unit="MiB")
    for number, worker in enumerate(workers):
        report.row(f"worker {number} of two: PSS after {requests:,} requests", worker["Pss"], unit="MiB")
    report.row("of the plan still shared, the lesser of two", 100 * min(shared), SHARED_BAR_PERCENT, "%", is_least=True)
    report.raw["sharing"] = {"supervisor": supervisor, "generation": generation, "workers": workers}


def load_once(cache: Path | None) -> float:
    """CPU seconds from files to a plan, in this process."""
    preamble, files = seclang_of(RULES)
    begun = time.process_time()
    Plan(load_ruleset(Sources(files, preamble=preamble.encode()), cache_directory=cache))
    return time.process_time() - begun


def load_apart(cache: Path | None) -> float:
    """The same in a new process."""
    told = subprocess.run(
        python("-m", "tests.bench.memory", "--load", str(cache or "")), check=True, capture_output=True, text=True
    )
    return float(told.stdout)


def measure_loading(report: Report, folder: Path) -> None:
    """Rows on loading: the median of LOADS, each without a cache and with a warm one by turns."""
    cache = folder / "cache"
    load_apart(cache)
    plain, cached = [], []
    for _ in range(LOADS):
        plain.append(load_apart(None))
        cached.append(load_apart(cache))
    report.row("load without a cache", median(plain), LOAD_BAR_S, "s", "CPU")
    report.row("load with a warm cache", median(cached), CACHED_BAR_S, "s", "CPU")
    report.raw["load_s"] = {"plain": plain, "cached": cached}


def main() -> int:
    """0: all bars held; 1: one was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--load", metavar="CACHE", help="load once and print the seconds; for the bench itself")
    arguments = parser.parse_args()
    if arguments.load is not None:
        print(load_once(Path(arguments.load) if arguments.load else None))
        return 0
    report = Report("memory")
    try:
        seclang_of(RULES)
    except Missing as missing:
        report.lacks(RULES, str(missing))
        return report.close()
    with tempfile.TemporaryDirectory() as folder:
        measure_loading(report, Path(folder))
        asyncio.run(measure_worker(report, arguments.requests, Path(folder)))
        asyncio.run(measure_sharing(report, arguments.requests, Path(folder)))
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
