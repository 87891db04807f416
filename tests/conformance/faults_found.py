"""Which cases find which fault: the cases against every server of `servers/faulty.py`.

    .venv-official/bin/python tests/conformance/faults_found.py [FAULT[:CASE,CASE...]]...

Without a word, all cases against all servers. Writes one JSON object to standard output: fault → case → `passed`,
`FAILED` or `not applicable`. A case that cannot be brought to an end is FAILED as well.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "servers")]

import peer  # noqa: E402  # beside this file
from cases import CASES  # noqa: E402
from control import Control  # noqa: E402
from faulty import SERVERS  # noqa: E402

PATIENCE_S = 3.0
"""For the answer of a server that may never give one."""

OPTIONS = {
    "attack": "1' OR 1=1--",
    "body_mode": "BUFFERED",
    "body_limit": 1_048_576,
    "reflection": False,
    "ping_interval": 0.02,
    "open_streams": 300,
    "streams_in_a_row": 1_000,
    "upgrade_path": None,
    "max_streams": None,
    "fault_path": None,
    "nothing_path": None,
    "slow_path": None,
}


def run(fault: str, numbers: list[str]) -> dict[str, str]:
    """Case → what it came to."""
    control = Control(f"{sys.executable} {HERE / 'servers' / 'faulty_control.py'} {fault}")
    told = {}
    try:
        server = control.shared("plain")
        options = argparse.Namespace(**{**OPTIONS, **server.options, "target": server.target})
        for case in CASES:
            if numbers and case.number not in numbers:
                continue
            connected = peer.Peer(options, control)
            try:
                case.run(connected)
                told[case.number] = "passed"
            except pytest.skip.Exception:
                told[case.number] = "not applicable"
            except (Exception, pytest.fail.Exception):  # a broken answer may break the case in any way
                told[case.number] = "FAILED"
            finally:
                connected.close()
    finally:
        control.close()
    return told


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("wanted", nargs="*", default=list(SERVERS), metavar="FAULT[:CASE,CASE...]")
    peer.CALL_TIMEOUT_S = PATIENCE_S
    plan = {}
    for word in parser.parse_args().wanted:
        fault, _, numbers = word.partition(":")
        plan[fault] = [number for number in numbers.split(",") if number]
    json.dump({fault: run(fault, numbers) for fault, numbers in plan.items()}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
