"""Every limit of body parsing at its edge, and hostile bodies that must stay within them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from extproc.bodies.contract import Limits, ParsedBody
from extproc.bodies.cookies import COOKIES_LIMIT, parse_cookies
from extproc.bodies.disposition import PARAMETERS_LIMIT, parse_disposition
from extproc.bodies.multipart import STEP_PARTS
from extproc.bodies.registry import PROCESSORS
from extproc.bodies.urlencoded import STEP_BYTES, STEP_VALUES, count_arguments, parse_arguments

FORM_DATA = b"multipart/form-data; boundary=XX"
FIELD = b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\nv\r\n'
CLOSED = b"--XX--\r\n"
STRICT = Limits(
    arguments=3,
    json_depth=3,
    json_names_bytes=40,
    multipart_parts=3,
    part_headers=3,
    xml_depth=3,
    xml_nodes=6,
)


def run(name: str, body: bytes, limits: Limits = STRICT, content_type: bytes = FORM_DATA) -> tuple[ParsedBody, int]:
    """The parsed body and the number of interruptions on the way."""
    steps = PROCESSORS[name](body, content_type, limits)
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value, count
        count += 1


# (processor, what just fits, what does not, the word for it)
EDGES = [
    ("URLENCODED", b"a=1&b=2&c=3&", b"a=1&b=2&c=3&d", "arguments-limit"),
    ("JSON", b"[1,2,3]", b"[1,2,3,4]", "arguments-limit"),
    ("JSON", b"[[[1]]]", b"[1,[[[]]]]", "json-depth-limit"),
    ("JSON", b'{"a":{"b":{"c":1}}}', b'{"a":{"b":{"c":{"d":1}}}}', "json-depth-limit"),
    ("JSON", b'{"%s":1}' % (b"k" * 35), b'{"%s":1}' % (b"k" * 36), "json-names-limit"),
    ("JSON", b'{"a":[1,2]}', b'{"a":[1,2,3]}', "json-names-limit"),
    ("JSON", b'{"\xc3\xa9%s":1}' % (b"k" * 33), b'{"\xc3\xa9%s":1}' % (b"k" * 34), "json-names-limit"),
    ("MULTIPART", FIELD * 3 + CLOSED, FIELD * 4 + CLOSED, "multipart-parts-limit"),
    ("MULTIPART", CLOSED * 4, CLOSED * 5, "multipart-parts-limit"),
    (
        "MULTIPART",
        FIELD.replace(b"\r\n\r\n", b"\r\nA: b\r\nC: d\r\n\r\n") + CLOSED,
        FIELD.replace(b"\r\n\r\n", b"\r\nA: b\r\n folded\r\n folded\r\n\r\n") + CLOSED,
        "part-headers-limit",
    ),
    ("XML", b"<a><b><c/></b></a>", b"<a><b><c><d/></c></b></a>", "xml-depth-limit"),
    ("XML", b"<a>1<b c=''>2</b>3</a>", b"<a>1<b c=''>2</b>3<d/></a>", "xml-nodes-limit"),
    ("XML", b"<a b='' c='' d='' e='' f=''/>", b"<a b='' c='' d='' e='' f='' g=''/>", "xml-nodes-limit"),
]


@pytest.mark.parametrize(("name", "fits", "over", "word"), EDGES)
def test_a_limit_holds_exactly(name: str, fits: bytes, over: bytes, word: str) -> None:
    parsed, _ = run(name, fits)
    assert (parsed.error, parsed.partly) == (b"", None)
    parsed, _ = run(name, over)
    assert parsed.partly == word
    assert parsed.error


def test_json_limits_hold_in_the_token_reader_too() -> None:
    blanks = b" " * 70_000
    for name, fits, over, word in EDGES:
        if name == "JSON":
            assert run(name, fits + blanks)[0].partly is None
            assert run(name, over + blanks)[0].partly == word


def test_what_was_read_before_a_limit_stays() -> None:
    assert run("URLENCODED", b"a=1&b=2&c=3&d=4")[0].args == [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")]
    assert run("JSON", b"[7,[[[8]]]]")[0].args == [(b"json.array_0", b"7")]
    assert run("MULTIPART", FIELD * 9 + CLOSED)[0].args == [(b"a", b"v")] * 3
    assert run("MULTIPART", FIELD * 9 + CLOSED)[0].flags["MULTIPART_FILE_LIMIT_EXCEEDED"] == 1
    assert run("XML", b"<a p='q'>1<b><c><d>2</d></c></b></a>")[0].xml_text == [b"1"]


def test_multipart_arguments_are_limited_apart_from_parts() -> None:
    limits = replace(STRICT, multipart_parts=9)
    assert run("MULTIPART", FIELD * 3 + CLOSED, limits)[0].partly is None
    parsed, _ = run("MULTIPART", FIELD * 4 + CLOSED, limits)
    assert (parsed.partly, len(parsed.args)) == ("arguments-limit", 3)


def test_disposition_parameters_are_limited() -> None:
    for sent in (PARAMETERS_LIMIT - 1, PARAMETERS_LIMIT, PARAMETERS_LIMIT + 1, PARAMETERS_LIMIT * 500):
        found = parse_disposition(b" form-data" + b"; name=a" * sent)
        assert len(found.names) == min(sent, PARAMETERS_LIMIT)
        assert found.is_invalid == (sent >= PARAMETERS_LIMIT)


def test_query_arguments_stop_at_the_limit() -> None:
    assert parse_arguments(b"a&b&c", limit=3)[0] == [(b"a", b""), (b"b", b""), (b"c", b"")]
    assert parse_arguments(b"a&b&c&", limit=3)[0] == [(b"a", b""), (b"b", b""), (b"c", b"")]
    assert parse_arguments(b"a&b&c&%41", limit=3)[0] == [(b"a", b""), (b"b", b""), (b"c", b"")]
    assert [count_arguments(text) for text in (b"", b"a", b"a&", b"a&b", b"&", b"a&&")] == [0, 1, 1, 2, 1, 2]
    assert parse_arguments(b"a=1;b=%32", separator=b";")[0] == [(b"a", b"1"), (b"b", b"2")]


def test_escapes_survive_the_step_edge() -> None:
    for before in range(STEP_BYTES - 4, STEP_BYTES + 2):
        for escape in (b"%41", b"%%41", b"%4", b"%", b"%%%"):
            body = b"=" + b"x" * before + escape + b"y" * 9
            parsed, _ = run("URLENCODED", body)
            assert (parsed.args, parsed.flags["URLENCODED_ERROR"]) == (
                parse_arguments(body)[0],
                min(parse_arguments(body)[1], 1),
            )


def test_cookies_behind_the_limit_stay_in_the_last_value() -> None:
    assert parse_cookies(b"a=1; b=2; c=3", 3) == [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")]
    assert parse_cookies(b"a=1; b=2; c=3; d=4", 3) == [(b"a", b"1"), (b"b", b"2"), (b"c", b"3; d=4")]
    assert len(parse_cookies(b"a;" * 30_000)) == COOKIES_LIMIT


def test_an_empty_body_is_empty_for_every_processor() -> None:
    for name in PROCESSORS:
        parsed, _ = run(name, b"")
        assert (parsed.processor, parsed.args, parsed.error, parsed.partly) == (name, [], b"", None)
        assert not any(parsed.flags.values())


# (processor, body, at least so many interruptions, word of the limit or None)
HOSTILE = [
    ("URLENCODED", b"a=1&" * 100_000, 1, "arguments-limit"),
    ("URLENCODED", b"a=" + b"%41" * 200_000, 9, None),
    ("URLENCODED", b"a=" + b"%" * 300_000, 4, None),
    ("JSON", b"[" * 131_072, 0, "json-depth-limit"),
    ("JSON", b"[" * 60_000, 1, "json-depth-limit"),
    ("JSON", b'{"a":' * 30_000, 0, "json-depth-limit"),
    ("JSON", b"[" + b"[]," * 43_000 + b"1]", 1, "arguments-limit"),
    ("JSON", b'{"%s":' % (b"k" * 60_000) + b"[" + b"1," * 30_000, 0, "json-names-limit"),
    ("MULTIPART", FIELD * 10_000 + CLOSED, 1, "multipart-parts-limit"),
    ("MULTIPART", b"--XX\r\nA: b\r\n" + b" folded\r\n" * 50_000, 0, "part-headers-limit"),
    ("MULTIPART", b"--XX\n" * 100_000, 1, "multipart-parts-limit"),
    ("XML", b"<a>" * 40_000, 0, "xml-depth-limit"),
    ("XML", b"<r>" + b"<a/>" * 30_000 + b"</r>", 1, "xml-nodes-limit"),
    ("XML", b"<a x='" + b"v" * 500_000 + b"'/>", 5, None),
]


@pytest.mark.parametrize(("name", "body", "least", "word"), HOSTILE)
def test_hostile_bodies_end_in_bounded_steps(name: str, body: bytes, least: int, word: str | None) -> None:
    parsed, count = run(name, body, Limits())
    assert parsed.partly == word
    assert count >= least
    assert len(parsed.args) <= Limits().arguments
    assert sum(len(key) for key, _ in parsed.args) <= Limits().json_names_bytes


def test_long_bodies_are_interrupted_often_enough() -> None:
    unlimited = Limits(arguments=10**6, multipart_parts=10**6, xml_nodes=10**6)
    count = 5000
    assert run("URLENCODED", b"a=1&" * count, unlimited)[1] >= count // STEP_VALUES - 1
    assert run("URLENCODED", b"a=" + b"x%41" * 50_000, unlimited)[1] >= 200_000 // STEP_BYTES
    assert run("JSON", b"[" + b"1," * count + b"1]", unlimited)[1] >= count // STEP_VALUES
    assert run("JSON", b"[" + b"1," * count * 10 + b"1]", unlimited)[1] >= count * 10 // STEP_VALUES
    assert run("MULTIPART", FIELD * count + CLOSED, unlimited)[1] >= count // STEP_PARTS
    assert run("XML", b"<r>" + b"<a/>" * count + b"</r>", unlimited)[1] >= count // 1500


LAUGHS = b"".join(b'<!ENTITY e%d "%s">' % (n, b"&e%d;" % (n - 1) * 10) for n in range(1, 9))


@pytest.mark.parametrize(
    "body",
    [
        b'<!DOCTYPE r [<!ENTITY e0 "ha">' + LAUGHS + b"]><r>&e8;</r>",
        b'<!DOCTYPE r [<!ENTITY e0 "ha">' + LAUGHS + b"]><r a='&e8;'/>",
        b'<!DOCTYPE r [<!ENTITY e0 "ha">' + LAUGHS + b'<!ATTLIST r a CDATA "&e8;">]><r/>',
        b'<!DOCTYPE r [<!ENTITY x "' + b"A" * 60_000 + b'">]><r>' + b"&x;" * 20_000 + b"</r>",
    ],
    ids=["content", "attribute", "default", "quadratic"],
)
def test_entities_are_never_expanded(body: bytes) -> None:
    parsed, _ = run("XML", body, Limits())
    assert parsed.flags["XML_ENTITY_DECLARATION"] == 1
    assert parsed.error.endswith(b"Entity declaration refused.")
    assert sum(map(len, parsed.xml_text)) <= len(body)
    assert body.endswith(parsed.xml_text[-1])


def test_attribute_defaults_are_not_repeated() -> None:
    body = b'<!DOCTYPE r [<!ATTLIST a b CDATA "%s">]><r>%s</r>' % (b"A" * 60_000, b"<a/>" * 4000)
    parsed, _ = run("XML", body, Limits())
    assert parsed.xml_attributes == [b"A" * 60_000]


def test_a_huge_boundary_is_searched_once() -> None:
    boundary = b"B" * 60_000
    body = FIELD.replace(b"XX", boundary) * 3 + (b"\n--" + boundary[:-1]) * 20
    parsed, _ = run("MULTIPART", body, Limits(), b"multipart/form-data; boundary=" + boundary)
    assert [name for name, _ in parsed.args] == [b"a", b"a", b"a"]
    assert parsed.error.endswith(b"Final boundary missing.")


# (lines between the part and its end, the end, MULTIPART_UNMATCHED_BOUNDARY)
DASHES = [
    (b"v", CLOSED, 0),
    (b"-----BEGIN KEY-----", CLOSED, 2),
    (b"x\r\n--YY\r\ny", CLOSED, 2),
    (b"x\r\n--YY--", b"", 1),
    (b"x -- y", b"", 0),
]


@pytest.mark.parametrize(("content", "end", "expected"), DASHES)
def test_dashed_lines_count_by_whether_the_body_is_closed(content: bytes, end: bytes, expected: int) -> None:
    body = b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + content + b"\r\n" + end
    parsed, _ = run("MULTIPART", body, Limits())
    assert parsed.flags["MULTIPART_UNMATCHED_BOUNDARY"] == expected


def test_part_headers_come_under_the_name_of_their_part() -> None:
    body = (
        b"--XX\r\nContent-Type: text/plain; charset=utf-7\r\nContent-Disposition: form-data;\r\n\tname=a\r\n\r\n1\r\n"
        b'--XX\r\nContent-Disposition: form-data; name="_charset_"\r\nContent-Type: a\r\nContent-Type: b\r\n\r\n2\r\n'
        b"--XX\r\nX-Broken\r\n\r\n3\r\n--XX--"
    )
    parsed, _ = run("MULTIPART", body, Limits())
    assert parsed.part_headers == [
        (b"a", b"Content-Type: text/plain; charset=utf-7"),
        (b"a", b"Content-Disposition: form-data; name=a"),
        (b"_charset_", b'Content-Disposition: form-data; name="_charset_"'),
        (b"_charset_", b"Content-Type: a"),
        (b"_charset_", b"Content-Type: b"),
        (b"", b"X-Broken"),
    ]
    assert parsed.multipart_names == [b"a", b"_charset_"]


def test_nesting_goes_one_level_and_shares_the_limits() -> None:
    def nest(boundary: bytes, name: bytes, inner_boundary: bytes, inner: bytes) -> bytes:
        kind = b"Content-Type: multipart/mixed; boundary=" + inner_boundary
        head = b"--%s\r\nContent-Disposition: form-data; name=%s\r\n%s" % (boundary, name, kind)
        return b"%s\r\n\r\n%s\r\n--%s--" % (head, inner, boundary)

    deepest = FIELD.replace(b"XX", b"ZZ") + b"--ZZ--"
    parsed, _ = run("MULTIPART", nest(b"XX", b"outer", b"YY", nest(b"YY", b"inner", b"ZZ", deepest)), Limits())
    assert [name for name, _ in parsed.args] == [b"outer", b"inner"]
    assert parsed.args[1][1] == deepest
    parsed, _ = run("MULTIPART", nest(b"XX", b"outer", b"YY", FIELD.replace(b"XX", b"YY") * 5 + b"--YY--"))
    assert parsed.partly == "multipart-parts-limit"
    assert [value for _, value in parsed.args][1:] == [b"v"] * 2
    body = nest(b"XX", b"outer", b"YY", FIELD.replace(b"XX", b"YY") + b"--YY--").removesuffix(b"--XX--")
    limits = replace(STRICT, arguments=9, multipart_parts=4)  # the nested final delimiter counts
    assert run("MULTIPART", body + FIELD + CLOSED, limits)[0].partly is None
    assert run("MULTIPART", body + FIELD * 2 + CLOSED, limits)[0].partly == "multipart-parts-limit"
