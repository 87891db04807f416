"""One question each: what is asked, what the answer means in a plain sentence, and what to do about it."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

TIMEOUT_S = 5.0
"""Of one request."""

COUNT_PATIENCE_S = 3.0
"""Until the engine's numbers show a request; they are at most a quarter of a second old."""

REPEATS = 40
"""Requests on each way when milliseconds are measured."""

READY_PATH = "/.well-known/waf/ready"
ATTACK = "extproc-doctor=1%27%20OR%201=1--%20"
FORM = {"content-type": "application/x-www-form-urlencoded"}


class Grade(StrEnum):
    """How bad an answer is."""

    FINE = "fine"
    UNKNOWN = "not asked"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer."""

    question: str
    grade: Grade
    sentence: str


@dataclass(frozen=True, slots=True)
class Patient:
    """Whom to ask. Addresses are `HOST:PORT`; "" means: not known. `path` is one that the app answers."""

    envoy: str
    health: str
    app: str = ""
    path: str = "/"
    websocket: str = ""
    event_stream: str = ""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def ask_all(patient: Patient) -> Iterator[Finding]:
    """Every question in order. Where the first ones are answered badly, the rest is not asked."""
    for ask in (_engine, _envoy):
        finding = ask(patient)
        yield finding
        if finding.grade is Grade.BAD:
            return
    for question in (_traffic, _attack_in_query, _attack_in_body, _coverage, _reload):
        yield question(patient)
    yield from _ways_around(patient)
    yield _websocket(patient)
    yield _event_stream(patient)
    yield _milliseconds(patient)


def _ask(address: str, method: str, path: str, body: str | None = None, headers: Any = None) -> _Answer:
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=TIMEOUT_S)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return _Answer(response.status, names, response.read(1 << 20))
    finally:
        connection.close()


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _engine(patient: Patient) -> Finding:
    question = "is the engine ready?"
    try:
        answer = _ask(patient.health, "GET", "/readyz")
    except (OSError, http.client.HTTPException) as error:
        told = f"nobody answers at {patient.health} ({_why(error)}); is the engine running, and is --health right?"
        return Finding(question, Grade.BAD, told)
    if answer.status != 200:
        return Finding(question, Grade.BAD, f"no: /readyz answers {answer.status}; its log says why")
    return Finding(question, Grade.FINE, f"yes, mode {_status(patient).get('mode', 'unknown')}")


def _envoy(patient: Patient) -> Finding:
    question = "is Envoy ready, and does it reach the engine?"
    try:
        answer = _ask(patient.envoy, "GET", READY_PATH)
    except (OSError, http.client.HTTPException) as error:
        return Finding(question, Grade.BAD, f"nobody answers at {patient.envoy} ({_why(error)})")
    if answer.status != 200:
        told = f"{READY_PATH} answers {answer.status}: Envoy takes the engine for unhealthy, or this is not our Envoy"
        return Finding(question, Grade.BAD, told)
    return Finding(question, Grade.FINE, "yes")


def _status(patient: Patient) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_ask(patient.health, "GET", "/status").body)
    return found


def _counted(patient: Patient, before: int, key: Callable[[dict[str, Any]], int]) -> bool:
    """Did the engine's number grow, within the time that it needs to show?"""
    deadline = time.monotonic() + COUNT_PATIENCE_S
    while time.monotonic() < deadline:
        if key(_status(patient)) > before:
            return True
        time.sleep(0.1)
    return False


def _requests(status: dict[str, Any]) -> int:
    return int(status["requests"])


def _would_block(status: dict[str, Any]) -> int:
    return int(status["would_block"])


def _guarded(question: str) -> Callable[[Callable[[Patient], Finding]], Callable[[Patient], Finding]]:
    """A question whose asking fails is answered badly, not by a crash."""

    def wrap(ask: Callable[[Patient], Finding]) -> Callable[[Patient], Finding]:
        def asked(patient: Patient) -> Finding:
            try:
                return ask(patient)
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                return Finding(question, Grade.BAD, f"it could not be asked: {_why(error)}")

        return asked

    return wrap


@_guarded("does traffic go through the engine?")
def _traffic(patient: Patient) -> Finding:
    question = "does traffic go through the engine?"
    before = _requests(_status(patient))
    answer = _ask(patient.envoy, "GET", patient.path)
    if not _counted(patient, before, _requests):
        return Finding(question, Grade.BAD, f"no: a request to {patient.path} was answered {answer.status} uninspected")
    if answer.status >= 500:
        told = f"yes, but it was answered {answer.status}: the app behind Envoy does not answer"
        return Finding(question, Grade.WARNING, told)
    return Finding(question, Grade.FINE, f"yes: {patient.path} was inspected and answered {answer.status}")


def _attack(patient: Patient, question: str, method: str, path: str, body: str | None) -> Finding:
    status = _status(patient)
    answer = _ask(patient.envoy, method, path, body, FORM if body is not None else None)
    if not _counted(patient, _would_block(status), _would_block):
        told = f"no: it was answered {answer.status} and no rule matched"
        if status["mode"] == "off":
            told = "no: the mode is off, nothing is inspected"
        return Finding(question, Grade.BAD, told)
    if "x-waf-incident" in answer.headers:
        return Finding(
            question, Grade.FINE, f"yes, and blocked: {answer.status}, incident {answer.headers['x-waf-incident']}"
        )
    return Finding(question, Grade.FINE, f"yes; mode {status['mode']}: it was not blocked ({answer.status})")


@_guarded("is an attack in the query seen?")
def _attack_in_query(patient: Patient) -> Finding:
    mark = "&" if "?" in patient.path else "?"
    return _attack(patient, "is an attack in the query seen?", "GET", f"{patient.path}{mark}{ATTACK}", None)


@_guarded("is an attack in a body seen?")
def _attack_in_body(patient: Patient) -> Finding:
    return _attack(patient, "is an attack in a body seen?", "POST", patient.path, ATTACK)


@_guarded("is every request inspected whole?")
def _coverage(patient: Patient) -> Finding:
    question = "is every request inspected whole?"
    reasons = _status(patient)["reasons"]
    if not reasons:
        return Finding(question, Grade.FINE, "yes, all of them so far")
    return Finding(question, Grade.WARNING, "no: " + "; ".join(f"{number} {why}" for why, number in reasons.items()))


@_guarded("are the newest rules in use?")
def _reload(patient: Patient) -> Finding:
    question = "are the newest rules in use?"
    status = _status(patient)
    reload = status["reload"]
    if not reload["is_good"]:
        return Finding(question, Grade.BAD, f"no, older ones serve: {reload['reason']}")
    return Finding(question, Grade.FINE, f"yes, rule set {status['ruleset']}")


def _own_addresses() -> list[str]:
    """This machine's, or pod's, addresses beside loopback."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)}
    except OSError:
        return []
    return sorted(address for address in found if not address.startswith("127.") and address != "::1")


def _ways_around(patient: Patient) -> Iterator[Finding]:
    question = "can the app be reached beside Envoy?"
    if not patient.app:
        yield Finding(question, Grade.UNKNOWN, "name its own address: --app HOST:PORT")
        return
    port = int(patient.app.rpartition(":")[2])
    if patient.envoy.rpartition(":")[2] == str(port):
        yield Finding(question, Grade.BAD, f"--app and --envoy name the same port {port}")
        return
    open_ones = [address for address in _own_addresses() if _is_open(address, port)]
    if open_ones:
        where = ", ".join(f"{address}:{port}" for address in open_ones)
        told = (
            f"yes, at {where}: whoever reaches that address goes past the WAF. "
            "Let the app listen on 127.0.0.1, or close the port (`extproc attach --network-policy`)"
        )
        yield Finding(question, Grade.WARNING, told)
    else:
        yield Finding(question, Grade.FINE, "no, not at any address of this machine but loopback")


def _is_open(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=TIMEOUT_S):
            return True
    except OSError:
        return False


@_guarded("do WebSockets work?")
def _websocket(patient: Patient) -> Finding:
    question = "do WebSockets work?"
    if not patient.websocket:
        return Finding(question, Grade.UNKNOWN, "name a path: --websocket PATH")
    key = base64.b64encode(os.urandom(16)).decode()
    handshake = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": key,
    }
    answer = _ask(patient.envoy, "GET", patient.websocket, headers=handshake)
    if answer.status == 101:
        return Finding(question, Grade.FINE, f"yes: {patient.websocket} switches protocols")
    told = f"no: {patient.websocket} answers {answer.status}"
    if answer.status == 403:
        told += "; upgrades are allowed by `--upgrade-paths` only"
    return Finding(question, Grade.BAD, told)


@_guarded("do event streams come through at once?")
def _event_stream(patient: Patient) -> Finding:
    question = "do event streams come through at once?"
    if not patient.event_stream:
        return Finding(question, Grade.UNKNOWN, "name a path: --event-stream PATH")
    begun = time.monotonic()
    host, _, port = patient.envoy.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=TIMEOUT_S)
    try:
        connection.request("GET", patient.event_stream, headers={"accept": "text/event-stream"})
        response = connection.getresponse()
        first = response.read(1)
    except TimeoutError:
        return Finding(question, Grade.BAD, f"no: nothing came within {TIMEOUT_S:.0f} s")
    finally:
        connection.close()
    took = (time.monotonic() - begun) * 1000
    if response.status != 200 or not first:
        return Finding(question, Grade.BAD, f"no: {patient.event_stream} answers {response.status}")
    return Finding(question, Grade.FINE, f"yes: the first byte came after {took:.0f} ms")


@_guarded("how many milliseconds does it add?")
def _milliseconds(patient: Patient) -> Finding:
    question = "how many milliseconds does it add?"
    if not patient.app:
        return Finding(question, Grade.UNKNOWN, "name the app's own address: --app HOST:PORT")
    try:
        direct = _median_ms(patient.app, patient.path)
    except (OSError, http.client.HTTPException) as error:
        return Finding(question, Grade.UNKNOWN, f"the app cannot be reached from here to compare ({_why(error)})")
    through = _median_ms(patient.envoy, patient.path)
    told = (
        f"{max(0.0, through - direct):.1f} ms in the median of {REPEATS} ({direct:.1f} directly, {through:.1f} through)"
    )
    return Finding(question, Grade.FINE, told)


def _median_ms(address: str, path: str) -> float:
    times = []
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=TIMEOUT_S)
    try:
        for _ in range(REPEATS):
            begun = time.perf_counter()
            connection.request("GET", path)
            connection.getresponse().read()
            times.append((time.perf_counter() - begun) * 1000)
    finally:
        connection.close()
    return statistics.median(times)
