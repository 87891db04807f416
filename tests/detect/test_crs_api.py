"""`--profile crs-api`: the shapes of APIs pass, attacks within the same shapes do not, and no rule is off elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.bench.engines import Missing, Ours, load_ours
from tests.bench.traffic import Sent
from tests.detect.placing import HEADERS, post

PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
DOCUMENT = (
    "query Items($first: Int!, $after: String) { items(first: $first, after: $after) { edges { node { id name } } } }"
)


def _json(document: object, method: str = "POST", kind: str = "application/json") -> Sent:
    return post("/api/items", kind, json.dumps(document).encode(), method)


SHAPES = {
    "put": _json({"name": "Anna"}, "PUT"),
    "patch": _json([{"op": "replace", "path": "/name", "value": "Anna"}], "PATCH", "application/json-patch+json"),
    "delete": Sent("DELETE", "/api/items/7", HEADERS),
    "picture": _json({"avatar": PICTURE}),
    "graphql": _json({"query": DOCUMENT, "variables": {"first": 10, "after": None}}),
    "odata": Sent("GET", "/odata/P?$filter=Price%20gt%2020%20and%20City%20eq%20'Berlin'&$orderby=Name%20desc", HEADERS),
    "json in json": _json({"payload": json.dumps({"a": {"b": "caf\u00e9"}})}),
}

ATTACKS = {
    "put": _json({"name": "<script>alert(1)</script>"}, "PUT"),
    "patch": _json(
        [{"op": "replace", "path": "/name", "value": "' or 1=1-- "}], "PATCH", "application/json-patch+json"
    ),
    "connect": Sent("TRACE", "/api/items/7", HEADERS),
    "picture that is none": _json({"avatar": "data:image/svg+xml;base64,PHN2Zy9vbmxvYWQ9YWxlcnQoMSk+"}),
    "picture, then more": _json({"avatar": PICTURE + "'\"><script>alert(1)</script>"}),
    "beside a picture": _json({"avatar": PICTURE, "name": "1 union select password from users"}),
    "graphql": _json({"query": DOCUMENT, "variables": {"after": "' union select password from users-- "}}),
    "odata": Sent("GET", "/odata/P?$filter=Name%20eq%20'x'%20union%20select%20password%20from%20users--", HEADERS),
    "json in json": _json({"payload": json.dumps({"a": "<script>alert(1)</script>"})}),
    "operator": Sent("GET", "/login?user[$ne]=1", HEADERS),
}


@pytest.fixture(scope="module")
def engines() -> Iterator[tuple[Ours, Ours]]:
    """(crs-api, stock CRS)."""
    try:
        yield Ours(load_ours("crs-api")), Ours(load_ours("crs-pl1"))
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.mark.crs
@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_passes(engines: tuple[Ours, Ours], name: str) -> None:
    assert engines[0].tell(SHAPES[name])[0] is False


@pytest.mark.crs
@pytest.mark.parametrize("name", set(SHAPES) - {"json in json"})
def test_stock_rules_refuse_it(engines: tuple[Ours, Ours], name: str) -> None:
    assert engines[1].tell(SHAPES[name])[0] is True


@pytest.mark.crs
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_in_the_shape_does_not(engines: tuple[Ours, Ours], name: str) -> None:
    assert engines[0].tell(ATTACKS[name])[0] is True
