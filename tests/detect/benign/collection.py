"""The benign collection: 38,100 requests of many kinds out of a seed, by group. No text is from a test collection."""

from __future__ import annotations

import base64
import gzip
import json
import random
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlencode
from xml.sax.saxutils import escape

from tests.bench.traffic import FORM, JSON, Sent
from tests.detect.benign import passages as text
from tests.detect.benign.sites import SITES
from tests.detect.placing import HEADERS, post

SEED = "benign"

Make = Callable[[random.Random], Sent]


def _token(
    r: random.Random, size: int, alphabet: str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
) -> str:
    return "".join(r.choices(alphabet, k=size))


def _field(r: random.Random) -> str:
    return r.choice(("q", "text", "comment", "message", "title", "note", "description", "body", "answer"))


def _carry(r: random.Random, value: str) -> Sent:
    """A text in the field of a form, of JSON, of multipart or of a query."""
    name, sort = _field(r), r.randrange(5)
    if sort == 0 and len(value) < 800:
        return Sent("GET", f"/{text.noun(r)}?{urlencode({name: value, 'page': r.randrange(50)})}", HEADERS)
    if sort in (0, 1):
        return post("/posts", FORM, urlencode({"id": r.randrange(10**5), name: value, "go": "Send"}).encode())
    if sort == 2:
        body = f'--B7x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n--B7x--\r\n'
        return post("/posts", "multipart/form-data; boundary=B7x", body.encode())
    document = {"id": r.randrange(10**6), name: value, "tags": [text.noun(r), text.noun(r)], "draft": r.random() < 0.5}
    return _json(r, document)


def _json(r: random.Random, document: Any, target: str = "/api/posts") -> Sent:
    return post(target, JSON, json.dumps(document, ensure_ascii=r.random() < 0.5).encode())


def _languages(r: random.Random) -> Sent:
    return _carry(r, " ".join(text.foreign(r) for _ in range(r.randrange(1, 5))))


def _names(r: random.Random) -> Sent:
    fields = {"first": text.name(r), "company": text.name(r), "city": text.noun(r).title(), "ref": _token(r, 6)}
    if r.random() < 0.5:
        return Sent("GET", f"/people?{urlencode(fields)}", HEADERS)
    return post(
        "/people",
        FORM,
        urlencode({**fields, "street": f"{r.randrange(200)} O'Connell St. #{r.randrange(40)}"}).encode(),
    )


def _prose(r: random.Random) -> Sent:
    return _carry(r, r.choice((text.english, text.paragraphs))(r))


def _documentation(r: random.Random) -> Sent:
    return _carry(r, "\n\n".join(text.documentation(r) for _ in range(r.randrange(1, 5))))


def _forum(r: random.Random) -> Sent:
    return _carry(
        r, "\n".join(r.choice((text.forum, text.english))(r) for _ in range(r.randrange(1, 4))) + "\n" + text.forum(r)
    )


def _chat(r: random.Random) -> Sent:
    turns = [{"role": "system", "content": text.lines("chat")[0]}]
    for _ in range(r.randrange(1, 4)):
        turns += [{"role": "user", "content": text.chat(r)}, {"role": "assistant", "content": text.english(r)}]
    document = {"model": f"m-{r.randrange(9)}", "messages": turns, "temperature": 0.7, "stream": True}
    return _json(r, document, "/v1/chat/completions")


def _searches(r: random.Random) -> Sent:
    query = r.choice(
        (
            f'title="{text.noun(r)}" && kind="{text.noun(r)}"',
            f'project = "{text.noun(r).upper()}" AND status in (Open, "In Progress") ORDER BY created DESC',
            f"is:open label:{text.noun(r)} -author:{text.noun(r)} sort:updated-desc",
            f'"{text.noun(r)} {text.noun(r)}" OR {text.noun(r)} -{text.noun(r)}',
            f"status:>=500 and (path:/{text.noun(r)}/* or host:{text.noun(r)}.example)",
            f'{{job="{text.noun(r)}"}} |= "error" != "timeout" | json | level="warn"',
            f'sum(rate(http_requests_total{{code=~"5.."}}[5m])) by (job) > {r.randrange(10)}',
            f"/{text.noun(r)}(s|es)?\\b.*/i",
            f"{text.noun(r)} {r.randrange(20)}' x {r.randrange(20)}\" under ${r.randrange(200)}",
            f"what's the best {text.noun(r)} for a {text.noun(r)}? (2nd hand or new)",
            f"{text.noun(r)}* AND (price:[{r.randrange(10)} TO {r.randrange(10, 99)}] OR sale:true)",
            f"=SUM(A{r.randrange(9)}:A{r.randrange(10, 99)})*1.19",
            f"{r.randrange(99)}*{r.randrange(99)}+{r.randrange(9)}",
            f"site:{text.noun(r)}.example filetype:pdf {text.noun(r)}",
        )
    )
    return Sent("GET", f"/search?{urlencode({'q': query, 'page': r.randrange(1, 30)})}", HEADERS)


def _cookies(r: random.Random) -> Sent:
    def id_of(size: int) -> str:
        return _token(r, size)

    digits = "0123456789"
    claims = (
        base64.urlsafe_b64encode(json.dumps({"sub": text.name(r), "n": r.randrange(99)}).encode()).decode().rstrip("=")
    )
    pairs = {
        "_ga": f"GA1.2.{_token(r, 9, digits)}.{_token(r, 10, digits)}",
        "_gid": f"GA1.2.{_token(r, 9, digits)}.{_token(r, 10, digits)}",
        "consent": quote(json.dumps({"v": 2, "stats": True, "ads": False, "ts": r.randrange(10**9)})),
        "prefs": f"lang=en|tz=+01:00|cols=id,name,price|theme='{text.noun(r)}'",
        "last": quote(f"/{text.noun(r)}?q={text.noun(r)}&sort=a,b;c"),
        "jwt": f"eyJhbGciOiJIUzI1NiJ9.{claims}.{id_of(43)}",
        "sess": f"s%3A{id_of(32)}.{quote(id_of(42) + '+/=')}",
        "vis": f"{r.randrange(10**9)}!{id_of(8)}~{id_of(6)}|{id_of(4)}&{r.randrange(99)}",
        "ab": base64.b64encode(json.dumps({"exp": [{"id": r.randrange(99), "arm": text.noun(r)}]}).encode()).decode(),
        "trk": f'"{id_of(12)}:{r.randrange(10**6)}"',
        "OptanonConsent": f"isGpcEnabled=0&datestamp=Mon+Nov+23+2026&version=6.{r.randrange(40)}&groups=C0001%3A1",
        "geo": f"{text.noun(r)};{r.randrange(90)}.{r.randrange(9999)};-{r.randrange(90)}.{r.randrange(9999)}",
    }
    chosen = r.sample(sorted(pairs.items()), r.randrange(3, 9))
    return Sent(
        "GET", f"/{text.noun(r)}/{text.noun(r)}", (*HEADERS, ("cookie", "; ".join(f"{n}={v}" for n, v in chosen)))
    )


AGENTS = (
    "Mozilla/5.0 (Linux; Android 14; SM-S911B; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 "
    "Chrome/126.0.0.0 Mobile Safari/537.36 [FBAN/EMA;FBLC/de_DE;FBAV/410.0.0.1.2;]",
    "Dalvik/2.1.0 (Linux; U; Android 11; M2004J19C Build/RP1A.200720.011)",
    "okhttp/4.12.0",
    "Shop/5.2.1 (iPhone; iOS 17.5; Scale/3.00)",
    "python-requests/2.32.3",
    "curl/8.6.0",
    "Mozilla/5.0 (compatible; SomeBot/2.1; +https://bot.example/info.html)",
    "Java/17.0.9 (Eclipse Adoptium; x86_64; 'LTS')",
)


def _headers(r: random.Random) -> Sent:
    more = {
        "user-agent": r.choice(AGENTS),
        "referer": f"https://www.{text.noun(r)}.example/search?{urlencode({'q': text.english(r)[:80], 'oq': 1})}",
        "if-none-match": f'W/"{_token(r, 16)}"',
        "x-forwarded-for": f"203.0.113.{r.randrange(255)}, 10.1.{r.randrange(255)}.{r.randrange(255)}",
        "x-request-id": _token(r, 20),
        "traceparent": f"00-{_token(r, 32, '0123456789abcdef')}-{_token(r, 16, '0123456789abcdef')}-01",
        "baggage": f"userTier=gold,team={text.noun(r)};prop=1,note={quote(text.english(r)[:30])}",
        "authorization": f"Bearer {_token(r, 60)}",
        "sec-ch-ua": '"Not/A)Brand";v="8", "Chromium";v="126", "Google Chrome";v="126"',
        "cache-control": "max-age=0, no-cache",
        "x-client-data": base64.b64encode(r.randbytes(24)).decode(),
        "link": f'<https://api.example/items?page={r.randrange(9)}>; rel="next"',
        "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
        "x-note": quote(text.foreign(r)),
    }
    chosen = dict(r.sample(sorted(more.items()), r.randrange(5, 10)))
    kept = tuple(header for header in HEADERS if header[0] not in chosen)
    return Sent("GET", f"/{text.noun(r)}?utm_source={text.noun(r)}&gclid={_token(r, 40)}", (*kept, *chosen.items()))


def _uploads(r: random.Random) -> Sent:
    name = r.choice(
        (
            f"{text.noun(r)} (1).pdf",
            f"O'{text.noun(r).title()} & Co; offer.docx",
            "Größe_µ.png",
            "写真.jpg",
            f"a..b.{text.noun(r)}.txt",
            "résumé [final].odt",
        )
    )
    content = r.choice(
        (
            r.randbytes(400),
            gzip.compress(text.paragraphs(r).encode(), mtime=0),
            b"\x89PNG\r\n\x1a\n" + r.randbytes(300),
            text.paragraphs(r).encode(),
            b"%PDF-1.7\n" + r.randbytes(300),
        )
    )
    if b"--B7x" in content:
        content = b"x"
    parts = (
        f'--B7x\r\nContent-Disposition: form-data; name="title"\r\n\r\n{text.english(r)}\r\n'
        f'--B7x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    return post("/upload", "multipart/form-data; boundary=B7x", parts + content + b"\r\n--B7x--\r\n")


def _documents(r: random.Random) -> Sent:
    """XML and feeds."""
    items = "".join(
        f"<item id='{r.randrange(999)}'><title>{escape(text.english(r))}</title><by>{escape(text.name(r))}</by></item>"
        for _ in range(r.randrange(1, 5))
    )
    head = r.choice(("", '<?xml version="1.0" encoding="UTF-8"?>', '<?xml version="1.0"?>\n<!DOCTYPE feed>\n'))
    body = r.choice(
        (
            f"<feed>{items}</feed>",
            f'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{items}</s:Body></s:Envelope>',
            f"<feed><![CDATA[{text.documentation(r)}]]>{items}</feed>",
        )
    )
    return post(
        "/feed",
        r.choice(("application/xml", "text/xml; charset=utf-8", "application/soap+xml")),
        (head + body).encode(),
    )


def _links(r: random.Random) -> Sent:
    """URLs as values: redirects, images, sign-in."""
    urls = (
        f"https://{text.noun(r)}.example/{text.noun(r)}/{text.noun(r)}.html?a={r.randrange(99)}&b={quote(text.english(r)[:30])}#top",
        f"/{text.noun(r)}/../{text.noun(r)}?next=%2Fhome",
        f"http://localhost:{r.randrange(3000, 9000)}/callback?code={_token(r, 20)}",
        f"//cdn.example/{_token(r, 8)}.js",
        f"mailto:{text.noun(r)}@{text.noun(r)}.example?subject=It%27s%20me",
        f"com.example.app://oauth?state={_token(r, 12)}",
        f"https://user@{text.noun(r)}.example:8443/{quote(text.foreign(r)[:20])}",
        f"https://maps.example/@{r.randrange(89)}.{r.randrange(9999)},-{r.randrange(89)}.{r.randrange(9999)},15z/data=!3m1!4b1",
        f"s3://{text.noun(r)}/{text.noun(r)}/{_token(r, 6)}.parquet",
    )
    fields = {
        "redirect_uri": r.choice(urls),
        "url": r.choice(urls),
        "state": _token(r, 16),
        "scope": "openid profile email",
    }
    if r.random() < 0.5:
        return Sent("GET", f"/oauth/authorize?{urlencode(fields)}", HEADERS)
    return post("/links", FORM, urlencode(fields).encode())


def _passwords(r: random.Random) -> Sent:
    signs = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789!#$%&()*+,-./:;<=>?@[]^_{|}~'\"\\`"
    fields = {
        "user": f"{text.noun(r)}@{text.noun(r)}.example",
        "password": _token(r, r.randrange(8, 40), signs),
        "csrf": _token(r, 32),
    }
    if r.random() < 0.5:
        return _json(r, fields, "/login")
    return post("/login", FORM, urlencode(fields).encode())


def _editor(r: random.Random) -> Sent:
    """What an editor sends: prose with formatting tags."""
    value = "".join(
        f'<p>{escape(text.english(r))} <strong>{text.noun(r)}</strong> <a href="https://{text.noun(r)}.example/?a=1&amp;b=2">{text.noun(r)}</a><br></p>'
        for _ in range(r.randrange(1, 4))
    )
    return _carry(r, value)


# --- shapes of APIs ---------------------------------------------------------------------------------------


def _api_json(r: random.Random) -> Sent:
    document: dict[str, Any] = {
        "filters": {
            "price": {"gte": r.randrange(10), "lte": r.randrange(10, 99)},
            "$or": [{"city": text.noun(r)}, {"kind": text.noun(r)}],
        }
        if r.random() < 0.2
        else {"price": [r.randrange(10), None], "city": text.noun(r)},
        "sort": [{"field": "name", "order": "asc"}],
        "items": [
            {
                "sku": f"{text.noun(r)}-{r.randrange(999)}",
                "count": r.randrange(9),
                "note": text.english(r),
                "by": text.name(r),
            }
            for _ in range(r.randrange(1, 6))
        ],
        "meta": {"a.b": 1, "x-y": "1.0", "@type": "Order", "$schema": "https://json-schema.example/draft/order#"},
        "at": f"2026-11-{r.randrange(10, 29)}T10:00:00Z",
    }
    if "$or" in document["filters"]:
        document["filters"].pop("$or")
    method = r.choice(("POST", "PUT", "PATCH"))
    kind = r.choice(
        (
            JSON,
            "application/json; charset=utf-8",
            "application/vnd.api+json",
            "application/problem+json",
            "application/merge-patch+json",
        )
    )
    return post(
        f"/api/v2/orders/{r.randrange(9999)}",
        kind,
        json.dumps(document, ensure_ascii=r.random() < 0.5).encode(),
        method,
    )


def _json_patch(r: random.Random) -> Sent:
    steps = [
        {
            "op": r.choice(("replace", "add", "test")),
            "path": f"/{text.noun(r)}/0/{text.noun(r)}",
            "value": text.name(r),
        },
        {"op": "remove", "path": "/a~1b"},
    ]
    return post(f"/api/items/{r.randrange(999)}", "application/json-patch+json", json.dumps(steps).encode(), "PATCH")


def _methods(r: random.Random) -> Sent:
    target = f"/api/items/{r.randrange(9999)}/{text.noun(r)}"
    sort = r.randrange(5)
    if sort == 0:
        return Sent("DELETE", f"{target}?force=true", HEADERS)
    if sort == 1:
        return Sent(
            "OPTIONS",
            target,
            (
                *HEADERS,
                ("origin", "https://app.example"),
                ("access-control-request-method", "PUT"),
                ("access-control-request-headers", "content-type,x-csrf-token"),
            ),
        )
    if sort == 2:
        return post(target, FORM, urlencode({"name": text.name(r), "note": text.english(r)}).encode(), "PUT")
    if sort == 3:
        return post(target, JSON, json.dumps({"name": text.name(r)}).encode(), "PATCH")
    return Sent("HEAD", target, HEADERS)


def _graphql(r: random.Random) -> Sent:
    variables = {
        "id": _token(r, 12),
        "first": r.randrange(50),
        "q": text.english(r)[:60],
        "input": {"name": text.name(r), "tags": [text.noun(r)]},
        "slug": text.noun(r),
        "after": None,
        "room": str(r.randrange(99)),
        "count": 1,
    }
    document = {
        "operationName": None,
        "query": r.choice(text.blocks("graphql")),
        "variables": variables,
        "extensions": {"persistedQuery": {"version": 1, "sha256Hash": _token(r, 64, "0123456789abcdef")}},
    }
    if r.random() < 0.2:
        return Sent(
            "GET", f"/graphql?{urlencode({'query': document['query'], 'variables': json.dumps(variables)})}", HEADERS
        )
    if r.random() < 0.1:
        return post("/graphql", "application/graphql", r.choice(text.blocks("graphql")).encode())
    return _json(r, document, "/graphql")


def _odata(r: random.Random) -> Sent:
    path, _, query = text.vary(r.choice(text.lines("odata")), r).partition("?")
    return Sent("GET", f"{quote(path, safe='/()' + chr(39))}?{quote(query, safe='$=&(),' + chr(39))}", HEADERS)


def _data_uris(r: random.Random) -> Sent:
    image = base64.b64encode(
        r.choice((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"RIFF")) + r.randbytes(r.randrange(50, 900))
    ).decode()
    value = f"data:image/{r.choice(('png', 'jpeg', 'gif', 'webp'))};base64,{image}"
    document = {"name": text.name(r), "avatar": value, "raw": base64.b64encode(r.randbytes(60)).decode()}
    return (
        _json(r, document, "/api/profile") if r.random() < 0.7 else post("/profile", FORM, urlencode(document).encode())
    )


def _structures(r: random.Random) -> Sent:
    """JSON in a string, JSON in a query, brackets in names, NDJSON, CSV."""
    sort = r.randrange(5)
    inner = json.dumps({"a": text.english(r), "b": [1, {"c": text.name(r)}]})
    if sort == 0:
        return Sent(
            "GET",
            f"/api/list?{urlencode({'filter': inner, 'range': '[0,24]', 'sort': json.dumps(['id', 'DESC'])})}",
            HEADERS,
        )
    if sort == 1:
        return _json(r, {"event": "click", "payload": inner, "ctx": json.dumps({"x": inner})}, "/api/events")
    if sort == 2:
        fields = {
            "filter[name][contains]": text.noun(r),
            "filter[price][gte]": r.randrange(99),
            "page[size]": 20,
            "items[0][id]": 4,
            "sort": "-created,name",
        }
        return Sent("GET", f"/api/list?{urlencode(fields)}", HEADERS)
    if sort == 3:
        rows = "\n".join(json.dumps({"index": i, "text": text.english(r)}) for i in range(3)) + "\n"
        return post("/api/_bulk", "application/x-ndjson", rows.encode())
    rows = "id;name;note\r\n" + "".join(
        f'{i};"{text.name(r)}";"{text.noun(r)} = {r.randrange(9)}"\r\n' for i in range(4)
    )
    return post("/api/import", "text/csv", rows.encode())


# --- code as text -----------------------------------------------------------------------------------------


def _code(r: random.Random) -> Sent:
    return _carry(r, text.block("code", r))


def _sql(r: random.Random) -> Sent:
    return _carry(r, text.block("sql", r))


def _html(r: random.Random) -> Sent:
    return _carry(r, text.block("html", r))


def _fenced(r: random.Random) -> Sent:
    kind = r.choice(("code", "sql", "html"))
    return _carry(r, f"{text.forum(r)}\n\n```{kind}\n{text.block(kind, r)}\n```\n\n{text.english(r)}")


GROUPS: dict[str, dict[str, tuple[Make, int]]] = {
    "content": {
        "languages": (_languages, 2000),
        "names": (_names, 1200),
        "prose": (_prose, 2500),
        "documentation": (_documentation, 1500),
        "forum": (_forum, 1500),
        "chat": (_chat, 1200),
        "searches": (_searches, 1500),
        "cookies": (_cookies, 1200),
        "headers": (_headers, 1200),
        "uploads": (_uploads, 700),
        "documents": (_documents, 600),
        "links": (_links, 900),
        "passwords": (_passwords, 1000),
        "editor": (_editor, 600),
    },
    "api": {
        "json": (_api_json, 1200),
        "json patch": (_json_patch, 300),
        "methods": (_methods, 800),
        "graphql": (_graphql, 1000),
        "odata": (_odata, 500),
        "data uris": (_data_uris, 600),
        "structures": (_structures, 1000),
    },
    "hard": {
        "code": (_code, 400),
        "sql": (_sql, 400),
        "html": (_html, 300),
        "fenced": (_fenced, 400),
    },
}
"""Sort of traffic → group → (maker, requests). More of the same sorts are in `sites`."""


def collection(share: float = 1.0) -> Iterator[tuple[str, str, Sent]]:
    """(sort, group, request), the same in every run; a share takes the first of each group."""
    for sort, groups in GROUPS.items():
        for group, (make, count) in (groups | SITES[sort]).items():
            r = random.Random(f"{SEED} {group}")
            for _ in range(max(1, int(count * share))):
                yield sort, group, make(r)
