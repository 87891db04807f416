"""`make run`: the demo app on a free port, and `extproc up` in front of it; the app ends with it, however that ends.

All flags go to `up`: `python -m extproc.cli.demo --listen 127.0.0.1:8080 --mode block`.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Sequence

from extproc.cli.addresses import free_address
from extproc.cli.children import spawn
from extproc.cli.main import main as extproc

START_LIMIT_S = 10.0
"""For the app to listen; `up` starts anyhow, and says that the app does not answer."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs until `up` ends; its exit code."""
    address = free_address()
    app = spawn([sys.executable, "-P", "-m", "extproc.cli.demo_app", "--listen", address])
    try:
        _await(address)
        return extproc(["up", "--app", address, *(sys.argv[1:] if argv is None else argv)])
    finally:
        app.kill()
        app.wait()


def _await(address: str) -> None:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, int(port)), timeout=1.0).close()
            return
        except OSError:
            time.sleep(0.05)


if __name__ == "__main__":
    raise SystemExit(main())
