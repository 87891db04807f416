"""The table of the own rules: texts × places → raw requests. Also what docs/RULES.md is made of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

import yaml

from extproc.engine.inspector import EngineInspector, EngineSettings
from extproc.engine.plan import Plan
from extproc.model.verdict import Decision, Mode
from extproc.replay.http1 import parse_request
from extproc.replay.run import run_exchange
from extproc.seclang.assemble import Sources, load_ruleset

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent.parent
OWN_RULES = ROOT / "extproc" / "rules" / "own.conf"
TABLE: dict[int, dict[str, Any]] = yaml.safe_load((FOLDER / "own.yaml").read_text(encoding="utf-8"))

HEAD = "Host: shop.example\r\nAccept: */*\r\n"
AGENT = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
BOUNDARY = "----B7MA4YWx"
PART = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="f"; filename="{{}}"\r\n\r\nx\r\n--{BOUNDARY}--\r\n'


@dataclass(frozen=True)
class Sample:
    """One text in one place, and the rule that must match it; 0: no rule at all."""

    title: str
    raw: bytes
    rule: int
    is_blocked: bool


def request(place: str, text: str) -> bytes:
    """A request that holds `text` at that place, encoded as a browser would."""
    if place.startswith("header:"):
        name = place.removeprefix("header:")
        lines = [line for line in (HEAD + AGENT).splitlines() if not line.lower().startswith(name.lower() + ":")]
        return "\r\n".join(["GET /p HTTP/1.1", *lines, f"{name}: {text}", "", ""]).encode()
    if place == "header_name":
        return f"GET /p HTTP/1.1\r\n{HEAD}{AGENT}{text}: 1\r\n\r\n".encode()
    if place == "cookie":
        return f"GET /p HTTP/1.1\r\n{HEAD}{AGENT}Cookie: theme=dark; q={quote(text, safe='')}\r\n\r\n".encode()
    if place == "path":
        return f"GET {text} HTTP/1.1\r\n{HEAD}{AGENT}\r\n".encode()
    if place == "query":
        return f"GET /p?a=1&q={quote(text, safe='')} HTTP/1.1\r\n{HEAD}{AGENT}\r\n".encode()
    if place == "name":
        return f"GET /p?{quote(text, safe='')}=1 HTTP/1.1\r\n{HEAD}{AGENT}\r\n".encode()
    kind, body = {
        "form": lambda: ("application/x-www-form-urlencoded", f"a=1&q={quote(text, safe='')}"),
        "json": lambda: ("application/json", json.dumps({"a": 1, "q": {"r": [text]}}, ensure_ascii=False)),
        "file": lambda: (f"multipart/form-data; boundary={BOUNDARY}", PART.format(text)),
        "xml": lambda: ("application/xml", f"<a><b>{escape(text)}</b></a>"),
    }[place]()
    content = body.encode()
    return (
        f"POST /p HTTP/1.1\r\n{HEAD}{AGENT}Content-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        + content
    )


def samples() -> Iterator[Sample]:
    """All cases of the table."""
    for rule, row in TABLE.items():
        is_blocked = row.get("is_blocked", True)
        for kind, expected in (("match", rule), ("miss", 0)):
            for text in row.get("raw", {}).get(kind, ()):
                head, blank, body = text.partition("\n\n")
                raw = head.replace("\n", "\r\n") + blank.replace("\n", "\r\n") + body
                yield Sample(f"{rule} {kind} raw {text[-40:]!r}", raw.encode(), expected, is_blocked)
            for text in row.get(kind, ()):
                for place in row["places"]:
                    yield Sample(f"{rule} {kind} {place} {text!r}", request(place, text), expected, is_blocked)


class Engine:
    """The own rules, block mode, one request at a time."""

    def __init__(self, closing: bytes = b"") -> None:
        self.plan = Plan(load_ruleset(Sources((OWN_RULES,), closing=closing)), has_memo=False)
        self._decisions: list[Decision] = []
        self._inspector = EngineInspector(self.plan, EngineSettings(mode=Mode.BLOCK), self._decisions.append)

    def decide(self, raw: bytes) -> Decision:
        """What the live engine would decide."""
        self._decisions.clear()
        run_exchange(self._inspector, parse_request(raw), None)
        return self._decisions[0]
