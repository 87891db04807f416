"""@detectSQLi against libmodsecurity's: the same verdicts on the corpus, and on the tests of the Core Rule Set.

The corpus (CORPUS_DIR, else ../shared/corpus) and the rules (CRS_DIR, else ../shared/crs) are read where they lie.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from functools import cache
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest

from extproc.operators.detect_sqli import detect_sqli

modsecurity = pytest.importorskip("libmodsecurity", reason="libmodsecurity is the oracle of these tests")

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(os.environ.get("CORPUS_DIR") or ROOT.parent / "shared" / "corpus")
CRS = Path(os.environ.get("CRS_DIR") or ROOT.parent / "shared" / "crs")

ATTACK_BAR = 0.99
BENIGN_BAR = 0.9995
RANDOM_BAR = 0.995

needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no corpus in {CORPUS}; set CORPUS_DIR")
needs_crs = pytest.mark.skipif(not (CRS / "rules").is_dir(), reason=f"no Core Rule Set in {CRS}; set CRS_DIR")

RULES = """
SecRuleEngine On
SecRule ARGS "@detectSQLi" "id:1,phase:1,pass,log,capture,logdata:%{TX.0}"
"""


@cache
def oracle() -> tuple[object, object]:
    engine = modsecurity.ModSecurity()
    engine.set_log_callback(lambda text: None)
    rules = modsecurity.RulesSet()
    assert rules.load(RULES) == 1
    return engine, rules


def ask(value: bytes) -> bytes | None:
    """The fingerprint that libmodsecurity finds in `value`."""
    transaction = modsecurity.Transaction(*oracle())
    transaction.process_uri("/?q=" + quote_from_bytes(value, safe=""), "GET", "1.1")
    transaction.process_request_headers()
    found: list[bytes] = [message.data.encode("latin-1") for message in transaction.get_rule_messages()]
    return found[0] if found else None


def differences(values: list[bytes]) -> list[tuple[bytes, bytes | None, object]]:
    """Values of which the verdicts differ: value, their fingerprint, ours."""
    triples = ((value, ask(value), detect_sqli(value)) for value in values)
    return [(value, theirs, ours) for value, theirs, ours in triples if (theirs is None) != (ours is None)]


def read(name: str) -> list[bytes]:
    return [json.loads(line)["value"].encode() for line in (CORPUS / name).read_text().splitlines()]


@needs_corpus
@pytest.mark.parametrize(("name", "bar"), [("attacks.jsonl", ATTACK_BAR), ("benign.jsonl", BENIGN_BAR)])
def test_the_corpus_gets_the_same_verdicts(name: str, bar: float) -> None:
    values = read(name)
    found = differences(values)
    assert len(found) <= (1 - bar) * len(values), found[:10]


@needs_corpus
def test_fingerprints_are_the_same() -> None:
    values = read("attacks.jsonl")
    pairs = [(ask(value), detect_sqli(value)) for value in values]
    both = [(theirs, ours[0]) for theirs, ours in pairs if theirs and ours]
    assert len(both) > 6000
    assert sum(theirs != ours for theirs, ours in both) <= (1 - ATTACK_BAR) * len(both)


WORDS = (
    b"a foo 1 7 0x1 1.5 'x' 'y \"z\" @v null select union all from where or and not like in is = + - * / ( ) , ; "
    b". : ! < > /**/ /* -- # sleep user database order by having limit drop table into outfile case when "
    b"then end int collate x` ` ' \""
).split(b" ")


def test_random_fragments_get_the_same_verdicts() -> None:
    source = random.Random(20)
    values = [
        source.choice((b"", b" ")).join(source.choices(WORDS, k=source.randint(1, 9))) + source.choice((b"", b"-- x"))
        for _ in range(8000)
    ]
    found = differences(values)
    assert len(found) <= (1 - RANDOM_BAR) * len(values), found[:10]


@needs_crs
@pytest.mark.crs
@pytest.mark.parametrize("rule", ["942100", "942101"])
def test_the_rules_of_the_core_rule_set_pass_their_tests(rule: str) -> None:
    (path,) = (CRS / "tests" / "regression" / "tests").glob(f"*/{rule}.yaml")
    command = [sys.executable, "-m", "extproc", "test", str(path), "--crs", str(CRS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed" in done.stdout + done.stderr
