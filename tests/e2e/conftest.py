"""What the end-to-end tests stand on: a real `extproc up` with a real Envoy, in front of an app that remembers."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from extproc.model.errors import ConfigError
from extproc.proxy.binary import find_envoy

START_LIMIT_S = 60.0
STOP_LIMIT_S = 20.0
ANSWER_LIMIT_S = 15.0

ATTACK = "' OR 1=1--"
ATTACK_PATH = "/?q=%27%20OR%201=1--"

LOAD_CLIENTS = 4
LOAD_PAUSE_S = 0.01
"""Between two requests of one client: a bounded load."""

RULES = r"""
SecRuleEngine On
SecRequestBodyAccess On
SecRule REQUEST_HEADERS:Content-Type "@contains json" "id:1,phase:1,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule ARGS|REQUEST_COOKIES|REQUEST_HEADERS|REQUEST_FILENAME "@rx (?i)'\s*or\s+1=1" \
    "id:1001,phase:2,deny,status:403,t:none,t:urlDecodeUni,log,msg:'a test attack',severity:'CRITICAL'"
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def wait_for(condition: Callable[[], Any], limit_s: float, what: str) -> Any:
    """The first true answer of `condition`."""
    deadline = time.monotonic() + limit_s
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise AssertionError(f"no {what} within {limit_s} s")
        time.sleep(0.02)


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


def send(
    port: int,
    method: str = "GET",
    path: str = "/hello",
    body: Any = None,
    headers: dict[str, str] | None = None,
    timeout: float = ANSWER_LIMIT_S,
) -> Answer:
    """One request on its own connection. An iterator as body is sent in chunks."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def send_raw(port: int, data: bytes, timeout: float = 5.0) -> bytes:
    """Bytes as they are; what comes back until the other side closes or is silent for a second."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(data)
        connection.settimeout(1.0)
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while piece := connection.recv(65_536):
                answer += piece
    return answer


def is_alive(pid: int) -> bool:
    """Runs, and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def children_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def descendants_of(pid: int) -> list[int]:
    found = []
    for child in children_of(pid):
        found += [child, *descendants_of(child)]
    return found


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


@dataclass
class App:
    """The demo app, and what it saw."""

    process: subprocess.Popen[bytes]
    port: int
    control: int

    def seen(self) -> list[dict[str, Any]]:
        return json.loads(send(self.control, path="/seen").body)

    def forget(self) -> None:
        send(self.control, "DELETE", "/seen")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def start_app(port: int | None = None) -> App:
    port, control = port or free_port(), free_port()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "extproc.cli.demo_app",
            "--listen",
            f"127.0.0.1:{port}",
            "--control",
            f"127.0.0.1:{control}",
        ],
        stdout=subprocess.DEVNULL,
    )
    app = App(process, port, control)
    wait_for(lambda: answers(control, "/seen"), START_LIMIT_S, "demo app")
    return app


def answers(port: int, path: str) -> bool:
    try:
        return send(port, path=path).status == 200
    except OSError:
        return False


@dataclass
class PairProcess:
    """One `extproc up`."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path
    known: set[int] = field(default_factory=set)

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "events").read_text().splitlines()]

    @property
    def access_log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "access").read_text().splitlines()]

    def await_start(self) -> PairProcess:
        wait_for(lambda: "try, in another" in self.stderr or self.process.poll() is not None, START_LIMIT_S, "start")
        assert self.process.poll() is None, self.stderr
        return self

    def descendants(self) -> list[int]:
        found = descendants_of(self.process.pid)
        self.known.update(found)
        return found

    def envoy(self) -> int:
        return next(pid for pid in children_of(self.process.pid) if "--disable-hot-restart" in command_of(pid))

    def supervisor(self) -> int:
        return next(pid for pid in children_of(self.process.pid) if "--disable-hot-restart" not in command_of(pid))

    def generations(self) -> list[int]:
        """Processes that hold rules, each with its workers; more than one during a reload."""
        return children_of(self.supervisor())

    def workers(self) -> list[int]:
        return [worker for generation in self.generations() for worker in children_of(generation)]

    def send(self, *args: Any, **more: Any) -> Answer:
        return send(self.port, *args, **more)

    def stop(self) -> None:
        """However the test ended, nothing of it stays."""
        known = self.known | set(self.descendants())
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in known:
            if is_alive(pid) and "extproc" in command_of(pid):
                os.kill(pid, signal.SIGKILL)


class Load:
    """A few clients that alternate a clean request and an attack, and note each answer with its time."""

    def __init__(self, pair: PairProcess) -> None:
        self._pair = pair
        self._stop = threading.Event()
        self.clean: list[tuple[float, int]] = []
        self.attack: list[tuple[float, int]] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(LOAD_CLIENTS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            for path, noted in (("/hello", self.clean), (ATTACK_PATH, self.attack)):
                started = time.monotonic()
                try:
                    status = self._pair.send(path=path).status
                except OSError:
                    status = 0  # no connection: Envoy itself is away
                noted.append((started, status))
            time.sleep(LOAD_PAUSE_S)


def start_up(folder: Path, app_port: int, *flags: str, port: int | None = None, mode: str = "block") -> PairProcess:
    """`extproc up` with one test rule, events and access log in `folder`; does not wait for it."""
    port = port or free_port()
    (folder / "rules.conf").write_text(RULES)
    argv = [sys.executable, "-m", "extproc", "up", "--listen", f"127.0.0.1:{port}", "--app", f"127.0.0.1:{app_port}"]
    argv += ["--mode", mode, "--events", str(folder / "events"), "--access-log", str(folder / "access")]
    if not any(flag.startswith(("--rules", "--crs", "--profile")) for flag in flags):
        argv += ["--rules", str(folder / "rules.conf")]
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("ab") as stderr:
        return PairProcess(subprocess.Popen([*argv, *flags], stdout=stdout, stderr=stderr), port, folder)


@pytest.fixture(scope="session")
def envoy_binary() -> Path:
    try:
        return find_envoy(os.environ.get("EXTPROC_ENVOY", ""))
    except ConfigError as error:
        pytest.skip(f"needs Envoy: {error}")


@pytest.fixture(scope="session")
def app() -> Iterator[App]:
    app = start_app()
    yield app
    app.stop()


@pytest.fixture(scope="session")
def shared_pair(envoy_binary: Path, app: App) -> Iterator[PairProcess]:
    with tempfile.TemporaryDirectory() as folder:
        pair = start_up(Path(folder), app.port, "--upgrade-paths", "/ws", "--body-limit", "64KiB")
        try:
            yield pair.await_start()
        finally:
            pair.stop()


@pytest.fixture
def pair(shared_pair: PairProcess, app: App) -> PairProcess:
    """The pair that all tests of traffic share, in block mode; what the app saw is forgotten before each."""
    app.forget()
    return shared_pair


@pytest.fixture
def start_pair(envoy_binary: Path, tmp_path: Path) -> Iterator[Callable[..., PairProcess]]:
    """Pairs of a test's own, gone when it ends."""
    started: list[PairProcess] = []

    def start(*args: Any, **more: Any) -> PairProcess:
        folder = tmp_path / f"pair{len(started)}"
        folder.mkdir()
        started.append(start_up(folder, *args, **more))
        return started[-1]

    yield start
    for pair in started:
        pair.stop()


@pytest.fixture(scope="session")
def tools() -> Any:
    """The functions of this file, for test modules (which cannot import it)."""
    return sys.modules[__name__]
