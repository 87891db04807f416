"""`python -m tests.bench.streams`: what streams cost beside Envoy alone: the first event, an echo, a download.

All stacks run at once and are asked in turns, round by round; a ratio is made within a round, and the median of the
rounds is told. The first event of a stream costs an inspection of its head, so it cannot be as early as without one;
what is measured is that nothing else is added.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from extproc.proxy.binary import find_envoy
from tests.bench.report import Report, median
from tests.conformance.through_envoy.lone_envoy import LoneEnvoy
from tests.conformance.through_envoy.streaming_app import StreamingApp
from tests.conformance.through_envoy.streams import frame, uninspected
from tests.e2e.conftest import start_app, start_up

ALONE = "Envoy alone"
STACKS = {
    "extproc": ("--upgrade-paths", "/ws"),
    "extproc --response": ("--upgrade-paths", "/ws", "--response"),
    "extproc, stream route": ("--route", "/=stream"),
}
EVENTS_PER_ROUND = 20
ECHOES_PER_ROUND = 50
DOWNLOAD_BYTES = 64 * 2**20
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def first_event(port: int) -> float:
    """Seconds from the request to its first event, of one connection that was open."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        started = time.perf_counter()
        connection.sendall(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b""
        while b"data: 0" not in answer:
            answer += connection.recv(4096)
        return time.perf_counter() - started


def download(port: int) -> float:
    """Seconds for the whole of it."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        started = time.perf_counter()
        connection.sendall(b"GET /download?%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % DOWNLOAD_BYTES)
        buffer = memoryview(bytearray(2**20))
        while connection.recv_into(buffer):
            pass
        return time.perf_counter() - started


def echo(port: int) -> float:
    """Seconds per frame there and back, on one WebSocket."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        stream = connection.makefile("rb")
        connection.sendall(HANDSHAKE)
        while stream.readline() != b"\r\n":
            pass
        started = time.perf_counter()
        for _ in range(ECHOES_PER_ROUND):
            connection.sendall(frame(b"hello"))
            stream.read(7)
        return (time.perf_counter() - started) / ECHOES_PER_ROUND


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.streams", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args(arguments).rounds
    report = Report("streams")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        streaming = stack.enter_context(StreamingApp())
        demo = start_app()
        stack.callback(demo.stop)
        measures: list[tuple[str, int, int, Callable[[int], float]]] = [
            ("first event", streaming.port, EVENTS_PER_ROUND, first_event),
            (f"download of {DOWNLOAD_BYTES >> 20} MiB", streaming.port, 1, download),
            ("frame there and back", demo.port, 1, echo),
        ]
        for number, (name, app_port, times, measure) in enumerate(measures):
            with contextlib.ExitStack() as pairs:
                own = folder / str(number)
                own.mkdir()
                alone = pairs.enter_context(LoneEnvoy(find_envoy(""), own, app_port, "127.0.0.1:1", uninspected))
                ports = {ALONE: alone.port}
                for at, (stack_name, flags) in enumerate(STACKS.items()):
                    place = own / str(at)
                    place.mkdir()
                    pair = start_up(place, app_port, "--workers", "1", *flags)
                    pairs.callback(pair.stop)
                    ports[stack_name] = pair.await_start().port
                taken = ask_in_turns(ports, rounds, times, measure)
            report.heading(f"{name}: seconds, and how many times those of {ALONE}")
            report.raw[name] = taken
            for stack_name, seconds in taken.items():
                report.row(f"{stack_name}", median(seconds) * 1000, unit="ms")
                if stack_name != ALONE:
                    ratios = [ours / theirs for ours, theirs in zip(seconds, taken[ALONE], strict=True)]
                    report.row(f"{stack_name}, ratio", median(ratios))
    return report.close()


def ask_in_turns(
    ports: dict[str, int], rounds: int, times: int, measure: Callable[[int], float]
) -> dict[str, list[float]]:
    """The median of each round by stack; who begins changes from round to round."""
    taken: dict[str, list[float]] = {name: [] for name in ports}
    names = list(ports)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            taken[name].append(median([measure(ports[name]) for _ in range(times)]))
    return taken


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
