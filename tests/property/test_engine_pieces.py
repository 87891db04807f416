"""However a body is cut into messages, the verdict is that on the whole: rule, coverage and reason."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from extproc.engine.inspector import EngineInspector, EngineSettings
from extproc.engine.plan import Plan
from extproc.model.deadline import Deadline
from extproc.model.inspection import Steps
from extproc.model.message import Address, RequestHead
from extproc.model.verdict import Decision, Mode, Verdict
from extproc.seclang.assemble import Sources, load_ruleset

RULES = Path(__file__).parents[2] / "extproc" / "rules" / "own.conf"
PLAN = Plan(load_ruleset(Sources((RULES,))))

FORM = b"application/x-www-form-urlencoded"
PART = b'--b\r\nContent-Disposition: form-data; name="q"\r\n\r\n%b\r\n--b--\r\n'
TEXTS = (b"shoes", b"1' OR 1=1--", b"<script>alert(1)</script>", b"../../etc/passwd", b"O'Brien & sons", b"")
BODIES = [
    *((FORM, b"", b"a=1&q=" + text.replace(b"&", b"%26") + b"&z=2") for text in TEXTS),
    *((b"application/json", b"", b'{"a": 1, "q": "%b"}' % text) for text in TEXTS),
    *((b"multipart/form-data; boundary=b", b"", PART % text) for text in TEXTS),
    *((FORM, b"gzip", gzip.compress(b"q=" + text, mtime=0)) for text in TEXTS),
]


def drive(steps: Steps) -> Verdict:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def judge(content_type: bytes, encoding: bytes, pieces: list[bytes], has_trailers: bool) -> tuple[object, ...]:
    decisions: list[Decision] = []
    inspection = EngineInspector(PLAN, EngineSettings(Mode.BLOCK), decisions.append).open()
    patience = Deadline(lambda: 0, 10**9)
    headers = [(b"content-type", content_type), (b"accept", b"*/*"), (b"user-agent", b"Mozilla/5.0")]
    headers += [(b"content-encoding", encoding)] if encoding else []
    address = Address("127.0.0.1", 1)
    head = RequestHead(b"POST", b"/", b"app.example", tuple(headers), client=address, server=address, is_last=False)
    drive(inspection.request_headers(head, patience))
    for number, piece in enumerate(pieces, 1):
        verdict = drive(inspection.request_body(piece, number == len(pieces) and not has_trailers, patience))
    if has_trailers:
        verdict = drive(inspection.request_trailers((), patience))
    inspection.close(None)
    [decision] = decisions
    found = tuple((match.rule_id, match.variable) for match in decision.matches)
    return verdict.outcome, verdict.status, decision.coverage, decision.coverage_reason, found


@given(st.sampled_from(BODIES), st.lists(st.integers(0, 200), max_size=6), st.booleans())
def test_cuts_change_nothing(body: tuple[bytes, bytes, bytes], cuts: list[int], has_trailers: bool) -> None:
    content_type, encoding, data = body
    edges = [0, *sorted(cut for cut in cuts if cut <= len(data)), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]
    assert judge(content_type, encoding, pieces, has_trailers) == judge(content_type, encoding, [data], False)
