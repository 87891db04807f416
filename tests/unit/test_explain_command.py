"""The command: requests from curl's arguments, files, stdin and events; its output, exit codes and errors."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from extproc.cli.main import main
from extproc.engine.plan import Plan
from extproc.events.record import encode
from extproc.model.verdict import Mode
from extproc.replay.explain_incident import MAX_LINE_BYTES
from extproc.replay.explain_watch import watch
from extproc.replay.http1 import parse_request
from extproc.seclang.assemble import Sources, load_ruleset

RULES = """
SecRule ARGS|REQUEST_HEADERS:X-A "@contains evil" \\
    "id:7,phase:2,deny,t:none,t:lowercase,msg:'Evil',logdata:'%{MATCHED_VAR}'"
"""
RAW = b"POST /p?a=EVIL HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\r\n" + b'{"b": {"c": "evil"}}'


@pytest.fixture
def rules(tmp_path):
    file = tmp_path / "rules.conf"
    file.write_text(RULES)
    return file


@pytest.fixture
def told(rules, capsys, monkeypatch):
    for name in ("EXTPROC_MODE", "EXTPROC_RULES", "EXTPROC_CRS", "EXTPROC_CONFIG"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments, code=0):
        assert main(["explain", "--rules", str(rules), *map(str, arguments)]) == code
        return capsys.readouterr()

    return run


CURL = ["-X", "POST", "http://h/p?a=EVIL", "-H", "Content-Type: application/json", "-d", '{"b": {"c": "evil"}}']


@pytest.mark.parametrize("before", [["--", "curl"], ["curl"], ["--"]])
def test_a_request_as_for_curl(told, before):
    record = json.loads(told("--json", *before, *CURL).out)
    assert record["schema"] == "extproc.explanation/1"
    assert (record["verdict"], record["decided_by"]["id"]) == ("block", 7)
    assert [variable["variable"] for variable in record["matches"][0]["variables"]] == ["ARGS:a", "ARGS:json.b.c"]


def test_a_url_alone_is_enough(told):
    assert told("http://h/p?a=evil").out.startswith("BLOCK 403: GET h/p?a=evil\n")
    assert told("http://h/p?a=good").out.startswith("ALLOW: GET h/p?a=good\n")


def test_a_raw_request_from_a_file_and_from_stdin(told, tmp_path, monkeypatch):
    file = tmp_path / "request.txt"
    file.write_bytes(RAW)
    from_file = told("--request", file).out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(RAW)))
    assert told("--request", "-").out == from_file
    assert "ARGS:json.b.c" in from_file


def test_the_mode_is_block_unless_asked_for(told, monkeypatch):
    assert "assumed here; `up` and `serve` default to monitor" in told("http://h/?a=evil").out
    monitored = told("--mode", "monitor", "http://h/?a=evil").out
    assert monitored.startswith("ALLOW, although the rules say block")
    assert "(--mode)" in monitored
    monkeypatch.setenv("EXTPROC_MODE", "monitor")
    assert "(EXTPROC_MODE)" in told("http://h/?a=evil").out


def test_secrets_are_shown_only_on_demand(told):
    arguments = ["http://h/?password=evil-hunter22"]
    assert "hunter22" not in told(*arguments).out
    assert "hunter22" in told("--show-secrets", *arguments).out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give one request"),
        (["--request", "x", "http://h/"], "give one request"),
        (["--incident", "X"], "needs --events FILE"),
        (["--request", "/nonexistent/file"], "cannot be read: No such file"),
        (["--", "-X"], "curl -X: needs a value"),
        (["--mode", "soft", "http://h/"], "--mode: must be one of"),
        (["--nonsense", "http://h/"], "--nonsense"),
    ],
)
def test_wrong_input_is_one_sentence_and_exit_2(told, arguments, sentence):
    captured = told(*arguments, code=2)
    assert sentence in captured.err
    assert (captured.out, captured.err.count("\n")) == ("", 1)


def test_broken_rules_are_findings_and_exit_2(told, rules):
    rules.write_text('SecRule ARGS "@nonsense x" "id:1"\n')
    assert f"{rules}:1: unknown operator @nonsense" in told("http://h/", code=2).err


@pytest.mark.parametrize("content", [b"", b"\r\n\r\n", b"GET\r\n\r\n"])
def test_a_file_that_is_no_request(told, tmp_path, content):
    file = tmp_path / "request.txt"
    file.write_bytes(content)
    assert "begins with no request line" in told("--request", file, code=2).err


# Incidents


@pytest.fixture
def events(rules, tmp_path):
    """An event file as the engine writes it, one incident per request."""

    def write(*raws):
        file = tmp_path / "events.jsonl"
        decisions = [
            watch(Plan(load_ruleset(Sources((rules,)))), Mode.BLOCK, parse_request(raw)).decision for raw in raws
        ]
        file.write_bytes(b"not json\n" + b"".join(map(encode, decisions)))
        return file, [decision.incident for decision in decisions]

    return write


def test_an_incident_is_rebuilt_from_its_event(told, events):
    file, [first, second] = events(
        b"GET /p?a=evil HTTP/1.1\r\nHost: h\r\n\r\n", b"GET /q?a=evil HTTP/1.1\r\nHost: h\r\n\r\n"
    )
    record = json.loads(told("--json", "--incident", second, "--events", file).out)
    assert record["event"]["incident"] == second
    assert record["request"]["path"] == "/q?a=evil"
    assert (record["verdict"], record["silent_now"]) == ("block", [])
    assert record["missing"] == [
        "headers and cookies, but for Host: events do not hold them, so rules on missing headers may match here"
    ]
    assert [one["proved"] for one in record["exclusions"]] == [True]
    text = told("--incident", first, "--events", file).out
    assert f"incident {first}" in text
    event = json.loads(told("--json", "--incident", first, "--events", file).out)["event"]
    rule = f" {event['status']}, rule {event['rule']}" if event["status"] else ""
    assert f"  then: {event['verdict']}{rule}, score {event['score']}, mode {event['mode']}\n" in text


def test_what_an_event_does_not_hold_is_said_and_never_guessed(told, events):
    file, [incident] = events(RAW.replace(b"?a=EVIL", b"?password=x"))
    record = json.loads(told("--json", "--incident", incident, "--events", file).out)
    assert (record["verdict"], record["silent_now"]) == ("allow", [{"id": 7, "variable": "ARGS:json.b.c"}])
    assert "the body: events do not hold it" in record["missing"]
    assert "parts of the path: [masked] stands for secrets" in record["missing"]
    [exclusion] = record["exclusions"]
    assert exclusion["proved"] is None
    assert exclusion["seclang"].endswith('ctl:ruleRemoveTargetById=7;ARGS:json.b.c"')
    text = told("--incident", incident, "--events", file).out
    assert 'rule 7 Evil in ARGS:json.b.c: "evil" (not matched again)' in text
    assert "not proved: the request is not known whole" in text


def test_other_rules_than_those_of_the_incident_are_said(told, events, rules):
    file, [incident] = events(RAW)
    rules.write_text(RULES + 'SecAction "id:9,phase:1,pass,nolog"\n')
    assert "the rules of then" in told("--incident", incident, "--events", file).out


def test_of_several_lines_with_the_id_the_last_event_counts(told, events):
    file, [incident] = events(RAW)
    event = json.loads(file.read_bytes().split(b"\n")[1])
    lines = [
        event,
        {**event, "path": "/last"},
        {**event, "path": "/other", "schema": "other/1"},
        {"incident": incident},
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert json.loads(told("--json", "--incident", incident, "--events", file).out)["request"]["path"] == "/last"


def test_an_incident_that_is_not_there(told, events):
    file, _ = events(RAW)
    assert f"{file} holds no event of incident NONE" in told("--incident", "NONE", "--events", file, code=2).err
    assert "cannot be read" in told("--incident", "NONE", "--events", "/nonexistent/file", code=2).err


@pytest.mark.parametrize(("excess", "is_found"), [(0, True), (1, False)])
def test_a_line_is_read_up_to_the_limit(told, events, excess, is_found):
    file, [incident] = events(RAW)
    line = file.read_bytes().split(b"\n")[1]
    padded = line[:-1] + b" " * (MAX_LINE_BYTES + excess - len(line)) + b"}\n"
    file.write_bytes(padded)
    told("--incident", incident, "--events", file, code=0 if is_found else 2)


def test_the_console_script_knows_it():
    ended = subprocess.run(
        [sys.executable, "-m", "extproc", "explain", "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    assert "--incident ID" in ended.stdout


@pytest.mark.crs
def test_the_core_rule_set_is_explained_and_cured(capsys):
    crs = Path(os.environ.get("CRS_DIR") or Path(__file__).parents[3] / "shared" / "crs")
    if not (crs / "rules").is_dir():
        pytest.skip("no Core Rule Set: set CRS_DIR")
    command = ["curl", "http://shop.example/p?q=1%27%20UNION%20select%202,3--%20-", "-A", "Mozilla/5.0"]
    assert main(["explain", "--crs", str(crs), "--json", *command]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["verdict"], record["decided_by"]["id"], record["cured"]) == ("block", 949110, "allow")
    assert {one["rule"] for one in record["exclusions"]} >= {942100}
    assert all(one["proved"] and one["variable"] == "ARGS:q" for one in record["exclusions"])
    assert record["prefilter"]["rules_gated"] > 100
    assert record["prefilter"]["spared"] > record["prefilter"]["run"]
