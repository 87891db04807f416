"""An OpenAPI document in a policy: which fields get which kind, what is told, and what it changes for a request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import extproc
from extproc.cli.main import main
from extproc.engine.inspector import EngineInspector, EngineSettings
from extproc.engine.plan import Plan
from extproc.engine.ruleset import BodySettings
from extproc.model.errors import PolicyErrors
from extproc.model.files import FilesRead
from extproc.model.message import RequestHead
from extproc.model.verdict import Decision, Mode, Outcome
from extproc.policy import openapi
from extproc.policy.bind import Base, Binder
from extproc.policy.load import load_policy
from extproc.policy.openapi import (
    MAX_API_BYTES,
    MAX_API_DEPTH,
    MAX_FIELDS,
    MAX_NAME_CHARS,
    MAX_SCHEMA_DEPTH,
    ApiDocument,
    ApiError,
    read_api,
)
from extproc.replay.http1 import Request
from extproc.replay.run import run_exchange
from extproc.seclang.assemble import Sources, load_ruleset

API = """
openapi: 3.1.0
info: {title: shop, version: '1'}
servers: [{url: 'https://shop.example/v1'}, {url: /internal}]
paths:
  /items/{id}:
    parameters:
    - {name: id, in: path, required: true, schema: {type: integer}}
    - {name: page, in: query, schema: {type: integer}}
    - $ref: '#/components/parameters/Trace'
    get:
      parameters:
      - {name: sort, in: query, schema: {enum: [price, name]}}
      - {name: since, in: query, schema: {type: string, format: date}}
      - {name: q, in: query, schema: {type: string}}
      - {name: tags, in: query, schema: {type: array, items: {type: number}}}
      - {name: filter, in: query, style: deepObject, schema: {type: object, properties: {size: {type: integer}}}}
      - {name: basket, in: cookie, schema: {type: string, format: uuid}}
      - {name: page, in: query, schema: {type: [integer, 'null']}}
    put:
      requestBody: {$ref: '#/components/requestBodies/Item'}
  /items/new:
    post:
      requestBody:
        content:
          application/x-www-form-urlencoded:
            schema: {type: object, properties: {text: {type: string, x-extproc-kind: markdown}, n: {type: integer}}}
          text/csv: {schema: {type: string}}
components:
  parameters:
    Trace: {name: X-Trace, in: header, schema: {type: string, format: uuid}}
  requestBodies:
    Item:
      content:
        application/vnd.shop+json; charset=utf-8:
          schema: {$ref: '#/components/schemas/Item'}
  schemas:
    Item:
      allOf:
      - {type: object, properties: {name: {type: string, pattern: '^[a-z]+$', maxLength: 20}}}
      - type: object
        properties:
          price: {type: number}
          sold: {type: [boolean, 'null']}
          lines: {type: array, items: {$ref: '#/components/schemas/Line'}}
          parent: {$ref: '#/components/schemas/Item'}
          secret: {type: string, format: password}
          code: {type: string, x-extproc-kind: code}
          either: {oneOf: [{type: integer}, {type: string, format: uuid}]}
          any: {anyOf: [{type: integer}, {type: string}]}
          size: {oneOf: [{type: object, properties: {cm: {type: integer}}}, {type: string}]}
          labels: {type: object, additionalProperties: {type: string}}
          far: {$ref: 'other.yaml#/x'}
    Line:
      type: object
      properties:
        sku: {const: a}
        amount: {type: integer}
        matrix: {type: array, items: {type: array, items: {type: number}}}
"""


def read(text: str = API) -> ApiDocument:
    return read_api(text.encode(), "api.yaml")


def fields(method: bytes, path: bytes, text: str = API) -> dict[str, str]:
    found = read(text).find(method, path)
    assert found is not None
    return dict(found.fields)


def test_parameters_have_their_kinds() -> None:
    assert fields(b"GET", b"/v1/items/7") == {
        "ARGS:page": "number",
        "REQUEST_HEADERS:X-Trace": "id",
        "ARGS:sort": "enum",
        "ARGS:since": "id",
        "ARGS:tags": "number",
        "ARGS:tags[]": "number",
        "ARGS:filter[size]": "number",
        "REQUEST_COOKIES:basket": "id",
    }


def test_properties_of_json_have_their_kinds() -> None:
    found = {name: kind for name, kind in fields(b"PUT", b"/internal/items/7").items() if ".parent." not in name}
    assert found == {
        "ARGS:page": "number",
        "REQUEST_HEADERS:X-Trace": "id",
        "ARGS:json.price": "number",
        "ARGS:json.sold": "number",
        "ARGS:json.lines.array_*.sku": "enum",
        "ARGS:json.lines.array_*.amount": "number",
        "ARGS:json.lines.array_*.matrix.array_*.array_*": "number",
        "ARGS:json.secret": "token",
        "ARGS:json.code": "code",
        "ARGS:json.either": "number",
        "ARGS:json.size.cm": "number",
    }


def test_a_schema_within_itself_ends() -> None:
    deepest = max(name.count(".parent") for name in fields(b"PUT", b"/v1/items/7"))
    assert 2 <= deepest <= MAX_SCHEMA_DEPTH
    assert any(f"schemas deeper than {MAX_SCHEMA_DEPTH}" in one for one in read().left)


def test_a_path_without_variables_counts_first() -> None:
    assert fields(b"POST", b"/v1/items/new") == {"ARGS:text": "markdown", "ARGS:n": "number"}
    assert read().find(b"POST", b"/v1/items/7") is None
    assert read().find(b"GET", b"/v1/items/7/more") is None
    assert read().find(b"GET", b"/items/7") is None


def test_what_is_not_taken_is_told() -> None:
    told = " ".join(read().left)
    for what in (
        "parameters in the path",
        "references into other documents",
        "properties of any name",
        "type text/csv",
    ):
        assert what in told
    assert "6 operations" in str(read())


def test_json_is_read_as_well_as_yaml() -> None:
    document = yaml.safe_load(API)
    document["info"]["title"] = "smile \U0001f600"
    made = read_api(json.dumps(document).encode(), "api.json")
    assert [(one.text, one.fields) for one in made.operations] == [(one.text, one.fields) for one in read().operations]


SMALL = "openapi: 3.0.3\npaths: {/a: {get: {parameters: [{name: n, in: query, schema: %s}]}}}\n"


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ("{type: integer, format: int64}", "number"),
        ("{type: string, format: date-time}", "id"),
        ("{type: string, format: email}", None),
        ("{type: string}", None),
        ("{type: string, enum: [a, b]}", "enum"),
        ("{type: string, enum: [a], x-extproc-kind: text}", "text"),
        ("{type: string, contentMediaType: text/markdown}", "markdown"),
        ("{type: [integer, string]}", None),
        ("{oneOf: [{type: integer}, {type: string, x-extproc-kind: prompt}]}", "prompt"),
        ("{allOf: [{type: string}, {format: uuid, type: string}]}", "id"),
        ("{}", None),
        ("true", None),
        ("{$ref: '#/nowhere'}", None),
    ],
)
def test_the_kind_of_a_schema(schema: str, kind: str | None) -> None:
    assert fields(b"GET", b"/a", SMALL % schema).get("ARGS:n") == kind


REFUSED = [
    ("", "is no mapping"),
    ("[1]", "is no mapping"),
    ("swagger: '2.0'", "Swagger 2.0"),
    ("openapi: 2", "does not say `openapi: 3.x`"),
    ("openapi: [", "is not valid YAML"),
    ('{"openapi": "3.0.0", "a": "\\u00e9"', "is not valid JSON"),
    (SMALL % "{x-extproc-kind: poem}", "x-extproc-kind: 'poem'; known are text"),
    ("a: " + "[" * MAX_API_DEPTH + "]" * MAX_API_DEPTH, f"more than {MAX_API_DEPTH} levels deep"),
]


@pytest.mark.parametrize(("text", "why"), REFUSED)
def test_a_document_that_cannot_be_used_is_refused(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "api.yaml").write_text(text)
    policy = tmp_path / "waf.yaml"
    policy.write_text("schema: extproc.policy/1\ndefaults:\n  openapi: api.yaml\n")
    with pytest.raises(PolicyErrors) as error:
        load_policy(policy)
    assert len(error.value.findings) == 1
    assert error.value.findings[0].startswith(f"{policy}:3: ")
    assert why in error.value.findings[0]


def test_limits_hold_at_their_edge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert read("openapi: 3.1.0\na: " + "[" * (MAX_API_DEPTH - 1) + "]" * (MAX_API_DEPTH - 1)).operations == ()
    name = "n" * (MAX_NAME_CHARS - len("ARGS:"))
    one = SMALL.replace("name: n", f"name: {name}") % "{type: integer}"
    assert fields(b"GET", b"/a", one) == {f"ARGS:{name}": "number"}
    assert fields(b"GET", b"/a", one.replace(name, name + "n")) == {}
    many = {f"p{number}": {"type": "integer"} for number in range(MAX_FIELDS + 1)}
    schema = json.dumps({"type": "object", "properties": many})
    assert len(fields(b"GET", b"/a", SMALL % schema)) == MAX_FIELDS
    assert "cut there" in read(SMALL % schema).left[0]
    monkeypatch.setattr(openapi, "MAX_OPERATIONS", 5)
    with pytest.raises(ApiError, match="more than 5 operations"):
        read()
    monkeypatch.setattr(openapi, "MAX_OPERATIONS", 6)
    assert len(read().operations) == 6
    visited = next(count for count in range(10_000) if _is_read(monkeypatch, count))
    assert visited > 20
    large = tmp_path / "api.yaml"
    policy = tmp_path / "waf.yaml"
    policy.write_text("schema: extproc.policy/1\ndefaults: {openapi: api.yaml}\n")
    large.write_text("openapi: 3.1.0\n#".ljust(MAX_API_BYTES, "x"))
    load_policy(policy)
    large.write_text("openapi: 3.1.0\n#".ljust(MAX_API_BYTES + 1, "x"))
    with pytest.raises(PolicyErrors, match="is larger than"):
        load_policy(policy)


def _is_read(monkeypatch: pytest.MonkeyPatch, schemas: int) -> bool:
    monkeypatch.setattr(openapi, "MAX_SCHEMAS", schemas)
    try:
        read()
    except ApiError:
        return False
    return True


def test_yaml_that_holds_itself_ends() -> None:
    assert read("openapi: 3.1.0\npaths: &a {/b: {get: {requestBody: *a}}}\n").operations[0].fields == {}
    loop = "openapi: 3.1.0\npaths: {/b: {get: {requestBody: {$ref: '#/paths/~1b/get/requestBody'}}}}\n"
    assert read(loop).operations[0].fields == {}


def test_whoever_watches_knows_the_document(tmp_path: Path) -> None:
    (tmp_path / "api.yaml").write_text(API)
    policy = tmp_path / "waf.yaml"
    policy.write_text("schema: extproc.policy/1\ndefaults: {openapi: api.yaml}\n")
    files = FilesRead()
    load_policy(policy, files)
    assert {Path(name).name for _, name in files.looks} == {"waf.yaml", "api.yaml"}


# What it changes


class Asked:
    """The own rules under a policy."""

    def __init__(self, folder: Path, text: str) -> None:
        rules = Path(extproc.__file__).parent / "rules" / "own.conf"
        plan = Plan(load_ruleset(Sources((rules,)), BodySettings(is_type_guessed=True)))
        file = folder / "waf.yaml"
        file.write_text(text)
        (folder / "api.yaml").write_text(API)
        self.binder = Binder(load_policy(file), Base({"": plan}, Mode.BLOCK, False, 131_072, 500))
        self.told: list[Decision] = []
        self.inspector = EngineInspector(
            plan, EngineSettings(mode=Mode.BLOCK), self.told.append, treat=self.binder.treat
        )

    def blocks(self, method: bytes, path: bytes, document: Any = None) -> bool:
        body = b"" if document is None else json.dumps(document).encode()
        headers = ((b"host", b"shop.example"), (b"content-type", b"application/json"))
        head = RequestHead(method, path, authority=b"shop.example", headers=headers, is_last=not body)
        run_exchange(self.inspector, Request(head, body), None)
        return self.told[-1].verdict is Outcome.BLOCK


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return Asked(tmp_path, "schema: extproc.policy/1\ndefaults: {openapi: api.yaml}\n")


@pytest.fixture
def careful(tmp_path: Path) -> Asked:
    """Only complete findings count, but where data is expected."""
    text = "schema: extproc.policy/1\ndefaults: {openapi: api.yaml, thresholds: {detection: 9}}\n"
    return Asked(tmp_path, text)


WEAK = "' or 1=1--"


def test_less_is_enough_where_data_is_expected(careful: Asked) -> None:
    text = WEAK.replace(" ", "%20").encode()
    assert not careful.blocks(b"GET", b"/v1/items/7?q=" + text)
    for name in (b"page", b"sort", b"since", b"filter[size]", b"tags[]"):
        assert careful.blocks(b"GET", b"/v1/items/7?%s=%s" % (name, text)), name
    assert not careful.blocks(b"GET", b"/v2/items/7?page=" + text)
    assert not careful.blocks(b"GET", b"/v1/items/7?page=3&sort=price&since=2026-01-31")


def test_kinds_hold_at_every_index_of_an_array(careful: Asked) -> None:
    lines: list[dict[str, Any]] = [{"sku": "a", "amount": 1}, {"sku": "a", "amount": WEAK, "note": WEAK}]
    assert careful.blocks(b"PUT", b"/v1/items/7", {"lines": lines})
    lines[1]["amount"] = 2
    assert not careful.blocks(b"PUT", b"/v1/items/7", {"lines": lines})


def test_code_passes_where_the_document_says_code(asked: Asked, tmp_path: Path) -> None:
    text = "' or 1=1--"
    assert not asked.blocks(b"PUT", b"/v1/items/7", {"code": text})
    assert asked.blocks(b"PUT", b"/v1/items/7", {"code": text, "name": text})
    assert asked.blocks(b"POST", b"/v1/items/7", {"code": text})
    own = "schema: extproc.policy/1\ndefaults: {openapi: api.yaml, fields: {'ARGS:json.code': text}}\n"
    assert Asked(tmp_path, own).blocks(b"PUT", b"/v1/items/7", {"code": text}), "the policy's own word wins"


def test_a_path_with_several_readings_has_no_kinds(asked: Asked) -> None:
    assert asked.blocks(b"PUT", b"/v1//items/7", {"code": "' or 1=1--"})


def test_check_and_show_tell_what_was_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "api.yaml").write_text(API)
    policy = tmp_path / "waf.yaml"
    policy.write_text(
        "schema: extproc.policy/1\npolicies:\n  shop:\n    match: {path: /v1/**}\n    openapi: api.yaml\n"
    )
    assert main(["check", str(policy)]) == 0
    out = capsys.readouterr().out
    assert f"{policy}:5: api.yaml: 6 operations, fields: " in out
    assert "notice: api.yaml: not taken: " in out
    assert main(["policy", "show", "--policy", str(policy), "--path", "/v1/items/7"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["fields.ARGS:page", "number", "api.yaml", "GET", "/v1/items/{id}", "(shop)"] in lines
    assert main(["policy", "show", "--policy", str(policy), "--path", "/v1/items/7", "--method", "DELETE"]) == 0
    assert "fields." not in capsys.readouterr().out


def test_a_document_can_be_checked_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    api = tmp_path / "api.yaml"
    api.write_text(API)
    assert main(["check", str(api)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{api}: 6 operations, fields: ")
    assert "not taken: " in out
    api.write_text("openapi: 2.9\n")
    assert main(["check", str(api)]) == 2
    assert f"{api}: does not say `openapi: 3.x`" in capsys.readouterr().err
    swagger = tmp_path / "api.json"
    swagger.write_text('{"swagger": "2.0"}')
    assert main(["check", str(swagger)]) == 2
    assert "is Swagger 2.0; convert it" in capsys.readouterr().err
