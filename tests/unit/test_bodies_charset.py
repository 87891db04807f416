"""Charsets and transfer encodings: an attack in each of them is seen by the own rules, or the body is refused."""

from __future__ import annotations

import json
from base64 import b64encode
from binascii import b2a_qp
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest

import extproc
from extproc.bodies.charset import CODECS, CODECS_LIMIT, charsets_of, codecs_of, read_pairs
from extproc.bodies.transfer_encoding import undo
from extproc.engine.inspector import EngineInspector, EngineSettings
from extproc.engine.plan import Plan
from extproc.engine.ruleset import BodySettings
from extproc.model.message import RequestHead
from extproc.model.verdict import Decision, Mode, Outcome
from extproc.replay.http1 import Request
from extproc.replay.run import run_exchange
from extproc.seclang.assemble import Sources, load_ruleset

RULES = Path(extproc.__file__).parent / "rules" / "own.conf"
ATTACK = "' UNION SELECT password FROM users-- -"
HARMLESS = "a cup of tea"
FORM, JSON, XML = "application/x-www-form-urlencoded", "application/json", "application/xml"
MULTIPART = "multipart/form-data; boundary=XX"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan(load_ruleset(Sources((RULES,)), BodySettings(is_type_guessed=True)))


def ask(plan: Plan, body: bytes, content_type: str, path: bytes = b"/p") -> tuple[bool, set[int]]:
    """(blocked?, rules)."""
    last: list[Decision] = []
    inspector = EngineInspector(plan, EngineSettings(mode=Mode.BLOCK), last.append)
    headers = ((b"host", b"shop.example"), (b"content-type", content_type.encode()))
    head = RequestHead(b"POST", path, authority=b"shop.example", headers=headers, is_last=not body)
    run_exchange(inspector, Request(head, body), None)
    return last[0].verdict is Outcome.BLOCK, {match.rule_id for match in last[0].matches}


def part(head: str, content: bytes) -> bytes:
    return b'--XX\r\nContent-Disposition: form-data; name="a"\r\n%s\r\n\r\n%s\r\n--XX--\r\n' % (head.encode(), content)


DRESSES = {
    "form, separators of the charset": lambda text, codec: (f"a=1&q={text}".encode(codec), FORM),
    "form, all escaped": lambda text, codec: (quote_from_bytes(f"a=1&q={text}".encode(codec), "").encode(), FORM),
    "form, names and values escaped": lambda text, codec: (
        b"=".join(quote_from_bytes(one.encode(codec), "").encode() for one in ("q", text)),
        FORM,
    ),
    "json": lambda text, codec: (json.dumps({"a": [text]}).encode(codec), JSON),
    "xml": lambda text, codec: (f"<a><b>{text}</b></a>".encode(codec), XML),
    "text": lambda text, codec: (f"{text} said he".encode(codec), "text/plain"),
    "a json without a label": lambda text, codec: (json.dumps({"a": [text]}).encode(codec), "text/plain"),
    "multipart": lambda text, codec: (part("X-A: b", text.encode(codec)), MULTIPART),
}


@pytest.mark.parametrize("charset", ["ibm037", "IBM500", '"cp1140"', "utf-16le", "utf-16", "UTF-32BE", "utf-7"])
@pytest.mark.parametrize("dress", DRESSES)
def test_an_attack_in_a_charset_is_seen(plan: Plan, dress: str, charset: str) -> None:
    codec = CODECS[charset.strip('"').lower()][-1]
    body, kind = DRESSES[dress](ATTACK, codec)
    is_blocked, rules = ask(plan, body, f"{kind}; charset={charset}")
    assert is_blocked
    assert 7100200 in rules
    body, kind = DRESSES[dress](HARMLESS, codec)
    assert ask(plan, body, f"{kind}; charset={charset}") == (False, set())


def test_the_query_is_read_as_the_label_says_too(plan: Plan) -> None:
    query = quote_from_bytes(ATTACK.encode("cp037"), "").encode()
    assert 7100200 in ask(plan, b"", f"{FORM}; charset=ibm037", b"/p?q=" + query)[1]
    assert ask(plan, b"", FORM, b"/p?q=" + query) == (False, set())


def test_a_name_in_ascii_stays_what_it_is() -> None:
    value, read = "tea".encode("cp037"), b"tea"
    named = read_pairs([(b"q[0]", value), ("name".encode("cp037"), value)], b"a/b; charset=ibm037")
    assert named == [(b"q[0]", read), (b"name", read)]


def test_a_field_names_the_charset_of_all(plan: Plan) -> None:
    body = b"_charset_=ibm037&q=" + quote_from_bytes(ATTACK.encode("cp037"), "").encode()
    assert 7100200 in ask(plan, body, FORM)[1]
    assert ask(plan, b"_charset_=UTF-8&q=tea", FORM) == (False, set())


@pytest.mark.parametrize(
    ("head", "content"),
    [
        ("Content-Transfer-Encoding: base64", b64encode(ATTACK.encode())),
        (
            "content-transfer-encoding: BASE64 ",
            b64encode(ATTACK.encode())[:20] + b"\r\n" + b64encode(ATTACK.encode())[20:],
        ),
        ("Content-Transfer-Encoding: quoted-printable", b2a_qp(ATTACK.encode(), quotetabs=True).replace(b"S", b"=53")),
        ("Content-Type: text/plain; charset=ibm037", ATTACK.encode("cp037")),
        (
            "Content-Type: text/plain; charset=utf-16le\r\nContent-Transfer-Encoding: base64",
            b64encode(ATTACK.encode("utf-16-le")),
        ),
    ],
)
def test_parts_are_read_by_their_headers(plan: Plan, head: str, content: bytes) -> None:
    assert 7100200 in ask(plan, part(head, content), MULTIPART)[1]


def test_an_attack_beside_its_label_is_seen_too(plan: Plan) -> None:
    """The label may lie."""
    for head in ("Content-Transfer-Encoding: quoted-printable", "Content-Type: text/plain; charset=utf-16"):
        assert 7100200 in ask(plan, part(head, ATTACK.encode()), MULTIPART)[1]
    assert 7100200 in ask(plan, b"q=" + quote_from_bytes(ATTACK.encode()).encode(), f"{FORM}; charset=ibm037")[1]


UNREADABLE = [
    (b"q=tea", f"{FORM}; charset=ibm1047"),
    (b"q=tea", f"{FORM}; charset=utf-8; charset=x-odd"),
    (b'{"a": 1}', f"{JSON}; charset=idna"),
    (part("Content-Type: text/plain; charset=ebcdic-int", b"tea"), MULTIPART),
    (part("Content-Transfer-Encoding: x-uuencode", b"tea"), MULTIPART),
    # malformed either way
    (b'{"a": ', f"{JSON}; charset=utf-16"),
    ('{"a": '.encode("cp037"), f"{JSON}; charset=ibm037"),
]


@pytest.mark.parametrize(("body", "kind"), UNREADABLE)
def test_what_cannot_be_read_is_refused(plan: Plan, body: bytes, kind: str) -> None:
    assert ask(plan, body, kind) == (True, {7100104})


SOUND = (
    "utf-8",
    "UTF8",
    '"utf-8"',
    "us-ascii",
    "ISO-8859-1",
    "iso_8859-15",
    "windows-1252",
    "gb2312",
    "Shift_JIS",
    "EUC-JP",
)


@pytest.mark.parametrize("charset", SOUND)
def test_charsets_of_daily_use_are_read_once(plan: Plan, charset: str) -> None:
    assert codecs_of(charsets_of(f"a/b; charset={charset}".encode())[0]) == ()
    assert ask(plan, b"q=tea", f"{FORM}; charset={charset}") == (False, set())


def test_every_codec_is_there_and_turns_ascii_into_something_else() -> None:
    for name, codecs in CODECS.items():
        assert name == name.lower()
        assert "_" not in name
        assert codecs_of(name) == codecs
        for codec in codecs:
            assert ATTACK.encode(codec).decode(codec) == ATTACK


def test_the_first_and_the_last_charset_count() -> None:
    label = b"a/b" + b"".join(b"; charset=x%d" % number for number in range(5))
    assert charsets_of(label) == ["x0", "x4"]
    assert charsets_of(label + b'; charset="X0"') == ["x0"]
    assert charsets_of(b"a/b; charset=; charset=utf-8") == ["utf-8"]
    assert charsets_of(b"a/b") == []


def test_codecs_of_one_body_are_limited() -> None:
    pairs = read_pairs([(b"a", b"b")], b"a/b; charset=utf-16; charset=utf-32")
    assert CODECS_LIMIT == 3
    assert len(pairs) == CODECS_LIMIT


@pytest.mark.parametrize(
    ("encoding", "content", "found"),
    [
        (b"7bit", b"a=41", b"a=41"),
        (b"", b"a=41", b"a=41"),
        (b"Quoted-Printable", b"a=41=\r\nb=", b"aAb"),
        (b"base64", b"YWJj", b"abc"),
        (b"base64", b"Y W\r\nJj*=", b"abc"),
        (b"base64", b"YWJjZ", b"abc"),
        (b"base64", b"", b""),
        (b"uuencode", b"a", None),
    ],
)
def test_transfer_encodings(encoding: bytes, content: bytes, found: bytes | None) -> None:
    assert undo(content, encoding) == found
