"""Field kinds of a policy: what passes in a field of which the policy says what it holds, and that attacks beside it
do not."""

from __future__ import annotations

import json
import random
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from extproc.engine.inspector import EngineInspector, EngineSettings
from extproc.engine.plan import Plan
from extproc.model.verdict import Decision, Mode, Outcome
from extproc.policy.bind import Base, Binder
from extproc.policy.fields import KINDS
from extproc.policy.load import load_policy
from extproc.replay.run import run_exchange
from tests.bench.engines import load_ours, to_model
from tests.bench.report import Report
from tests.bench.traffic import JSON
from tests.detect.benign import passages as text
from tests.detect.material import Value
from tests.detect.placing import post

DECLARED_BARS = {
    "text": 50.0,
    "markdown": 50.0,
    "prompt": 50.0,
    "code": 50.0,
    "token": 0.0,
    "number": 0.0,
    "enum": 0.0,
    "id": 0.0,
}
"""Most blocked of 10,000 harmless values in a field of that kind."""

BESIDE_BAR = 100.0
"""Least percent of the attacks caught alone that are caught in another field of the same request."""

VALUES, ATTACKS = 1500, 400

_SIGNS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789!#$%&()*+,-./:;<=>?@[]^_{|}~'\"\\`"


def _fenced(r: random.Random) -> str:
    kind = r.choice(("code", "sql", "html"))
    return f"{text.forum(r)}\n\n```{kind}\n{text.block(kind, r)}\n```\n\n{text.english(r)}"


def _snippet(r: random.Random) -> str:
    return r.choice((text.block(r.choice(("code", "sql", "html")), r), _fenced(r)))


def _prompt(r: random.Random) -> str:
    return r.choice((text.chat(r), f"{text.chat(r)}\n\n{_snippet(r)}"))


def _token(r: random.Random) -> str:
    return r.choice(
        (
            "".join(r.choices(_SIGNS, k=r.randrange(8, 40))),
            f"{r.getrandbits(160):040x}.{r.getrandbits(64):x}",
            f"s:{uuid.UUID(int=r.getrandbits(128))}.{r.getrandbits(200):x}=",
        )
    )


def _number(r: random.Random) -> str:
    return r.choice(
        (str(r.randrange(10**9)), f"-{r.random():.6f}", f"{r.randrange(9)}e{r.randrange(9)}", "true", "1,5")
    )


def _id(r: random.Random) -> str:
    day = f"20{r.randrange(10, 30)}-0{r.randrange(1, 10)}-{r.randrange(10, 29)}"
    address = ".".join(str(r.randrange(256)) for _ in range(4))
    return r.choice((str(uuid.UUID(int=r.getrandbits(128))), day, f"{day}T10:00:00+02:00", address, "2001:db8::1"))


HARMLESS: dict[str, Callable[[random.Random], str]] = {
    "text": lambda r: r.choice((text.forum, text.english, text.documentation, text.paragraphs))(r),
    "markdown": lambda r: r.choice((_fenced, text.documentation, text.paragraphs))(r),
    "prompt": _prompt,
    "code": _snippet,
    "token": _token,
    "number": _number,
    "enum": lambda r: r.choice((text.noun(r), f"{text.noun(r)}_{text.noun(r)}".upper(), f"{text.noun(r)}/v2")),
    "id": _id,
}
"""Kind → what honest senders put into such a field; `code` and `markdown` are the hard group of the collection."""

Fields = dict[str, str]
Told = Callable[[Fields], bool]


def judge_of() -> Told:
    """The own rules under a policy in which the fields `text`, `code`, ... are of these kinds: fields → blocked?"""
    lines = [f'    "ARGS:json.{kind}": {kind}' for kind in KINDS]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "waf.yaml"
        file.write_text("\n".join(["schema: extproc.policy/1", "defaults:", "  fields:", *lines, ""]))
        policy = load_policy(file)
    plan = Plan(load_ours("own"))
    base = Base(
        plans={"": plan},
        mode=Mode.BLOCK,
        inspect_response=False,
        body_limit_bytes=131_072,
        time_budget_ms=60_000,
        shadow=None,
    )
    decisions: list[Decision] = []
    inspector = EngineInspector(
        plan,
        EngineSettings(mode=Mode.BLOCK),
        lambda decision: decisions.append(decision),
        clock=time.time,
        treat=Binder(policy, base).treat,
    )

    def tell(fields: Fields) -> bool:
        decisions.clear()
        body = json.dumps({"number_of": 7, **fields}, ensure_ascii=False).encode()
        run_exchange(inspector, to_model(post("/api/items", JSON, body)), None)
        return decisions[-1].verdict is Outcome.BLOCK

    return tell


def measure_fields(report: Report, attacks: list[Value], share: float) -> None:
    """Rows by kind: harmless values, undeclared and declared; attacks beside the field, and within it."""
    report.heading("field kinds, rules own")
    tell = judge_of()
    r = random.Random("fields")
    held_out = [value.text for value in attacks if value.place == "query" and not value.is_tuned]
    sample = r.sample(held_out, min(int(ATTACKS * share) + 1, len(held_out)))
    caught = [attack for attack in sample if tell({"other": attack})]
    raw: dict[str, list[str]] = {}
    for kind, make in HARMLESS.items():
        values = [make(r) for _ in range(int(VALUES * share) + 1)]
        plain = sum(tell({"other": value}) for value in values)
        blocked = [value for value in values if tell({kind: value})]
        beside = [attack for attack in caught if tell({kind: r.choice(values), "other": attack})]
        within = sum(tell({kind: attack}) for attack in sample)
        note = f"undeclared {10_000 * plain / len(values):.0f}, of {len(values)}"
        report.row(
            f"blocked per 10,000, harmless, declared {kind}",
            10_000 * len(blocked) / len(values),
            DECLARED_BARS[kind],
            note=note,
        )
        report.row(
            f"caught beside a field declared {kind}",
            100 * len(beside) / len(caught),
            BESIDE_BAR,
            "%",
            f"of {len(caught)} caught alone",
            is_least=True,
        )
        report.row(
            f"caught within a field declared {kind}",
            100 * within / len(sample),
            None,
            "%",
            f"undeclared {100 * len(caught) / len(sample):.0f} %",
        )
        raw[kind] = blocked[:50]
    report.raw["fields"] = raw
