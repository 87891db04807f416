"""The event line: its keys, its masking across fields, its bounds; and the line for people."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from extproc.events.line import human
from extproc.events.masking import MAX_SCANNED_BYTES, Masking
from extproc.events.record import MAX_EVENT_BYTES, MAX_LISTED, MAX_TEXT_BYTES, encode, time_text
from extproc.events.scrubber import MAX_SCANNED_TOTAL_BYTES, MIN_KNOWN_BYTES, Scrubber
from extproc.model.phase import Phase
from extproc.model.trace import TraceParent
from extproc.model.verdict import Coverage, Decision, Match, Mode, Outcome, Shadow

MATCH = Match(
    rule_id=942100,
    phase=Phase.REQUEST_BODY,
    variable="ARGS:q",
    msg=b"SQL injection",
    logdata=b"Matched Data: 1 or 1=1 found within ARGS:q: 1 or 1=1",
    tags=("attack-sqli", "paranoia-level/1"),
    severity="CRITICAL",
    via=("base64",),
    value=b"x 1 or 1=1",
    span=(2, 10),
)
DECISION = Decision(
    time=1_700_000_000.25,
    incident="0123456789abcdef",
    request_id="5f0c9a9e-7a39-4b5e-8b3c-2f1d2c3b4a59",
    verdict=Outcome.BLOCK,
    mode=Mode.BLOCK,
    would=Outcome.BLOCK,
    coverage=Coverage.INSPECTED,
    coverage_reason=None,
    method=b"GET",
    host=b"shop.example",
    path=b"/items?q=1",
    client="192.0.2.7",
    route="shop",
    phase=Phase.REQUEST_BODY,
    score=5,
    status=403,
    rule_id=949110,
    matches=(MATCH,),
    duration_us=412,
    ruleset="9c1d",
)

GOVERNED = replace(
    DECISION,
    policies=("defaults", "shop"),
    source="suspicious",
    expired_exclusions=("waf.yaml:4",),
    shadow=Shadow(Outcome.ALLOW, 0, (7,), 3, "5e4d"),
    trace=TraceParent("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", is_sampled=True),
)

ALLOWED = replace(DECISION, verdict=Outcome.ALLOW, would=Outcome.ALLOW, matches=())


def event(decision: Decision, **options: Any) -> dict[str, Any]:
    line = encode(decision, **options)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert all(32 <= byte < 127 for byte in line[:-1])
    return dict(json.loads(line))


def test_keys_and_values_of_the_schema() -> None:
    assert event(GOVERNED) == {
        "schema": "extproc.decision/1",
        "time": "2023-11-14T22:13:20.250000Z",
        "incident": "0123456789abcdef",
        "request_id": "5f0c9a9e-7a39-4b5e-8b3c-2f1d2c3b4a59",
        "verdict": "block",
        "mode": "block",
        "would": "block",
        "coverage": "inspected",
        "coverage_reason": None,
        "method": "GET",
        "host": "shop.example",
        "path": "/items?q=1",
        "client": "192.0.2.7",
        "route": "shop",
        "phase": 2,
        "score": 5,
        "status": 403,
        "rule_ids": [942100],
        "duration_us": 412,
        "app_executed": False,
        "rule": 949110,
        "ruleset": "9c1d",
        "policies": ["defaults", "shop"],
        "source": "suspicious",
        "expired_exclusions": ["waf.yaml:4"],
        "shadow": {"would": "allow", "rule": 0, "rule_ids": [7], "score": 3, "ruleset": "5e4d"},
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "matches": [
            {
                "id": 942100,
                "msg": "SQL injection",
                "logdata": "Matched Data: 1 or 1=1 found within ARGS:q: 1 or 1=1",
                "tags": ["attack-sqli", "paranoia-level/1"],
                "severity": "CRITICAL",
                "variable": "ARGS:q",
                "via": ["base64"],
                "phase": 2,
                "reason": "",
                "score": 0,
            }
        ],
    }


def test_rule_ids_are_in_order_and_once() -> None:
    matches = tuple(replace(MATCH, rule_id=number) for number in (3, 1, 3, 2, 1))
    found = event(replace(DECISION, matches=matches))
    assert found["rule_ids"] == [3, 1, 2]
    assert [match["id"] for match in found["matches"]] == [3, 1, 3, 2, 1]


def test_bytes_that_are_no_text_stay_readable() -> None:
    found = event(replace(DECISION, path=b"/\xff\xc3\xa4\x00\x1b[31m", host=b"\xfe", method=b"G\nT"))
    assert found["path"] == "/\\xffä\x00\x1b[31m"
    assert found["host"] == "\\xfe"
    assert found["method"] == "G\nT"


def test_surrogates_in_names_do_not_break_the_line() -> None:
    name = b"ARGS:\xff".decode("utf-8", "surrogateescape")
    assert event(replace(DECISION, matches=(replace(MATCH, variable=name),)))["matches"][0]["variable"] == "ARGS:\\xff"


@pytest.mark.parametrize(("time", "text"), [(0.0, "1970-01-01T00:00:00.000000Z"), (1.5, "1970-01-01T00:00:01.500000Z")])
def test_time(time: float, text: str) -> None:
    assert time_text(time) == text


def test_a_text_is_cut_with_a_count() -> None:
    fits = b"/" + b"a" * (MAX_TEXT_BYTES - 1)
    assert event(replace(DECISION, path=fits))["path"] == fits.decode()
    assert event(replace(DECISION, path=fits + b"bc"))["path"] == fits.decode() + "...[2 bytes more]"


def test_many_matches_stay_within_the_event_limit() -> None:
    long = replace(MATCH, logdata=b"\x01" * MAX_TEXT_BYTES, msg=b"m")
    matches = tuple(replace(long, rule_id=number) for number in range(200))
    shortened = event(replace(DECISION, matches=matches))
    assert len(shortened["matches"]) == 200
    assert {match["logdata"] for match in shortened["matches"]} == {""}
    matches = tuple(replace(long, rule_id=number, msg=b"\x01" * MAX_TEXT_BYTES) for number in range(200))
    line = encode(replace(DECISION, matches=matches))
    assert len(line) <= MAX_EVENT_BYTES
    cut = json.loads(line)
    assert cut["matches_left_out"] == 200 - len(cut["matches"]) > 0
    assert len(cut["rule_ids"]) == max(MAX_LISTED, len(cut["matches"]))


def test_tags_are_bounded() -> None:
    matches = (replace(MATCH, tags=tuple(f"t{number}" for number in range(MAX_LISTED + 1))),)
    assert len(event(replace(DECISION, matches=matches))["matches"][0]["tags"]) == MAX_LISTED


CROSSING = [
    # (matched variable, matched value, span): the bare value stands in msg and logdata
    ("ARGS:password", b"hunter2-secret", (0, 7)),
    ("REQUEST_COOKIES:theme", b"hunter2-secret", (0, 14)),
    ("REQUEST_HEADERS:authorization", b"Basic am9lOmh1bnRlcjItc2VjcmV0", (0, 5)),
    ("REQUEST_BODY", b"a=b&password=hunter2-secret", (13, 20)),
    ("REQUEST_BODY", b'{"a":1,"token":"hunter2-secret"}', (16, 20)),
    ("REQUEST_URI", b"/?password=hunter2%2Dsecret", (0, 1)),
]


@pytest.mark.parametrize(("variable", "value", "span"), CROSSING)
def test_a_secret_of_one_field_is_gone_from_all(variable: str, value: bytes, span: tuple[int, int]) -> None:
    match = replace(
        MATCH, variable=variable, value=value, span=span, msg=b"found HUNTER2-secret", logdata=b"hunter2-secret"
    )
    other = replace(MATCH, logdata=b"seen: hunter2-secret")
    decision = replace(DECISION, matches=(match, other))
    assert b"hunter2" not in encode(decision).lower()
    assert "hunter2" not in human(decision).lower()
    assert b"hunter2" in encode(decision, Masking(is_enabled=False))


def test_a_match_marked_secret_is_not_shown() -> None:
    found = event(replace(DECISION, matches=(replace(MATCH, secret=True),)))
    assert found["matches"][0]["logdata"] == "[masked]"


def test_what_was_not_looked_through_is_not_shown() -> None:
    inside = replace(MATCH, value=b" " * (MAX_SCANNED_BYTES + 9), span=(MAX_SCANNED_BYTES - 1, MAX_SCANNED_BYTES))
    beyond = replace(inside, span=(MAX_SCANNED_BYTES - 1, MAX_SCANNED_BYTES + 1))
    scrubber = Scrubber(Masking(), replace(DECISION, matches=(inside, beyond)))
    assert [scrubber.hides(inside), scrubber.hides(beyond)] == [False, True]
    count = MAX_SCANNED_TOTAL_BYTES // MAX_SCANNED_BYTES
    values = [replace(MATCH, value=b"%d" % number + b" " * MAX_SCANNED_BYTES) for number in range(count + 1)]
    scrubber = Scrubber(Masking(), replace(DECISION, path=b"", matches=tuple(values)))
    assert [scrubber.hides(match) for match in values] == [False] * count + [True]


def test_a_short_secret_does_not_blot_out_other_fields() -> None:
    short = replace(MATCH, variable="ARGS:pin", value=b"1" * (MIN_KNOWN_BYTES - 1))
    long = replace(MATCH, variable="ARGS:pin", value=b"1" * MIN_KNOWN_BYTES)
    assert event(replace(DECISION, path=b"/1111", matches=(short,)))["path"] == "/1111"
    assert event(replace(DECISION, path=b"/1111", matches=(long,)))["path"] == "/[masked]"


def test_a_request_id_from_the_client_is_masked_and_a_uuid_is_not() -> None:
    digits = "41111111-1111-1111-1111-111111111111"
    assert event(replace(DECISION, request_id=digits))["request_id"] == digits
    assert event(replace(DECISION, request_id="password=hunter2"))["request_id"] == "password=[masked]"


LINES = [
    (
        DECISION,
        'block 403 GET /items?q=1 route=shop rule 942100 "SQL injection" in ARGS:q matched "1 or 1=1" '
        "412 us incident 0123456789abcdef",
    ),
    (
        replace(DECISION, verdict=Outcome.ALLOW, mode=Mode.MONITOR, matches=(), path=b"/?password=x", route=""),
        "allow (would block) GET /?password=[masked] 412 us incident 0123456789abcdef",
    ),
    (
        replace(ALLOWED, coverage=Coverage.PARTLY, coverage_reason="body-limit"),
        "allow GET /items?q=1 route=shop partly: body-limit 412 us incident 0123456789abcdef",
    ),
    (
        replace(DECISION, matches=(replace(MATCH, variable="ARGS:password"), MATCH)),
        'block 403 GET /items?q=1 route=shop rule 942100 "SQL injection" in ARGS:password matched "[masked]" '
        "(+1 more) 412 us incident 0123456789abcdef",
    ),
    (
        replace(GOVERNED, matches=()),
        "block 403 GET /items?q=1 route=shop client 192.0.2.7 is suspicious "
        "an expired exclusion hides a match (waf.yaml:4) shadow rules: allow 412 us incident 0123456789abcdef",
    ),
    (
        replace(DECISION, path=b"/\x1b[2J\xe2\x80\xae", matches=()),
        "block 403 GET /\\x1b[2J\\u202e route=shop 412 us incident 0123456789abcdef",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("decision", "line"), LINES)
def test_human_lines(decision: Decision, line: str) -> None:
    assert human(decision) == line


def test_scores_are_not_what_a_person_wants_to_read() -> None:
    gate = Match(
        949110, Phase.REQUEST_BODY, "TX:blocking_inbound_anomaly_score", b"Score exceeded", value=b"5", span=(0, 1)
    )
    assert "rule 942100" in human(replace(DECISION, matches=(gate, MATCH)))


def test_what_a_rule_says_by_itself_is_not_masked() -> None:
    """ "basic" and a word look like a header's credentials; in a message of the rule they are none."""
    said = b"Detects concatenated basic SQL injection"
    fixed = replace(DECISION, matches=(replace(MATCH, msg=said, is_msg_fixed=True),))
    assert json.loads(encode(fixed))["matches"][0]["msg"] == said.decode()
    assert said.decode() in human(fixed)
    expanded = replace(DECISION, matches=(replace(MATCH, msg=b"Found basic dTpwYXNzd29yZA==", is_msg_fixed=False),))
    assert json.loads(encode(expanded))["matches"][0]["msg"] == "Found basic [masked]"


def test_the_document_has_every_key() -> None:
    """docs/EVENTS.md, in the order of the line, and nothing that no event holds."""
    text = (Path(__file__).parents[2] / "docs" / "EVENTS.md").read_text(encoding="utf-8")
    told = [row.split("`")[1] for row in text.splitlines() if row.startswith("| `")]
    written = event(replace(GOVERNED, matches=(replace(MATCH, variable="A" * MAX_TEXT_BYTES),) * 200))
    found = list(written)
    for key in ("shadow", "matches"):
        inner = written[key][0] if key == "matches" else written[key]
        found += [f"{key}.{name}" for name in inner]
    assert sorted(told) == sorted(found)
    assert [key for key in told if "." not in key] == list(written)
