"""What makes the engine fast changes no decision: prefilter, memo and slices, each on and off, on the same requests.

The requests: a sample of the corpus, every test of the Core Rule Set, and texts generated from each of its patterns.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from re import _parser

import pytest
from oracle_engines import Ours, load_crs, unhurried
from oracle_material import CORPUS, CRS, PLACES, Sent, corpus
from pattern_texts import Generator, swap_case

from extproc.engine import transaction
from extproc.engine.inspector import EngineInspection, EngineInspector
from extproc.engine.matching import EveryRule
from extproc.engine.plan import Plan
from extproc.engine.ruleset import Ruleset
from extproc.model.deadline import Deadline
from extproc.model.message import RequestHead
from extproc.model.verdict import Decision, Mode
from extproc.replay.ftw import read_cases
from extproc.replay.http1 import parse_request

pytestmark = [
    pytest.mark.crs,
    pytest.mark.slow,
    pytest.mark.skipif(not (CRS / "rules").is_dir(), reason="no Core Rule Set at CRS_DIR or ../shared/crs"),
]

SHARE = 0.03
"""Of the corpus; each value in one place, by turns."""

TEXTS_PER_PATTERN = 3


@pytest.fixture(scope="module")
def ruleset() -> Ruleset:
    return load_crs(4)


def corpus_requests() -> Iterator[Sent]:
    if not CORPUS.is_dir():
        pytest.skip("no corpus at CORPUS_DIR or ../shared/corpus")
    places = list(PLACES.values())
    for number, value in enumerate(corpus(SHARE, salt="shortcuts")):
        yield places[number % len(places)](value.text)


def rule_set_requests() -> Iterator[Sent]:
    for case in read_cases([CRS / "tests"]):
        for stage in case.stages:
            request = parse_request(stage.raw, is_framed=True)
            head = request.head
            yield Sent(head.path, head.method, head.headers, request.body)


def generated_requests(ruleset: Ruleset) -> Iterator[Sent]:
    rng = random.Random(7)
    generator = Generator(rng)
    places = [PLACES[name] for name in ("query", "form", "cookie", "name", "agent")]
    patterns = {
        link.operator.pattern: None
        for rule in ruleset.by_id.values()
        for link in (rule, *rule.chain)
        if link.operator is not None and link.operator.pattern is not None
    }
    assert len(patterns) > 250
    for pattern in patterns:
        tree = _parser.parse(pattern.replace(b"\\z", b"\\Z"))
        for _ in range(TEXTS_PER_PATTERN):
            text = swap_case(generator.text(tree), rng)
            yield rng.choice(places)(text[:2000])


def told(decision: Decision) -> tuple[object, ...]:
    """All that must be the same. Matches in order, as logged."""
    matches = [
        (one.rule_id, one.variable, one.msg, one.logdata, one.value, one.span)
        for one in decision.matches
        # Rules on the score have no data of the request; their text has the score, which is compared.
    ]
    return decision.verdict, decision.rule_id, decision.status, decision.score, decision.coverage_reason, matches


REQUESTS = {
    "corpus": lambda ruleset: corpus_requests(),
    "tests of the rule set": lambda ruleset: rule_set_requests(),
    "texts of the patterns": generated_requests,
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("requests", REQUESTS.values(), ids=REQUESTS)
def test_prefilter_and_memo_change_nothing(ruleset: Ruleset, requests) -> None:
    fast, slow, forgetful = (
        Ours(ruleset),
        Ours(ruleset, EveryRule(-1), has_memo=False),
        Ours(ruleset, has_memo=False),
    )
    matched = 0
    for sent in requests(ruleset):
        expected = told(slow.decide(sent))
        for time_sent in ("new", "marked as seen", "remembered"):
            assert told(fast.decide(sent)) == expected, (time_sent, sent)
        assert told(forgetful.decide(sent)) == expected, ("no memo", sent)
        matched += len(expected[-1])  # type: ignore[arg-type]
    assert matched > 1000


@pytest.mark.parametrize("requests", REQUESTS.values(), ids=REQUESTS)
def test_slices_and_company_change_nothing(ruleset: Ruleset, requests, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every value in slices, interrupted wherever it can be, two exchanges by turns over one plan."""
    whole = Ours(ruleset)
    decisions: dict[str, Decision] = {}
    inspector = EngineInspector(
        Plan(ruleset), unhurried(Mode.BLOCK), lambda decision: decisions.__setitem__(decision.incident, decision)
    )
    all_sent = list(requests(ruleset))[::2]
    expected = [told(whole.decide(sent)) for sent in all_sent]
    monkeypatch.setattr(transaction, "LARGE_BYTES", 8)
    interruptions = 0
    for first, second in zip(range(0, len(all_sent) - 1, 2), range(1, len(all_sent), 2), strict=True):
        open_ones = []
        for place in (first, second):
            inspection = inspector.open()
            open_ones.append((place, inspection, steps_of(inspection, all_sent[place])))
        waiting = list(open_ones)
        while waiting:
            for job in list(waiting):
                try:
                    next(job[2])
                    interruptions += 1
                except StopIteration:
                    waiting.remove(job)
        for place, inspection, _ in open_ones:
            inspection.close(None)
            assert told(decisions.pop(inspection.incident)) == expected[place], all_sent[place]
    assert interruptions > 10 * len(all_sent)


def steps_of(inspection: EngineInspection, sent: Sent) -> Iterator[None]:
    """The exchange, a slice over as soon as it began."""
    deadline = Deadline(time.monotonic_ns, 60_000_000, slice_us=0)
    host = next((value for key, value in sent.headers if key == b"host"), b"")
    head = RequestHead(
        sent.method, sent.path, host, sent.headers, client=Ours.CLIENT, server=Ours.SERVER, is_last=not sent.body
    )
    verdict = yield from inspection.request_headers(head, deadline)
    if sent.body and verdict.outcome == "pending":
        yield from inspection.request_body(sent.body, True, deadline)
