"""Workers as processes: health, overload, restart, drain, death of the supervisor. gRPC as Envoy speaks it."""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from extproc._pb.envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from extproc.server.settings import ServerSettings

TOY = Path(__file__).parent / "servers" / "toy_server.py"
PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
NO_PROXY = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def eventually(claim: Callable[[], Any], seconds: float = 15.0) -> Any:
    """The first true value of `claim`; what it raises as OSError or RpcError counts as not yet."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if value := claim():
                return value
        except (OSError, grpc.RpcError):
            pass
        time.sleep(0.02)
    pytest.fail("it never became true")


class Server:
    """The toy server as a process, with everything it says."""

    transport = "http2"

    def __init__(self, *addresses: str, **settings: object) -> None:
        command = [sys.executable, str(TOY), "--set", f"transport={self.transport!r}"]
        for address in addresses:
            command += ["--grpc", address]
        for key, value in settings.items():
            command += ["--set", f"{key}={value!r}"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def workers(self) -> list[int]:
        """Of all generations; empty while there is none."""
        return [worker for generation in children(self.process.pid) for worker in children(generation)]

    def output(self) -> str:
        """Once the server has ended."""
        assert self.process.stdout is not None
        return self.process.stdout.read()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


@pytest.fixture(params=["http2", "grpc"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what depends on it; the others run with what is shipped."""
    monkeypatch.setattr(Server, "transport", request.param)


@contextmanager
def serving(*addresses: str, **settings: object) -> Iterator[Server]:
    server = Server(*addresses, **settings)
    try:
        for address in addresses:
            eventually(lambda address=address: status(address) == health_pb2.HealthCheckResponse.SERVING)
        yield server
    finally:
        server.close()


def status(address: str) -> int:
    with grpc.insecure_channel(address, NO_PROXY) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        return check(health_pb2.HealthCheckRequest(), timeout=5).status


class Stream:
    """One stream by hand."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        call = channel.stream_stream(
            PROCESS,
            request_serializer=pb.ProcessingRequest.SerializeToString,
            response_deserializer=pb.ProcessingResponse.FromString,
        )
        self.call = call(iter(self._outbox.get, None), timeout=60)

    def ask(self, message: Any) -> Any:
        self.send(message)
        return next(self.call)

    def send(self, message: Any) -> None:
        self._outbox.put(message)

    def end(self) -> grpc.StatusCode:
        self._outbox.put(None)
        return self.call.code()

    def cancel(self) -> None:
        self.call.cancel()
        self._outbox.put(None)


def head(path: str = "/", is_last: bool = True) -> Any:
    message = pb.ProcessingRequest()
    for key, value in {":path": path, ":method": "POST", ":authority": "a"}.items():
        message.request_headers.headers.headers.add(key=key, raw_value=value.encode())
    message.request_headers.end_of_stream = is_last
    return message


def body(data: bytes) -> Any:
    return pb.ProcessingRequest(request_body=pb.HttpBody(body=data, end_of_stream=True))


def kind(reply: Any) -> str:
    return reply.WhichOneof("response") or ""


def test_each_worker_has_its_address_and_comes_back_when_killed(tmp_path: Path) -> None:
    addresses = [free_address(), f"unix:{tmp_path}/two.sock"]
    with serving(*addresses) as server:
        before = server.workers()
        assert len(before) == 2
        assert (tmp_path / "two.sock").stat().st_mode & 0o777 == 0o660
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(set(server.workers()) - set(before)) == 2)
        for address in addresses:
            eventually(lambda address=address: status(address))
            with grpc.insecure_channel(address, NO_PROXY) as channel:
                assert kind(Stream(channel).ask(head())) == "request_headers"
        server.process.terminate()
        assert server.process.wait(20) == 0
        assert server.output().count("died; starting it again") == 2


def test_a_worker_that_dies_again_and_again_is_started_again() -> None:
    with serving(address := free_address()) as server:
        for _ in range(4):
            [pid] = eventually(server.workers)
            os.kill(pid, signal.SIGKILL)
            eventually(lambda pid=pid: server.workers() not in ([], [pid]))
        assert eventually(lambda: status(address)) == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("how", ["stopped", "busy"])
def test_a_hung_worker_is_replaced(how: str) -> None:
    """Stopped by a signal, or in work that never lets the event loop turn."""
    with serving(address := free_address(), hang_after_s=2.5, budget_us=60_000_000) as server:
        [pid] = server.workers()
        if how == "stopped":
            os.kill(pid, signal.SIGSTOP)
        else:
            with grpc.insecure_channel(address, NO_PROXY) as channel:
                stream = Stream(channel)
                stream.send(head("/block/60000"))
                assert stream.call.code() is grpc.StatusCode.UNAVAILABLE
                stream.end()
        eventually(lambda: server.workers() not in ([], [pid]))
        assert eventually(lambda: status(address)) == health_pb2.HealthCheckResponse.SERVING
        server.process.terminate()
        assert server.process.wait(20) == 0
        assert "worker 0 gave no sign of life for 2.5 s; killing it" in server.output()


def test_a_supervisor_that_stood_still_kills_nobody() -> None:
    with serving(free_address(), hang_after_s=1.5) as server:
        before = server.workers()
        os.kill(server.process.pid, signal.SIGSTOP)
        time.sleep(3)
        os.kill(server.process.pid, signal.SIGCONT)
        time.sleep(1)
        assert server.workers() == before


def test_workers_die_with_their_supervisor() -> None:
    with serving(free_address(), free_address()) as server:
        workers = server.workers()
        server.process.kill()
        server.process.wait(10)
        eventually(lambda: not any(is_running(pid) for pid in workers))


def test_a_hangup_of_workers_ends_nothing_and_of_the_supervisor_loads_anew() -> None:
    with serving(address := free_address()) as server:
        before = server.workers()
        for pid in (*children(server.process.pid), *before):
            os.kill(pid, signal.SIGHUP)
        with grpc.insecure_channel(address, NO_PROXY) as channel:
            old = Stream(channel)
            assert kind(old.ask(head(is_last=False))) == "request_headers"
            assert server.workers() == before
            os.kill(server.process.pid, signal.SIGHUP)
            [new] = eventually(lambda: set(server.workers()) - set(before))
            eventually(lambda: status(address) == health_pb2.HealthCheckResponse.SERVING)
            assert kind(old.ask(body(b"x"))) == "request_body", "an open stream is finished where it began"
            assert old.end() is grpc.StatusCode.OK
            eventually(lambda: server.workers() == [new])
            assert kind(Stream(channel).ask(head())) == "request_headers"
        server.process.terminate()
        assert server.process.wait(20) == 0
        assert "(SIGHUP); rules toy, the same as before" in server.output()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.usefixtures("transport")
def test_an_address_in_use_is_a_failed_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = Server(free_address(), f"127.0.0.1:{taken.getsockname()[1]}")
        try:
            assert server.process.wait(20) == 1
            assert "could not start" in server.output()
        finally:
            server.close()


@pytest.mark.usefixtures("transport")
def test_drain_in_its_order() -> None:
    """NOT_SERVING is pushed first and new streams still pass; what is in flight is answered; the stuck one is cut."""
    with serving(address := free_address(), drain_delay_s=1.0, drain_grace_s=1.0) as server:
        with grpc.insecure_channel(address, NO_PROXY) as channel:
            watch = channel.unary_stream(
                "/grpc.health.v1.Health/Watch",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )(health_pb2.HealthCheckRequest(), timeout=30)
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
            streams = [Stream(channel) for _ in range(50)]
            assert {kind(stream.ask(head(is_last=False))) for stream in streams} == {"request_headers"}
            server.process.terminate()
            assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
            late = Stream(channel)  # kept: a stream that nobody holds is cancelled
            assert kind(late.ask(head())) == "request_headers"
            stuck, *rest = streams
            assert {kind(stream.ask(body(b"x"))) for stream in rest} == {"request_body"}
            assert {stream.end() for stream in rest} == {grpc.StatusCode.OK}
            with pytest.raises(grpc.RpcError):
                next(watch)
            with pytest.raises(grpc.RpcError):
                next(stuck.call)
            assert stuck.end() is not grpc.StatusCode.OK
        assert server.process.wait(20) == 0
        said = server.output()
        assert said.count("closed None") == 50
        # gRPC tells a handler of the cut by an end of input or by cancellation, whichever comes first.
        assert said.count("closed incomplete") + said.count("closed cancelled") == 1


@pytest.mark.usefixtures("transport")
def test_streams_over_the_limit_are_declined_and_a_cancelled_one_makes_room() -> None:
    """Over the bound 503 with a verdict, from twice the bound on no stream at all."""
    with (
        serving(address := free_address(), max_streams=2) as server,
        grpc.insecure_channel(address, NO_PROXY) as channel,
    ):
        first, second = Stream(channel), Stream(channel)
        assert kind(first.ask(head(is_last=False))) == "request_headers"
        assert kind(second.ask(head(is_last=False))) == "request_headers"
        declined = [Stream(channel), Stream(channel)]
        for stream in declined:
            reply = stream.ask(head(is_last=False))
            assert reply.immediate_response.status.code == 503
            assert reply.dynamic_metadata.fields["waf"].struct_value.fields["verdict"].string_value == "block"
        refused = Stream(channel)
        refused.send(head())
        assert refused.call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert kind(second.ask(body(b"x"))) == "request_body"
        for stream in (first, *declined):
            stream.cancel()
        eventually(lambda: kind(Stream(channel).ask(head())) == "request_headers")
        server.process.terminate()
        assert server.process.wait(20) == 0


@pytest.mark.usefixtures("transport")
def test_a_burst_of_new_streams_is_taken_whole() -> None:
    """Twice what gRPC core holds for a server unless it is told otherwise, in one write."""
    number = 2_000
    with serving(address := free_address()):
        assert asyncio.run(burst(address, number)) == {"request_headers": number}


async def burst(address: str, number: int) -> Counter[str]:
    """What `number` streams that begin together were answered, by kind or status."""

    async def ask(call: Any) -> str:
        try:
            await call.write(head(is_last=False))
            return kind(await call.read())
        except grpc.RpcError as error:
            return str(error.code())

    async with grpc.aio.insecure_channel(address, NO_PROXY) as channel:
        open_call = channel.stream_stream(
            PROCESS,
            request_serializer=pb.ProcessingRequest.SerializeToString,
            response_deserializer=pb.ProcessingResponse.FromString,
        )
        calls = [open_call() for _ in range(number)]
        told = Counter(await asyncio.gather(*(ask(call) for call in calls)))
        for call in calls:
            call.cancel()
    return told


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize(("over", "is_refused"), [(0, False), (1, True)])
def test_a_message_over_the_receive_limit(over: int, is_refused: bool) -> None:
    """Refused for its stream alone, and never OK: the body was not seen."""
    limit = ServerSettings(addresses=("a",), body_limit_bytes=100_000).message_limit_bytes
    message = body(b"")
    message.request_body.body = b"a" * (limit + over - (body(b"a" * limit).ByteSize() - limit))
    assert message.ByteSize() == limit + over
    with (
        serving(address := free_address(), body_limit_bytes=100_000),
        grpc.insecure_channel(address, [*NO_PROXY, ("grpc.max_send_message_length", -1)]) as channel,
    ):
        beside, stream = Stream(channel), Stream(channel)
        assert kind(beside.ask(head(is_last=False))) == "request_headers"
        assert kind(stream.ask(head(is_last=False))) == "request_headers"
        if is_refused:
            stream.send(message)
            assert stream.end() is grpc.StatusCode.RESOURCE_EXHAUSTED
        else:
            assert kind(stream.ask(message)) == "request_body"
        assert kind(beside.ask(body(b"x"))) == "request_body"


@pytest.mark.usefixtures("transport")
def test_cancelled_work_makes_room_at_once() -> None:
    settings = {"max_streams": 1, "budget_us": 60_000_000}
    with serving(address := free_address(), **settings), grpc.insecure_channel(address, NO_PROXY) as channel:
        working = Stream(channel)
        working.send(head("/work/5000000"))  # longer than any machine needs to look
        eventually(lambda: kind(Stream(channel).ask(head())) == "immediate_response")
        working.cancel()
        eventually(lambda: kind(Stream(channel).ask(head())) == "request_headers", seconds=10)


@pytest.mark.usefixtures("transport")
def test_small_requests_are_answered_while_large_ones_work() -> None:
    """In order of completion, not of time: every small one is answered before the first large one."""
    with serving(address := free_address(), budget_us=60_000_000), grpc.insecure_channel(address, NO_PROXY) as channel:
        large = [Stream(channel) for _ in range(16)]
        for stream in large:
            assert kind(stream.ask(head(is_last=False))) == "request_headers"
            stream.send(body(b"work 20000 "))
        for _ in range(20):
            assert kind(Stream(channel).ask(head())) == "request_headers"
        assert all(stream.call.is_active() for stream in large)
        for stream in large:
            stream.cancel()


@pytest.mark.usefixtures("transport")
def test_a_fault_says_nothing_of_itself() -> None:
    with serving(address := free_address()) as server, grpc.insecure_channel(address, NO_PROXY) as channel:
        stream = Stream(channel)
        with pytest.raises(grpc.RpcError):
            stream.ask(head("/fault"))
        assert (stream.call.code(), stream.call.details()) == (grpc.StatusCode.INTERNAL, "internal")
        stream.end()
        server.process.terminate()
        assert server.process.wait(20) == 0
        said = server.output()
        assert "secret detail" in said, "the operator is told"
        assert "closed internal" in said


@pytest.mark.usefixtures("transport")
def test_cancelled_and_empty_streams_are_no_errors() -> None:
    with serving(address := free_address()) as server:
        with grpc.insecure_channel(address, NO_PROXY) as channel:
            assert Stream(channel).end() is grpc.StatusCode.OK
            Stream(channel).cancel()
            answered = Stream(channel)
            answered.ask(head())
            answered.cancel()
        server.process.terminate()
        assert server.process.wait(20) == 0
        said = [line for line in server.output().splitlines() if not line.startswith("extproc: serving")]
        # Which of the two the server sees is the network's choice; neither is an error, none is reported as one.
        assert said in (["closed None"], ["closed cancelled"])


@pytest.mark.usefixtures("transport")
def test_health_port_speaks_http_and_grpc_and_nothing_else() -> None:
    address, port = free_address(), free_address()
    with serving(address, health=port, drain_delay_s=3.0) as server:
        assert http(port, "/healthz") == (200, b"ok\n")
        assert http(port, "/readyz?verbose") == (200, b"ready\n")
        assert http(port, "/readyz", "HEAD") == (200, b"")
        assert http(port, "/metrics")[0] == 404
        assert http(port, "/readyz", "POST")[0] == 405
        assert status(port) == health_pb2.HealthCheckResponse.SERVING
        with grpc.insecure_channel(port, NO_PROXY) as channel:
            refused = Stream(channel)
            refused.send(head())
            assert refused.end() is grpc.StatusCode.UNIMPLEMENTED
        server.process.terminate()
        eventually(lambda: http(port, "/readyz")[0] == 503)
        assert http(port, "/healthz")[0] == 200
        assert status(port) == health_pb2.HealthCheckResponse.NOT_SERVING
        assert server.process.wait(20) == 0


@pytest.mark.parametrize(("padding", "is_answered"), [(8100, True), (9000, False)])
def test_health_port_reads_a_bounded_head(padding: int, is_answered: bool) -> None:
    port = free_address()
    with serving(free_address(), health=port):
        host, number = port.split(":")
        with socket.create_connection((host, int(number)), timeout=10) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nx: " + b"a" * padding + b"\r\n\r\n")
            try:
                answer = connection.recv(100)
            except ConnectionResetError:
                answer = b""
        assert answer.startswith(b"HTTP/1.1 200") is is_answered


def http(address: str, path: str, method: str = "GET") -> tuple[int, bytes]:
    host, port = address.split(":")
    connection = HTTPConnection(host, int(port), timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.usefixtures("transport")
def test_keepalive_pings_do_not_cost_the_connection() -> None:
    """Twenty PINGs on an idle connection: twenty acknowledgements, no GOAWAY (RFC 9113, section 6.7)."""
    with serving(address := free_address()):
        host, port = address.split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, b""))
            reader = connection.makefile("rb")
            acknowledged = 0
            for number in range(20):
                connection.sendall(frame(6, 0, struct.pack(">Q", number)))
                while True:
                    kind, flags, payload = read_frame(reader)
                    assert kind != 7, "GOAWAY"
                    if kind == 6 and flags & 1 and struct.unpack(">Q", payload) == (number,):
                        acknowledged += 1
                        break
            reader.close()
    assert acknowledged == 20


def frame(kind: int, flags: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + bytes(4) + payload


def read_frame(reader: Any) -> tuple[int, int, bytes]:
    header = reader.read(9)
    return header[3], header[4], reader.read(int.from_bytes(header[:3], "big"))
