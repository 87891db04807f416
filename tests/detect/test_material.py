"""The material of `make detect`: enough of it, of every kind, and the same in every run."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from extproc.replay.http1 import parse_request
from tests.detect.benign.collection import GROUPS, collection
from tests.detect.benign.passages import lines
from tests.detect.changes import CHANGES
from tests.detect.material import variants
from tests.detect.placing import PLACES, place

REQUESTS = 20_000
VARIANTS = 60
SCRIPTS = 20


def test_the_collection_is_large_enough() -> None:
    assert sum(count for groups in GROUPS.values() for _, count in groups.values()) >= REQUESTS


def test_the_collection_is_the_same_in_every_run() -> None:
    assert list(collection(0.01)) == list(collection(0.01))


def test_requests_of_a_group_differ() -> None:
    seen = Counter(sent.as_http1() for _, _, sent in collection(0.02))
    assert sum(seen.values()) - len(seen) < len(seen) / 50


def test_sentences_are_in_twenty_scripts() -> None:
    scripts = {ord(max(line, key=ord)) // 0x80 for line in lines("languages")}
    assert len(scripts) >= SCRIPTS


@pytest.mark.parametrize("where", [name.replace("NAME", "x-note") for name in PLACES])
def test_a_text_reaches_its_place(where: str) -> None:
    request = parse_request(place("/text", where).as_http1())
    assert request.head.method in (b"GET", b"POST")
    assert b"text" in request.head.path + request.body + b"".join(value for _, value in request.head.headers)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_changes(name: str) -> None:
    assert CHANGES[name]("' or 1=1 -- x<y>", random.Random(1)) != "' or 1=1 -- x<y>"


def test_each_class_of_variants_is_large_enough() -> None:
    attacks, twins = variants()
    sizes = Counter(value.kind for value in attacks)
    assert all(size >= VARIANTS for size in sizes.values()), sizes
    assert {value.kind for value in twins} == set(sizes)


def test_no_variant_comes_twice() -> None:
    for values in variants():
        seen = Counter((value.place, value.text) for value in values)
        assert not [value for value, times in seen.items() if times > 1]
