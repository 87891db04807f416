"""One exchange without gRPC: which answer to which message, and what the inspection is told."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from extproc._pb.envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from extproc.model.deadline import Deadline
from extproc.model.errors import ExtprocError, WireError
from extproc.model.inspection import Steps
from extproc.model.message import Headers, RequestHead, ResponseHead
from extproc.model.phase import Phase
from extproc.model.route import Beyond, Profile, Route
from extproc.model.verdict import Coverage, Mode, Outcome, Verdict
from extproc.server.exchange import Exchange, Terms
from extproc.server.scheduler import Scheduler
from extproc.server.settings import ServerSettings

Judge = Callable[[str, bytes, bool], Any]


def by_rule(what: str, text: bytes, is_last: bool) -> Any:
    outcome = Outcome.BLOCK if b"evil" in text else Outcome.ALLOW if is_last else Outcome.PENDING
    return Verdict(outcome, Phase.REQUEST_HEADERS, "i")


class Recorded:
    """An inspection that notes what it is asked; `judge` gives the verdicts. `mode` is what `refuse` goes by."""

    incident = "i"
    mode = Mode.BLOCK

    def __init__(self, log: list[str], judge: Judge) -> None:
        self.log = log
        self.judge = judge

    def _step(self, what: str, text: bytes, is_last: bool) -> Steps:
        self.log.append(f"{what} {text.decode('latin-1')}{' last' if is_last else ''}")
        yield
        return self.judge(what, text, is_last)

    def request_headers(self, head: RequestHead, deadline: Deadline) -> Steps:
        return self._step("head", head.path, head.is_last)

    def request_body(self, body: bytes, is_last: bool, deadline: Deadline) -> Steps:
        return self._step("body", body, is_last)

    def request_trailers(self, trailers: Headers, deadline: Deadline) -> Steps:
        return self._step("trailers", b"".join(value for _, value in trailers), True)

    def reads_response(self, head: ResponseHead) -> bool:
        return (b"content-type", b"video/mp4") not in head.headers

    def response_headers(self, head: ResponseHead, deadline: Deadline) -> Steps:
        return self._step("response", str(head.status).encode(), head.is_last)

    def response_body(self, body: bytes, is_last: bool, deadline: Deadline) -> Steps:
        return self._step("response body", body, is_last)

    def response_trailers(self, trailers: Headers, deadline: Deadline) -> Steps:
        return self._step("response trailers", b"", True)

    def refuse(self, status: int, reason: str) -> Verdict:
        self.log.append(f"refuse {status} {reason}")
        outcome = Outcome.BLOCK if self.mode is Mode.BLOCK else Outcome.ALLOW
        return Verdict(outcome, Phase.REQUEST_HEADERS, "i", status=status)

    def decline(self, head: RequestHead, status: int, reason: str) -> Verdict:
        self.log.append(f"decline {status} {reason}")
        outcome = Outcome.BLOCK if self.mode is Mode.BLOCK else Outcome.ALLOW if head.is_last else Outcome.PENDING
        return Verdict(outcome, Phase.REQUEST_HEADERS, "i", status=status)

    def skip(self, reason: str) -> Verdict:
        self.log.append(f"skip {reason}")
        return Verdict(Outcome.ALLOW, Phase.REQUEST_HEADERS, "i", coverage=Coverage.PARTLY)

    def close(self, fault: str | None) -> None:
        self.log.append(f"close {fault}")


class Inspector:
    ruleset_hash = "h"

    def __init__(self, judge: Judge = by_rule) -> None:
        self.log: list[str] = []
        self.judge = judge

    def open(self) -> Recorded:
        return Recorded(self.log, self.judge)


def head(path: str = "/", is_last: bool = False, method: str = "GET", **headers: str) -> Any:
    message = pb.ProcessingRequest()
    for key, value in {":path": path, ":method": method, **headers}.items():
        message.request_headers.headers.headers.add(key=key, raw_value=value.encode())
    message.request_headers.end_of_stream = is_last
    return message


def handshake(path: str = "/ws", method: str = "GET") -> Any:
    return head(path, method=method, connection="upgrade", upgrade="websocket")


def body(data: bytes = b"a", is_last: bool = True, side: str = "request") -> Any:
    return pb.ProcessingRequest(**{f"{side}_body": pb.HttpBody(body=data, end_of_stream=is_last)})


def trailers(value: str = "t", side: str = "request") -> Any:
    message = pb.ProcessingRequest()
    getattr(message, f"{side}_trailers").trailers.headers.add(key="a", raw_value=value.encode())
    return message


def response(is_last: bool = False) -> Any:
    message = pb.ProcessingRequest()
    message.response_headers.headers.headers.add(key=":status", raw_value=b"200")
    message.response_headers.end_of_stream = is_last
    return message


async def converse(
    messages: list[Any], inspector: Inspector | None = None, has_room: bool = True, **settings: Any
) -> tuple[list[str], list[str]]:
    """(what was answered, what the inspection was asked). An error ends it and is the last answer."""
    inspector = inspector or Inspector()
    terms = Terms(ServerSettings(addresses=("a",), upgrade_paths=("/ws",), **settings), Scheduler())
    exchange = Exchange(inspector, terms, has_room=has_room)
    answers = []
    fault = None
    try:
        for message in messages:
            data = await exchange.receive(message.SerializeToString())
            answers.append(describe(data))
            exchange.conclude()
    except (
        ExtprocError,
        TypeError,
    ) as error:  # TypeError: compiled
        answers.append(f"{type(error).__name__} {error}")
        fault = "fault"
    exchange.close(fault)
    return answers, inspector.log


def describe(data: bytes | None) -> str:
    if data is None:
        return "-"
    reply = pb.ProcessingResponse.FromString(data)
    kind = reply.WhichOneof("response")
    verdict = reply.dynamic_metadata.fields["waf"].struct_value.fields["verdict"].string_value
    status = f" {reply.immediate_response.status.code}" if kind == "immediate_response" else ""
    return f"{kind}{status} {verdict}{' override' if reply.HasField('mode_override') else ''}".strip()


ORDER = "WireError out-of-order"
CASES = [
    ("get", [head(is_last=True)], ["request_headers allow"], ["head / last", "close None"]),
    ("attack", [head("/evil", True)], ["immediate_response 403 block"], ["head /evil last", "close None"]),
    (
        "post",
        [head(), body()],
        ["request_headers pending", "request_body allow"],
        ["head /", "body a last", "close None"],
    ),
    (
        "attack in body",
        [head(), body(b"evil")],
        ["request_headers pending", "immediate_response 403 block"],
        ["head /", "body evil last", "close None"],
    ),
    (
        "body and trailers",
        [head(), body(is_last=False), trailers()],
        ["request_headers pending", "request_body pending", "request_trailers allow"],
        ["head /", "body a", "trailers t last", "close None"],
    ),
    (
        "trailers alone",
        [head(), trailers("evil")],
        ["request_headers pending", "immediate_response 403 block"],
        ["head /", "trailers evil last", "close None"],
    ),
    (
        "after a block",
        [head("/evil", True), body()],
        ["immediate_response 403 block", "WireError message-after-block"],
        ["head /evil last", "close None"],
    ),
    ("body first", [body()], [ORDER], []),
    ("trailers first", [trailers()], [ORDER], []),
    ("headers twice", [head(), head()], ["request_headers pending", ORDER], ["head /", "close fault"]),
    ("body too late", [head(is_last=True), body()], ["request_headers allow", ORDER], ["head / last", "close None"]),
    ("local reply", [response()], ["response_headers"], []),
    ("request after a response", [response(), head()], ["response_headers", ORDER], []),
    ("response body first", [body(side="response")], [ORDER], []),
    (
        "early response",
        [head(), response(True), body()],
        ["request_headers pending", "response_headers", "request_body allow"],
        ["head /", "body a last", "close None"],
    ),
    (
        "handshake",
        [handshake(), response()],
        ["request_headers allow override", "response_headers"],
        ["head /ws last", "skip upgrade", "close None"],
    ),
    (
        "attack in handshake",
        [handshake("/ws?evil")],
        ["immediate_response 403 block"],
        ["head /ws?evil last", "close None"],
    ),
    (
        "handshake elsewhere",
        [handshake("/x")],
        ["immediate_response 403 block"],
        ["head /x last", "refuse 403 upgrade-not-allowed", "close None"],
    ),
    (
        "handshake by POST",
        [handshake(method="POST"), body()],
        ["immediate_response 403 block", "WireError message-after-block"],
        ["head /ws last", "refuse 403 upgrade-not-allowed", "close None"],
    ),
    (
        "body after a handshake",
        [handshake(), body(b"x", is_last=False), body(b"evil")],
        ["request_headers allow override", "request_body pending", "immediate_response 403 block"],
        ["head /ws last", "skip upgrade", "close None", "head /ws", "body x", "body evil last", "close None"],
    ),
    (
        "trailers after a handshake",
        [handshake(), trailers()],
        ["request_headers allow override", "request_trailers allow"],
        ["head /ws last", "skip upgrade", "close None", "head /ws", "trailers t last", "close None"],
    ),
]


@pytest.mark.parametrize(
    ("messages", "answers", "asked"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
async def test_conversation(messages: list[Any], answers: list[str], asked: list[str]) -> None:
    assert await converse(messages) == (answers, asked)


async def test_responses_are_inspected_when_asked_for() -> None:
    messages = [head(is_last=True), response(), body(b"r", False, "response"), trailers(side="response")]
    answers, asked = await converse(messages, inspect_response=True)
    assert answers == [
        "request_headers allow",
        "response_headers pending",
        "response_body pending",
        "response_trailers allow",
    ]
    assert asked == ["head / last", "response 200", "response body r", "response trailers  last", "close None"]


async def test_response_of_a_request_still_coming() -> None:
    messages = [head(), response(True), body()]
    answers, asked = await converse(messages, inspect_response=True)
    assert answers == ["request_headers pending", "response_headers allow", "request_body allow"]
    assert asked == ["head /", "response 200 last", "body a last", "close None"]


@pytest.mark.parametrize("path", ["/", "/evil"])
async def test_observability_mode_is_never_answered(path: str) -> None:
    messages = [head(path), body(), response()]
    for message in messages:
        message.observability_mode = True
    answers, asked = await converse(messages)
    assert answers == ["-", "-", "-"]
    assert asked[0] == f"head {path}"


@pytest.mark.parametrize(
    ("modes", "answer"),
    [
        ((2, 0), "request_headers allow"),
        ((0, 0), "WireError profile-mismatch"),
        ((1, 0), "WireError profile-mismatch"),
        ((3, 0), "WireError profile-mismatch"),
        ((4, 0), "WireError profile-mismatch"),
        ((5, 0), "WireError profile-mismatch"),
        ((2, 2), "WireError profile-mismatch"),
        ((9, 0), "WireError profile-mismatch"),
    ],
)
async def test_declared_body_modes(modes: tuple[int, int], answer: str) -> None:
    message = head(is_last=True)
    message.protocol_config.request_body_mode, message.protocol_config.response_body_mode = modes
    answers, _ = await converse([message])
    assert answers == [answer]


async def test_window_updates_are_passed_over() -> None:
    inspector = Inspector()
    exchange = Exchange(inspector, Terms(ServerSettings(addresses=("a",)), Scheduler()))
    assert await exchange.receive(bytes([13 << 3, 1])) is None
    assert inspector.log == []


@pytest.mark.parametrize("verdict", [None, "allow", Verdict(Outcome.PENDING, Phase.REQUEST_BODY, "i")])
async def test_no_verdict_at_the_end_is_a_fault(verdict: Any) -> None:
    answers, asked = await converse([head(is_last=True)], Inspector(lambda *_: verdict))
    assert len(answers) == 1
    assert answers[0].startswith(("ExtprocError", "TypeError"))
    assert asked[-1] == "close fault"


async def test_a_raising_inspection_is_not_answered() -> None:
    def judge(what: str, text: bytes, is_last: bool) -> Any:
        raise RuntimeError("secret")

    inspector = Inspector(judge)
    exchange = Exchange(inspector, Terms(ServerSettings(addresses=("a",)), Scheduler()))
    with pytest.raises(RuntimeError):
        await exchange.receive(head().SerializeToString())
    exchange.close("internal")
    exchange.close("again")
    assert inspector.log == ["head /", "close internal"]


async def test_used_up_budget_is_refused() -> None:
    class Endless(Recorded):
        def request_headers(self, head: RequestHead, deadline: Deadline) -> Steps:
            while True:
                yield

    inspector = Inspector()
    inspector.open = lambda: Endless(inspector.log, by_rule)  # type: ignore[method-assign]
    answers, asked = await converse([head(is_last=True)], inspector, budget_us=5_000)
    assert answers == ["immediate_response 503 block"]
    assert asked == ["refuse 503 time-budget", "close None"]


class Watching(Recorded):
    mode = Mode.MONITOR


@pytest.mark.parametrize("first", [head(is_last=True), head(), handshake()], ids=["last", "more to come", "handshake"])
async def test_without_room_a_head_is_declined_unread(first: Any) -> None:
    answers, asked = await converse([first], has_room=False)
    assert answers == ["immediate_response 503 block"]
    assert asked == ["decline 503 overloaded", "close None"]


async def test_without_room_monitor_mode_lets_pass() -> None:
    inspector = Inspector()
    inspector.open = lambda: Watching(inspector.log, by_rule)  # type: ignore[method-assign]
    answers, asked = await converse([handshake()], inspector, has_room=False)
    assert answers == ["request_headers allow override"]
    assert asked == ["decline 503 overloaded", "skip upgrade", "close None"]


async def test_monitor_mode_grants_any_upgrade_with_the_override() -> None:
    inspector = Inspector()
    inspector.open = lambda: Watching(inspector.log, by_rule)  # type: ignore[method-assign]
    answers, asked = await converse([handshake("/elsewhere"), response()], inspector)
    assert answers == ["request_headers allow override", "response_headers"]
    assert asked == ["head /elsewhere last", "refuse 403 upgrade-not-allowed", "skip upgrade", "close None"]


async def test_monitor_mode_inspects_the_body_of_an_upgrade_that_has_one_all_the_same() -> None:
    inspector = Inspector()
    inspector.open = lambda: Watching(inspector.log, by_rule)  # type: ignore[method-assign]
    answers, asked = await converse([handshake("/x", method="POST"), body()], inspector)
    assert answers == ["request_headers allow override", "request_body allow"]
    assert asked[4:] == ["head /x", "body a last", "close None"]


async def test_the_incident_is_known_while_the_inspection_is_open() -> None:
    exchange = Exchange(Inspector(), Terms(ServerSettings(addresses=("a",)), Scheduler()))
    assert exchange.incident == ""
    await exchange.receive(head().SerializeToString())
    assert exchange.incident == "i"
    exchange.close(None)
    assert exchange.incident == ""


async def test_malformed_bytes_are_an_error() -> None:
    exchange = Exchange(Inspector(), Terms(ServerSettings(addresses=("a",)), Scheduler()))
    with pytest.raises(WireError, match="malformed"):
        await exchange.receive(b"\xff")


async def test_the_policy_reaches_the_head() -> None:
    seen = []

    class Looking(Recorded):
        def request_headers(self, head: RequestHead, deadline: Deadline) -> Steps:
            seen.append(head.policy)
            return self._step("head", head.path, head.is_last)

    inspector = Inspector()
    inspector.open = lambda: Looking(inspector.log, by_rule)  # type: ignore[method-assign]
    exchange = Exchange(inspector, Terms(ServerSettings(addresses=("a",)), Scheduler()), policy="strict")
    await exchange.receive(head(is_last=True).SerializeToString())
    assert seen == ["strict"]


ROUTES = (
    Route("s", "/s", profile=Profile.STREAM),
    Route("l", "/l", profile=Profile.UPLOAD, body_limit_bytes=10, beyond=Beyond.PASS),
)


def on_route(message: Any, route: str, modes: tuple[int, int] | None = None) -> Any:
    message.attributes["envoy.filters.http.ext_proc"].fields["xds.route_name"].string_value = route
    if modes is not None:
        message.protocol_config.request_body_mode, message.protocol_config.response_body_mode = modes
    return message


MISMATCH = "WireError profile-mismatch"
ON_ROUTES = [
    ("stream", [on_route(head("/s"), "s", (0, 0))], ["request_headers allow"], ["head /s last", "skip stream"]),
    ("stream without a body", [on_route(head("/s", True), "s")], ["request_headers allow"], ["head /s last"]),
    ("attack in its head", [on_route(head("/evil"), "s")], ["immediate_response 403 block"], ["head /evil last"]),
    ("handshake", [on_route(handshake("/s"), "s")], ["request_headers allow"], ["head /s last", "skip upgrade"]),
    (
        "path that may mean another",
        [on_route(head("/s;/a"), "s")],
        ["immediate_response 400 block"],
        ["head /s;/a last", "refuse 400 ambiguous-path"],
    ),
    (
        "a body that should not come",
        [on_route(head("/s"), "s"), body(b"evil")],
        ["request_headers allow", "immediate_response 403 block"],
        ["head /s last", "skip stream", "close None", "head /s", "body evil last"],
    ),
    ("a stream that Envoy buffers", [on_route(head("/s"), "s", (2, 0))], [MISMATCH], []),
    ("a standard route that Envoy streams", [on_route(head("/"), "app", (0, 0))], [MISMATCH], []),
    ("a route that nobody declared", [on_route(head("/"), "x", (3, 0))], [MISMATCH], []),
    ("a route without a name", [on_route(head("/"), "", (0, 0))], [MISMATCH], []),
    (
        "the beginning of a long body",
        [on_route(head("/l"), "l", (3, 0)), body(b"b", False)],
        ["request_headers pending", "request_body allow"],
        ["head /l", "body b last", "skip body-beyond-limit"],
    ),
    (
        "attack in the beginning",
        [on_route(head("/l"), "l"), body(b"evil", False)],
        ["request_headers pending", "immediate_response 403 block"],
        ["head /l", "body evil last"],
    ),
    (
        "a body within the limit",
        [on_route(head("/l"), "l"), body(b"b")],
        ["request_headers pending", "request_body allow"],
        ["head /l", "body b last"],
    ),
]


@pytest.mark.parametrize(
    ("messages", "answers", "asked"), [case[1:] for case in ON_ROUTES], ids=[c[0] for c in ON_ROUTES]
)
async def test_a_route_of_its_own(messages: list[Any], answers: list[str], asked: list[str]) -> None:
    closed = [] if answers == [MISMATCH] else ["close None"]
    assert await converse(messages, routes=ROUTES) == (answers, [*asked, *closed])


async def test_a_response_that_is_not_read_flows() -> None:
    download = response()
    download.response_headers.headers.headers.add(key="content-type", raw_value=b"video/mp4")
    answers, asked = await converse([head(is_last=True), download], inspect_response=True)
    assert answers == ["request_headers allow", "response_headers allow override"]
    assert asked == ["head / last", "response 200 last", "close None"]


async def test_the_beginning_of_a_long_response() -> None:
    modes = {"response_body_modes": frozenset({"BUFFERED_PARTIAL"})}
    messages = [head(is_last=True), response(), body(b"r", False, "response")]
    answers, asked = await converse(messages, inspect_response=True, **modes)
    assert answers == ["request_headers allow", "response_headers pending", "response_body allow"]
    assert asked == ["head / last", "response 200", "response body r last", "skip response-body-limit", "close None"]


async def test_a_local_reply_is_not_the_apps() -> None:
    local = response(True)
    attributes = local.attributes["envoy.filters.http.ext_proc"].fields
    attributes["response.code_details"].string_value = "request_payload_too_large"
    answers, asked = await converse([head(is_last=True), local], inspect_response=True)
    assert answers == ["request_headers allow", "response_headers"]
    assert asked == ["head / last", "close None"]


@pytest.mark.parametrize(("route", "answer"), [("s", "immediate_response 503 block"), ("u", "request_headers allow")])
async def test_a_route_has_its_own_time(route: str, answer: str) -> None:
    """Two slices of work where the general budget has room for none."""

    class Slow(Recorded):
        def request_headers(self, head: RequestHead, deadline: Deadline) -> Steps:
            yield
            time.sleep(0.02)
            yield
            return self.judge("head", head.path, head.is_last)

    class Slowly(Inspector):
        def open(self, *_: Any) -> Recorded:
            return Slow(self.log, self.judge)

    upload = Route("u", "/u", profile=Profile.UPLOAD, body_limit_bytes=10, time_budget_ms=10_000)
    answers, _ = await converse([on_route(head("/", True), route)], Slowly(), routes=(*ROUTES, upload), budget_us=1000)
    assert answers == [answer]
