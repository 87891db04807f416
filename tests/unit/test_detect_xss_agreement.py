"""@detectXSS against libmodsecurity's: the same verdicts on the corpus, on random fragments and on every name.

The corpus (CORPUS_DIR, else ../shared/corpus) and the rules (CRS_DIR, else ../shared/crs) are read where they lie.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from extproc.operators import xss_names
from extproc.operators.detect_xss import detect_xss

modsecurity = pytest.importorskip("libmodsecurity", reason="libmodsecurity is the oracle of these tests")

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(os.environ.get("CORPUS_DIR") or ROOT.parent / "shared" / "corpus")
CRS = Path(os.environ.get("CRS_DIR") or ROOT.parent / "shared" / "crs")

needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no corpus in {CORPUS}; set CORPUS_DIR")
needs_crs = pytest.mark.skipif(not (CRS / "rules").is_dir(), reason=f"no Core Rule Set in {CRS}; set CRS_DIR")

ATTACK_BAR = 0.995
BENIGN_BAR = 0.9995
RANDOM_BAR = 0.9999

BATCH = 50
"""Values per transaction, below SecArgumentsLimit."""

RULES = "SecRuleEngine On\nSecRequestBodyAccess On\nSecRequestBodyLimit 10000000\n" + "".join(
    f'SecRule ARGS:v{index} "@detectXSS" "id:{index + 1},phase:2,pass,t:none,log"\n' for index in range(BATCH)
)


class Oracle:
    """libmodsecurity in process; values go in as arguments of a form, every byte escaped."""

    def __init__(self) -> None:
        self._logged: set[int] = set()
        self._engine = modsecurity.ModSecurity()
        self._engine.set_rule_message_callback(lambda message: self._logged.add(message.rule_id))
        self._rules = modsecurity.RulesSet()
        assert self._rules.load(RULES) == BATCH

    def close(self) -> None:
        self._engine.set_rule_message_callback(None)

    def ask(self, values: list[bytes]) -> list[bool]:
        """Does @detectXSS match, for every value?"""
        verdicts = []
        for start in range(0, len(values), BATCH):
            batch = values[start : start + BATCH]
            self._logged.clear()
            exchange = modsecurity.Transaction(self._engine, self._rules, "case")
            exchange.process_uri("/", "POST", "1.1")
            exchange.add_request_header("Content-Type", "application/x-www-form-urlencoded")
            exchange.process_request_headers()
            escaped = (b"".join(b"%%%02x" % byte for byte in value) for value in batch)
            exchange.append_request_body(b"&".join(b"v%d=%b" % pair for pair in enumerate(escaped)))
            exchange.process_request_body()
            verdicts += [index + 1 in self._logged for index in range(len(batch))]
        return verdicts

    def differences(self, values: list[bytes]) -> list[tuple[bytes, bool]]:
        """Values of which the verdicts differ, with the oracle's."""
        return [
            (value, theirs)
            for value, theirs in zip(values, self.ask(values), strict=True)
            if theirs != (detect_xss(value) is not None)
        ]


@pytest.fixture(scope="module")
def libmodsecurity() -> Iterator[Oracle]:
    oracle = Oracle()
    yield oracle
    oracle.close()


@needs_corpus
@pytest.mark.parametrize(("name", "bar"), [("attacks.jsonl", ATTACK_BAR), ("benign.jsonl", BENIGN_BAR)])
def test_the_corpus_gets_the_same_verdicts(name: str, bar: float, libmodsecurity: Oracle) -> None:
    values = [json.loads(line)["value"].encode() for line in (CORPUS / name).read_text().splitlines()]
    found = libmodsecurity.differences(values)
    assert len(found) <= (1 - bar) * len(values), found[:10]


FRAGMENTS = (
    b"< < < > / = = = ' \" ` \x00 \n \t \x0b ! ? % - -- !-- --> --!> <!-- <! <? <% %> </ /> [ ] ]]> [CDATA[ ![CDATA[ "
    b"doctype !doctype script svg xsl xml xmlx xss iframe p b div on onclick onload onfoo style styles href src by to "
    b"values xmlns xmlns:a xlink xlink:href filter datasrc attributename javascript java jav vbscript data: "
    b"view-source: "
    b"&#106; &#x6a; &#106 &#10; &#0; &#32; &#9 &# &#x & ; [if xml import entity [IF 1 a foo : + \x01 \x7f \xc2 \xa0"
).split(b" ") + [b" "] * 10


@pytest.mark.parametrize("seed", range(4))
def test_random_fragments_get_the_same_verdicts(seed: int, libmodsecurity: Oracle) -> None:
    source = random.Random(seed)
    values = [b"".join(source.choices(FRAGMENTS, k=source.randint(2, 14))) for _ in range(10_000)]
    found = libmodsecurity.differences(values)
    assert len(found) <= (1 - RANDOM_BAR) * len(values), found[:10]
    assert sum(detect_xss(value) is not None for value in values) > 300


def names() -> list[bytes]:
    attributes = (
        xss_names.CODE_ATTRIBUTES
        | xss_names.CODE_ATTRIBUTE_BEGINNINGS
        | xss_names.URL_ATTRIBUTES
        | xss_names.NAME_ATTRIBUTES
        | xss_names.EVENT_BEGINNINGS
    )
    values = (b"1", b"javascript:1", b"onload", b"href", b"")
    tags = xss_names.TAGS | xss_names.TAG_BEGINNINGS
    return [
        *(b"<p %b%b=%b>" % (name, end, value) for name in attributes for end in (b"", b"x") for value in values),
        *(b"<p attributename=%b%b>" % (name, end) for name in attributes for end in (b"", b"x")),
        *(
            b"<%b%b%b" % (slash, name, end)
            for slash in (b"", b"/")
            for name in tags
            for end in (b"", b">", b" ", b"x>")
        ),
        *(
            b"<a href='%b%b'>" % (scheme[:-1], scheme[-1:] * count)
            for scheme in xss_names.SCHEMES
            for count in (0, 1, 2)
        ),
    ]


def test_every_name_gets_the_same_verdict(libmodsecurity: Oracle) -> None:
    assert libmodsecurity.differences(names()) == []


def test_what_is_ours_is_still_ours(libmodsecurity: Oracle) -> None:
    """Events that only we know, a byte that ends the oracle's walk, and an entity that we let end early."""
    ours = [b"<p %b=1>" % name for name in xss_names.EVENTS_OF_OURS]
    ours += [b"<p style=\xff>", b"<p \xff onclick=1>", b"<a href=&#x6aava>"]
    assert set(libmodsecurity.differences(ours)) == {(value, False) for value in ours}


@needs_crs
@pytest.mark.crs
@pytest.mark.parametrize("rule", ["941100", "941101"])
def test_the_rules_of_the_core_rule_set_pass_their_tests(rule: str) -> None:
    (path,) = (CRS / "tests" / "regression" / "tests").glob(f"*/{rule}.yaml")
    command = [sys.executable, "-m", "extproc", "test", str(path), "--crs", str(CRS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed" in done.stdout + done.stderr
