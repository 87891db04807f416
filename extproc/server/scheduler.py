"""Who works next: the first slice of every inspection runs at once, the rest of the large ones takes turns.

One event loop serves all streams, so an inspection that needs many slices must not hold it. What its first
slice did not finish goes to the slow lane, one task that runs one slice at a time and lets the event loop have
its turns in between: a newcomer waits for a slice or two, however many large bodies are in flight.

The lane prefers those who had least work so far, so that a middling body does not wait for all the big ones,
and gives the oldest every second turn, so that some get through however many wait. Whose budget is used up gets
its answer then, also if it never had another turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from extproc.model.deadline import Deadline
from extproc.model.inspection import Steps
from extproc.model.verdict import Verdict

OLDEST_EVERY = 2
"""Turns of the lane; each such turn goes to the one who waits longest. Equal shares alone would let all of a
crowd run out of time together."""

QUIET_US = 250
"""The event loop turns that long between two slices, anew whenever something arrived. A message comes in by several
hops between threads of grpc.aio (accept, start of the handler, read); one turn of the loop between slices would let a
newcomer wait for a slice at each of them. On our own HTTP/2 it comes in by one hop, and one turn is enough."""

MAX_PAUSE_US = 4_000
"""Then the lane goes on all the same: under constant arrivals the large ones keep a third of the time."""


class _Job:
    __slots__ = ("deadline", "done", "expire", "slices", "steps")

    def __init__(
        self, steps: Steps, deadline: Deadline, expire: Callable[[], Verdict], done: asyncio.Future[Verdict]
    ) -> None:
        self.steps = steps
        self.deadline = deadline
        self.expire = expire
        self.done = done
        self.slices = 1  # the one that the stream ran itself


_WORK = attrgetter("slices")


class Scheduler:
    """The slow lane of one event loop."""

    def __init__(self, quiet_us: int = QUIET_US) -> None:
        """`quiet_us` 0: one turn of the event loop between two slices, and one more whenever something arrived."""
        self._quiet_ns = quiet_us * 1000
        self._waiting: dict[_Job, None] = {}  # in order of arrival
        self._lane: asyncio.Task[None] | None = None
        self._turns = 0
        self.arrivals = 0
        """Streams and messages that came; whoever receives them counts here."""

    @property
    def waiting(self) -> int:
        """Inspections in the lane."""
        return len(self._waiting)

    async def finish(self, steps: Steps, deadline: Deadline, expire: Callable[[], Verdict]) -> Verdict:
        """The verdict of `steps`, whose first slice has run; that of `expire` if the budget is used up before.

        Raises what the steps raise. When the caller is cancelled, the steps are closed and get no other turn.
        """
        loop = asyncio.get_running_loop()
        job = _Job(steps, deadline, expire, loop.create_future())
        self._waiting[job] = None
        if self._lane is None:
            self._lane = loop.create_task(self._run_lane())
        try:
            return await job.done
        finally:
            self._waiting.pop(job, None)
            steps.close()

    async def _run_lane(self) -> None:
        try:
            while self._waiting:
                self._expire_oldest()
                if self._waiting:
                    self._run_slice(self._pick())
                await self._let_others_run()
        finally:
            self._lane = None

    async def _let_others_run(self) -> None:
        now = time.monotonic_ns()
        end = now + MAX_PAUSE_US * 1000
        seen = -1
        while now < end:
            if self.arrivals != seen:
                seen = self.arrivals
                quiet = now + self._quiet_ns
            elif now >= quiet:
                return
            await asyncio.sleep(0)
            now = time.monotonic_ns()

    def _pick(self) -> _Job:
        self._turns += 1
        if self._turns % OLDEST_EVERY == 0:
            return next(iter(self._waiting))
        return min(self._waiting, key=_WORK)

    def _expire_oldest(self) -> None:
        """All have the same budget, so the oldest runs out first."""
        while self._waiting:
            job = next(iter(self._waiting))
            if not job.deadline.is_expired():
                return
            del self._waiting[job]
            _settle(job, job.expire)

    def _run_slice(self, job: _Job) -> None:
        job.slices += 1
        job.deadline.start_slice()
        try:
            next(job.steps)
        except StopIteration as end:
            del self._waiting[job]
            verdict: Any = end.value  # what is none is the job's fault and not the lane's
            _settle(job, lambda: verdict)
        except Exception as fault:
            del self._waiting[job]
            if not job.done.done():
                job.done.set_exception(fault)


def _settle(job: _Job, decide: Callable[[], Verdict]) -> None:
    if job.done.done():  # the stream was cancelled
        return
    try:
        job.done.set_result(decide())
    except Exception as fault:
        job.done.set_exception(fault)
