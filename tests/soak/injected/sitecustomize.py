"""On PYTHONPATH this makes every worker measure how long its event loop stood still, and tell it at its end.

The longest delay of a beat goes to BEATS/PID, and beside it the most CPU time between two beats: what the delay would
be on a machine with nobody else on it. Both in milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import Any

from extproc.server import workers

EVERY_S = 0.005

_beat = workers._beat


async def beat(*arguments: Any) -> None:
    signs = asyncio.create_task(_beat(*arguments))
    loop = asyncio.get_running_loop()
    longest_s = most_s = 0.0
    spent_s = time.thread_time()
    told = Path(os.environ["BEATS"]) / str(os.getpid())
    try:
        while True:
            due = loop.time() + EVERY_S
            await asyncio.sleep(EVERY_S)
            late_s, before_s, spent_s = loop.time() - due, spent_s, time.thread_time()
            if late_s > longest_s or spent_s - before_s > most_s:
                longest_s, most_s = max(late_s, longest_s), max(spent_s - before_s, most_s)
                with contextlib.suppress(OSError):  # the test is over
                    told.write_text(f"{longest_s * 1000:.1f} {most_s * 1000:.1f}")
    finally:
        signs.cancel()


if "BEATS" in os.environ:
    workers._beat = beat
