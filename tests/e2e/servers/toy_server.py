"""The server of extproc around an inspector of a few lines, for tests of the conversation alone.

    toy_server.py --grpc ADDRESS [--grpc ADDRESS]... [--set KEY=VALUE]...

Attack is `' or 1=1--` in path, header, body or trailer. Paths ask for faults: `/fault` raises, `/nothing` returns
no verdict, `/work/MS` works MS milliseconds in slices, `/block/MS` holds the loop for MS without a pause.
"""

from __future__ import annotations

import argparse
import ast
import sys
import time
import urllib.parse

from extproc.model.deadline import Deadline
from extproc.model.inspection import Inspection, Steps
from extproc.model.message import Headers, RequestHead, ResponseHead
from extproc.model.phase import Phase
from extproc.model.verdict import Coverage, Outcome, Verdict
from extproc.server.generation import Attempt, Loaded
from extproc.server.settings import ServerSettings
from extproc.server.supervisor import run

ATTACK = b"' or 1=1--"


class ToyInspection:
    """Looks for one attack; nothing is kept but the request's path and tail of the body."""

    incident = "toy-incident"

    def __init__(self) -> None:
        self.head: RequestHead | None = None
        self.tail = b""

    def request_headers(self, head: RequestHead, deadline: Deadline) -> Steps:
        self.head = head
        path = head.path.partition(b"?")[0]
        yield from work(path, deadline)
        if path == b"/nothing":
            return None  # type: ignore[return-value]
        values = [head.path, *(value for _, value in head.headers)]
        return self._judge(values, Phase.REQUEST_HEADERS, head.is_last)

    def request_body(self, body: bytes, is_last: bool, deadline: Deadline) -> Steps:
        if body.startswith(b"work "):
            yield from work(b"/work/" + body[5:15].split()[0], deadline)
        body = self.tail + body
        self.tail = body[-len(ATTACK) :]
        return self._judge([body], Phase.REQUEST_BODY, is_last)

    def request_trailers(self, trailers: Headers, deadline: Deadline) -> Steps:
        yield from ()
        return self._judge([value for _, value in trailers], Phase.REQUEST_BODY, True)

    def reads_response(self, head: ResponseHead) -> bool:
        return True

    def response_headers(self, head: ResponseHead, deadline: Deadline) -> Steps:
        yield from ()
        return self._judge([value for _, value in head.headers], Phase.RESPONSE_HEADERS, True)

    def response_body(self, body: bytes, is_last: bool, deadline: Deadline) -> Steps:
        yield from ()
        return self._judge([body], Phase.RESPONSE_BODY, True)

    def response_trailers(self, trailers: Headers, deadline: Deadline) -> Steps:
        yield from ()
        return self._judge([], Phase.RESPONSE_BODY, True)

    def refuse(self, status: int, reason: str) -> Verdict:
        return verdict(Outcome.BLOCK, Phase.REQUEST_HEADERS, status=status, coverage_reason=reason)

    def decline(self, head: RequestHead, status: int, reason: str) -> Verdict:
        return self.refuse(status, reason)

    def skip(self, reason: str) -> Verdict:
        return verdict(Outcome.ALLOW, Phase.REQUEST_HEADERS, coverage=Coverage.PARTLY, coverage_reason=reason)

    def close(self, fault: str | None) -> None:
        sys.stdout.write(f"closed {fault}\n")
        sys.stdout.flush()

    def _judge(self, values: list[bytes], phase: Phase, is_last: bool) -> Verdict:
        text = b",".join(values)
        if ATTACK in text.lower() or ATTACK in urllib.parse.unquote_to_bytes(text.replace(b"+", b" ")).lower():
            return verdict(Outcome.BLOCK, phase, rule_id=942100, rule_ids=(942100,), score=5)
        return verdict(Outcome.ALLOW if is_last else Outcome.PENDING, phase)


def work(path: bytes, deadline: Deadline) -> Steps:
    """The fault or the load that a path asks for."""
    _, _, what = path.partition(b"/")
    word, _, ms = what.partition(b"/")
    if word == b"fault":
        raise RuntimeError("secret detail of a fault")
    if word == b"block":
        time.sleep(int(ms) / 1000)
    if word == b"work":
        left_ns = int(ms) * 1_000_000
        while left_ns > 0:
            start = time.monotonic_ns()
            while not deadline.is_slice_over():
                pass
            left_ns -= time.monotonic_ns() - start
            yield


def verdict(outcome: Outcome, phase: Phase, **more: object) -> Verdict:
    return Verdict(outcome, phase, "toy-incident", ruleset="toy", **more)  # type: ignore[arg-type]


class ToyInspector:
    ruleset_hash = "toy"

    def open(self) -> Inspection:
        return ToyInspection()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--grpc", action="append", required=True)
    parser.add_argument("--set", action="append", default=[])
    given = parser.parse_args()
    pairs = (pair.partition("=") for pair in given.set)
    settings = {"upgrade_paths": ("/ws",), "drain_delay_s": 0.0}
    settings |= {key: ast.literal_eval(value) for key, _, value in pairs}
    told = ServerSettings(addresses=tuple(given.grpc), **settings)

    def load(attempt: Attempt) -> Loaded:
        return Loaded(ToyInspector(), told)

    return run(told, load)


if __name__ == "__main__":
    raise SystemExit(main())
