"""A policy through a real Envoy: a mode per place, each doing what its name says; lists, limits, answers, shadow rules.

Peers' bugs that must not be ours: block that only detects (bunkerweb#3506, open-appsec#337), learn or monitor that
blocks (open-appsec#67, #139), policies of gateway and route that are not merged (moj/cloud-platform#8376).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.envoy

POLICY = """schema: extproc.policy/1
defaults:
  mode: monitor
  exclusions: [{rules: 1001, variables: ARGS:free, owner: a, reason: b}]
policies:
  block: {match: {path: /block/**}, mode: block}
  off: {match: {path: /off/**}, mode: off}
  safe: {match: {path: /safe/**}, mode: safe-block, ip: {suspicious: [203.0.113.0/24]}}
  suspect: {match: {path: /suspect/**}, mode: safe-block, ip: {suspicious: [127.0.0.0/8]}}
  denied: {match: {path: /denied/**}, mode: block, ip: {deny: [127.0.0.0/8]}}
  watched: {match: {path: /watched/**}, ip: {deny: [127.0.0.0/8]}, body: {limit: 1KiB}}
  allowed: {match: {path: /allowed/**}, mode: block, ip: {allow: [127.0.0.1], deny: [127.0.0.0/8]}}
  proxied: {match: {path: /proxied/**}, mode: block, trusted_proxies: [127.0.0.0/8, OWN], ip: {deny: [203.0.113.0/24]}}
  small: {match: {path: /small/**}, mode: block, body: {limit: 1KiB}}
  pages: {match: {path: /pages/**}, mode: block, block: {status: 429, html: page.html}}
  limited: {match: {path: /limited/**}, mode: block, rate_limit: {requests: 2, per: 1h, by: client}}
  counted: {match: {path: /counted/**}, rate_limit: {requests: 2, per: 1h}}
  named: {mode: block}
  lapsed:
    match: {path: /lapsed/**}
    mode: block
    exclusions: [{rules: 1001, variables: ARGS:q, owner: a, reason: b, expires: 2025-12-31}]
"""

CONFIG = """routes:
- {name: shop, prefix: /by-name, policy: named}
"""

SHADOW = """SecRuleEngine On
SecRule ARGS "@contains subtle" "id:7,phase:2,deny,log,msg:'next'"
"""

FORM = {"content-type": "application/x-www-form-urlencoded"}
ATTACK = "q=%27%20OR%201=1--"


@pytest.fixture(scope="module")
def governed(envoy_binary: Path, shared_pair: Any, app: Any, tools: Any) -> Iterator[Any]:
    app.forget()
    shared_pair.send()
    # For a peer on loopback Envoy writes the address of its machine into X-Forwarded-For.
    own = dict(app.seen()[0]["headers"])["x-forwarded-for"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in (
            ("waf.yaml", POLICY.replace("OWN", own)),
            ("config.yaml", CONFIG),
            ("next.conf", SHADOW),
            ("page.html", "<p>own page ${incident}</p>"),
        ):
            (folder / file).write_text(text)
        flags = ["--config", str(folder / "config.yaml"), "--policy", str(folder / "waf.yaml")]
        pair = tools.start_up(folder, app.port, *flags, "--shadow", str(folder / "next.conf"), "--workers", "1")
        try:
            yield pair.await_start()
        finally:
            pair.stop()


def event_of(pair: Any, tools: Any, answer: Any) -> dict[str, Any]:
    def find() -> Any:
        return [event for event in pair.events if event["request_id"] == answer.headers["x-request-id"]]

    [event] = tools.wait_for(find, 3.0, "event")
    return dict(event)


PLACES: list[tuple[str, int, str, str, str | None]] = [
    # (path, status of an attack, mode, would, source)
    ("/", 200, "monitor", "block", None),
    ("/block/x", 403, "block", "block", None),
    ("/off/x", 200, "off", "allow", None),
    ("/safe/x", 200, "safe-block", "block", None),
    ("/suspect/x", 403, "safe-block", "block", "suspicious"),
    ("/denied/x", 403, "block", "block", "denied"),
    ("/watched/x", 200, "monitor", "block", "denied"),
    ("/allowed/x", 200, "monitor", "block", "allowed"),
    ("/by-name/x", 403, "block", "block", None),
    ("/off/..;/block/x", 403, "block", "block", None),
]


@pytest.mark.parametrize(("path", "status", "mode", "would", "source"), PLACES)
def test_a_mode_means_what_it_says(
    governed: Any, app: Any, tools: Any, path: str, status: int, mode: str, would: str, source: str | None
) -> None:
    app.forget()
    answer = governed.send(path=f"{path}?{ATTACK}")
    event = event_of(governed, tools, answer)
    assert answer.status == status
    assert (event["mode"], event["would"], event["source"]) == (mode, would, source)
    assert event["verdict"] == ("block" if status == 403 else "allow")
    assert event["coverage"] == ("uninspected" if mode == "off" else "inspected")
    assert len(app.seen()) == (status == 200)
    in_body = governed.send(
        "POST", path, body=ATTACK.encode(), headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert in_body.status == status


@pytest.mark.parametrize("path", ["/", "/block/x", "/safe/x", "/suspect/x", "/by-name/x", "/allowed/x", "/lapsed/x"])
def test_harmless_requests_pass_in_every_mode(governed: Any, path: str) -> None:
    assert governed.send(path=f"{path}?q=tea").status == 200
    assert governed.send(path=f"{path}?free=%27%20OR%201=1--").status == 200  # the exclusion of defaults, merged in


def test_a_client_cannot_name_its_policy(governed: Any) -> None:
    assert governed.send(path=f"/block/x?{ATTACK}", headers={"x-waf-policy": "off"}).status == 403
    assert governed.send(path=f"/by-name/x?{ATTACK}", headers={"x-waf-policy": "off"}).status == 403


def test_a_body_beyond_the_limit_of_its_policy(governed: Any, tools: Any) -> None:
    assert governed.send("POST", "/small/x", body=b"a=".ljust(1024, b"b"), headers=FORM).status == 200
    answer = governed.send("POST", "/small/x", body=b"a=".ljust(1025, b"b"), headers=FORM)
    assert (answer.status, event_of(governed, tools, answer)["coverage_reason"]) == (413, "request-body-limit")
    watched = governed.send("POST", "/watched/x", body=b"a=".ljust(1025, b"b"), headers=FORM)
    assert watched.status == 200


def test_the_client_behind_a_trusted_proxy(governed: Any, tools: Any) -> None:
    denied = governed.send(path="/proxied/x", headers={"x-forwarded-for": "1.2.3.4, 203.0.113.9"})
    event = event_of(governed, tools, denied)
    assert (denied.status, event["client"], event["source"]) == (403, "203.0.113.9", "denied")
    forged = governed.send(path="/proxied/x", headers={"x-forwarded-for": "203.0.113.9, 198.51.100.1"})
    assert (forged.status, event_of(governed, tools, forged)["client"]) == (200, "198.51.100.1")
    untrusted = governed.send(path="/x", headers={"x-forwarded-for": "203.0.113.9"})
    assert event_of(governed, tools, untrusted)["client"] == "127.0.0.1"


def test_an_expired_exclusion_lets_through_and_tells(governed: Any, tools: Any) -> None:
    answer = governed.send(path=f"/lapsed/x?{ATTACK}")
    event = event_of(governed, tools, answer)
    assert (answer.status, event["verdict"], event["would"], event["rule_ids"]) == (200, "allow", "block", [1001])
    assert [place.rpartition(":")[2] for place in event["expired_exclusions"]] == ["22"]
    assert "expired on 2025-12-31" in governed.stderr


ANSWERS: list[tuple[dict[str, str], str, str]] = [
    ({"accept": "text/html,*/*;q=0.8"}, "text/html; charset=utf-8", "<p>own page "),
    ({"accept": "application/json"}, "application/problem+json", '"status": 429'),
    ({"accept": "application/vnd.api+json"}, "application/problem+json", '"status": 429'),
    ({"accept": "*/*"}, "text/plain; charset=utf-8", "429 Too Many Requests"),
    ({"accept": "*/*", "content-type": "application/json"}, "application/problem+json", '"status": 429'),
]


@pytest.mark.parametrize(("headers", "content_type", "words"), ANSWERS)
def test_a_blocked_client_reads_what_it_accepts(
    governed: Any, headers: dict[str, str], content_type: str, words: str
) -> None:
    answer = governed.send(path=f"/pages/x?{ATTACK}", headers=headers)
    assert (answer.status, answer.headers["content-type"]) == (429, content_type)
    text = answer.body.decode()
    assert words in text
    assert answer.headers["x-waf-incident"] in text
    assert "1001" not in text
    assert "test attack" not in text


def test_a_grpc_client_gets_a_grpc_status(governed: Any) -> None:
    answer = governed.send("POST", f"/block/x?{ATTACK}", body=b"", headers={"content-type": "application/grpc"})
    assert (answer.status, answer.headers["grpc-status"]) == (200, "7")
    assert answer.headers["x-waf-incident"] in answer.headers["grpc-message"]


@pytest.mark.parametrize(
    ("query", "status", "shadow"), [("q=tea", 200, "allow"), ("q=subtle", 200, "block"), (ATTACK, 403, "allow")]
)
def test_shadow_rules_tell_and_decide_nothing(governed: Any, tools: Any, query: str, status: int, shadow: str) -> None:
    answer = governed.send(path=f"/block/x?{query}")
    event = event_of(governed, tools, answer)
    assert (answer.status, event["shadow"]["would"]) == (status, shadow)
    logged = tools.wait_for(
        lambda: [line for line in governed.access_log if line["request_id"] == event["request_id"]], 3.0, "access log"
    )
    assert logged[0]["shadow"] == shadow


def test_the_line_for_people_says_what_the_policy_did(governed: Any, tools: Any) -> None:
    for path, words in (
        ("/denied/x", "client 127.0.0.1 is denied"),
        (f"/lapsed/x?{ATTACK}", "an expired exclusion hides a match ("),
        ("/x?q=subtle", "shadow rules: block"),
    ):
        incident = event_of(governed, tools, governed.send(path=path))["incident"]
        [line] = tools.wait_for(
            lambda incident=incident: [line for line in governed.stderr.splitlines() if incident in line], 3.0, "line"
        )
        assert words in line


def test_the_start_says_what_holds(governed: Any) -> None:
    said = governed.stderr
    assert "policy defaults: mode monitor" in said
    assert "policy block: mode block" in said
    assert "shadow rules: 1 run beside the others" in said


def test_a_policy_that_blocks_under_a_weaker_flag_says_so(
    start_pair: Any, app: Any, tools: Any, tmp_path: Path
) -> None:
    file = tmp_path / "waf.yaml"
    file.write_text("schema: extproc.policy/1\ndefaults: {mode: block}\n")
    pair = start_pair(app.port, "--policy", str(file), "--workers", "1", mode="monitor").await_start()
    assert "policy defaults: mode monitor (it asks for block" in pair.stderr
    answer = pair.send(path=f"/x?{ATTACK}")
    assert (answer.status, event_of(pair, tools, answer)["mode"]) == (200, "monitor")


def test_a_broken_policy_stops_the_start(start_pair: Any, app: Any, tmp_path: Path) -> None:
    file = tmp_path / "waf.yaml"
    file.write_text("schema: extproc.policy/1\ndefaults: {mode: blok, exclusions: [{rules: 9, owner: a, reason: b}]}\n")
    pair = start_pair(app.port, "--policy", str(file))
    assert pair.process.wait(30) != 0
    assert f"{file}:2: defaults.mode must be one of" in pair.stderr


def test_a_rate_limit_is_kept_by_envoy_where_the_policy_blocks(governed: Any, app: Any) -> None:
    app.forget()
    answers = [governed.send(path=f"/limited/{number}?x={number}") for number in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 429, 429]
    assert answers[2].headers["retry-after"] == "1"
    assert len(app.seen()) == 2
    assert [governed.send(path="/counted/x").status for _ in range(4)] == [200] * 4
    assert governed.send(path="/limitedx").status == 200


def test_a_policy_is_taken_up_without_a_restart(start_pair: Any, app: Any, tools: Any, tmp_path: Path) -> None:
    file, pages = tmp_path / "waf.yaml", tmp_path / "page.txt"
    pages.write_text("old ${incident}")
    head = "schema: extproc.policy/1\n"
    file.write_text(f"{head}defaults: {{mode: monitor, block: {{plain: page.txt}}}}\n")
    pair = start_pair(app.port, "--policy", str(file), "--workers", "1").await_start()
    assert pair.send(path=f"/x?{ATTACK}").status == 200
    file.write_text(f"{head}defaults: {{mode: block, block: {{plain: page.txt}}}}\n")
    tools.wait_for(lambda: pair.send(path=f"/x?{ATTACK}").status == 403, 30.0, "the new policy")
    pages.write_text("new ${incident}")
    tools.wait_for(lambda: pair.send(path=f"/x?{ATTACK}").body.startswith(b"new "), 30.0, "the new page")
    file.write_text(f"{head}defaults: {{mode: blok}}\n")
    tools.wait_for(lambda: f"{file}:2: defaults.mode must be one of" in pair.stderr, 30.0, "the finding")
    assert pair.send(path="/.well-known/waf/ready").status == 200
    assert pair.send(path=f"/x?{ATTACK}").status == 403
