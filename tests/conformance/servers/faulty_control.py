"""The suite's control for the servers of `faulty.py`: python faulty_control.py FAULT."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sound import FEW_STREAMS

HERE = Path(__file__).parent
OPTIONS: dict[str, Any] = {"upgrade_path": "/ws"}
OPTIONS_OF = {
    "faults": {"fault_path": "/fault", "nothing_path": "/nothing", "slow_path": "/slow"},
    "few-streams": {"max_streams": FEW_STREAMS},
    "streamed": {"body_mode": "STREAMED"},
}
LIMIT_S = 15.0
PAGE_BYTES = 4096
NEXT_RULES = {"other": "rules-2", "broken": "!rules"}


class Server:
    """One process, and the folder that it takes its rules from."""

    def __init__(self, fault: str, profile: str, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "grpc.sock"
        if profile != "loading":
            (folder / "rules").write_text("rules-1")
        command = [sys.executable, str(HERE / "faulty.py"), f"unix:{self.path}", fault, f"--profile={profile}"]
        self.process = subprocess.Popen([*command, f"--folder={folder}"], stderr=subprocess.DEVNULL)
        self.wait_for(self.is_listening)
        if profile != "loading":
            self.wait_for((folder / "loaded").exists)

    def is_listening(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.path)) == 0

    def wait_for(self, claim: Any) -> None:
        end = time.monotonic() + LIMIT_S
        while not claim():
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError("the server is not there")
            time.sleep(0.02)

    def take(self, rules: str) -> None:
        """Returns when the server has read them."""
        loaded = self.folder / "loaded"
        loaded.unlink(missing_ok=True)
        (self.folder / "next").write_text(rules)
        is_first = not (self.folder / "rules").exists()
        (self.folder / "next").rename(self.folder / "rules")
        if not is_first:
            self.process.send_signal(signal.SIGHUP)
        self.wait_for(loaded.exists)

    def usage(self) -> dict[str, int]:
        root = Path(f"/proc/{self.process.pid}")
        pages = int((root / "statm").read_text().split()[1])
        return {"bytes": pages * PAGE_BYTES, "descriptors": len(list((root / "fd").iterdir()))}

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def answer(servers: dict[str, Server], root: Path, fault: str, asked: dict[str, Any]) -> dict[str, Any]:
    if asked["do"] == "start":
        folder = Path(tempfile.mkdtemp(dir=root))
        name = folder.name
        server = servers[name] = Server(fault, asked["profile"], folder)
        options = {**OPTIONS, **OPTIONS_OF.get(asked["profile"], {})}
        return {"server": name, "target": f"unix:{server.path}", "options": options}
    server = servers[asked["server"]]
    if asked["do"] == "drain":
        server.process.terminate()
    elif asked["do"] == "wait":
        return {"exit": server.process.wait(LIMIT_S)}
    elif asked["do"] == "load":
        server.take("rules-1")
    elif asked["do"] == "reload":
        server.take(NEXT_RULES[asked["rules"]])
    elif asked["do"] == "usage":
        return server.usage()
    else:
        server.kill()
    return {}


def main(fault: str) -> None:
    servers: dict[str, Server] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for line in sys.stdin:
                try:
                    told = answer(servers, Path(folder), fault, json.loads(line))
                except Exception as error:  # whatever it is, the case that asked must hear of it
                    told = {"error": f"{type(error).__name__}: {error}"}
                sys.stdout.write(json.dumps(told) + "\n")
                sys.stdout.flush()
        finally:
            for server in servers.values():
                server.kill()


if __name__ == "__main__":
    main(sys.argv[1])
