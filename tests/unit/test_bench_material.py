"""What the benches stand on: requests whose values are new, canaries, rows and bars, the load on loopback."""

from __future__ import annotations

import asyncio
import json
import random
import time
import xml.etree.ElementTree as ET
from urllib.parse import parse_qsl

import pytest

from tests.bench import plot
from tests.bench.load import at_rate, closed_loop
from tests.bench.peers.app import Connection
from tests.bench.report import Report, Row, percentile
from tests.bench.stacks import STACKS
from tests.bench.traffic import ATTACKS, CANARY, FORM, JSON, KINDS, MIX, Sent, Source, mixed, with_canary


def values_of(sent: Sent) -> set[str]:
    """Header values and values of arguments that are long enough not to meet by chance."""
    headers = dict(sent.headers)
    found = [value for name, value in sent.headers if name not in ("content-type", "content-length")]
    found += [value for _, value in parse_qsl(sent.target.partition("?")[2])]
    if headers.get("content-type") == FORM:
        found += [value for _, value in parse_qsl(sent.body.decode())]
    return {value for value in found if len(value) > 20}


@pytest.mark.parametrize("kind", KINDS)
def test_no_value_of_a_kind_comes_again(kind: str) -> None:
    first = Source("a").take(KINDS[kind], 8)
    second = Source("b").take(KINDS[kind], 8)
    seen: set[str] = set()
    for sent in (*first, *second):
        assert not seen & values_of(sent)
        seen |= values_of(sent)
    assert Source("a").take(KINDS[kind], 8) == first


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_and_lines_are_right(kind: str) -> None:
    for sent in Source(kind).take(KINDS[kind], 5):
        head, _, body = sent.as_http1().partition(b"\r\n\r\n")
        headers = dict(sent.headers)
        assert len(headers) == len(sent.headers)
        assert body == sent.body
        assert int(headers.get("content-length", "0")) == len(body)
        assert head.count(b"\r\n") == head.count(b"\n") == len(sent.headers)


def leaves(tree: object) -> int:
    if isinstance(tree, dict):
        return sum(leaves(value) for value in tree.values())
    return sum(leaves(value) for value in tree) if isinstance(tree, list) else 1


@pytest.mark.parametrize(
    ("kind", "size", "leaf_count"),
    [("JSON 2 KB", (1500, 2500), (90, 110)), ("JSON 64 KB", (62_000, 67_000), (200, 400))],
)
def test_bodies_have_the_size_that_they_are_called_by(
    kind: str, size: tuple[int, int], leaf_count: tuple[int, int]
) -> None:
    for sent in Source(kind).take(KINDS[kind], 3):
        assert size[0] <= len(sent.body) <= size[1]
        assert leaf_count[0] <= leaves(json.loads(sent.body)) <= leaf_count[1]


def test_form_has_ten_arguments_and_browser_twelve_headers() -> None:
    source = Source("shape")
    assert len(parse_qsl(source.take(KINDS["form POST"], 1)[0].body.decode())) == 10
    assert len(source.take(KINDS["browser GET"], 1)[0].headers) == 12
    assert len(source.take(KINDS["small GET"], 1)[0].headers) == 3


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - ATTACKS))
def test_canary_is_the_last_value(kind: str) -> None:
    sent = with_canary(Source("canary").take(KINDS[kind], 1)[0])
    headers = dict(sent.headers)
    if not sent.body:
        assert parse_qsl(sent.target.partition("?")[2])[-1] == ("last", CANARY)
        return
    assert int(headers["content-length"]) == len(sent.body)
    told = json.loads(sent.body) if headers["content-type"] == JSON else dict(parse_qsl(sent.body.decode()))
    assert list(told.items())[-1] == ("last", CANARY)


def test_mix_is_of_a_hundred() -> None:
    assert sum(weight for _, weight in MIX) == 100
    assert {sent.method for sent in Source("mix").take(mixed, 200)} == {"GET", "POST"}


@pytest.mark.parametrize(
    ("measured", "bar", "is_missed", "text"),
    [
        (0.5, 0.5, False, "0.5 / 0.5 / pass"),
        (0.51, 0.5, True, "0.51 / 0.5 / MISSED"),
        (9.0, None, False, "9 / - / -"),
    ],
)
def test_a_bar_is_missed_only_above_it(measured: float, bar: float | None, is_missed: bool, text: str) -> None:
    row = Row("figure", measured, bar)
    assert row.is_missed is is_missed
    assert row.text().endswith(text)


def test_exit_code_is_1_when_a_bar_was_missed(
    monkeypatch: pytest.MonkeyPatch, tmp_path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.bench.report.OUTPUT", tmp_path)
    monkeypatch.setattr("tests.bench.report.ROOT", tmp_path)
    report = Report("test")
    report.row("held", 1, 2)
    report.row("printed", 7)
    report.lacks("peer", "not here")
    assert report.close() == 0
    report.row("missed", 3, 2)
    assert report.close() == 1
    told = json.loads((tmp_path / "test.json").read_text())
    assert [row["pass"] for row in told["rows"]] == [True, None, False]
    assert told["missing"] == {"peer": "not here"}
    assert "1 of 2 bars held, 1 missed" in capsys.readouterr().out


def test_percentile_counts_from_below() -> None:
    assert [percentile(list(range(100)), share) for share in (0.0, 0.5, 0.99, 1.0)] == [0, 50, 99, 99]


def test_plot_is_well_formed() -> None:
    bars = {"small GET": {"a & b": 50.0, "c": 900.0}, "mixed": {"a & b": 70.0, "c": 0.0}}
    lines = {"a & b": [(10.0, 0.5, 3.0), (20.0, 0.6, 9.0)], "c": [(10.0, 5.0, 30.0), (20.0, 7.0, 90.0)]}
    tree = ET.fromstring(  # noqa: S314  # our own
        plot.draw(bars, lines, ["a & b", "c"], "caption <1>")
    )
    texts = [node.text for node in tree.iter() if node.tag.endswith("text")]
    assert {"caption <1>", "a & b", "small GET", "900"} <= set(texts)


def test_plot_has_a_colour_for_every_stack_and_names_those_that_were_measured() -> None:
    *_, last = STACKS
    told = plot.draw({"mixed": {last: 70.0}}, {}, list(STACKS), "")
    legend = [line for line in told.splitlines() if line.startswith("<g")]
    assert len(legend) == 1
    assert last in legend[0]
    assert len(set(plot.COLOURS)) == len(plot.COLOURS) >= len(STACKS)


async def test_load_asks_the_app_every_request_once() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    r = random.Random(1)
    requests = [KINDS[kind](r).as_http1() for kind in ("small GET", "form POST", "JSON 64 KB") for _ in range(5)]
    told = await closed_loop(port, requests, 4)
    assert told.statuses == {200: 15}
    assert len(told.milliseconds) == 15
    begun = time.monotonic()
    told = await at_rate(port, requests, 1000.0, seed=1)
    assert told.statuses == {200: 15}
    assert told.seconds <= time.monotonic() - begun
    server.close()
