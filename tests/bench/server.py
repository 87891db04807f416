"""`make bench`, part 2: the gRPC server against servers that look at nothing, and a small request beside large ones."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from itertools import count
from pathlib import Path
from typing import Any

import grpc

from tests.bench.asker import OPTIONS, ask, ask_one, is_block, messages
from tests.bench.engines import CRS
from tests.bench.processes import Process, accepts, free_port, python
from tests.bench.report import Report, median, percentile
from tests.bench.traffic import Source, browser_get, json_of, small_get, with_canary

NOOP_BAR = 1.5
"""CPU per small GET over that of the no-op server as users write it."""

BESIDE_BAR_MS = 100.0
"""Median of a small GET beside large bodies in flight."""

LARGE_BODIES = 64
LARGE_BYTES = 130_000
"""With its last value's length, just below the 128 KiB that are inspected."""

REQUESTS = 600
"""Per server and round."""

AT_A_TIME = 8
PROBES = 40
PROBE_PAUSE_S = 0.05

_serial = count()


def command(server: str, port: int) -> list[str]:
    """`natural` and `cheapest` are no-ops; `own` and `crs-pl1` extproc with one worker."""
    if server in ("natural", "cheapest"):
        return python("-m", "tests.bench.peers.noop", server, f"127.0.0.1:{port}")
    # Budget: beside many large bodies each of them takes long; what is measured is not whether they are cut off.
    own = ["serve", "--grpc", f"127.0.0.1:{port}", "--workers", "1", "--mode", "block"]
    own += ["--health", "off", "--metrics", "off"]
    rules = ["--crs", str(CRS), "--paranoia", "1"] if server == "crs-pl1" else []
    return python("-m", "extproc", *own, "--time-budget", "60s", *rules)


class Asked:
    """A server and a channel to it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.port = free_port()
        self.process = Process(name, command(name, self.port), folder)
        self.process.await_ready(lambda: accepts(self.port))
        self.channel: Any = None

    async def open(self) -> None:
        """Connects; the server must answer an attack as one that inspects, or as one that does not."""
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=OPTIONS)
        await self.channel.channel_ready()
        attack = with_canary(Source("canary").take(small_get, 1)[0])
        is_blocked = is_block(await ask_one(self.channel, messages(attack)))
        if is_blocked != (self.name not in ("natural", "cheapest")):
            raise RuntimeError(f"{self.name}: an attack was {'blocked' if is_blocked else 'let through'}")

    async def close(self) -> None:
        """Leaves nothing running."""
        if self.channel is not None:
            await self.channel.close()
        self.process.stop()


async def compare(report: Report, rounds: int, folder: Path) -> None:
    """CPU of the server's process per request, in turns."""
    report.heading("the server alone: CPU per small GET, values new, over a no-op grpc.aio server")
    names = ["natural", "cheapest", "own", *(["crs-pl1"] if CRS.is_dir() else [])]
    servers = [Asked(name, folder) for name in names]
    try:
        for server in servers:
            await server.open()
        for kind, make in (("small GET", small_get), ("browser GET", browser_get)):
            times = report.raw[kind] = {name: [] for name in names}
            for turn in range(-1, rounds):
                source = Source("server", kind, next(_serial))
                requests = [messages(sent) for sent in source.take(make, REQUESTS)]
                for place in range(len(servers)):
                    server = servers[(place + turn) % len(servers)]
                    before = server.process.cpu_s()
                    await ask(server.channel, requests, AT_A_TIME)
                    if turn >= 0:
                        times[server.name].append((server.process.cpu_s() - before) / REQUESTS * 1e6)
            for noop in ("natural", "cheapest"):
                report.row(f"no-op grpc.aio, {noop}, {kind}", median(times[noop]), unit="us")
            for name in names[2:]:
                for noop in ("natural", "cheapest"):
                    share = median([a / b for a, b in zip(times[name], times[noop], strict=True)])
                    is_judged = (name, noop, kind) == ("own", "natural", "small GET")
                    note = f"{median(times[name]):.0f} us"
                    report.row(f"extproc {name} over {noop}, {kind}", share, NOOP_BAR if is_judged else None, note=note)
    finally:
        for server in servers:
            await server.close()


async def beside(report: Report, name: str, folder: Path) -> None:
    """Small GETs while so many large bodies are always in flight on the same worker."""
    server = Asked(name, folder)
    try:
        await server.open()
        source = Source("beside", name)
        bodies = [messages(sent) for sent in source.take(json_of(LARGE_BYTES), LARGE_BODIES)]
        probes = [messages(sent) for sent in source.take(small_get, 2 * PROBES)]
        quiet = await ask(server.channel, probes[PROBES:], 1)
        over = asyncio.Event()

        async def keep_busy(parts: list[bytes]) -> int:
            done = 0
            while not over.is_set():
                await ask_one(server.channel, parts)
                done += 1
            return done

        busy = [asyncio.create_task(keep_busy(parts)) for parts in bodies]
        await asyncio.sleep(1.0)
        spent: list[float] = []
        for parts in probes[:PROBES]:
            spent += await ask(server.channel, [parts], 1)
            await asyncio.sleep(PROBE_PAUSE_S)
        over.set()
        await asyncio.gather(*busy)
    finally:
        await server.close()
    report.raw[f"beside {name}"] = {"milliseconds": spent, "quiet": quiet}
    note = f"p90 {percentile(spent, 0.9):.0f} ms, alone {median(quiet):.1f} ms"
    row = f"small GET beside {LARGE_BODIES} of 128 KiB JSON, {name}, median"
    report.row(row, median(spent), BESIDE_BAR_MS, unit="ms", note=note)


async def run(report: Report, rounds: int) -> None:
    """Both parts."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        await compare(report, rounds, folder)
        report.heading("one worker under large bodies")
        await beside(report, "own", folder)
        if CRS.is_dir():
            await beside(report, "crs-pl1", folder)
        else:
            report.lacks("crs-pl1", f"{CRS} is no Core Rule Set; name a checkout in CRS_DIR")


def main() -> int:
    """Exit code 1 if a bar was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds (default 7)")
    arguments = parser.parse_args()
    report = Report("server")
    asyncio.run(run(report, arguments.rounds))
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
