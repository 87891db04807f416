"""A folder that only we can enter, for sockets and Envoy's files; it is gone when we are."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "extproc-up-"
LOCK = "lock"


@contextlib.contextmanager
def private_folder(prefix: str = PREFIX, parent: Path | None = None) -> Iterator[Path]:
    """Mode 0700, below `parent` (TMPDIR). Folders that a killed predecessor of ours left behind are removed on the way.

    Raises OSError when no folder can be made.
    """
    parent = parent or Path(tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    _sweep(parent, prefix)
    lock = _lock(folder, os.O_CREAT)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _lock(folder: Path, flags: int = 0) -> int | None:
    """The descriptor that holds the folder's lock; None if another process holds it, or it is not ours.

    A lock, not a process id: pairs of several containers may share one temp folder.
    """
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def _sweep(parent: Path, prefix: str) -> None:
    for folder in parent.glob(prefix + "*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
        lock = _lock(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
