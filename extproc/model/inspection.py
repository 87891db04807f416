"""The seam between transport and engine: no gRPC types above, no sockets below.

A step is a generator: each `next()` does at most a slice of work (`Deadline`), the last one
returns the `Verdict` (StopIteration.value). Whoever drives it may run others in between, or
stop driving it when the client is gone.

    inspection = inspector.open()
    verdict = drive(inspection.request_headers(head, deadline))
    verdict = drive(inspection.request_body(body, True, deadline))
    inspection.close(None)
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol, TypeAlias

from extproc.model.deadline import Deadline
from extproc.model.message import Headers, RequestHead, ResponseHead
from extproc.model.verdict import Verdict

LATE = "time-budget"
"""The reason of `refuse` when the time for an inspection is used up."""

Steps: TypeAlias = Generator[None, None, Verdict]


class Inspection(Protocol):
    """One HTTP exchange. Messages come in wire order; each is answered by one verdict.

    The last message of the request (head with `is_last`, body with `is_last`, or trailers) is
    answered ALLOW or BLOCK, those before it PENDING or BLOCK. After BLOCK nothing more is sent.
    In monitor mode nothing is answered BLOCK. The event is written by `close`, when the answer is on its way.
    """

    @property
    def incident(self) -> str:
        """Names the exchange in answer, event and log."""
        ...

    def request_headers(self, head: RequestHead, deadline: Deadline) -> Steps: ...

    def request_body(self, body: bytes, is_last: bool, deadline: Deadline) -> Steps: ...

    def request_trailers(self, trailers: Headers, deadline: Deadline) -> Steps: ...

    def reads_response(self, head: ResponseHead) -> bool:
        """Would the body of this answer be looked at? If not, `response_headers` is told that nothing follows."""
        ...

    def response_headers(self, head: ResponseHead, deadline: Deadline) -> Steps: ...

    def response_body(self, body: bytes, is_last: bool, deadline: Deadline) -> Steps: ...

    def response_trailers(self, trailers: Headers, deadline: Deadline) -> Steps: ...

    def refuse(self, status: int, reason: str) -> Verdict:
        """What the conversation itself forbids (an upgrade, a budget used up): BLOCK in block mode.

        In the weaker modes it would have been blocked: the message is answered as one without a finding, coverage
        is `partly`, and nothing more of the exchange is looked at. `reason` is a fixed word that goes into event
        and metadata (`upgrade-not-allowed`).
        """
        ...

    def decline(self, head: RequestHead, status: int, reason: str) -> Verdict:
        """Instead of `request_headers`, when there is no room for another exchange (`overloaded`).

        As `refuse`, but nothing was looked at, so coverage is `uninspected`.
        """
        ...

    def skip(self, reason: str) -> Verdict:
        """The rest passes unseen (a declared stream, a body beyond its limit): ALLOW, coverage `partly`."""
        ...

    def close(self, fault: str | None) -> None:
        """The exchange is over, decided or broken: runs phase 5 and writes the event, once. Never raises.

        `fault` is None for a normal end, else a fixed word (`cancelled`, `internal`, ...).
        """
        ...


class Inspector(Protocol):
    """What a worker asks; immutable, replaced whole on reload. An open inspection keeps its rules."""

    def open(self) -> Inspection: ...

    @property
    def ruleset_hash(self) -> str: ...
