"""A constant, mixed, bounded load on one pair: memory and descriptors stay flat, nothing fails, no attack passes.

SOAK_SECONDS=1800 pytest tests/soak        (`make soak`; two minutes in CI)
"""

from __future__ import annotations

import gzip
import http.client
import itertools
import json
import os
import random
import statistics
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

SOAK_S = float(os.environ.get("SOAK_SECONDS", "60"))
CLIENTS = 3
PAUSE_S = 0.02
"""Between two requests of one client: a few dozen requests a second in all."""

REQUESTS_PER_CONNECTION = 25
VISITORS = 500
"""Persistent records: as many as are reached in the warm-up, also of a short run."""

SAMPLES = 60
"""Looks at the processes, spread over the run. The first third is warm-up: caches fill, memory is touched first."""

GROWTH_BYTES = 6 * 1024 * 1024
"""What one process may hold more in the last third than in the second: noise of allocators, not a leak.

A leak of one kilobyte per request shows from two minutes on, one of a hundred bytes in half an hour."""

GROWTH_DESCRIPTORS = 5
FLAGS = ("--workers", "2", "--lines", "off", "--time-budget", "5s")
"""Half an hour on a busy machine has moments in which a request waits for its turn; the budget is asked elsewhere."""

FORBIDDEN = 403
ATTACK = "' OR 1=1--"
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

RULES = r"""
SecRuleEngine On
SecRequestBodyAccess On
SecRule ARGS|REQUEST_COOKIES|XML:/*|FILES "@rx (?i)'\s*or\s+1=1" \
    "id:1001,phase:2,deny,status:403,t:none,t:urlDecodeUni,log,msg:'a test attack',logdata:'%{MATCHED_VAR}'"
SecRule ARGS "@detectSQLi" "id:1002,phase:2,pass,t:none,t:htmlEntityDecode,log,setvar:tx.score=+5"
SecRule ARGS|REQUEST_URI "@detectXSS" "id:1003,phase:2,pass,t:none,t:urlDecodeUni,log,setvar:tx.%{MATCHED_VAR_NAME}=1"
SecRule REMOTE_ADDR "@unconditionalMatch" "id:1004,phase:1,pass,nolog,\
    initcol:ip=%{REQUEST_HEADERS:x-visitor},setvar:ip.seen=+1"
"""


@dataclass(frozen=True)
class Sent:
    method: str
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


def form(value: str, number: int) -> Sent:
    body = f"n={number}&q={quote(value)}".encode()
    return Sent("POST", "/form", body, {"content-type": "application/x-www-form-urlencoded"})


def document(value: str, number: int) -> Sent:
    text = json.dumps({"n": number, "list": [{"q": value}] * 20})
    return Sent("POST", "/json", text.encode(), {"content-type": "application/json"})


def markup(value: str, number: int) -> Sent:
    return Sent("POST", "/xml", f"<a n='{number}'><q>{value}</q></a>".encode(), {"content-type": "text/xml"})


def parts(value: str, number: int) -> Sent:
    line = "--XX\r\nContent-Disposition: form-data; name="
    text = f'{line}"n"; filename="{number}.bin"\r\n\r\n{"x" * 5000}\r\n{line}"q"\r\n\r\n{value}\r\n--XX--\r\n'
    return Sent("POST", "/upload", text.encode(), {"content-type": "multipart/form-data; boundary=XX"})


def packed(value: str, number: int) -> Sent:
    sent = form(value, number)
    return Sent("POST", "/packed", gzip.compress(sent.body or b""), {**sent.headers, "content-encoding": "gzip"})


def large(value: str, number: int) -> Sent:
    filling = "".join(f"&a{index}={number}+{'y' * 200}" for index in range(400))
    return Sent("POST", "/large", f"q={quote(value)}{filling}".encode(), form("", 0).headers)


KINDS = {
    "query": lambda value, number: Sent("GET", f"/search?n={number}&q={quote(value)}"),
    "cookie": lambda value, number: Sent("GET", f"/page/{number}", headers={"cookie": f"n={number}; q={quote(value)}"}),
    "form": form,
    "json": document,
    "xml": markup,
    "multipart": parts,
    "gzip": packed,
    "large": large,
}
HARMLESS = ("hello", "O'Brien & sons", "a = b", "SELECT a seat", "grüße", "1+1", "x" * 300)
ORDER = ("query",) * 6 + ("cookie", "form", "json") * 3 + ("xml", "multipart", "gzip", "large")
ATTACK_SHARE = 0.2
GIVE_UP_SHARE = 0.02
"""Clients that go away in the middle of their body."""


class Clients:
    """Send until told to stop; count what came back, by what was sent."""

    def __init__(self, pair: Any) -> None:
        self._pair = pair
        self._stop = threading.Event()
        self._numbers = itertools.count()
        self.clean: Counter[int] = Counter()
        self.attacks: Counter[int] = Counter()
        self.faults: list[str] = []
        self._threads = [threading.Thread(target=self._run, args=(seed,)) for seed in range(CLIENTS)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, seed: int) -> None:
        source = random.Random(seed)
        while not self._stop.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._pair.port, timeout=30)
            try:
                for _ in range(REQUESTS_PER_CONNECTION):
                    self._one(connection, source)
                    time.sleep(PAUSE_S)
                if source.random() < GIVE_UP_SHARE * REQUESTS_PER_CONNECTION:
                    connection.putrequest("POST", "/gone")
                    connection.putheader("content-length", "1000")
                    connection.endheaders(b"q=1")
            except (OSError, http.client.HTTPException) as error:
                self.faults.append(repr(error))
            finally:
                connection.close()

    def _one(self, connection: http.client.HTTPConnection, source: random.Random) -> None:
        number = next(self._numbers)
        is_attack = source.random() < ATTACK_SHARE
        value = f"{number}{ATTACK}" if is_attack else source.choice(HARMLESS) + str(number)
        sent = KINDS[source.choice(ORDER)](value.replace("&", "and") if not is_attack else value, number)
        headers = {**sent.headers, "x-visitor": str(number % VISITORS)}
        connection.request(sent.method, sent.path, sent.body, headers)
        answer = connection.getresponse()
        answer.read()
        (self.attacks if is_attack else self.clean)[answer.status] += 1


@dataclass
class Usage:
    """One process over the run."""

    name: str
    bytes: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    def thirds(self, values: list[int]) -> tuple[float, float]:
        """Medians of the second and of the last third."""
        size = len(values) // 3
        return statistics.median(values[size : 2 * size]), statistics.median(values[2 * size :])


def look(pair: Any, usages: dict[int, Usage]) -> None:
    pids = {"up": pair.process.pid, "supervisor": pair.supervisor(), "envoy": pair.envoy()}
    pids |= {f"generation {number}": pid for number, pid in enumerate(pair.generations())}
    pids |= {f"worker {number}": pid for number, pid in enumerate(pair.workers())}
    for name, pid in pids.items():
        usage = usages.setdefault(pid, Usage(name))
        usage.bytes.append(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES)
        usage.descriptors.append(len(list(Path(f"/proc/{pid}/fd").iterdir())))


@pytest.mark.timeout(SOAK_S + 180)
def test_a_constant_load_leaves_everything_flat(start_pair: Any, app: Any, tools: Any, tmp_path: Path) -> None:
    rules = tmp_path / "soak.conf"
    rules.write_text(RULES)
    pair = start_pair(app.port, *FLAGS, "--rules", str(rules)).await_start()
    usages: dict[int, Usage] = {}
    seen: defaultdict[str, int] = defaultdict(int)
    with Clients(pair) as clients:
        for _ in range(SAMPLES):
            time.sleep(SOAK_S / SAMPLES)
            look(pair, usages)
            for request in app.seen():  # the app remembers all of them: count and forget
                seen[request["path"].partition("?")[0].split("/")[1]] += 1
                assert "OR%201" not in json.dumps(request), "an attack reached the app"
            app.forget()

    def told() -> Counter[str]:
        return Counter(event["verdict"] for event in pair.events if event["path"] != "/gone")

    answered = clients.clean.total() + clients.attacks.total()
    tools.wait_for(lambda: told().total() >= answered, 5, "event of each request")  # written some together
    for usage in usages.values():
        before, after = usage.thirds(usage.bytes)
        print(f"{usage.name:<12} {before / 2**20:7.1f} → {after / 2**20:7.1f} MiB, descriptors "
              "{:.0f} → {:.0f}".format(*usage.thirds(usage.descriptors)))  # fmt: skip
    print(f"clean {dict(clients.clean)}, attacks {dict(clients.attacks)}, seen by the app {dict(seen)}")
    assert clients.faults == []
    assert set(clients.clean) == {200}
    assert set(clients.attacks) == {FORBIDDEN}
    assert told() == {"allow": clients.clean[200], "block": clients.attacks[FORBIDDEN]}
    assert len(usages) == 6, "a process died and was replaced"
    for usage in usages.values():
        before, after = usage.thirds(usage.bytes)
        assert after - before < GROWTH_BYTES, f"{usage.name} grows: {usage.bytes}"
        before, after = usage.thirds(usage.descriptors)
        assert after - before <= GROWTH_DESCRIPTORS, f"{usage.name} keeps descriptors: {usage.descriptors}"
