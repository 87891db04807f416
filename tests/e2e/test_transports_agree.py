"""The same conversations through both transports: the same answers and the same end."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from extproc._pb.envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from tests.e2e.test_grpc_workers import NO_PROXY, PROCESS, TOY, eventually, status

CONVERSATIONS = 400
MOST_MESSAGES = 6
ATTACK = b"' or 1=1--"


def head(path: bytes, is_last: bool, *more: tuple[str, bytes]) -> bytes:
    message = pb.ProcessingRequest()
    for key, value in ((":path", path), (":method", b"GET"), (":authority", b"a"), *more):
        message.request_headers.headers.headers.add(key=key, raw_value=value)
    message.request_headers.end_of_stream = is_last
    return message.SerializeToString()  # type: ignore[no-any-return]


def body(data: bytes, is_last: bool) -> bytes:
    return pb.ProcessingRequest(  # type: ignore[no-any-return]
        request_body=pb.HttpBody(body=data, end_of_stream=is_last)
    ).SerializeToString()


def watched(data: bytes) -> bytes:
    message = pb.ProcessingRequest.FromString(data)
    message.observability_mode = True
    return message.SerializeToString()  # type: ignore[no-any-return]


SOUND = (
    head(b"/", True),
    head(b"/shop?q=" + ATTACK, True),
    head(b"/upload", False),
    head(b"/ws", False, ("connection", b"upgrade"), ("upgrade", b"websocket")),
    body(b"a=b", True),
    body(b"x" * 100_000, False),
    body(ATTACK, True),
    pb.ProcessingRequest(request_trailers=pb.HttpTrailers()).SerializeToString(),
    pb.ProcessingRequest(response_headers=pb.HttpHeaders()).SerializeToString(),
    watched(head(b"/", True)),
    bytes([12 << 3 | 2, 0]),
)
BROKEN = (
    b"",
    b"\xff",
    head(b"/fault", True),
    head(b"/nothing", True),
    bytes([14 << 3, 1]),
    body(b"y" * 1_500_000, True),
)


@pytest.fixture(scope="module")
def channels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[grpc.Channel]]:
    """To a server on our own HTTP/2, and to one on grpc.aio."""
    folder: Path = tmp_path_factory.mktemp("transports")
    processes, opened = [], []
    try:
        for name in ("http2", "grpc"):
            address = f"unix:{folder}/{name}.sock"
            command = [sys.executable, str(TOY), "--grpc", address, "--set", f"transport={name!r}"]
            processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            eventually(lambda address=address: status(address))
            opened.append(grpc.insecure_channel(address, NO_PROXY))
        yield opened
    finally:
        for channel in opened:
            channel.close()
        for process in processes:
            process.terminate()
            process.wait(20)


def talk(channel: grpc.Channel, messages: list[bytes], compression: grpc.Compression) -> tuple[list[Any], str, str]:
    """(answers, status, details)."""
    call = channel.stream_stream(PROCESS)(iter(messages), timeout=30, compression=compression)
    answers = []
    try:
        for answer in call:
            answers.append(pb.ProcessingResponse.FromString(answer))  # as bytes, maps differ in order
    except grpc.RpcError:
        pass
    return answers, call.code().name, call.details()


def test_conversations(channels: list[grpc.Channel]) -> None:
    dice = random.Random(4)
    seen = set()
    for _ in range(CONVERSATIONS):
        messages = dice.choices(SOUND, k=dice.randint(0, MOST_MESSAGES))
        if dice.random() < 0.7:
            messages = [dice.choice(SOUND[:4]), *messages]
        if dice.random() < 0.2:
            messages = [*dice.choice(([], messages)), dice.choice(BROKEN)]
        compression = dice.choice((grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate))
        (ours, code, details), (theirs, *end) = (talk(channel, messages, compression) for channel in channels)
        assert code == end[0], messages
        if code == "OK":
            assert ours == theirs, messages
        else:  # an answer may be lost behind the status that ends the call
            shorter = min(len(ours), len(theirs))
            assert ours[:shorter] == theirs[:shorter], messages
        if code != "RESOURCE_EXHAUSTED":  # there the words are the library's
            assert details == end[1]
        seen.add(code)
    assert seen == {"OK", "INVALID_ARGUMENT", "INTERNAL", "RESOURCE_EXHAUSTED"}


@pytest.mark.parametrize("method", ["/a.b/C", "/envoy.service.ext_proc.v3.ExternalProcessor/Other", PROCESS + "x"])
def test_unknown_methods(channels: list[grpc.Channel], method: str) -> None:
    codes = set()
    for channel in channels:
        call = channel.stream_stream(method)(iter([b""]), timeout=30)
        with pytest.raises(grpc.RpcError):
            next(call)
        codes.add(call.code())
    assert codes == {grpc.StatusCode.UNIMPLEMENTED}
