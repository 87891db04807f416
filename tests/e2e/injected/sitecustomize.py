"""Faults for a real engine: on PYTHONPATH, this makes some paths break the transaction that inspects them.

`/crash` kills the process as a fault in native code would, `/fault` raises, `/memory` runs out of memory, `/hang`
never lets the event loop turn again, `/slow` works in slices until its time is over, `/nothing` has no verdict.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from extproc.engine.inspector import EngineInspection
from extproc.engine.transaction import Transaction, Work
from extproc.model.deadline import Deadline
from extproc.model.phase import Phase
from extproc.model.verdict import Verdict

HANG_S = 300.0

_run = Transaction.run
_answer = EngineInspection._answer


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def fault() -> None:
    raise RuntimeError("secret detail")


def memory() -> None:
    bytearray(1 << 46)


def hang() -> None:
    time.sleep(HANG_S)


FAULTS: dict[bytes, Callable[[], None]] = {b"/crash": crash, b"/fault": fault, b"/memory": memory, b"/hang": hang}


def run(self: Transaction, phase: Phase, deadline: Deadline) -> Work:
    path = self.head.path
    if phase is Phase.REQUEST_HEADERS:
        FAULTS.get(path, int)()
        while path == b"/slow":
            time.sleep(0.001)
            yield
    yield from _run(self, phase, deadline)


def answer(self: EngineInspection) -> Verdict | None:
    verdict = _answer(self)
    return None if self.transaction is not None and self.transaction.head.path == b"/nothing" else verdict


Transaction.run = run  # type: ignore[method-assign]
EngineInspection._answer = answer  # type: ignore[assignment, method-assign]
