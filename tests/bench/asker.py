"""Asks an ext_proc server as Envoy does: one stream per request, headers, then the body in one message.

Bounded in count: `ask` sends so many requests, so many at a time, over one HTTP/2 connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any

import grpc

from extproc._pb.envoy.config.core.v3 import base_pb2
from extproc._pb.envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from tests.bench.traffic import Sent

METHOD = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"

OPTIONS = [("grpc.max_receive_message_length", 4 * 1024 * 1024), ("grpc.max_send_message_length", 4 * 1024 * 1024)]


def messages(sent: Sent) -> list[bytes]:
    """What Envoy sends about a request: headers with raw values, then the buffered body."""
    headers = base_pb2.HeaderMap(
        headers=[
            base_pb2.HeaderValue(key=name, raw_value=value.encode("latin-1"))
            for name, value in (
                (":authority", dict(sent.headers)["host"]),
                (":path", sent.target),
                (":method", sent.method),
                (":scheme", "http"),
                *((name, value) for name, value in sent.headers if name != "host"),
                ("x-request-id", "2b1d3c14-9f1a-4a43-9d4e-0f6a3c9d1b77"),
            )
        ]
    )
    head = pb.ProcessingRequest(request_headers=pb.HttpHeaders(headers=headers, end_of_stream=not sent.body))
    told = [head.SerializeToString()]
    if sent.body:
        body = pb.ProcessingRequest(request_body=pb.HttpBody(body=sent.body, end_of_stream=True))
        told.append(body.SerializeToString())
    return told


async def ask_one(channel: Any, parts: Sequence[bytes]) -> bytes:
    """The last answer to one request's messages. Raises grpc.aio.AioRpcError."""
    call = channel.stream_stream(METHOD)()
    answer = b""
    for part in parts:
        await call.write(part)
        answer = await call.read()
        if answer is grpc.aio.EOF:
            break
    await call.done_writing()
    while await call.read() is not grpc.aio.EOF:
        pass
    return answer


async def ask(channel: Any, requests: Iterable[Sequence[bytes]], at_a_time: int) -> list[float]:
    """All requests, `at_a_time` in flight; milliseconds of each."""
    left = iter(requests)
    spent: list[float] = []

    async def go_on() -> None:
        for parts in left:
            begun = time.perf_counter()
            await ask_one(channel, parts)
            spent.append((time.perf_counter() - begun) * 1000)

    await asyncio.gather(*(go_on() for _ in range(at_a_time)))
    return spent


def is_block(answer: bytes) -> bool:
    """Is it an immediate response?"""
    return pb.ProcessingResponse.FromString(answer).WhichOneof("response") == "immediate_response"
