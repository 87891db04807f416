"""Where a case takes place: the shared pair and the app behind it, and pairs of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Answer, App, PairProcess, start_up, wait_for

LOG_LIMIT_S = 5.0
"""For a line of the access log; Envoy writes them every 200 ms."""


@dataclass
class Site:
    """`pair` blocks, allows WebSocket on /ws and inspects bodies up to 64 KiB; `logs` are the access logs of all.

    `is_attached`: the Envoy is somebody else's, and so are its answers when something went wrong.
    """

    pair: PairProcess
    app: App
    envoy: Path
    folder: Path
    is_attached: bool = False
    others: list[PairProcess] = field(default_factory=list)
    logs: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.logs.append(self.pair.folder / "access")

    @property
    def refusals(self) -> tuple[int, ...]:
        """Statuses of what could not be inspected. Ours is always 503; by itself Envoy tells slow engines apart."""
        return (503, 504) if self.is_attached else (503,)

    def start(self, *flags: str, app_port: int | None = None, **more: Any) -> PairProcess:
        """A pair of the case's own, serving; stopped when the case ends."""
        pair = start_up(self.fresh_folder(), app_port or self.app.port, *flags, **more)
        self.others.append(pair)
        self.logs.append(pair.folder / "access")
        return pair.await_start()

    def fresh_folder(self) -> Path:
        folder = self.folder / f"own{len(list(self.folder.iterdir()))}"
        folder.mkdir()
        return folder

    def stop_others(self) -> None:
        while self.others:
            self.others.pop().stop()

    def line_of(self, answer: Answer, pair: PairProcess | None = None) -> dict[str, Any]:
        """The access log's line of a request."""
        return self.line_by_id(answer.headers["x-request-id"], pair)

    def line_by_id(self, request_id: str, pair: PairProcess | None = None) -> dict[str, Any]:
        log = pair or self.pair
        found: dict[str, Any] = wait_for(
            lambda: next((line for line in log.access_log if line["request_id"] == request_id), None),
            LOG_LIMIT_S,
            "line in the access log",
        )
        return found

    def event_of(self, answer: Answer, pair: PairProcess | None = None) -> dict[str, Any]:
        """The decision event of a request."""
        written = pair or self.pair
        request_id = answer.headers["x-request-id"]
        found: dict[str, Any] = wait_for(
            lambda: next((event for event in written.events if event["request_id"] == request_id), None),
            LOG_LIMIT_S,
            "event",
        )
        return found


def admin_socket(pair: PairProcess) -> Path:
    """Envoy's admin, from what `up` printed at its start."""
    line = next(line for line in pair.stderr.splitlines() if "--unix-socket" in line)
    return Path(line.partition("--unix-socket ")[2].split()[0])
