"""`make conformance`: the suite against `extproc serve`, with its shipped rules and a free port.

    python -m tests.conformance.against_extproc [OPTION OF THE SUITE]...

Runs in the ordinary environment and starts the suite in `.venv-official`; knows extproc only as a command.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_S = 60
BODY_LIMIT = 1_048_576


def main(options: list[str]) -> int:
    python = ROOT / ".venv-official" / "bin" / "python"
    if not python.exists():
        sys.stderr.write("conformance: needs .venv-official; `make conformance` makes it\n")
        return 2
    report = ROOT / "build" / "conformance.xml"
    report.parent.mkdir(exist_ok=True)
    log = report.with_suffix(".log")
    with tempfile.TemporaryDirectory() as folder, log.open("wb") as said:
        path = f"{folder}/grpc.sock"
        flags = [
            "--mode",
            "block",
            "--upgrade-paths",
            "/ws",
            "--body-limit",
            str(BODY_LIMIT),
            "--drain-delay-seconds",
            "0",
        ]
        serve = [sys.executable, "-m", "extproc", "serve", "--grpc", f"unix:{path}", "--health", "off", *flags]
        with subprocess.Popen(serve, cwd=ROOT, stdout=said, stderr=said) as server:
            try:
                if not is_listening(path, server):
                    sys.stderr.write(f"conformance: `extproc serve` did not start\n{log.read_text()}")
                    return 1
                suite = [python, "-m", "pytest", ROOT / "tests" / "conformance", "-q", f"--junitxml={report}"]
                known = [f"--target=unix:{path}", "--upgrade-path=/ws", f"--body-limit={BODY_LIMIT}"]
                return subprocess.run([*suite, *known, *options], cwd=ROOT).returncode
            finally:
                server.terminate()


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
