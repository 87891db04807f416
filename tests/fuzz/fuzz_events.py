"""Target: whatever a request holds, its event is one line of valid JSON, and a planted secret is not in it."""

from __future__ import annotations

import json

from extproc.events.line import human
from extproc.events.masking import Masking
from extproc.events.record import MAX_EVENT_BYTES, encode
from extproc.model.phase import Phase
from extproc.model.verdict import Coverage, Decision, Match, Mode, Outcome
from tests.fuzz.fuzz_source import Source

PLACES = ("ARGS:password", "ARGS:json.api_key", "REQUEST_COOKIES:session", "REQUEST_HEADERS:authorization")
ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!~"
SECRET_BYTES = 12

_MASKING = Masking()


def event(data: bytes) -> None:
    source = Source(data)
    place = source.pick(PLACES)
    secret = b"Zq7" + bytes(ALPHABET[source.byte() % len(ALPHABET)] for _ in range(SECRET_BYTES))
    phase = source.pick(list(Phase))
    before, after, path, host = source.text(), source.text(), source.text(), source.text()
    around = before + b" " + secret + b" " + after
    start = source.byte() % len(secret)
    matches = (
        Match(1, phase, place, msg=b"found " + around, logdata=around, value=secret, span=(start, len(secret))),
        Match(
            2, phase, "ARGS:q", logdata=around, value=before, span=(0, len(before)), tags=(before.decode("latin-1"),)
        ),
    )
    decision = Decision(
        time=source.byte() * 1e7,
        incident="0123456789ABCDEF",
        request_id=host.decode("latin-1"),
        verdict=Outcome.BLOCK,
        mode=Mode.BLOCK,
        would=Outcome.BLOCK,
        coverage=Coverage.INSPECTED,
        coverage_reason=None,
        method=before,
        host=host,
        path=b"/" + path + b"?password=" + secret + b"&" + after,
        client="192.0.2.1",
        route=after.decode("latin-1"),
        phase=phase,
        score=source.byte(),
        status=403,
        rule_id=1,
        matches=matches,
        duration_us=1,
    )
    line = encode(decision, _MASKING)
    assert line.endswith(b"\n")
    assert len(line) <= MAX_EVENT_BYTES
    assert all(0x20 <= byte < 0x7F for byte in line[:-1])
    assert json.loads(line)["rule_ids"] == [1, 2]
    shown = human(decision, _MASKING)
    assert all(char.isprintable() for char in shown)
    assert secret not in line
    assert secret.decode() not in shown
