"""How many threads Envoy gets, and what is made of its log when it failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from extproc.proxy.binary import LOG_TAIL_BYTES, envoy_arguments, envoy_threads, last_complaint

BIND = b"[2026-01-01 00:00:00.000][7][critical][main] [source/server/server.cc:1] cannot bind '127.0.0.1:80'\n"
WARNING = b"[2026-01-01 00:00:00.000][7][warning][main] [source/server/server.cc:1] be careful\n"


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (b"", ""),
        (BIND, "cannot bind '127.0.0.1:80'"),
        (BIND + WARNING, "cannot bind '127.0.0.1:80'"),
        (b"first\nsegmentation fault\n\n", "segmentation fault"),
        (b"x" * 2 * LOG_TAIL_BYTES + b"\n" + BIND, "cannot bind '127.0.0.1:80'"),
        (b"odd \xff bytes\n", "odd � bytes"),
    ],
)
def test_the_last_complaint(tmp_path: Path, log: bytes, said: str) -> None:
    file = tmp_path / "envoy.log"
    file.write_bytes(log)
    assert last_complaint(file) == said


def test_no_log_no_complaint(tmp_path: Path) -> None:
    assert last_complaint(tmp_path / "none") == ""


@pytest.mark.parametrize(("workers", "threads"), [(1, 1), (2, 1), (3, 2), (4, 2), (8, 4), (64, 32)])
def test_a_thread_of_envoy_serves_two_workers(tmp_path: Path, workers: int, threads: int) -> None:
    arguments = envoy_arguments(tmp_path / "envoy", tmp_path / "envoy.yaml", envoy_threads(workers))
    assert arguments[arguments.index("--concurrency") + 1] == str(threads)
