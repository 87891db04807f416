"""`make conformance`: the whole suite against extproc, with its shipped rules and free ports.

    python -m tests.conformance.against_extproc [--part G|E] [--write-docs] [OPTION OF THE SUITE]...

Part G, at gRPC level, runs in `.venv-official` against `extproc serve`, and what needs an engine that fails or is slow
against the same server around a toy of an engine; part E in the ordinary environment, through `extproc up` with a
real Envoy. All write JUnit XML under build/; `--write-docs` puts the table of a whole run into docs/CONFORMANCE.md.
Knows extproc only as a command.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.conformance.docs_table import write_table

ROOT = Path(__file__).resolve().parents[2]
SUITE = ROOT / "tests" / "conformance"
BUILD = ROOT / "build"
START_S = 60
BODY_LIMIT = 1_048_576
OPEN_STREAMS = 10_000

REPORTS = ("conformance.xml", "conformance-toy.xml", "conformance-envoy.xml")

SERVE_FLAGS = (
    *("--mode", "block", "--upgrade-paths", "/ws", "--body-limit", str(BODY_LIMIT), "--drain-delay-seconds", "0"),
    # Ten thousand streams on a busy machine take their time; what the budget does is asked elsewhere.
    *("--time-budget", "10s", "--workers", "1", "--health", "off"),
)

SUITE_FLAGS = ("--upgrade-path=/ws", f"--body-limit={BODY_LIMIT}", f"--open-streams={OPEN_STREAMS}")

TOY_FLAGS = (
    *("--upgrade-path=/ws", "--fault-path=/fault", "--nothing-path=/nothing", "--slow-path=/work/2000"),
    *("-k", "G06 or G07 or G10 or G28 or G29"),
)
"""What `extproc serve` cannot be asked for: its engine has no path that raises or dawdles."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.against_extproc")
    parser.add_argument("--part", choices=("G", "E"), action="append", help="only this part")
    parser.add_argument("--write-docs", action="store_true", help="the table into docs/CONFORMANCE.md")
    given, options = parser.parse_known_args(arguments)
    BUILD.mkdir(exist_ok=True)
    parts = {"G": run_grpc_part, "E": run_envoy_part}
    codes = [parts[name](options) for name in given.part or parts]
    if given.write_docs:
        write_table(ROOT / "docs" / "CONFORMANCE.md", [BUILD / name for name in REPORTS])
    return max(codes)


def run_envoy_part(options: list[str]) -> int:
    report = BUILD / "conformance-envoy.xml"
    command = [sys.executable, "-m", "pytest", SUITE / "through_envoy", "-q", f"--junitxml={report}", *options]
    return subprocess.run(command, cwd=ROOT).returncode


def run_grpc_part(options: list[str]) -> int:
    serve = ["-m", "extproc", "serve", *SERVE_FLAGS]
    toy = [str(ROOT / "tests" / "e2e" / "servers" / "toy_server.py")]
    codes = [
        run_suite(serve, BUILD / "conformance.xml", [*SUITE_FLAGS, *options]),
        run_suite(toy, BUILD / "conformance-toy.xml", [*TOY_FLAGS, *options]),
    ]
    return max(codes)


def run_suite(server: list[str], report: Path, flags: list[str]) -> int:
    """The suite against one server; its words go into a log beside the report."""
    python = ROOT / ".venv-official" / "bin" / "python"
    if not python.exists():
        sys.stderr.write("conformance: needs .venv-official; `make conformance` makes it\n")
        return 2
    log = report.with_suffix(".log")
    with tempfile.TemporaryDirectory() as folder, log.open("wb") as said:
        path = f"{folder}/grpc.sock"
        command = [sys.executable, *server, "--grpc", f"unix:{path}"]
        with subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said) as process:
            try:
                if not is_listening(path, process):
                    sys.stderr.write(f"conformance: the server did not start\n{log.read_text()}")
                    return 1
                suite = [python, "-m", "pytest", SUITE, "-q", f"--junitxml={report}", f"--target=unix:{path}"]
                return subprocess.run([*suite, *flags], cwd=ROOT).returncode
            finally:
                process.terminate()


def is_listening(path: str, server: subprocess.Popen[bytes]) -> bool:
    """Waits for the socket; False if the server ends or takes too long."""
    end = time.monotonic() + START_S
    while time.monotonic() < end and server.poll() is None:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(path) == 0:
                return True
        time.sleep(0.1)
    return False


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
