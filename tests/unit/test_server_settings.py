"""Settings that cannot work are refused; cores come from the cgroup."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from extproc.model.errors import ConfigError
from extproc.model.route import Beyond, Profile, Route
from extproc.server.settings import BURST_BYTES, MAX_WORKERS, ServerSettings, default_workers


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"addresses": ()}, "grpc"),
        ({"addresses": ("a:1", "a:1")}, "grpc"),
        ({"addresses": tuple(f"a:{n}" for n in range(MAX_WORKERS + 1))}, "workers"),
        ({"budget_us": 0}, "budget_us"),
        ({"max_streams": 0}, "max_streams"),
        ({"body_limit_bytes": 0}, "body_limit_bytes"),
        ({"drain_delay_s": -0.1}, "drain_delay_s"),
        ({"drain_grace_s": -1}, "drain_grace_s"),
        ({"request_body_modes": frozenset({"BUFFERED_PARTIAL"})}, "request_body_modes"),
        ({"response_body_modes": frozenset({"FULL_DUPLEX_STREAMED"})}, "response_body_modes"),
        ({"upgrade_paths": ("ws",)}, "upgrade_paths"),
    ],
)
def test_wrong_settings_name_their_key(wrong: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ServerSettings(**({"addresses": ("a:1",)} | wrong))
    assert raised.value.key == key


def test_as_many_workers_as_the_limit() -> None:
    assert len(ServerSettings(addresses=tuple(f"a:{n}" for n in range(MAX_WORKERS))).addresses) == MAX_WORKERS


@pytest.mark.parametrize(
    ("body_limit", "message_limit"),
    [(1, 1_114_112), (1_048_576, 1_114_112), (1_048_577, 1_114_113), (10_000_000, 10_065_536)],
)
def test_a_message_has_room_for_body_and_headers(body_limit: int, message_limit: int) -> None:
    assert ServerSettings(addresses=("a:1",), body_limit_bytes=body_limit).message_limit_bytes == message_limit


def test_a_message_has_room_for_the_largest_route_and_for_what_overshoots_a_limit() -> None:
    upload = Route("u", "/u", profile=Profile.UPLOAD, body_limit_bytes=10_000_000)
    passing = replace(upload, beyond=Beyond.PASS)
    assert ServerSettings(addresses=("a:1",), routes=(upload,)).message_limit_bytes == 10_065_536
    assert ServerSettings(addresses=("a:1",), routes=(passing,)).message_limit_bytes == 10_065_536 + BURST_BYTES
    assert ServerSettings(addresses=("a:1",), inspect_response=True).message_limit_bytes == 1_114_112 + BURST_BYTES


CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("files", "workers"),
    [
        ({"cpu.max": "max 100000\n"}, CORES),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "199999 100000\n"}, 1),
        ({"cpu.max": "99900000 100000\n"}, CORES),
        ({"cpu.max": "broken\n"}, CORES),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, CORES),
        ({}, CORES),
    ],
)
def test_default_workers(tmp_path: Path, files: dict[str, str], workers: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert default_workers(tmp_path) == workers


def test_the_supervisor_imports_no_grpc_and_starts_no_thread() -> None:
    code = "import sys, threading, extproc.server.workers; print('grpc' in sys.modules, threading.active_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "1"]
