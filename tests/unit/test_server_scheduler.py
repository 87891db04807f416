"""The slow lane: who gets a turn, who runs out of time, who is gone."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from extproc.model.deadline import Deadline
from extproc.model.inspection import Steps
from extproc.model.phase import Phase
from extproc.model.verdict import Outcome, Verdict
from extproc.server.scheduler import Scheduler

DONE = Verdict(Outcome.ALLOW, Phase.REQUEST_BODY, "done")
LATE = Verdict(Outcome.BLOCK, Phase.REQUEST_BODY, "late")


class Clock:
    """Nanoseconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


def steps(name: str, slices: int, log: list[str], clock: Clock | None = None) -> Steps:
    for _ in range(slices):
        log.append(name)
        if clock is not None:
            clock.now += 2_000_000
        yield
    return DONE


def begin(work: Steps) -> Steps:
    next(work)
    return work


def deadline(clock: Clock, budget_us: int = 1_000_000) -> Deadline:
    return Deadline(clock, budget_us)


async def reached(log: list[str], length: int) -> None:
    while len(log) < length:  # noqa: ASYNC110 - the lane must not know of the test
        await asyncio.sleep(0)


async def test_the_oldest_and_the_least_worked_alternate() -> None:
    scheduler, clock, log = Scheduler(), Clock(), list[str]()
    works = {name: begin(steps(name, 4, log)) for name in "abc"}
    log.clear()
    tasks = [asyncio.ensure_future(scheduler.finish(work, deadline(clock), lambda: LATE)) for work in works.values()]
    assert await asyncio.gather(*tasks) == [DONE] * 3
    # Odd turns: least work so far, first come first; even turns: the oldest of all.
    assert log == list("aabacbbcc")
    assert scheduler.waiting == 0


async def test_a_newcomer_overtakes_those_who_worked_long() -> None:
    scheduler, clock, log = Scheduler(), Clock(), list[str]()
    long = [asyncio.ensure_future(scheduler.finish(begin(steps("long", 400, log)), deadline(clock), lambda: LATE))]
    await asyncio.wait_for(reached(log, 20), timeout=10)
    log.clear()
    await scheduler.finish(begin(steps("new", 3, log)), deadline(clock), lambda: LATE)
    assert len(log) <= 3 + 2 * 3 + 1
    assert not long[0].done()
    long[0].cancel()
    await asyncio.gather(*long, return_exceptions=True)


async def test_the_event_loop_has_turns_between_slices() -> None:
    scheduler, clock, log = Scheduler(), Clock(), list[str]()
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.ensure_future(others())
    await scheduler.finish(begin(steps("a", 5, log)), deadline(clock), lambda: LATE)
    other.cancel()
    assert turns > 5 * 3


async def test_used_up_budget() -> None:
    scheduler, clock, log = Scheduler(), Clock(), list[str]()
    verdict = await scheduler.finish(
        begin(steps("a", 1000, log, clock)), deadline(clock, budget_us=10_000), lambda: LATE
    )
    assert verdict is LATE
    assert len(log) == 6  # five slices of 2 ms fit after the first, which ran before the budget began


async def test_who_has_no_turn_any_more_is_answered_too() -> None:
    scheduler, clock, log = Scheduler(), Clock(), list[str]()
    tasks = [
        asyncio.ensure_future(
            scheduler.finish(begin(steps(str(number), 1000, log)), deadline(clock, 10_000), lambda: LATE)
        )
        for number in range(50)
    ]
    await asyncio.sleep(0)
    clock.now = 10_000_000
    assert await asyncio.gather(*tasks) == [LATE] * 50
    assert len(log) <= 52


async def test_cancelled_work_is_closed_and_gets_no_other_turn() -> None:
    scheduler, clock, log = Scheduler(), Clock(), list[str]()

    def guarded() -> Iterator[None]:
        try:
            while True:
                yield
        except GeneratorExit:
            log.append("closed")
            raise

    work = guarded()
    next(work)
    task = asyncio.ensure_future(scheduler.finish(work, deadline(clock), lambda: LATE))  # type: ignore[arg-type]
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["closed"]
    assert scheduler.waiting == 0


async def test_a_fault_reaches_its_own_stream_only() -> None:
    scheduler, clock, log = Scheduler(), Clock(), list[str]()

    def broken() -> Steps:
        yield
        yield
        raise RuntimeError("broken")

    tasks = [
        asyncio.ensure_future(scheduler.finish(begin(work), deadline(clock), lambda: LATE))
        for work in (broken(), steps("a", 5, log))
    ]
    fault, verdict = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(fault, RuntimeError)
    assert verdict is DONE


async def test_a_fault_at_refusal_is_raised() -> None:
    scheduler, clock, log = Scheduler(), Clock(), list[str]()

    def refuse() -> Verdict:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        await scheduler.finish(begin(steps("a", 1000, log, clock)), deadline(clock, 4_000), refuse)


async def test_without_a_quiet_time_the_loop_turns_once_or_twice_between_two_slices() -> None:
    scheduler, counted, log = Scheduler(quiet_us=0), 0, list[int]()

    def work() -> Steps:
        for _ in range(5):
            log.append(counted)
            yield
        return DONE

    finished = asyncio.ensure_future(scheduler.finish(begin(work()), deadline(Clock()), lambda: LATE))
    while not finished.done():
        counted += 1
        await asyncio.sleep(0)
    assert all(1 <= after - before <= 2 for before, after in itertools.pairwise(log[1:])), log
