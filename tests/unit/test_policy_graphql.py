"""GraphQL under a policy: introspection and batches, in every dress that a document comes in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import extproc
from extproc.engine.inspector import EngineInspector, EngineSettings
from extproc.engine.plan import Plan
from extproc.engine.ruleset import BodySettings
from extproc.model.message import RequestHead
from extproc.model.verdict import Decision, Mode, Outcome
from extproc.policy.bind import Base, Binder
from extproc.policy.load import load_policy
from extproc.replay.http1 import Request
from extproc.replay.run import run_exchange
from extproc.seclang.assemble import Sources, load_ruleset

QUESTION = "query Ask { __schema { types { name } } }"
POLICY = """
schema: extproc.policy/1
policies:
  closed: {match: {path: /closed}, graphql: {introspection: false, batch: 3}}
"""


@pytest.fixture(scope="module")
def plan() -> Plan:
    rules = Path(extproc.__file__).parent / "rules" / "own.conf"
    return Plan(load_ruleset(Sources((rules,)), BodySettings(is_type_guessed=True)))


def ask(plan: Plan, folder: Path, path: bytes, kind: str, body: bytes) -> Decision:
    file = folder / "waf.yaml"
    file.write_text(POLICY)
    told: list[Decision] = []
    treat = Binder(load_policy(file), Base({"": plan}, Mode.BLOCK, False, 131_072, 500)).treat
    headers = ((b"content-type", kind.encode()),)
    head = RequestHead(b"POST", path, authority=b"shop.example", headers=headers, is_last=not body)
    run_exchange(
        EngineInspector(plan, EngineSettings(mode=Mode.BLOCK), told.append, treat=treat), Request(head, body), None
    )
    return told[0]


def documents(query: str, count: int = 1) -> bytes:
    one = {"query": query}
    return json.dumps(one if count == 1 else [one] * count).encode()


def multipart(operations: bytes) -> bytes:
    return b'--X\r\nContent-Disposition: form-data; name="operations"\r\n\r\n' + operations + b"\r\n--X--\r\n"


FORM = "application/x-www-form-urlencoded"
QUESTIONS = [
    (b"", "application/json", documents(QUESTION)),
    (b"", "application/json", documents('{ a: __type(name: "User") { name } }')),
    (b"", "application/json", documents(QUESTION, 2)),
    (b"", "application/graphql", QUESTION.encode()),
    (b"", FORM, b"query=" + QUESTION.replace(" ", "+").encode()),
    (b"?query=" + QUESTION.replace(" ", "%20").encode(), FORM, b""),
    (b"", "multipart/form-data; boundary=X", multipart(documents(QUESTION))),
]


@pytest.mark.parametrize(("query", "kind", "body"), QUESTIONS)
def test_a_question_for_the_schema(plan: Plan, tmp_path: Path, query: bytes, kind: str, body: bytes) -> None:
    assert ask(plan, tmp_path, b"/open" + query, kind, body).verdict is Outcome.ALLOW
    closed = ask(plan, tmp_path, b"/closed" + query, kind, body)
    assert closed.verdict is Outcome.BLOCK
    assert {match.rule_id for match in closed.matches} == {7100609}


@pytest.mark.parametrize(
    "body", [documents("{ users { __typename name } }"), b'{"text": "use __schema to ask"}', documents("{ a }", 3)]
)
def test_what_asks_for_no_schema_passes(plan: Plan, tmp_path: Path, body: bytes) -> None:
    assert ask(plan, tmp_path, b"/closed", "application/json", body).verdict is Outcome.ALLOW


@pytest.mark.parametrize(("path", "most"), [(b"/closed", 3), (b"/open", 25)])
def test_a_batch_holds_so_many(plan: Plan, tmp_path: Path, path: bytes, most: int) -> None:
    assert ask(plan, tmp_path, path, "application/json", documents("{ a }", most)).verdict is Outcome.ALLOW
    over = ask(plan, tmp_path, path, "application/json", documents("{ a }", most + 1))
    assert over.verdict is Outcome.BLOCK
    assert {match.rule_id for match in over.matches} == {7100610}
