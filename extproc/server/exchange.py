"""One exchange: messages of Envoy in, answers out, each to its own question.

No gRPC here: bytes in, bytes out, so that the order of messages can be tested without a server. A fault is an
exception; whoever owns the stream ends it with an error status, as a stream that ends OK before its last
question was answered lets the request pass uninspected.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial

from extproc.model.deadline import Deadline
from extproc.model.errors import ExtprocError, WireError
from extproc.model.inspection import LATE, Inspection, Inspector, Steps
from extproc.model.message import RequestHead
from extproc.model.route import Beyond, Modes, Profile, modes, unbuffered, upgraded
from extproc.model.verdict import Outcome, Verdict
from extproc.server.scheduler import Scheduler
from extproc.server.settings import BODY_MODES, ServerSettings
from extproc.server.states import Event, State, follow
from extproc.server.upgrade import Upgrade, is_ambiguous, judge
from extproc.wire import decode, encode
from extproc.wire.kind import Kind

LATE_STATUS = 503
"""HTTP status when the budget is used up."""

OVERLOAD_STATUS = 503
"""HTTP status when there is no room for another exchange."""

UPGRADE_STATUS = 403
"""HTTP status of an upgrade that is not let through."""

AMBIGUOUS_STATUS = 400
"""HTTP status of a stream on a path that may mean another one to the app."""

_REQUEST_KINDS = frozenset({Kind.REQUEST_HEADERS, Kind.REQUEST_BODY, Kind.REQUEST_TRAILERS})


@dataclass(frozen=True, slots=True)
class RouteTerms:
    """One route: its `profile`, what Envoy must declare for it (pairs of body modes), what it may be asked for.

    `budget_us` is the time for the answer to one message.
    """

    profile: Profile
    beyond: Beyond
    declared: frozenset[tuple[int, int]]
    mode: Modes
    budget_us: int

    @property
    def is_response_partial(self) -> bool:
        """Is a response over the limit sent to us in part, and the rest passed on?"""
        return any(response == BODY_MODES["BUFFERED_PARTIAL"] for _, response in self.declared)


class Terms:
    """What all exchanges of a worker share: settings in the form that a message is held against.

    `routes` are those with terms of their own by name; `standard` are the terms of all others. `declared` is what any
    of them lets Envoy declare.
    """

    __slots__ = ("declared", "inspect_response", "routes", "scheduler", "standard", "upgrade_paths")

    def __init__(self, settings: ServerSettings, scheduler: Scheduler) -> None:
        self.inspect_response = settings.inspect_response
        self.standard = RouteTerms(
            Profile.STANDARD,
            Beyond.REFUSE,
            frozenset(
                (BODY_MODES[request], BODY_MODES[response])
                for request in settings.request_body_modes
                for response in settings.response_body_modes
            ),
            modes(Profile.STANDARD, Beyond.REFUSE, settings.inspect_response),
            settings.budget_us,
        )
        self.routes = {}
        for route in settings.routes:
            mode = modes(route.profile, route.beyond, settings.inspect_response)
            declared = frozenset({(BODY_MODES[mode.request_body_mode], BODY_MODES[mode.response_body_mode])})
            budget_us = route.time_budget_ms * 1000 or settings.budget_us
            self.routes[route.name] = RouteTerms(route.profile, route.beyond, declared, mode, budget_us)
        self.declared = self.standard.declared.union(*(terms.declared for terms in self.routes.values()))
        self.scheduler = scheduler
        self.upgrade_paths = tuple(path.encode() for path in settings.upgrade_paths)


class Exchange:
    """State of one stream. `receive` each message, `close` at the end, whatever happened."""

    __slots__ = (
        "_has_room",
        "_head",
        "_inspection",
        "_inspector",
        "_is_blocked",
        "_policy",
        "_request",
        "_response",
        "_route",
        "_terms",
    )

    def __init__(self, inspector: Inspector, terms: Terms, policy: str = "", has_room: bool = True) -> None:
        """Without room the head is declined: an answer and an event, and no work."""
        self._inspector = inspector
        self._terms = terms
        self._policy = policy
        self._has_room = has_room
        self._inspection: Inspection | None = None
        self._head: RequestHead | None = None
        self._request = State.START
        self._response = State.START
        self._route = terms.standard
        self._is_blocked = False

    @property
    def incident(self) -> str:
        """Of the inspection under way; empty when there is none."""
        return self._inspection.incident if self._inspection is not None else ""

    @property
    def is_complete(self) -> bool:
        """Is nothing of the request outstanding? False between its headers and its end."""
        return self._is_blocked or self._request is not State.OPEN

    async def receive(self, data: bytes) -> bytes | None:
        """The answer to one message; None if it wants none (observability mode, window updates).

        Raises WireError when the peer broke the conversation, and whatever the inspection raises.
        """
        message = decode.parse(data)
        kind = decode.kind_of(message)
        if kind is None:
            return None
        declared = decode.body_modes(message)
        if declared is not None and declared not in self._terms.declared:
            raise WireError("profile-mismatch")
        is_watched_only = message.observability_mode
        if self._is_blocked:
            if is_watched_only:
                return None
            raise WireError("message-after-block")
        if kind is Kind.REQUEST_HEADERS:
            answer = await self._receive_head(message, declared)
        elif kind in _REQUEST_KINDS:
            answer = await self._receive_rest(kind, message)
        else:
            answer = await self._receive_response(kind, message)
        return None if is_watched_only else answer

    def conclude(self) -> None:
        """Call when an answer is on its way: what nothing more will be asked about is closed before the stream ends."""
        is_request_over = self._request is State.DONE or self._request is State.RELEASED
        is_response_over = not self._is_response_due or self._response in (State.DONE, State.RELEASED)
        if self._is_blocked or (is_request_over and is_response_over):
            self.close(None)

    def close(self, fault: str | None) -> None:
        """Ends the inspection, once; later calls do nothing. `fault` is a fixed word or None."""
        inspection, self._inspection = self._inspection, None
        if inspection is not None:
            inspection.close(fault)

    @property
    def _is_response_due(self) -> bool:
        return self._terms.inspect_response and self._route.profile is not Profile.STREAM

    async def _receive_head(self, message: decode.Message, declared: tuple[int, int] | None) -> bytes:
        if self._response is not State.START:
            raise WireError("out-of-order")
        head = decode.request_head(message, self._policy)
        self._request = follow(self._request, Event.LAST_HEAD if head.is_last else Event.HEAD)
        self._head = head
        # The route is Envoy's word, not the client's; what it sends on that route is held against what was agreed.
        self._route = route = self._terms.routes.get(head.route, self._terms.standard)
        if declared is not None and declared not in route.declared:
            raise WireError("profile-mismatch")
        self._inspection = self._inspector.open()
        is_stream = route.profile is Profile.STREAM
        upgrade = judge(head, self._terms.upgrade_paths, is_stream)
        # Nothing more of a handshake or a stream will come, so all rules see it now.
        is_whole = head.is_last or (upgrade is Upgrade.NONE and not is_stream)
        seen = head if is_whole else replace(head, is_last=True)
        if self._has_room:
            verdict = await self._inspect_head(self._inspection, seen)
        else:
            verdict = self._inspection.decline(seen, OVERLOAD_STATUS, "overloaded")
        if verdict.outcome is Outcome.BLOCK:
            return self._answer(Kind.REQUEST_HEADERS, verdict)
        if upgrade is Upgrade.REFUSED:
            verdict = self._inspection.refuse(UPGRADE_STATUS, "upgrade-not-allowed")  # no block in monitor mode
        elif is_stream and not head.is_last and is_ambiguous(head.path):
            verdict = self._inspection.refuse(AMBIGUOUS_STATUS, "ambiguous-path")
        if verdict.outcome is Outcome.BLOCK:
            return self._answer(Kind.REQUEST_HEADERS, verdict)
        if upgrade is not Upgrade.NONE:
            self._request = State.RELEASED
            verdict = self._inspection.skip("upgrade")
            override = None if is_stream else upgraded(self._terms.inspect_response)
            return encode.go_on(Kind.REQUEST_HEADERS, verdict, override, is_upgrade=True)
        if is_stream and not head.is_last:
            self._request = State.RELEASED
            verdict = self._inspection.skip("stream")
        return self._answer(Kind.REQUEST_HEADERS, verdict)

    async def _receive_rest(self, kind: Kind, message: decode.Message) -> bytes:
        """Body or trailers."""
        was_released = self._request is State.RELEASED
        if kind is Kind.REQUEST_TRAILERS:
            self._request = follow(self._request, Event.TRAILERS)
        else:
            data, is_last = decode.body(message.request_body)
            self._request = follow(self._request, Event.LAST_BODY if is_last else Event.BODY)
        if was_released:  # Envoy sends what it was not to send: the exchange is inspected anew, as an ordinary one
            verdict = await self._reopen()
            if verdict.outcome is Outcome.BLOCK:
                return self._answer(kind, verdict)
        inspection = self._inspection
        if inspection is None:
            raise ExtprocError("inspection closed too early")
        deadline = self._deadline()
        if kind is Kind.REQUEST_TRAILERS:
            steps = inspection.request_trailers(decode.trailers(message.request_trailers), deadline)
            return self._answer(kind, await self._drive(inspection, steps, deadline))
        is_cut = not is_last and self._route.beyond is Beyond.PASS
        steps = inspection.request_body(data, is_last or is_cut, deadline)
        verdict = await self._drive(inspection, steps, deadline)
        if is_cut and verdict.outcome is not Outcome.BLOCK:
            # With this answer the rest of the body passes; trailers would still come.
            self._request = State.RELEASED
            verdict = inspection.skip("body-beyond-limit")
        return self._answer(kind, verdict)

    async def _receive_response(self, kind: Kind, message: decode.Message) -> bytes:
        """Without an inspection (a local reply of Envoy's, or responses are not inspected) there is no verdict."""
        if kind is Kind.RESPONSE_HEADERS:
            return await self._receive_response_head(message)
        if kind is Kind.RESPONSE_BODY:
            data, is_last = decode.body(message.response_body)
            self._response = follow(self._response, Event.LAST_BODY if is_last else Event.BODY)
        else:
            self._response = follow(self._response, Event.TRAILERS)
        inspection = self._inspection
        if inspection is None or not self._is_response_due:
            return encode.go_on(kind, None)
        deadline = self._deadline()
        if kind is not Kind.RESPONSE_BODY:
            steps = inspection.response_trailers(decode.trailers(message.response_trailers), deadline)
            return self._answer(kind, await self._drive(inspection, steps, deadline))
        is_cut = not is_last and self._route.is_response_partial
        steps = inspection.response_body(data, is_last or is_cut, deadline)
        verdict = await self._drive(inspection, steps, deadline)
        if is_cut and verdict.outcome is not Outcome.BLOCK:
            self._response = State.RELEASED  # with this answer the rest passes
            verdict = inspection.skip("response-body-limit")
        return self._answer(kind, verdict)

    async def _receive_response_head(self, message: decode.Message) -> bytes:
        head = decode.response_head(message)
        self._response = follow(self._response, Event.LAST_HEAD if head.is_last else Event.HEAD)
        inspection = self._inspection
        if inspection is None or not self._is_response_due or head.is_local:
            return encode.go_on(Kind.RESPONSE_HEADERS, None)
        is_body_read = not head.is_last and inspection.reads_response(head)
        deadline = self._deadline()
        steps = inspection.response_headers(replace(head, is_last=not is_body_read), deadline)
        verdict = await self._drive(inspection, steps, deadline)
        if head.is_last or is_body_read or verdict.outcome is Outcome.BLOCK:
            return self._answer(Kind.RESPONSE_HEADERS, verdict)
        # A download, an event stream: decided by its head, so Envoy is not to hold it.
        self._response = State.RELEASED
        return encode.go_on(Kind.RESPONSE_HEADERS, verdict, unbuffered(self._route.mode))

    async def _reopen(self) -> Verdict:
        self.close(None)
        head = self._head
        if head is None:
            raise ExtprocError("no head to inspect anew")
        self._inspection = self._inspector.open()
        return await self._inspect_head(self._inspection, head)

    async def _inspect_head(self, inspection: Inspection, head: RequestHead) -> Verdict:
        deadline = self._deadline()
        return await self._drive(inspection, inspection.request_headers(head, deadline), deadline)

    async def _drive(self, inspection: Inspection, steps: Steps, deadline: Deadline) -> Verdict:
        """The first slice runs here and now, the rest of it takes turns."""
        verdict: object
        try:
            next(steps)
        except StopIteration as end:
            verdict = end.value
        else:
            expire = partial(inspection.refuse, LATE_STATUS, LATE)
            verdict = await self._terms.scheduler.finish(steps, deadline, expire)
        if not isinstance(verdict, Verdict):
            raise ExtprocError("the inspection gave no verdict")
        return verdict

    def _answer(self, kind: Kind, verdict: Verdict) -> bytes:
        if verdict.outcome is Outcome.BLOCK:
            self._is_blocked = True
            return encode.block(verdict, self._value_of(b"accept"), self._value_of(b"content-type"))
        if verdict.outcome is Outcome.PENDING and self._request is State.DONE and kind in _REQUEST_KINDS:
            raise ExtprocError("the inspection ended without a decision")
        return encode.go_on(kind, verdict)

    def _value_of(self, name: bytes) -> bytes:
        """A header of the request, its lines joined by commas."""
        return b",".join(value for key, value in self._head.headers if key == name) if self._head else b""

    def _deadline(self) -> Deadline:
        return Deadline(time.monotonic_ns, self._route.budget_us)
