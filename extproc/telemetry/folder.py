"""Where workers leave their numbers and anybody of the same pair finds the sum: one small file each.

Files, not shared memory: generations of workers come out of different processes, and a worker that was killed leaves
what it had counted. Numbers of the dead are folded into one file, so the folder does not grow with restarts.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from extproc.telemetry.counters import Snapshot, add, empty

WRITE_EVERY_S = 0.5
"""A worker's file is at most this old while it counts; nobody reads more often than Prometheus, every few seconds."""

FOLD_EVERY_S = 10.0
"""Between two looks whether many have died."""

FOLD_AFTER = 8
"""Files of dead workers from which they are folded into one."""

FOLDED = "gone.json"
WORKER_FILES = "[0-9]*.json"


class Numbers(NamedTuple):
    """The sum over all workers that ever were, and how many of them live and have written."""

    total: Snapshot
    workers: int


class NumbersFolder:
    """`path` is a private folder that all processes of a pair know; None: there is none, so each tells its own."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._own = empty()

    def write(self, name: str, snapshot: Snapshot) -> None:
        """`name` of a worker: its process id and time of start. Raises OSError."""
        if self._path is None:
            self._own = snapshot
            return
        # Few calls into the kernel, as at each of them the thread hands the interpreter over and waits for it again.
        unfinished = f"{self._path}/.{name}"
        end = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            data = json.dumps(snapshot).encode()
            if os.write(end, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(end)
        os.replace(unfinished, f"{self._path}/{name}.json")  # noqa: PTH105  # texts

    def read(self) -> Numbers:
        """Those of all workers, from one look at the files."""
        if self._path is None:
            return Numbers(self._own, 1)
        living, dead = self._read(self._path)
        gone = add((snapshot for _, snapshot in dead), with_gauges=False)
        return Numbers(add([gone, *living]), len(living))

    def _read(self, path: Path) -> tuple[list[Snapshot], list[tuple[str, Snapshot]]]:
        folded = self._load(path / FOLDED) or {**empty(), "names": []}
        counted = set(folded["names"])
        living: list[Snapshot] = []
        dead: list[tuple[str, Snapshot]] = []
        with contextlib.suppress(OSError):
            for file in sorted(path.glob(WORKER_FILES)):
                name = file.stem
                snapshot = self._load(file)
                if snapshot is None or name in counted:
                    continue
                if _lives(int(name.partition("-")[0])):
                    living.append(snapshot)
                else:
                    dead.append((name, snapshot))
        return living, [("", folded), *dead]

    def fold(self) -> None:
        """Folds the files of dead workers into one, if there are many. Called by one process at a time."""
        if self._path is None or len(list(self._path.glob(WORKER_FILES))) < FOLD_AFTER:
            return  # names first, contents only when there are many
        _, dead = self._read(self._path)
        if len(dead) - 1 < FOLD_AFTER:
            return
        names = [name for name, _ in dead[1:]]
        total: Snapshot = add((snapshot for _, snapshot in dead), with_gauges=False)
        # The names stay in until their files are gone: whoever reads in between counts nobody twice.
        total["names"] = names
        unfinished = self._path / f".{FOLDED}.{os.getpid()}"
        unfinished.write_text(json.dumps(total))
        unfinished.replace(self._path / FOLDED)
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                (self._path / f"{name}.json").unlink()

    def _load(self, file: Path) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads(file.read_text())
        except (OSError, ValueError):
            return None
        return found


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
