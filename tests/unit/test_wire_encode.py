"""Verdict → what Envoy reads: always a status, raw_value alone, metadata in `waf`, pages without the rule."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from extproc._pb.envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from extproc._pb.envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from extproc.model.answer import Templates
from extproc.model.phase import Phase
from extproc.model.route import upgraded
from extproc.model.verdict import Coverage, Outcome, Verdict
from extproc.wire import encode, page
from extproc.wire.kind import Kind

BLOCK = Verdict(Outcome.BLOCK, Phase.REQUEST_BODY, "i-<1>", rule_id=942100, score=10, ruleset="hash")
ALLOW = Verdict(Outcome.ALLOW, Phase.REQUEST_HEADERS, "i-2", coverage=Coverage.PARTLY, ruleset="hash")


def blocked(verdict: Verdict = BLOCK, **request: bytes) -> Any:
    return pb.ProcessingResponse.FromString(encode.block(verdict, **request))


def headers(reply: Any) -> dict[str, bytes]:
    lines = [option.header for option in reply.immediate_response.headers.set_headers]
    assert all(not line.value and line.raw_value for line in lines)
    assert len({line.key for line in lines}) == len(lines)
    return {line.key: line.raw_value for line in lines}


def waf(reply: Any) -> dict[str, Any]:
    fields = reply.dynamic_metadata.fields
    assert list(fields) == ["waf"]
    values = fields["waf"].struct_value.fields
    return {key: getattr(value, value.WhichOneof("kind")) for key, value in values.items()}


@pytest.mark.parametrize("kind", list(Kind))
def test_go_on_answers_the_same_kind(kind: Kind) -> None:
    reply = pb.ProcessingResponse.FromString(encode.go_on(kind, ALLOW))
    assert reply.WhichOneof("response") == kind
    assert not reply.HasField("mode_override")
    assert getattr(reply, kind) == type(getattr(reply, kind))()


def test_metadata_has_the_agreed_keys() -> None:
    assert waf(pb.ProcessingResponse.FromString(encode.go_on(Kind.REQUEST_HEADERS, ALLOW))) == {
        "verdict": "allow",
        "phase": 1,
        "rule": 0,
        "incident": "i-2",
        "coverage": "partly",
        "score": 0,
        "ruleset": "hash",
    }
    assert waf(blocked()) == {
        "verdict": "block",
        "phase": 2,
        "rule": 942100,
        "incident": "i-<1>",
        "coverage": "inspected",
        "score": 10,
        "ruleset": "hash",
    }


def test_without_a_verdict_there_is_no_metadata() -> None:
    reply = pb.ProcessingResponse.FromString(encode.go_on(Kind.RESPONSE_HEADERS, None))
    assert reply == pb.ProcessingResponse(response_headers=pb.HeadersResponse())


@pytest.mark.parametrize(("with_response", "response_headers"), [(False, "SKIP"), (True, "SEND")])
def test_upgrade_spells_out_every_mode(with_response: bool, response_headers: str) -> None:
    data = encode.go_on(Kind.REQUEST_HEADERS, ALLOW, upgraded(with_response), is_upgrade=True)
    reply = pb.ProcessingResponse.FromString(data)
    assert reply.mode_override == ProcessingMode(
        request_header_mode="SEND",
        response_header_mode=response_headers,
        request_body_mode="NONE",
        response_body_mode="NONE",
        request_trailer_mode="SKIP",
        response_trailer_mode="SKIP",
    )
    assert waf(reply)["upgrade"] is True


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (403, 403),
        (200, 200),
        (429, 429),
        (511, 511),
        (0, 403),
        (99, 403),
        (100, 403),
        (101, 403),
        (600, 403),
        (418, 403),
        (-1, 403),
        (302, 403),
    ],
)
def test_status_is_always_one_that_envoy_keeps(status: int, sent: int) -> None:
    reply = blocked(replace(BLOCK, status=status))
    assert reply.immediate_response.status.code == sent


@pytest.mark.parametrize(
    ("status", "location", "sent", "header"),
    [
        (302, b"https://a.example/x", 302, b"https://a.example/x"),
        (307, b"/x", 307, b"/x"),
        (403, b"/x", 302, b"/x"),
        (302, b"/x\r\nset-cookie: a", 403, None),
        (302, b"/\xff", 403, None),
        (302, b"", 403, None),
    ],
)
def test_redirect(status: int, location: bytes, sent: int, header: bytes | None) -> None:
    reply = blocked(replace(BLOCK, status=status, location=location))
    assert reply.immediate_response.status.code == sent
    assert headers(reply).get("location") == header


@pytest.mark.parametrize("phase", list(Phase))
def test_details_are_fixed_words(phase: Phase) -> None:
    details = blocked(replace(BLOCK, phase=phase)).immediate_response.details
    assert details == f"waf_block_{phase.name.lower()}"


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (b"", b"text/plain; charset=utf-8"),
        (b"*/*", b"text/plain; charset=utf-8"),
        (b"text/html,application/xhtml+xml,*/*;q=0.8", b"text/html; charset=utf-8"),
        (b"Application/JSON", b"application/problem+json"),
        (b"text/html;q=0.1, application/json;q=0.9", b"application/problem+json"),
        (b"application/json;q=0, text/plain", b"text/plain; charset=utf-8"),
        (b"text/html;q=x,text/plain;q=0.1", b"text/plain; charset=utf-8"),
        (b"image/png", b"text/plain; charset=utf-8"),
        (b";;;,,,=", b"text/plain; charset=utf-8"),
    ],
)
def test_page_by_accept(accept: bytes, media: bytes) -> None:
    reply = blocked(accept=accept)
    assert headers(reply) == {"content-type": media, "cache-control": b"no-store", "x-waf-incident": b"i-<1>"}
    content = reply.immediate_response.body
    assert b"942100" not in content
    if b"html" in media:
        assert b"i-&lt;1&gt;" in content
        assert b"i-<1>" not in content
    elif b"json" in media:
        assert json.loads(content) == {"type": "about:blank", "title": "Forbidden", "status": 403, "incident": "i-<1>"}
    else:
        assert b"i-<1>" in content


@pytest.mark.parametrize(
    ("items", "media"), [(page.MAX_ACCEPT_ITEMS - 1, page.HTML), (page.MAX_ACCEPT_ITEMS, page.PLAIN)]
)
def test_accept_is_read_up_to_its_limit(items: int, media: bytes) -> None:
    assert page.choose_format(b"a/b," * items + b"text/html") == media


def test_grpc_clients_get_one_line_of_text_and_a_status() -> None:
    reply = blocked(accept=b"text/html", content_type=b"application/grpc+proto")
    assert reply.immediate_response.grpc_status.status == 7
    assert headers(reply)["content-type"].startswith(b"text/plain")
    assert blocked(replace(BLOCK, status=503)).immediate_response.grpc_status.status == 14


@pytest.mark.parametrize("status", sorted(encode.BODILESS - {304}))
def test_no_body_where_http_has_none(status: int) -> None:
    assert blocked(replace(BLOCK, status=status)).immediate_response.body == b""


def test_busy_is_to_be_retried() -> None:
    assert headers(blocked(replace(BLOCK, status=503)))["retry-after"] == b"1"


@pytest.mark.parametrize(("over", "is_empty"), [(0, False), (1, True)])
def test_page_is_bounded(over: int, is_empty: bool) -> None:
    room = encode.MAX_PAGE_BYTES - len(blocked(replace(BLOCK, incident="")).immediate_response.body)
    content = blocked(replace(BLOCK, incident="i" * (room + over))).immediate_response.body
    assert (content == b"") is is_empty
    assert len(content) in (0, encode.MAX_PAGE_BYTES)


def test_what_must_never_be_sent_does_not_exist() -> None:
    numbers = {field.number for field in pb.ProcessingResponse.DESCRIPTOR.fields}
    assert not numbers & set(range(11, 17))
    option = pb.HeaderMutation.DESCRIPTOR.fields_by_name["set_headers"].message_type
    assert [field.name for field in option.fields] == ["header"]


FORMATS: list[tuple[bytes, bytes, bytes]] = [
    # (Accept, Content-Type of the request, what is answered)
    (b"application/vnd.api+json", b"", page.PROBLEM),
    (b"application/graphql-response+json, */*;q=0.1", b"", page.PROBLEM),
    (b"*/*", b"application/json", page.PROBLEM),
    (b"", b"application/json; charset=utf-8", page.PROBLEM),
    (b"", b"application/vnd.api+json", page.PROBLEM),
    (b"text/html", b"application/json", page.HTML),
    (b"*/*", b"application/x-www-form-urlencoded", page.PLAIN),
    (b"*/*", b"application/jsonx", page.PLAIN),
]


@pytest.mark.parametrize(("accept", "content_type", "media"), FORMATS)
def test_who_accepts_anything_gets_what_it_speaks(accept: bytes, content_type: bytes, media: bytes) -> None:
    assert page.choose_format(accept, content_type) == media


OWN = Templates(
    html=b"<h1>${title}</h1>${incident}",
    problem=b'{"id": "${incident}", "s": ${status}}',
    plain=b"${status}\n${incident}\n",
)


def test_templates_of_a_policy() -> None:
    verdict = replace(BLOCK, status=429, templates=OWN, incident='<&">')
    answers = {
        accept: blocked(verdict, accept=accept).immediate_response.body
        for accept in (b"text/html", b"application/json", b"text/plain")
    }
    assert answers[b"text/html"] == b"<h1>Too Many Requests</h1>&lt;&amp;&quot;&gt;"
    assert json.loads(answers[b"application/json"]) == {"id": '<&">', "s": 429}
    assert answers[b"text/plain"] == b'429\n<&">\n'
    grpc = blocked(verdict, content_type=b"application/grpc+proto").immediate_response
    assert (grpc.body, grpc.grpc_status.status) == (b'429 <&">', 8)


def test_a_policy_with_one_template_has_the_built_in_ones_beside_it() -> None:
    verdict = replace(BLOCK, templates=Templates(plain=b"${incident}"))
    assert b"<main>" in blocked(verdict, accept=b"text/html").immediate_response.body


class Page(HTMLParser):
    """Elements, and every attribute that names something to be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: dict[str, str | None] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes.update(attrs)


def test_the_page_is_small_accessible_and_needs_nothing_else() -> None:
    body = blocked(accept=b"text/html").immediate_response.body
    read = Page()
    read.feed(body.decode())
    assert len(body) < 1500
    assert read.attributes["lang"] == "en"
    assert {"title", "main", "h1"} <= set(read.elements)
    assert read.elements.count("h1") == 1
    assert b"width=device-width" in body
    assert {"src", "href", "srcset", "action"}.isdisjoint(read.attributes)
    assert {"script", "link", "img", "iframe", "form"}.isdisjoint(read.elements)
    assert b"url(" not in body
    assert b"@import" not in body
    assert b"942100" not in body


def test_what_shadow_rules_say_is_in_the_metadata() -> None:
    assert waf(blocked(replace(BLOCK, shadow="allow")))["shadow"] == "allow"
    assert "shadow" not in waf(blocked())


ANSWERS = [
    (BLOCK, {}),
    (BLOCK, {"accept": b"text/html"}),
    (BLOCK, {"accept": b"application/json"}),
    (BLOCK, {"content_type": b"application/grpc"}),
    (replace(BLOCK, status=503, rule_id=0), {"accept": b"text/html"}),
    (replace(BLOCK, status=204), {}),
    (replace(BLOCK, status=302, location=b"https://example.com/"), {}),
    (replace(BLOCK, phase=Phase.REQUEST_HEADERS, score=15, shadow="block"), {}),
    (replace(BLOCK, ruleset="0189" * 4), {}),
    (replace(BLOCK, templates=Templates(plain=b"0189018901890189 ${incident}")), {}),
]


@pytest.mark.parametrize(("verdict", "request_values"), ANSWERS)
def test_a_remembered_answer_is_the_one_that_is_made(verdict: Verdict, request_values: dict[str, bytes]) -> None:
    made, *remembered = ("ABCDEFGH-JKLMNOP", "ABCDEFGHIJKLMNOP", "2345672345672345")  # a hyphen: made anew
    expected = encode.block(replace(verdict, incident=made), **request_values)
    for incident in remembered:
        answer = encode.block(replace(verdict, incident=incident), **request_values)
        assert parsed(answer) == parsed(expected.replace(made.encode(), incident.encode()))


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize(
    "verdict", [ALLOW, replace(ALLOW, outcome=Outcome.PENDING), replace(ALLOW, score=3, rule_id=1)]
)
def test_a_remembered_continue_is_the_one_that_is_made(kind: Kind, verdict: Verdict) -> None:
    made, *remembered = ("ABCDEFGH-JKLMNOP", "ABCDEFGHIJKLMNOP", "2345672345672345")
    expected = encode.go_on(kind, replace(verdict, incident=made))
    for incident in remembered:
        answer = encode.go_on(kind, replace(verdict, incident=incident))
        assert parsed(answer) == parsed(expected.replace(made.encode(), incident.encode()))


@pytest.mark.parametrize("incident", ["0", "01", "0189", "A" * (encode.MIN_INCIDENT_CHARS - 1)])
def test_a_short_incident_is_not_looked_for_elsewhere(incident: str) -> None:
    for rule_id in (8, 9):
        answer = blocked(replace(BLOCK, incident=incident, rule_id=rule_id, ruleset="0189"))
        assert (waf(answer)["incident"], waf(answer)["rule"], waf(answer)["ruleset"]) == (incident, rule_id, "0189")


def test_remembered_answers_are_bounded() -> None:
    for score in range(encode.MAX_KNOWN + 1):
        verdict = replace(ALLOW, incident="ABCDEFGHIJKLMNOP", score=score)
        assert waf(pb.ProcessingResponse.FromString(encode.go_on(Kind.REQUEST_HEADERS, verdict)))["score"] == score
        assert len(encode._known) <= encode.MAX_KNOWN


def parsed(answer: bytes) -> Any:
    return pb.ProcessingResponse.FromString(answer)
