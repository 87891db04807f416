"""More of the benign collection: what sites get from machines and browsers besides forms - webhooks, sign-in, beacons,
reports, signed URLs, query languages of APIs - and everyday texts with signs in them."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import string
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

from tests.bench.traffic import FORM, JSON, Sent
from tests.detect.benign import passages as text
from tests.detect.placing import HEADERS, post

Make = Callable[[random.Random], Sent]

_LETTERS = string.ascii_letters + string.digits
_HEX = "0123456789abcdef"


def token(r: random.Random, size: int, alphabet: str = _LETTERS) -> str:
    """Letters and digits."""
    return "".join(r.choices(alphabet, k=size))


def everyday(r: random.Random) -> str:
    """An address, a recipe, a clause, a formula, a complaint."""
    return text.vary(r.choice(text.lines("everyday")), r)


def _stamp(r: random.Random) -> str:
    return f"2026-{r.randrange(1, 13):02}-{r.randrange(1, 29):02}T{r.randrange(24):02}:{r.randrange(60):02}:00.000Z"


def _sealed(document: Any) -> str:
    """JSON in Base64 for URLs, as tokens hold it."""
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def _jwt(r: random.Random) -> str:
    claims = {
        "iss": "https://login.example/",
        "sub": text.name(r),
        "scope": "openid profile",
        "exp": r.randrange(10**9),
    }
    return f"{_sealed({'alg': 'RS256', 'kid': token(r, 8)})}.{_sealed(claims)}.{token(r, 86)}"


def _json(target: str, document: Any, more: dict[str, str] | None = None, kind: str = JSON) -> Sent:
    return post(target, kind, json.dumps(document).encode(), more=tuple((more or {}).items()))


def _get(target: str, fields: dict[str, str], more: dict[str, str] | None = None) -> Sent:
    kept = tuple(header for header in HEADERS if header[0] not in (more or {}))
    return Sent("GET", f"{target}?{urlencode(fields)}", (*kept, *(more or {}).items()))


# --- content ----------------------------------------------------------------------------------------------


def carried(r: random.Random, value: str) -> Sent:
    """In a query, a form, JSON or a multipart field."""
    name = r.choice(("q", "comment", "note", "address", "description", "body", "message"))
    sort = r.randrange(4)
    if sort == 0 and len(value) < 600:
        return _get(f"/{text.noun(r)}", {name: value, "page": str(r.randrange(20))})
    if sort <= 1:
        return post("/posts", FORM, urlencode({"id": str(r.randrange(999)), name: value}).encode())
    if sort == 2:
        return _json("/api/posts", {"id": r.randrange(999), name: value, "tags": [text.noun(r)]})
    body = f'--Zq9\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n--Zq9--\r\n'
    return post("/posts", "multipart/form-data; boundary=Zq9", body.encode())


def _everyday(r: random.Random) -> Sent:
    return carried(r, r.choice(("\n", " ", "\r\n")).join(everyday(r) for _ in range(r.randrange(1, 4))))


def _traces(r: random.Random) -> Sent:
    """A bug report with its stack trace."""
    return carried(r, f"{everyday(r)}\n\n{text.block('traces', r)}")


def _tables(r: random.Random) -> Sent:
    """Rows pasted from a sheet: commas, semicolons or tabs, quotes where a cell needs them."""
    gap = r.choice((",", ";", "\t"))
    rows = [gap.join(("id", "name", "qty", "note", "price"))]
    for number in range(r.randrange(2, 8)):
        note = everyday(r).replace('"', '""')
        rows.append(
            gap.join((str(number), f'"{text.name(r)}"', str(r.randrange(99)), f'"{note}"', f"{r.random():.2f}"))
        )
    value = "\n".join(rows)
    if r.random() < 0.4:
        return post("/import", "text/csv; charset=utf-8", value.encode())
    return carried(r, value)


def _returns(r: random.Random) -> Sent:
    """Where to go back to, with arguments of its own, escaped once more."""
    inner = f"/{text.noun(r)}/{text.noun(r)}?{urlencode({'q': everyday(r)[:60], 'sort': 'price,-date', 'in': 'a|b'})}"
    address = r.choice((inner, f"https://shop.example{inner}#part-{r.randrange(9)}"))
    name = r.choice(("next", "return_to", "redirect", "RelayState", "continue", "r"))
    return _get("/login", {name: address, "hl": "en", "reason": "session expired"})


def _operators(r: random.Random) -> Sent:
    """What people and programs type into search fields."""
    a, b, n = text.noun(r), text.noun(r), r.randrange(1, 99)
    query = r.choice(
        (
            f'intitle:"{a}" -inurl:{b} site:.org',
            f"{a} NEAR/3 {b} AND NOT (used OR broken)",
            f'from:{a} to:me has:attachment larger:{n}M subject:("{b}" OR invoice)',
            f"{a}~2 {b}^4 +price:[{n} TO *] -tag:(old OR new)",
            f'resource.type="{a}" AND severity>=ERROR AND NOT textPayload:"{b}"',
            f"source=/var/log/app.log {a} | stats count by host | sort -count",
            f"repo:{a}/{b} is:pr is:merged merged:>=2026-01-{n % 28 + 1:02}",
            f'assignee = currentUser() AND resolution = Unresolved AND text ~ "{a}\'s {b}"',
            f'@status:error service:{a} (@http.status_code:[500 TO 599] OR "{b} failed")',
            f"^{a}[0-9]{{2,{n}}}(?:-{b})?$",
            f"(?i)\\b({a}|{b})s?\\b",
            f"{a} && !{b} || {n}",
            f"SELECT the best {a} from our {b} range",  # noqa: S608  # a sentence
            f"{n}% {a} or {b}'s",
            f'=IF(A{n}>0,"{a}",B{n}*2)',
            f"{a}/{b}/*.{{js,ts}}",
            f"what is {n}+{n}*2 / (3-1)",
        )
    )
    return _get("/search", {r.choice(("q", "query", "search", "s", "filter")): query, "size": "20", "from": "0"})


def _signed(r: random.Random) -> Sent:
    """Cookies that frameworks sign or seal."""
    user = json.dumps({"id": r.randrange(10**6), "name": text.name(r), "next": f"/{text.noun(r)}?a=1&b=2"})
    sealed = base64.b64encode(user.encode()).decode()
    pairs = {
        "sessionid": f".eJx{token(r, 60)}:1t{token(r, 5)}:{token(r, 43)}",
        "_app_session": quote(f"{base64.b64encode(r.randbytes(60)).decode()}--{token(r, 40, _HEX)}"),
        "connect.sid": f"s%3A{token(r, 32)}.{quote(token(r, 40) + '+/=')}",
        "session": f"{_sealed({'user': text.name(r), '_fresh': True})}.{token(r, 6)}.{token(r, 27)}",
        "laravel_session": quote(
            base64.b64encode(
                json.dumps({"iv": token(r, 16), "value": token(r, 60), "mac": token(r, 64, _HEX), "tag": ""}).encode()
            ).decode()
        ),
        "profile": quote(sealed),
        "auth": _jwt(r),
        "_fbp": f"fb.1.{r.randrange(10**12)}.{r.randrange(10**9)}",
        "_hjSession_12": base64.b64encode(
            json.dumps({"id": token(r, 8), "c": r.randrange(10**9), "s": 0}).encode()
        ).decode(),
        "ajs_user_id": quote(json.dumps(text.name(r))),
        "intercom-id-x": f"{token(r, 8, _HEX)}-{token(r, 4, _HEX)}-{token(r, 12, _HEX)}",
        "utag_main": f"v_id:{token(r, 24, _HEX)}$_sn:3$_se:7$_ss:0$_st:{r.randrange(10**9)}"
        f"$ses_id:{r.randrange(10**9)};exp-session",
        "tz": "Europe%2FBerlin",
        "cart": quote(json.dumps([{"sku": f"{text.noun(r)}-{r.randrange(99)}", "n": 1, "note": everyday(r)[:40]}])),
    }
    chosen = r.sample(sorted(pairs.items()), r.randrange(3, 9))
    return Sent("GET", f"/{text.noun(r)}", (*HEADERS, ("cookie", "; ".join(f"{n}={v}" for n, v in chosen))))


# --- shapes of machines -----------------------------------------------------------------------------------


def _webhooks(r: random.Random) -> Sent:
    a, b = text.noun(r), text.noun(r)
    body: Any
    if r.random() < 0.34:
        body = {
            "ref": f"refs/heads/fix/{a}-{r.randrange(999)}",
            "compare": f"https://git.example/{a}/{b}/compare/{token(r, 12, _HEX)}...{token(r, 12, _HEX)}",
            "repository": {
                "full_name": f"{a}/{b}",
                "archive_url": f"https://api.git.example/repos/{a}/{b}/{{archive_format}}{{/ref}}",
            },
            "commits": [
                {
                    "id": token(r, 40, _HEX),
                    "message": f"{text.english(r)}\n\nSigned-off-by: {text.name(r)} <{a}@mail.example>",
                    "added": [f"src/{a}/../{b}.c", ".github/workflows/ci.yml"],
                    "modified": [f"{b}/README.md"],
                }
            ],
        }
        signature = "sha256=" + token(r, 64, _HEX)
        return _json("/hooks/git", body, {"x-hub-signature-256": signature, "x-github-event": "push"})
    if r.random() < 0.5:
        body = {
            "id": f"evt_{token(r, 24)}",
            "object": "event",
            "data": {
                "object": {
                    "id": f"pi_{token(r, 24)}",
                    "amount": r.randrange(10**5),
                    "description": everyday(r),
                    "metadata": {"order_id": str(r.randrange(999)), "note": text.english(r)},
                    "charges": {"url": f"/v1/charges?payment_intent=pi_{token(r, 24)}"},
                }
            },
            "type": "payment_intent.succeeded",
        }
        return _json("/hooks/pay", body, {"stripe-signature": f"t={r.randrange(10**9)},v1={token(r, 64, _HEX)}"})
    body = {
        "type": "event_callback",
        "event": {
            "type": "message",
            "text": f"<@U{token(r, 8).upper()}> {text.english(r)} &lt;3 see "
            f"<https://{a}.example/?q={b}|the {a}> `{b} --help`",
            "blocks": [{"type": "rich_text", "elements": [{"type": "text", "text": everyday(r)}]}],
            "ts": f"{r.randrange(10**9)}.{r.randrange(10**6):06}",
        },
    }
    if r.random() < 0.5:
        return post(
            "/hooks/chat", FORM, urlencode({"payload": json.dumps(body), "command": f"/{a}", "text": b}).encode()
        )
    return _json("/hooks/chat", body)


def _sign_in(r: random.Random) -> Sent:
    """OAuth, OpenID Connect and SAML."""
    sort = r.randrange(4)
    if sort == 0:
        fields = {
            "response_type": "code id_token",
            "client_id": token(r, 20),
            "redirect_uri": f"https://app.example/cb?tenant={text.noun(r)}",
            "scope": "openid email offline_access https://api.example/.default",
            "state": _sealed({"return": f"/{text.noun(r)}?x=1", "csrf": token(r, 16)}),
            "nonce": token(r, 22),
            "code_challenge": token(r, 43, _LETTERS + "-_"),
            "claims": json.dumps(
                {"id_token": {"acr": {"essential": True, "values": ["urn:mace:incommon:iap:silver"]}}}
            ),
        }
        return _get("/authorize", fields)
    if sort == 1:
        fields = {
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": _jwt(r),
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        }
        basic = base64.b64encode(f"{text.noun(r)}:{token(r, 20)}".encode()).decode()
        return post("/token", FORM, urlencode(fields).encode(), more=(("authorization", f"Basic {basic}"),))
    document = (
        f'<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="_{token(r, 32, _HEX)}" Version="2.0" '
        f'Destination="https://app.example/acs"><saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">'
        f"https://idp.example/{text.noun(r)}</saml:Issuer><saml:AttributeValue>{text.name(r).replace('&', '&amp;')}"
        "</saml:AttributeValue></samlp:Response>"
    ).encode()
    if sort == 2:
        fields = {
            "SAMLResponse": base64.b64encode(document).decode(),
            "RelayState": f"https://app.example/{text.noun(r)}?a=b",
        }
        return post("/acs", FORM, urlencode(fields).encode())
    packed = base64.b64encode(zlib.compress(document)[2:-4]).decode()
    return _get(
        "/sso",
        {
            "SAMLRequest": packed,
            "SigAlg": "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
            "Signature": token(r, 86),
        },
    )


def _tracing(r: random.Random) -> Sent:
    """Headers of proxies, tracers and clients."""
    more = {
        "traceparent": f"00-{token(r, 32, _HEX)}-{token(r, 16, _HEX)}-01",
        "tracestate": f"dd=s:1;o:rum;t.dm:-4,{text.noun(r)}@nr=0-0-{r.randrange(10**6)}-"
        f"{token(r, 16, _HEX)}----{r.randrange(10**9)}",
        "b3": f"{token(r, 32, _HEX)}-{token(r, 16, _HEX)}-1",
        "uber-trace-id": f"{token(r, 16, _HEX)}:{token(r, 16, _HEX)}:0:1",
        "newrelic": base64.b64encode(
            json.dumps({"v": [0, 1], "d": {"ty": "Browser", "id": token(r, 16)}}).encode()
        ).decode(),
        "x-amzn-trace-id": f"Root=1-{token(r, 8, _HEX)}-{token(r, 24, _HEX)};Self=1-{token(r, 8, _HEX)};Sampled=1",
        "x-cloud-trace-context": f"{token(r, 32, _HEX)}/{r.randrange(10**15)};o=1",
        "sentry-trace": f"{token(r, 32, _HEX)}-{token(r, 16, _HEX)}-0",
        "baggage": f"sentry-release=shop%401.2.{r.randrange(9)},"
        f"sentry-transaction=GET%20%2F{text.noun(r)}%2F%3Aid,x={text.noun(r)};p=1",
        "forwarded": f'for=203.0.113.{r.randrange(255)};proto=https;by="[2001:db8::1]:8080"',
        "via": "1.1 proxy-3.example (squid/5.7), 2 edge",
        "x-forwarded-for": f"203.0.113.{r.randrange(255)}, 198.51.100.7",
        "cf-visitor": '{"scheme":"https"}',
        "x-envoy-peer-metadata": base64.b64encode(r.randbytes(48)).decode(),
        "prefer": 'return=representation; wait=10, odata.include-annotations="*"',
        "sec-ch-ua-full-version-list": '"Not/A)Brand";v="8.0.0.0", "Chromium";v="126.0.6478.61"',
        "dpop": _jwt(r),
        "signature-input": f'sig1=("@method" "@path" "content-digest");created={r.randrange(10**9)};'
        f'keyid="k{r.randrange(9)}"',
        "content-security-policy": "default-src 'self'; img-src * data:; script-src 'self' 'nonce-"
        + token(r, 12)
        + "'",
        "idempotency-key": f'"{token(r, 8, _HEX)}-{token(r, 4, _HEX)}-{token(r, 12, _HEX)}"',
        "grpc-timeout": "20S",
    }
    chosen = dict(r.sample(sorted(more.items()), r.randrange(5, 12)))
    return Sent("GET", f"/api/{text.noun(r)}/{r.randrange(999)}", (*HEADERS, *chosen.items()))


def _beacons(r: random.Random) -> Sent:
    """Analytics, error reports and reports of browsers."""
    sort = r.randrange(5)
    page = f"https://shop.example/{text.noun(r)}/{text.noun(r)}?utm_source=mail&q={quote(everyday(r)[:30])}#top"
    if sort == 0:
        fields = {
            "v": "2",
            "tid": f"G-{token(r, 10)}",
            "dl": page,
            "dt": everyday(r),
            "en": "page_view",
            "sr": "1920x1080",
            "ep.x": f"{text.noun(r)}|{text.noun(r)}",
            "_et": "12",
        }
        return Sent("POST", f"/g/collect?{urlencode(fields)}", HEADERS)
    if sort == 1:
        lines = [
            {
                "event_id": token(r, 32, _HEX),
                "sent_at": _stamp(r),
                "dsn": f"https://{token(r, 32, _HEX)}@errors.example/7",
            },
            {"type": "event"},
            {
                "exception": {
                    "values": [
                        {
                            "type": "TypeError",
                            "value": "Cannot read properties of null (reading 'x')",
                            "stacktrace": {
                                "frames": [
                                    {
                                        "filename": "app:///static/js/main.js",
                                        "function": "Array.map",
                                        "lineno": 7,
                                        "context_line": "  const x = items.map((i) => `${i.id}`);",
                                    }
                                ]
                            },
                        }
                    ]
                },
                "request": {"url": page, "headers": {"User-Agent": HEADERS[1][1]}},
                "breadcrumbs": [
                    {"category": "console", "message": text.block("traces", r)},
                    {"category": "ui.click", "message": 'body > div#root > button.buy[type="submit"]'},
                ],
            },
        ]
        return post("/api/7/envelope/", "application/x-sentry-envelope", "\n".join(map(json.dumps, lines)).encode())
    if sort == 2:
        report = {
            "document-uri": page,
            "violated-directive": "script-src-elem",
            "original-policy": "default-src 'self'; script-src 'self' https://cdn.example 'sha256-"
            + token(r, 43)
            + "='; report-uri /csp",
            "blocked-uri": r.choice(("inline", "eval", "data", "https://ads.example/a.js")),
            "source-file": page,
            "line-number": 7,
            "script-sample": "window.dataLayer = window.dataLay",
        }
        return _json("/csp", {"csp-report": report}, kind="application/csp-report")
    if sort == 3:
        batch = [
            {
                "type": "track",
                "event": "Clicked",
                "properties": {
                    "selector": "#main > ul li:nth-child(2) a[href^='/buy']",
                    "text": everyday(r),
                    "url": page,
                },
                "context": {"userAgent": HEADERS[1][1]},
                "timestamp": _stamp(r),
            }
        ]
        return post(
            "/v1/batch", "text/plain;charset=UTF-8", json.dumps({"batch": batch, "writeKey": token(r, 32)}).encode()
        )
    rows = [
        {
            "age": 12,
            "body": {"phase": "application", "type": "http.error", "status_code": 503, "url": page},
            "type": "network-error",
            "user_agent": HEADERS[1][1],
        }
    ]
    return _json("/nel", rows, kind="application/reports+json")


def _queries(r: random.Random) -> Sent:
    """Query languages of APIs in the query string."""
    a, b, n = text.noun(r), text.noun(r), r.randrange(1, 99)
    sort = r.randrange(7)
    if sort == 0:
        return _get(
            "/odata/Orders",
            {
                "$filter": f"contains(tolower(Name),'{a}') and (Price gt {n}.5 or Rating eq {n % 5}) "
                "and not (Status in ('new','old')) and Owner eq 'O''Neil'",
                "$expand": "Items($select=Id,Name;$orderby=Price desc;$top=3)",
                "$orderby": "Name asc,Price desc",
                "$count": "true",
            },
        )
    if sort == 1:
        return _get(
            "/articles",
            {
                f"filter[{a}][like]": f"*{b}*",
                "filter[or][0][age][gt]": str(n),
                "fields[people]": "name,age",
                "include": "author.comments,tags",
                "page[cursor]": _sealed({"id": n}),
                "sort": "-created,title",
            },
        )
    if sort == 2:
        return _get(
            "/fhir/Observation",
            {
                "code": f"http://loinc.org|{n}04-4",
                "date": f"ge2026-01-{n % 28 + 1:02}",
                "value-quantity": f"gt{n}|http://unitsofmeasure.org|mm[Hg]",
                "_include": "Observation:patient",
                "subject:Patient.name:contains": a,
                "_filter": f'name co "{b}" and birthdate ge 1980-10-10',
            },
        )
    if sort == 3:
        fields = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"AKIA{token(r, 16).upper()}/20261123/eu-west-1/s3/aws4_request",
            "X-Amz-Date": "20261123T100000Z",
            "X-Amz-Expires": "3600",
            "X-Amz-SignedHeaders": "host;x-amz-acl",
            "X-Amz-Signature": token(r, 64, _HEX),
            "response-content-disposition": f"attachment; filename=\"{a} {b}'s.pdf\"; filename*=UTF-8''{a}%20{b}.pdf",
        }
        return _get(f"/bucket/{a}/{b}.pdf", fields)
    if sort == 4:
        return _get(
            "/rest/v1/items",
            {
                "select": f"id,{a}(id,name),total:price.sum()",
                "or": f"(price.gt.{n},and(name.ilike.*{b}*,stock.is.null))",
                "order": "price.desc.nullslast",
                "limit": "10",
            },
        )
    if sort == 5:
        return _get(
            "/solr/select",
            {
                "q": f"{{!edismax qf='title^2 body' mm='2<75%'}}{a} {b}",
                "fq": f"{{!tag=t}}type:({a} OR {b})",
                "facet.query": f"price:[{n} TO *]",
                "fl": "*,score",
                "hl": "true",
            },
        )
    return _get(
        "/api/metrics",
        {
            "query": f"histogram_quantile(0.9{n % 10}, sum by (le) (rate({a}_seconds_bucket"
            f'{{job=~"{b}|api",code!~"5.."}}[5m]))) > 0.{n}',
            "start": "now-1h",
            "step": "15s",
            "scope": f"{{{a}={b}}}",
        },
    )


def _graphs(r: random.Random) -> Sent:
    """GraphQL with fragments, variables and directives; a persisted query."""
    a, b = text.noun(r), text.noun(r)
    document = (
        f"query Find($first: Int! = 10, $where: {a.title()}Filter, $with: Boolean!) {{ "
        f"{a}s(first: $first, where: $where) "
        f"{{ edges {{ node {{ ...Card ... on {b.title()} @include(if: $with) {{ "
        f"{b}(sort: [PRICE_DESC, NAME]) {{ id }} }} }} }} }} }} "
        f"fragment Card on {a.title()} {{ id title: name price(currency: EUR) image(width: 200) {{ url }} }}"
    )
    variables = {
        "first": r.randrange(50),
        "with": True,
        "where": {"AND": [{"name_contains": everyday(r)}, {"price_lt": 9.5}], "OR": [{"by": text.name(r)}]},
    }
    if r.random() < 0.3:
        extensions = {"persistedQuery": {"version": 1, "sha256Hash": hashlib.sha256(document.encode()).hexdigest()}}
        return _get(
            "/graphql",
            {"operationName": "Find", "variables": json.dumps(variables), "extensions": json.dumps(extensions)},
        )
    return _json("/graphql", {"operationName": "Find", "query": document, "variables": variables})


def _heads(r: random.Random) -> Sent:
    """The heads of WebSocket upgrades, gRPC-web calls, ranges and preloads."""
    sort = r.randrange(4)
    if sort == 0:
        more: dict[str, str] = {
            "upgrade": "websocket",
            "connection": "Upgrade",
            "sec-websocket-version": "13",
            "sec-websocket-key": base64.b64encode(r.randbytes(16)).decode(),
            "sec-websocket-extensions": "permessage-deflate; client_max_window_bits",
            "sec-websocket-protocol": f"graphql-transport-ws, Bearer.{token(r, 30)}",
            "origin": "https://app.example",
        }
        return Sent(
            "GET",
            f"/socket.io/?EIO=4&transport=websocket&t={token(r, 7, _LETTERS + '-_')}&sid={token(r, 20)}",
            (*HEADERS, *more.items()),
        )
    if sort == 1:
        more = {
            "x-grpc-web": "1",
            "x-user-agent": "grpc-web-javascript/0.1",
            "grpc-accept-encoding": "identity,deflate,gzip",
        }
        body = base64.b64encode(b"\x00\x00\x00\x00\x10" + r.randbytes(16))
        return post(f"/shop.v1.{text.noun(r).title()}/Get", "application/grpc-web-text", body, more=tuple(more.items()))
    if sort == 2:
        more = {
            "range": f"bytes={r.randrange(10**6)}-",
            "if-range": f'"{token(r, 20, _HEX)}"',
            "accept-encoding": "identity;q=1, *;q=0",
            "priority": "u=3, i",
        }
        return Sent("GET", f"/media/{text.noun(r)}%20%28live%29.mp4?v={r.randrange(99)}", (*HEADERS, *more.items()))
    return _json(
        "/v1/projects/shop/databases/(default)/documents:runQuery",
        {
            "structuredQuery": {
                "from": [{"collectionId": text.noun(r)}],
                "where": {
                    "fieldFilter": {
                        "field": {"fieldPath": "`a-b`"},
                        "op": "ARRAY_CONTAINS",
                        "value": {"stringValue": everyday(r)},
                    }
                },
                "limit": {"value": 5},
            },
            "@type": "type.googleapis.com/google.protobuf.StringValue",
        },
    )


# --- code as text -----------------------------------------------------------------------------------------


def _settings(r: random.Random) -> Sent:
    return carried(r, f"{text.english(r)}\n\n{text.block('settings', r)}")


SITES: dict[str, dict[str, tuple[Make, int]]] = {
    "content": {
        "everyday": (_everyday, 2500),
        "traces": (_traces, 800),
        "tables": (_tables, 600),
        "returns": (_returns, 800),
        "operators": (_operators, 1500),
        "signed cookies": (_signed, 1200),
    },
    "api": {
        "webhooks": (_webhooks, 900),
        "sign-in": (_sign_in, 800),
        "tracing": (_tracing, 800),
        "beacons": (_beacons, 1000),
        "queries": (_queries, 1200),
        "graphs": (_graphs, 600),
        "heads": (_heads, 600),
    },
    "hard": {"settings": (_settings, 300)},
}
"""As `collection.GROUPS`."""
