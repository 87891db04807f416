"""gRPC apps behind the pair (`--app-protocol http2`): calls and streams with trailers, refusals in gRPC's words."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

pytestmark = pytest.mark.envoy

SERVICE = "test.Echo"
CALL_LIMIT_S = 10
ATTACK = b"' or 1=1--"


def unary(request: bytes, context: grpc.ServicerContext) -> bytes:
    """The request sent back; `fail` is an error of the app's own."""
    if request == b"fail":
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
    context.set_trailing_metadata((("x-sum", "1"),))
    return request


def many(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    context.set_trailing_metadata((("x-sum", "3"),))
    for number in range(3):
        yield request + b" %d" % number


def collect(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
    return b" ".join(requests)


def chat(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    context.set_trailing_metadata((("x-sum", "0"),))
    for request in requests:
        yield b"you said " + request


CONFIGURATIONS = {
    "plain": (),
    "response": ("--response",),
    "stream": ("--route", f"/{SERVICE}=stream"),
    "stream, response": ("--route", f"/{SERVICE}=stream", "--response"),
}


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def channel(
    request: pytest.FixtureRequest, envoy_binary: Path, tools: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[grpc.Channel]:
    """Through a pair to a gRPC server."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Many": grpc.unary_stream_rpc_method_handler(many),
        "Collect": grpc.stream_unary_rpc_method_handler(collect),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    flags = ("--workers", "1", "--app-protocol", "http2", *CONFIGURATIONS[request.param])
    pair = tools.start_up(tmp_path_factory.mktemp("grpc"), port, *flags)
    try:
        pair.await_start()
        with grpc.insecure_channel(f"127.0.0.1:{pair.port}") as opened:
            yield opened
    finally:
        pair.stop()
        server.stop(None)


def test_a_call_with_its_trailers(channel: grpc.Channel) -> None:
    answer, call = channel.unary_unary(f"/{SERVICE}/Unary").with_call(b"hello", timeout=CALL_LIMIT_S)
    assert answer == b"hello"
    assert ("x-sum", "1") in call.trailing_metadata()


def test_an_error_of_the_app_is_its_own(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(f"/{SERVICE}/Unary")(b"fail", timeout=CALL_LIMIT_S)
    assert (error.value.code(), error.value.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing")


def test_a_stream_of_answers_with_its_trailers(channel: grpc.Channel) -> None:
    call = channel.unary_stream(f"/{SERVICE}/Many")(b"a", timeout=CALL_LIMIT_S)
    assert list(call) == [b"a 0", b"a 1", b"a 2"]
    assert ("x-sum", "3") in call.trailing_metadata()


def test_a_stream_of_requests(channel: grpc.Channel) -> None:
    answer = channel.stream_unary(f"/{SERVICE}/Collect")(iter((b"a", b"b")), timeout=CALL_LIMIT_S)
    assert answer == b"a b"


@pytest.mark.parametrize("channel", ["stream", "stream, response"], indirect=True)
def test_a_conversation_goes_both_ways_at_once(channel: grpc.Channel) -> None:
    """The second request is made of the first answer: nothing may wait for the end of the requests."""
    answers: queue.Queue[bytes] = queue.Queue()

    def requests() -> Iterator[bytes]:
        yield b"hello"
        yield answers.get(timeout=CALL_LIMIT_S)

    call = channel.stream_stream(f"/{SERVICE}/Chat")(requests(), timeout=CALL_LIMIT_S)
    first = next(call)
    answers.put(first)
    assert (first, list(call)) == (b"you said hello", [b"you said you said hello"])
    assert ("x-sum", "0") in call.trailing_metadata()


@pytest.mark.parametrize("name", ["Unary", "Many"])
def test_an_attack_is_permission_denied(channel: grpc.Channel, name: str) -> None:
    method = channel.unary_unary if name == "Unary" else channel.unary_stream
    metadata = (("x-search", ATTACK.decode()),)
    with pytest.raises(grpc.RpcError) as error:
        list(method(f"/{SERVICE}/{name}")(b"hello", timeout=CALL_LIMIT_S, metadata=metadata))
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "Incident: " in error.value.details()


@pytest.mark.parametrize("channel", ["plain"], indirect=True)
@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_an_attack_in_a_field_of_a_message_is_permission_denied(
    channel: grpc.Channel, compression: grpc.Compression
) -> None:
    """`message Search { Filter filter = 2; }` with `message Filter { string text = 1; }`."""
    inner = b"\x0a" + bytes((len(ATTACK),)) + ATTACK
    call = channel.unary_unary(f"/{SERVICE}/Unary")
    with pytest.raises(grpc.RpcError) as error:
        call(b"\x12" + bytes((len(inner),)) + inner, timeout=CALL_LIMIT_S, compression=compression)
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
    harmless = b"\x12\x07\x0a\x05hello"
    assert call(harmless, timeout=CALL_LIMIT_S, compression=compression) == harmless


def test_a_connection_outlives_a_refused_call(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError):
        channel.unary_unary(f"/{SERVICE}/Unary")(b"x", timeout=CALL_LIMIT_S, metadata=(("x-search", ATTACK.decode()),))
    assert channel.unary_unary(f"/{SERVICE}/Unary")(b"again", timeout=CALL_LIMIT_S) == b"again"
