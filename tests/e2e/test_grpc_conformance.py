"""The conformance suite against our server, and against servers with a fault that it must find.

The suite runs in `.venv-official`, where Envoy's own messages are installed.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conformance import fault_table

ROOT = Path(__file__).resolve().parents[2]
OFFICIAL = ROOT / ".venv-official" / "bin" / "python"
SUITE = ROOT / "tests" / "conformance"
TOY = Path(__file__).parent / "servers" / "toy_server.py"

SUITE_LIMIT_S = 110
"""Below the limit of a test, so that what the suite said is not lost."""

pytestmark = pytest.mark.skipif(not OFFICIAL.exists(), reason="needs .venv-official (xds-protos)")


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def serving(command: list[str | Path], address: str) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(address)
        yield
    finally:
        process.terminate()
        process.wait(20)


def wait_for(address: str) -> None:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        try:
            if address.startswith("unix:"):
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(address.removeprefix("unix:"))
            else:
                host, port = address.split(":")
                socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(address)


def run_suite(address: str, *options: str) -> dict[str, str]:
    """Case number → passed, FAILED or the reason why not, from the suite's closing table."""
    target = ["--target", address] if address else []
    command = [OFFICIAL, "-m", "pytest", SUITE, "-q", "-p", "no:cacheprovider", *target, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SUITE_LIMIT_S)
    return dict(re.findall(r"^(G\d\d) .{30} (passed|FAILED|not applicable)", done.stdout, re.MULTILINE)) or {
        "output": done.stdout + done.stderr
    }


# What needs another server than the one under --target: `extproc serve` under a control has it (below).
OF_CONTROL = {"G18", "G33", "G34", "G37", "G38", "G39", "G40"}


@pytest.mark.parametrize(("kind", "transport"), [("tcp", "http2"), ("unix", "http2"), ("unix", "grpc")])
def test_our_server_conforms(kind: str, transport: str, tmp_path: Path) -> None:
    address = free_address() if kind == "tcp" else f"unix:{tmp_path}/grpc.sock"
    controls = ["--upgrade-path=/ws", "--fault-path=/fault", "--nothing-path=/nothing", "--slow-path=/work/2000"]
    with serving([sys.executable, TOY, "--grpc", address, "--set", f"transport={transport!r}"], address):
        table = run_suite(address, *controls, "--ping-interval=0.05", "-k", "not G31")  # a toy reads no packed bodies
    assert {case for case, said in table.items() if said != "passed"} == OF_CONTROL
    assert len(table) == 43


def test_what_is_shipped_conforms_under_control() -> None:
    """The cases that no address alone can bring about; `make conformance` runs all of them, with all their streams."""
    control = f"{sys.executable} -m tests.conformance.extproc_control"
    load = ["--open-streams=500", "--streams-in-a-row=2000"]
    table = run_suite("", f"--control={control}", *load, "-k", " or ".join(sorted(OF_CONTROL | {"G31"})))
    assert table == dict.fromkeys(OF_CONTROL | {"G31"}, "passed")


@pytest.mark.parametrize("transport", ["http2", "grpc"])
def test_reflection_is_behind_its_flag(transport: str) -> None:
    address = free_address()
    flags = ["--set", "reflection=True", "--set", f"transport={transport!r}"]
    with serving([sys.executable, TOY, "--grpc", address, *flags], address):
        assert run_suite(address, "--reflection", "-k", "G35") == {"G35": "passed"}
        assert run_suite(address, "-k", "G35") == {"G35": "FAILED"}


SERVERS_LIMIT_S = 400
"""Fifty servers are started one after the other; a busy machine takes its time."""

ALL_CASES = {f"G{number:02}" for number in range(1, 45)}


def test_every_case_is_failed_by_a_fault_and_every_fault_by_a_case() -> None:
    """What the table in the docs says; the next test asks the servers."""
    table = fault_table.read()
    assert list(table) == list(fault_table.faults())
    assert all(table.values())
    assert {case for cases in table.values() for case in cases} == ALL_CASES


@pytest.mark.slow
@pytest.mark.timeout(SERVERS_LIMIT_S)
def test_the_suite_finds_the_faults() -> None:
    """Each case meets the most particular fault that it finds; a fault left over meets its rarest case."""
    table = fault_table.read()
    often = Counter(case for cases in table.values() for case in cases)
    plan: defaultdict[str, set[str]] = defaultdict(set)
    for case in ALL_CASES:
        plan[min((fault for fault in table if case in table[fault]), key=lambda fault: len(table[fault]))].add(case)
    for fault in table.keys() - plan.keys():
        plan[fault].add(min(table[fault], key=lambda case: often[case]))
    found = fault_table.find([f"{fault}:{','.join(cases)}" for fault, cases in plan.items()])
    missed = {(fault, case): said for fault, told in found.items() for case, said in told.items() if said != "FAILED"}
    assert not missed
    assert {fault: set(told) for fault, told in found.items()} == plan


@pytest.mark.slow
@pytest.mark.timeout(SERVERS_LIMIT_S)
def test_a_sound_server_holds_all_and_one_that_does_nothing_fails_where_it_should() -> None:
    found = fault_table.find(["sound", "no-op"])
    assert found["sound"] == dict.fromkeys(ALL_CASES, "passed")
    failed = set(fault_table.read()["no-op"])
    assert found["no-op"] == {case: "FAILED" if case in failed else "passed" for case in ALL_CASES}
