"""Who works next: the first slice of every inspection runs at once, the rest of the large ones takes turns.

One event loop serves all streams, so an inspection that needs many slices must not hold it. What its first
slice did not finish goes to the slow lane, one task that runs one slice at a time and lets the event loop have
its turns in between: a newcomer waits for a slice or two, however many large bodies are in flight.

The lane prefers those who had least work so far, so that a middling body does not wait for all the big ones,
and serves the oldest every fourth turn, so that nobody starves. Whose budget is used up gets its answer then,
also if it never had another turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from operator import attrgetter

from extproc.model.deadline import Deadline
from extproc.model.inspection import Steps
from extproc.model.verdict import Verdict

OLDEST_EVERY = 4
"""Turns of the lane; each such turn goes to the one who waits longest."""

LOOP_TURNS = 8
"""Turns that the event loop has between two slices. A stream needs several to get from its first packet to its
first slice (accept, start of the handler, read), and an idle turn costs a few microseconds."""


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

    def __init__(self) -> None:
        self._waiting: dict[_Job, None] = {}  # in order of arrival
        self._lane: asyncio.Task[None] | None = None
        self._turns = 0

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
                for _ in range(LOOP_TURNS):
                    await asyncio.sleep(0)
        finally:
            self._lane = None

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
            verdict: Verdict = end.value
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
