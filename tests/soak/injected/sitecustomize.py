"""On PYTHONPATH this makes every worker measure how long its event loop stood still, and tell it at its end.

The longest delay of a beat goes to BEATS/PID, in milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

from extproc.server import workers

EVERY_S = 0.005

_beat = workers._beat


async def beat(*arguments: Any) -> None:
    signs = asyncio.create_task(_beat(*arguments))
    loop = asyncio.get_running_loop()
    longest_s = 0.0
    told = Path(os.environ["BEATS"]) / str(os.getpid())
    try:
        while True:
            due = loop.time() + EVERY_S
            await asyncio.sleep(EVERY_S)
            late_s = loop.time() - due
            if late_s > longest_s:
                longest_s = late_s
                with contextlib.suppress(OSError):  # the test is over
                    told.write_text(f"{longest_s * 1000:.1f}")
    finally:
        signs.cancel()


if "BEATS" in os.environ:
    workers._beat = beat
