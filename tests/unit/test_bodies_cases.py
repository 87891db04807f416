"""The tables of tests/seclang/bodies, put to our parsers and to libmodsecurity alike."""

from __future__ import annotations

import json
import random
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import yaml
from libmodsecurity import ModSecurity, RuleMessage, RulesSet

from extproc.bodies import json_body as json_module
from extproc.bodies.contract import BodySteps, Limits, ParsedBody
from extproc.bodies.cookies import parse_cookies
from extproc.bodies.json_body import json_body
from extproc.bodies.multipart import FLAGS, STRICT_FLAGS, multipart
from extproc.bodies.urlencoded import parse_arguments, urlencoded
from extproc.bodies.xml_body import xml_body

TABLES = Path(__file__).parents[1] / "seclang" / "bodies"
SOUND = 'Content-Disposition: form-data; name="a"'
COMPARED_FLAGS = [name for name in FLAGS if name != "MULTIPART_UNMATCHED_BOUNDARY"]
COLLECTIONS = [
    *("ARGS", "ARGS_NAMES", "REQUEST_COOKIES", "REQUEST_COOKIES_NAMES", "FILES", "FILES_NAMES", "FILES_SIZES"),
    *("REQBODY_ERROR", "XML:/*", "XML://@*", *COMPARED_FLAGS),
]

Pairs = list[tuple[bytes, bytes]]


class Oracle:
    """libmodsecurity, asked for whole collections: each value is appended, in hex, to a variable that is logged."""

    def __init__(self) -> None:
        rules = ["SecRuleEngine On", "SecRequestBodyAccess On"]
        for number, kind in enumerate(("XML", "JSON"), 1):
            rules.append(
                f'SecRule REQUEST_HEADERS:Content-Type "@streq application/{kind.lower()}" '
                f'"id:{number},phase:1,pass,nolog,ctl:requestBodyProcessor={kind}"'
            )
        for index, name in enumerate(COLLECTIONS):
            rule = 100 + 2 * index
            rules.append(
                f'SecRule {name} "@rx ^(.*)$" "id:{rule},phase:2,pass,nolog,t:hexEncode,capture,'
                f"setvar:'tx.v{rule}=%{{tx.v{rule}}}|%{{tx.0}}'\"\n"
                f'SecRule TX:v{rule} "@rx ." "id:{rule + 1},phase:2,pass,log,logdata:\'%{{MATCHED_VAR}}\'"'
            )
        self._rules = RulesSet()
        assert self._rules.load("\n".join(rules)) > 0, self._rules.get_parser_error()
        self._engine = ModSecurity()
        self._engine.set_rule_message_callback(self._note)
        self._seen: dict[str, list[bytes]] = {}

    def close(self) -> None:
        self._engine.set_rule_message_callback(None)

    def _note(self, message: RuleMessage) -> None:
        if message.rule_id >= 100:
            values = message.data.split("|")[1:]
            self._seen[COLLECTIONS[(message.rule_id - 101) // 2]] = [bytes.fromhex(value) for value in values]

    def ask(self, body: bytes, content_type: str, cookie: str | None = None) -> dict[str, list[bytes]]:
        self._seen = {}
        with self._engine.transaction(self._rules) as transaction:
            transaction.process_connection("127.0.0.1", 1, "127.0.0.1", 80)
            transaction.process_uri("/", "POST", "1.1")
            transaction.add_request_header("Host", "localhost")
            transaction.add_request_header("Content-Type", content_type)
            if cookie is not None:
                transaction.add_request_header("Cookie", cookie)
            transaction.process_request_headers()
            if body:
                transaction.append_request_body(body)
            transaction.process_request_body()
        return self._seen

    def pairs(self, names: str, values: str) -> Pairs:
        return sorted(zip(self._seen.get(names, []), self._seen.get(values, []), strict=True))


@pytest.fixture(scope="module")
def oracle() -> Generator[Oracle, None, None]:
    oracle = Oracle()
    yield oracle
    oracle.close()


def cases(table: str) -> list[Any]:
    loaded = yaml.safe_load((TABLES / f"{table}.yaml").read_text(encoding="utf-8"))
    assert len(loaded) > 10
    return [pytest.param(case, id=f"{table}-{number}") for number, case in enumerate(loaded, 1)]


def raw(text: str) -> bytes:
    return str(text).encode("latin-1")


def raw_pairs(pairs: list[list[str]]) -> Pairs:
    return [(raw(name), raw(value)) for name, value in pairs]


def parse(steps: BodySteps) -> ParsedBody:
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


@pytest.mark.parametrize("case", cases("form"))
def test_form(case: dict[str, Any], oracle: Oracle) -> None:
    body, expected = raw(case["body"]), raw_pairs(case["args"])
    parsed = parse(urlencoded(body, b"", Limits()))
    assert parsed.args == expected
    assert parsed.flags == {"URLENCODED_ERROR": case.get("invalid", 0)}
    assert (parsed.error, parsed.partly) == (b"", None)
    pairs, invalid = parse_arguments(body)
    assert (pairs, min(invalid, 1)) == (expected, case.get("invalid", 0))
    oracle.ask(body, "application/x-www-form-urlencoded")
    assert oracle.pairs("ARGS_NAMES", "ARGS") == sorted(expected)


@pytest.mark.parametrize("case", cases("cookie"))
def test_cookie(case: dict[str, Any], oracle: Oracle) -> None:
    expected = raw_pairs(case["pairs"])
    assert parse_cookies(raw(case["header"])) == expected
    if "differs" not in case:
        oracle.ask(b"", "text/plain", cookie=case["header"])
        assert oracle.pairs("REQUEST_COOKIES_NAMES", "REQUEST_COOKIES") == sorted(expected)


@pytest.mark.parametrize("whole_bytes", [65_536, -1], ids=["whole", "tokens"])
@pytest.mark.parametrize("case", cases("json"))
def test_json(case: dict[str, Any], whole_bytes: int, oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_module, "WHOLE_BYTES", whole_bytes)
    body, expected = raw(case["body"]), raw_pairs(case["args"])
    parsed = parse(json_body(body, b"application/json", Limits()))
    assert parsed.args == expected
    assert raw(case.get("error", "")) in parsed.error
    assert bool(parsed.error) == ("error" in case)
    if "differs" not in case:
        answer = oracle.ask(body, "application/json")
        assert oracle.pairs("ARGS_NAMES", "ARGS") == sorted(expected)
        assert (answer.get("REQBODY_ERROR") == [b"1"]) == ("error" in case)


@pytest.mark.parametrize("case", cases("xml"))
def test_xml(case: dict[str, Any], oracle: Oracle) -> None:
    body, attributes = raw(case["body"]), [raw(value) for value in case.get("attributes", [])]
    parsed = parse(xml_body(body, b"application/xml", Limits()))
    text = [raw(value) for value in case["text"]]
    assert (parsed.xml_text, parsed.xml_attributes) == (text, attributes)
    assert raw(case.get("error", "")) in parsed.error
    assert bool(parsed.error) == ("error" in case)
    assert parsed.flags == {
        "XML_ENTITY_DECLARATION": case.get("entity", 0),
        "XML_EXTERNAL_SUBSET": case.get("external", 0),
    }
    if "leaves" in case:
        assert parsed.xml_leaves == raw_pairs(case["leaves"])
    if "differs" not in case:
        answer = oracle.ask(body, "application/xml")
        assert [value for value in answer.get("XML:/*", []) if value] == text
        assert answer.get("XML://@*", []) == attributes
        assert answer["REQBODY_ERROR"] == [b"0"]


@pytest.mark.parametrize("case", cases("multipart"))
def test_multipart(case: dict[str, Any], oracle: Oracle) -> None:
    head = case.get("head", SOUND)
    body = raw(case.get("body", f"--XX\r\n{head}\r\n\r\nv\r\n--XX--\r\n"))
    content_type = case.get("type", "multipart/form-data; boundary=XX")
    parsed = parse(multipart(body, raw(content_type), Limits()))
    args = raw_pairs(case.get("args", []))
    files = [(raw(field), raw(name), size) for field, name, size in case.get("files", [])]
    assert sorted(parsed.args) == sorted(args)
    assert [(file.field, file.name, file.size) for file in parsed.files] == files
    assert raw(case.get("error", "")) in parsed.error
    assert bool(parsed.error) == ("error" in case)
    flags = dict.fromkeys(COMPARED_FLAGS, 0) | {f"MULTIPART_{name}": n for name, n in case.get("flags", {}).items()}
    flags["MULTIPART_SEMICOLON_MISSING"] = flags["MULTIPART_MISSING_SEMICOLON"]
    strict = any(flags[name] for name in STRICT_FLAGS) or "boundary_invalid" in case
    flags["MULTIPART_STRICT_ERROR"] = int(strict)
    assert {name: parsed.flags[name] for name in COMPARED_FLAGS} == flags
    if "differs" in case:
        return
    answer = oracle.ask(body, content_type)
    assert {name: int(answer[name][0] or b"0") for name in COMPARED_FLAGS} == flags
    if "shows_more" not in case:
        # libmodsecurity drops the line breaks inside a value.
        ours = sorted((name, value.replace(b"\r\n", b"").replace(b"\n", b"")) for name, value in args)
        assert oracle.pairs("ARGS_NAMES", "ARGS") == ours
        theirs = zip(answer.get("FILES_NAMES", []), answer.get("FILES", []), answer.get("FILES_SIZES", []), strict=True)
        assert sorted((field, name, int(size)) for field, name, size in theirs) == sorted(files)


def test_random_forms_and_cookies_agree_with_the_oracle(oracle: Oracle) -> None:
    dice = random.Random(5)
    pieces = [b"a", b"b", b"=", b"&", b"%", b"%4", b"%41", b"+", b"%00", b"\xff", b";", b" ", b"%%", b"\r\n", b"x=y"]
    marks = ["a", "b", "=", ";", "; ", '"', ",", "x=y", "a=1; "]
    for _ in range(400):
        body = b"".join(dice.choices(pieces, k=dice.randrange(12)))
        oracle.ask(body, "application/x-www-form-urlencoded")
        assert oracle.pairs("ARGS_NAMES", "ARGS") == sorted(parse_arguments(body)[0]), body
        header = "".join(dice.choices(marks, k=dice.randrange(10)))
        oracle.ask(b"", "text/plain", cookie=header)
        named = sorted(pair for pair in parse_cookies(header.encode()) if pair[0])
        assert oracle.pairs("REQUEST_COOKIES_NAMES", "REQUEST_COOKIES") == named, header


def random_json(dice: random.Random, depth: int) -> str:
    kind = dice.randrange(8 if depth else 5)
    if kind < 2:
        return dice.choice(["null", "true", "false", "0", "-0", "1e400", "12.50", "9" * 30])
    if kind < 5:
        text = dice.choice(["", "a", "é", "\u2028", 'q"\\', "x" * 40, "\U0001f600", "\x00\x1f"])
        return json.dumps(text, ensure_ascii=dice.random() < 0.5)
    count = dice.randrange(1, 4)
    if kind < 7:
        return "{%s}" % ",".join(  # noqa: UP031 - braces
            json.dumps(dice.choice(["", "a", "b", "é\n"])) + ":" + random_json(dice, depth - 1) for _ in range(count)
        )
    return "[" + " , ".join(random_json(dice, depth - 1) for _ in range(count)) + "]"


def test_random_json_agrees_with_the_oracle(oracle: Oracle) -> None:
    dice = random.Random(6)
    tokens = ["{", "}", "[", "]", ",", ":", '"a"', '"b\\u0041"', "1", "-2.5e3", "true", "null", '""', " ", '"x\\n"']
    for number in range(1500):
        is_sound = number % 3 == 0
        text = random_json(dice, 4) if is_sound else "".join(dice.choices(tokens, k=dice.randrange(9)))
        if "[]" in text or "{}" in text or "[ ]" in text or "{ }" in text:
            continue  # an empty container has a name here
        body = text.encode()
        parsed = parse(json_body(body, b"", Limits()))
        answer = oracle.ask(body, "application/json")
        assert oracle.pairs("ARGS_NAMES", "ARGS") == sorted(parsed.args), body
        assert (answer.get("REQBODY_ERROR") == [b"1"]) == bool(parsed.error), body
