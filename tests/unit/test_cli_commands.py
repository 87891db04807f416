"""The command line: exit codes, one sentence per fault, and nothing imported that is not needed."""

from __future__ import annotations

import importlib
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from extproc.cli.main import COMMANDS, main
from extproc.cli.up import trials
from extproc.config import Config
from extproc.model.errors import ConfigError


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: extproc {name}")
    module = importlib.import_module(COMMANDS[name].module)
    assert callable(module.run)


@pytest.mark.parametrize(
    ("argv", "code", "out", "err"),
    [
        ([], 2, "usage: extproc COMMAND", ""),
        (["--help"], 0, "usage: extproc COMMAND", ""),
        (["--version"], 0, "extproc 0", ""),
        (["serv"], 2, "", "extproc: 'serv' is not a command; did you mean `extproc serve`?\n"),
        (["-x"], 2, "", "extproc: '-x' is not a command; `extproc --help` names them\n"),
        (["envoy-config", "--nonsense"], 2, "", "extproc envoy-config: unrecognized arguments: --nonsense; see"),
        (["envoy-config"], 2, "", "extproc: --listen: is missing"),
        (["envoy-config", "--listen", "127.0.0.1:1"], 2, "", "extproc: --app: is missing"),
        (["serve", "--workers", "2"], 2, "", "extproc: --workers: 2 workers need as many addresses, not 1"),
        (["doctor", "--namespace", "shop"], 2, "", "extproc: --namespace: is that of a pod; add --pod NAME"),
        (["policy", "show", "--policy", "/p", "--path", "pay/now"], 2, "", "extproc: --path: must begin with /"),
        (["serve", "--config", "/nonexistent"], 2, "", "extproc: /nonexistent: cannot be read"),
    ],
)
def test_exit_code_and_sentence(
    argv: list[str], code: int, out: str, err: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EXTPROC_CONFIG", raising=False)
    assert main(argv) == code
    said = capsys.readouterr()
    assert said.out.startswith(out)
    assert said.err.startswith(err)
    assert said.err.count("\n") == bool(err)


@pytest.mark.parametrize("written", ["On", "DetectionOnly", "Off"])
def test_check_names_the_engine_as_the_directive_does(
    written: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "rules.conf"
    rules.write_text(f"SecRuleEngine {written}\n")
    assert main(["check", str(rules)]) == 0
    assert f"SecRuleEngine {written}, " in capsys.readouterr().out


FTW = """\
rule_id: 7100200
tests:
- test_id: 1
  stages:
  - input: {method: GET, uri: "/?q=%27%20OR%201=1--", headers: {Host: localhost, Accept: "*/*"}}
    output: {log: {expect_ids: [7100200]}}
"""


@pytest.mark.parametrize(
    ("rules", "code", "said"),
    [
        ("own", 0, "1 passed, 0 failed, 0 skipped"),
        ("owm", 2, "extproc: --rules: owm is neither a file nor a shipped set"),
    ],
)
def test_rules_are_tested_by_the_name_that_the_server_takes(
    rules: str, code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.yaml").write_text(FTW)
    assert main(["test", str(tmp_path), "--rules", rules]) == code
    assert said in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("config", "outcome"),
    [
        (Config(mode="block"), "# 403 with an incident id"),
        (Config(mode="block", policy="waf.yaml"), "# 403 with an incident id, unless policy or rules only watch there"),
        (Config(mode="block", rules=("a.conf",)), "# 403 with an incident id, unless policy or rules only watch there"),
        (Config(policy="waf.yaml"), "# the app answers; the line below says what would have been"),
    ],
)
def test_what_is_to_be_tried_promises_no_more_than_holds(config: Config, outcome: str) -> None:
    assert trials(config, "http://127.0.0.1:1")[1].endswith(outcome)


def test_envoy_config_prints_what_envoy_takes(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["envoy-config", "--listen", "127.0.0.1:1", "--app", "127.0.0.1:2", "--mode", "block", "--rules", "own"]
    assert main([*argv, "--grpc", "unix:/a", "--grpc", "unix:/b", "--access-log", "off"]) == 0
    text = capsys.readouterr().out
    assert '{"pipe": {"path": "/b"}}' in text
    assert "access_log:" not in text


def test_a_reader_that_leaves_is_no_fault(tmp_path: Path) -> None:
    command = f"{sys.executable} -m extproc envoy-config --listen 127.0.0.1:1 --app 127.0.0.1:2 2>{tmp_path}/err | true"
    subprocess.run(["/bin/sh", "-c", command], check=True)
    assert (tmp_path / "err").read_text() == ""


@pytest.mark.parametrize(
    ("module", "absent"),
    [("extproc.cli.main", "yaml"), ("extproc.cli.up", "grpc"), ("extproc.cli.check", "grpc")],
)
def test_what_is_not_needed_is_not_imported(module: str, absent: str) -> None:
    program = f"import sys, {module}; sys.exit({absent!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_the_limit_of_a_response_is_the_bodys_unless_said_otherwise() -> None:
    from extproc.cli.wiring import response_limit

    assert response_limit(Config(body_limit=4096)) == 4096
    assert response_limit(Config(body_limit=4096, response_limit=4096)) == 4096
    with pytest.raises(ConfigError, match="--response-limit: must be at most body_limit, 4096 bytes"):
        response_limit(Config(body_limit=4096, response_limit=4097, sources={"response_limit": "--response-limit"}))


def test_the_server_gets_what_the_settings_say() -> None:
    from extproc.cli.serve import server_settings

    given = Config(
        grpc=("unix:/a", "unix:/b"),
        health="off",
        time_budget=250,
        max_streams=7,
        body_limit=4096,
        drain_seconds=7,
        drain_delay_seconds=1,
        upgrade_paths=("/ws",),
        response=True,
        reflection=True,
    )
    settings = server_settings(given)
    assert (settings.addresses, settings.health) == (("unix:/a", "unix:/b"), "")
    assert (settings.budget_us, settings.body_limit_bytes) == (250_000, 4096)
    assert (settings.drain_grace_s, settings.drain_delay_s) == (7, 1)
    assert settings.upgrade_paths == ("/ws",)
    assert settings.max_streams == 7
    assert (settings.inspect_response, settings.response_body_modes) == (True, {"BUFFERED_PARTIAL"})
    assert settings.reflection
    assert server_settings(Config()).health == "127.0.0.1:9003"


def test_a_busy_health_port(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        assert main(["serve", "--health", address]) == 1
    assert capsys.readouterr().err == (
        f"extproc: --health: cannot listen on {address}: Address already in use; free it or choose another\n"
    )


def test_a_fault_of_the_system_is_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    flags = ["--listen", "127.0.0.1:1", "--app", "127.0.0.1:2", "--envoy", sys.executable]
    monkeypatch.setattr("extproc.cli.up.refuse_taken", lambda *_: None)
    assert main(["up", *flags]) == 1
    assert capsys.readouterr().err.startswith("extproc: No such file or directory: ")


def test_a_file_for_events_that_cannot_be() -> None:
    from extproc.cli.decisions import Decisions

    with pytest.raises(ConfigError, match="--events: /nonexistent/x: No such file"):
        Decisions(Config(events="/nonexistent/x", sources={"events": "--events"}))
