"""A secret planted anywhere that names it never reaches an event or a terminal line."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote_from_bytes

from hypothesis import given
from hypothesis import strategies as st

from extproc.events.line import human
from extproc.events.record import encode
from extproc.model.phase import Phase
from extproc.model.verdict import Coverage, Decision, Match, Mode, Outcome

NAMES = [
    b"password",
    b"passwd",
    b"pwd",
    b"user[pass]",
    b"api-key",
    b"X-Auth-Token",
    b"sessionid",
    b"clientSecret",
    b"otp",
]

Plant = Callable[[bytes, bytes], tuple[str, bytes]]
"""(name, secret) → (variable that holds it, its text)."""


def _percent(text: bytes) -> bytes:
    return b"".join(b"%%%02X" % byte for byte in text)


def _query(name: bytes, secret: bytes) -> bytes:
    return b"/login?user=joe&" + name + b"=" + quote_from_bytes(secret, safe="").encode() + b"&x=1"


def _json(name: bytes, secret: bytes) -> bytes:
    return json.dumps({"user": "joe", "in": [{name.decode(): secret.decode("latin-1")}], "x": 1}).encode()


def _multipart(name: bytes, secret: bytes) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n' % name
    return head + secret + b'\r\n--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n--b--\r\n'


PLANTS: dict[str, Plant] = {
    "argument": lambda name, secret: ("ARGS:" + name.decode(), secret),
    "json argument": lambda name, secret: ("ARGS:json.user." + name.decode(), secret),
    "cookie": lambda _, secret: ("REQUEST_COOKIES:theme", secret),
    "authorization": lambda _, secret: ("REQUEST_HEADERS:authorization", b"Bearer " + secret),
    "basic": lambda _, secret: ("REQUEST_HEADERS:authorization", b"Basic " + base64.b64encode(b"joe:" + secret)),
    "cookie header": lambda name, secret: ("REQUEST_HEADERS:cookie", b"theme=dark; " + name + b"=" + secret),
    "query": lambda name, secret: ("REQUEST_URI", _query(name, secret)),
    "query, encoded name": lambda name, secret: ("QUERY_STRING", _query(_percent(name), secret)),
    "query in a query": lambda name, secret: ("QUERY_STRING", b"next=" + _percent(_query(name, secret))),
    "twice encoded": lambda name, secret: ("QUERY_STRING", b"n=" + _percent(_percent(_query(name, secret)))),
    "json": lambda name, secret: ("REQUEST_BODY", _json(name, secret)),
    "json in json": lambda name, secret: ("REQUEST_BODY", json.dumps([_json(name, secret).decode()]).encode()),
    "json in base64": lambda name, secret: ("ARGS:q", base64.b64encode(_json(name, secret))),
    "xml": lambda _, secret: (
        "REQUEST_BODY",
        b"<a><password>" + quote_from_bytes(secret).encode() + b"</password></a>",
    ),
    "multipart": lambda name, secret: ("REQUEST_BODY", _multipart(name, secret)),
    "multipart, blanks squeezed": lambda name, secret: ("REQUEST_BODY", b" ".join(_multipart(name, secret).split())),
    "header line": lambda name, secret: ("FULL_REQUEST", b"Host: a\r\n" + name + b": " + secret + b"\r\nX: y"),
    "user info": lambda _, secret: ("ARGS:url", b"https://joe:" + quote_from_bytes(secret, safe="").encode() + b"@a/"),
}

# Printable, long enough to be told from chance; the first character keeps it out of the other texts.
secrets = st.text(
    alphabet=st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\"'<>\\&"), min_size=7, max_size=40
).map(lambda text: ("Zq7" + text).encode())
places = st.sampled_from(sorted(PLANTS))
logdata = st.sampled_from(
    [
        lambda match: (
            b"Matched Data: %s found within %s: %s"
            % (match.value[slice(*match.span)], match.variable.encode(), match.value)
        ),
        lambda match: match.value,
        lambda match: match.value[slice(*match.span)],
        lambda _: b"",
    ]
)


@given(place=places, name=st.sampled_from(NAMES), secret=secrets, logged=logdata, data=st.data())
def test_a_planted_secret_is_never_written(
    place: str, name: bytes, secret: bytes, logged: Callable[[Match], bytes], data: st.DataObject
) -> None:
    variable, text = PLANTS[place](name, secret)
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    match = Match(1, Phase.REQUEST_BODY, variable, msg=b"found " + text, value=text, span=(start, end))
    match = replace(match, logdata=logged(match))
    bystander = Match(2, Phase.REQUEST_BODY, "ARGS:q", logdata=b"again: " + secret, value=b"harmless", span=(0, 8))
    decision = Decision(
        time=0.0,
        incident="0123456789abcdef",
        request_id=text.decode(),
        verdict=Outcome.BLOCK,
        mode=Mode.BLOCK,
        would=Outcome.BLOCK,
        coverage=Coverage.INSPECTED,
        coverage_reason=None,
        method=b"GET",
        host=b"a",
        path=text if text.startswith(b"/") else b"/",
        client="192.0.2.1",
        route=f"r {text.decode()}" if ":" in variable else "r",
        phase=Phase.REQUEST_BODY,
        score=5,
        status=403,
        rule_id=1,
        matches=(match, bystander),
        duration_us=1,
    )
    written = json.loads(encode(decision))
    shown = json.dumps(written, ensure_ascii=False) + human(decision)
    for form in (
        secret,
        base64.b64encode(b"joe:" + secret),
        quote_from_bytes(secret, safe="").encode(),
        _percent(secret),
    ):
        assert form.decode() not in shown


@given(st.binary(max_size=300), st.binary(max_size=300), st.text(max_size=40))
def test_any_bytes_give_one_valid_line(path: bytes, value: bytes, variable: str) -> None:
    match = Match(1, Phase.REQUEST_BODY, variable, msg=value, logdata=path, value=value, span=(0, len(value)))
    decision = Decision(
        0.0, "i", "r", Outcome.ALLOW, Mode.MONITOR, Outcome.BLOCK, Coverage.PARTLY, "limit", value, path, path, "c",
        variable, Phase.LOGGING, 0, 200, 0, (match,), 1,
    )  # fmt: skip
    line = encode(decision)
    assert json.loads(line)["rule_ids"] == [1]
    assert line.endswith(b"\n")
    assert all(32 <= byte < 127 for byte in line[:-1])
    assert all(char.isprintable() for char in human(decision))
