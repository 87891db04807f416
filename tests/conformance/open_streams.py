"""Many streams: open at a time (G38), each in the middle of its exchange, as behind slow uploads; in a row (G39)."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

import grpc
import peer as p

CONNECTIONS = 4
"""An Envoy has one per worker thread."""

WAVE = 200
"""Messages in flight."""

TOTAL_LIMIT_S = 90.0
IN_A_ROW_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many answered the head while all were open, and the body after; `refused` by status."""

    pending: int
    allowed: int
    refused: dict[str, int]


def hold(target: str, number: int) -> Crowd:
    """Opens `number` streams with a head each, waits until all have answered, then sends all bodies."""
    return asyncio.run(asyncio.wait_for(_hold(target, number), TOTAL_LIMIT_S))


async def _hold(target: str, number: int) -> Crowd:
    channels = [grpc.aio.insecure_channel(target, p.OWN_CONNECTION) for _ in range(CONNECTIONS)]
    calls: list[grpc.aio.StreamStreamCall] = []
    head = p.form_post().SerializeToString()
    body = p.request_body(b"id=shoes").SerializeToString()
    said: list[str] = []
    try:
        # In waves: what is asked is that they are open together, not that they come in one instant.
        while len(calls) < number:
            wave = min(WAVE, number - len(calls))
            calls += [channels[index % CONNECTIONS].stream_stream(p.PROCESS)() for index in range(wave)]
            said += await asyncio.gather(*(_ask(call, head) for call in calls[-wave:]))
        for start in range(0, number, WAVE):
            said += await asyncio.gather(*(_ask(call, body) for call in calls[start : start + WAVE]))
    finally:
        for call in calls:
            call.cancel()
        for channel in channels:
            await channel.close()
    counts = Counter(said)
    return Crowd(counts.pop("pending", 0), counts.pop("allow", 0), dict(counts))


async def _ask(call: grpc.aio.StreamStreamCall, message: bytes) -> str:
    """The verdict of the answer, else the status with which the stream ended."""
    try:
        await call.write(message)
        answer = await call.read()
    except (grpc.RpcError, asyncio.InvalidStateError):
        answer = grpc.aio.EOF
    if answer is grpc.aio.EOF:
        return f"{(await call.code()).name} {await call.details()}"
    return p.verdict(p.pb.ProcessingResponse.FromString(answer))


def one_by_one(target: str, number: int) -> Counter[str]:
    """Verdicts of `number` streams with a GET each; on every connection one begins when the last has ended."""
    return asyncio.run(asyncio.wait_for(_one_by_one(target, number), IN_A_ROW_LIMIT_S))


async def _one_by_one(target: str, number: int) -> Counter[str]:
    head = p.request_headers().SerializeToString()
    told: Counter[str] = Counter()

    async def go_on(share: int) -> None:
        async with grpc.aio.insecure_channel(target, p.OWN_CONNECTION) as channel:
            process = channel.stream_stream(p.PROCESS)
            for _ in range(share):
                call = process()
                told[await _ask(call, head)] += 1
                await call.done_writing()
                await call.read()

    await asyncio.gather(*(go_on(number // CONNECTIONS + (lane < number % CONNECTIONS)) for lane in range(CONNECTIONS)))
    return told
