"""`--response` through a real Envoy: what of an answer is looked at, what flows, what the event says of it."""

from __future__ import annotations

import gzip
import http.server
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.conformance.through_envoy.streams import peak_bytes

pytestmark = pytest.mark.envoy

KIB = 1024
LEAK = b"ORA-00933: secret leak"

RULES = r"""
SecRuleEngine On
SecRequestBodyAccess On
SecRule ARGS "@contains attack" "id:1,phase:2,deny,status:403,t:none,log,msg:'in the request'"
SecRule RESPONSE_HEADERS:X-Debug "@contains leak" "id:3,phase:3,deny,status:403,t:none,log,msg:'in a header'"
SecRule RESPONSE_BODY "@contains secret leak" "id:4,phase:4,deny,status:403,t:none,log,msg:'in the body'"
"""


class TalkingApp:
    """Answers as the query says: `type`, `size` (letters before), `say` (1: the leak), `header`, `gzip`, `events`.

    `go_on` lets a stream of events end.
    """

    def __enter__(self) -> TalkingApp:
        self.seen: list[str] = []
        self.go_on = threading.Event()
        app = self

        class Answer(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                app.seen.append(self.path)
                asked = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
                body = b"x" * int(asked.get("size", 0)) + (LEAK if "say" in asked else b"ok")
                self.send_response(int(asked.get("status", 200)))
                self.send_header("content-type", asked.get("type", "text/plain"))
                if "header" in asked:
                    self.send_header("x-debug", "a leak")
                if "gzip" in asked:
                    body = gzip.compress(body)
                    self.send_header("content-encoding", "gzip")
                if "events" in asked:
                    self.end_headers()
                    self.wfile.write(b"data: first\n\n")
                    app.go_on.wait(10)
                    self.close_connection = True
                    return
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def talking() -> Iterator[TalkingApp]:
    with TalkingApp() as app:
        yield app


@pytest.fixture(scope="module")
def watched(
    envoy_binary: Any, talking: TalkingApp, tools: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("response")
    (folder / "own.conf").write_text(RULES)
    flags = ("--response", "--body-limit", "64KiB", "--workers", "1", "--route", "/stream=stream")
    pair = tools.start_up(folder, talking.port, *flags, "--rules", str(folder / "own.conf"))
    try:
        yield pair.await_start()
    finally:
        pair.stop()


# target → (status, coverage, its reason, the phase that decided, did the app act)
CASES: dict[str, tuple[str, tuple[int, str, str | None, int, bool]]] = {
    "clean": ("/?size=1000", (200, "inspected", None, 4, True)),
    "in a header": ("/?header=1", (403, "inspected", None, 3, True)),
    "in the body": ("/?say=1", (403, "inspected", None, 4, True)),
    "in JSON": ("/?say=1&type=application/json;charset=utf-8", (403, "inspected", None, 4, True)),
    "packed": ("/?say=1&size=9000&gzip=1", (403, "inspected", None, 4, True)),
    "of an error": ("/?say=1&status=500", (403, "inspected", None, 4, True)),
    "in the request": ("/?q=attack&say=1", (403, "inspected", None, 2, False)),
    "of a type that is not read": ("/?say=1&type=image/png", (200, "inspected", None, 4, True)),
    "header of a type that is not read": ("/?header=1&type=image/png", (403, "inspected", None, 3, True)),
    "at the end of what is read": (f"/?say=1&size={64 * KIB - len(LEAK)}", (403, "inspected", None, 4, True)),
    "behind what is read": ("/?say=1&size=5000000", (200, "partly", "response-body-limit", 4, True)),
    "of a stream route": ("/stream?say=1", (200, "inspected", None, 2, False)),
}


@pytest.mark.parametrize("case", CASES)
def test_an_answer_is_looked_at(watched: Any, talking: TalkingApp, tools: Any, case: str) -> None:
    target, (status, *expected) = CASES[case]
    talking.seen.clear()
    answer = watched.send(path=target)
    assert answer.status == status
    event = event_of(watched, tools, answer)
    assert [event[key] for key in ("coverage", "coverage_reason", "phase", "app_executed")] == expected
    assert event["verdict"] == ("block" if status == 403 else "allow")
    assert bool(talking.seen) == ("attack" not in target)
    if status == 200:
        assert answer.body.endswith(LEAK if "say=1" in target else b"ok")
    else:
        assert LEAK not in answer.body
        assert "x-debug" not in answer.headers


def event_of(pair: Any, tools: Any, answer: Any) -> Any:
    request_id = answer.headers["x-request-id"]
    return tools.wait_for(lambda: next((e for e in pair.events if e["request_id"] == request_id), None), 5, "event")


@pytest.mark.parametrize("kind", ["text/event-stream", "text/event-stream; charset=utf-8", "application/grpc-web"])
def test_a_stream_of_events_is_not_held_back(watched: Any, talking: TalkingApp, kind: str) -> None:
    """The first event arrives while the app waits to be told to go on."""
    talking.go_on.clear()
    with socket.create_connection(("127.0.0.1", watched.port), timeout=10) as connection:
        connection.sendall(b"GET /?events=1&type=%b HTTP/1.1\r\nHost: a\r\n\r\n" % kind.replace(" ", "%20").encode())
        answer = b""
        while b"data: first" not in answer:
            piece = connection.recv(4096)
            assert piece, answer
            answer += piece
    talking.go_on.set()


def test_a_download_is_not_held(watched: Any, talking: TalkingApp) -> None:
    """48 MiB of a type that is not read pass through; nobody keeps more than a few of them."""
    family = [watched.envoy(), *watched.workers()]
    before = {pid: peak_bytes(pid) for pid in family}
    answer = watched.send(path=f"/?type=video/mp4&size={48 * KIB * KIB}", timeout=60)
    assert len(answer.body) == 48 * KIB * KIB + 2
    grown = {pid: peak_bytes(pid) - before[pid] for pid in family}
    assert max(grown.values()) < 24 * KIB * KIB, grown


def test_envoys_own_answers_are_not_the_apps(watched: Any, talking: TalkingApp, tools: Any) -> None:
    talking.seen.clear()
    answer = watched.send("POST", "/", body=b"x" * (64 * KIB + 1))
    assert answer.status == 413
    assert talking.seen == []
    assert event_of(watched, tools, answer)["app_executed"] is False


def test_an_app_that_is_away_did_not_execute(start_pair: Any, tools: Any) -> None:
    pair = start_pair(tools.free_port(), "--response", "--workers", "1").await_start()
    answer = pair.send()
    assert answer.status == 503
    event = event_of(pair, tools, answer)
    assert (event["verdict"], event["app_executed"]) == ("allow", False)


def test_types_are_the_users_choice(start_pair: Any, talking: TalkingApp, tmp_path: Any) -> None:
    (tmp_path / "own.conf").write_text(RULES)
    flags = ("--rules", str(tmp_path / "own.conf"), "--workers", "1", "--response", "--response-types", "image/png")
    pair = start_pair(talking.port, *flags, "--response-limit", "1KiB").await_start()
    assert pair.send(path="/?say=1&type=image/png").status == 403
    assert pair.send(path="/?say=1&type=image/png&size=1024").status == 200
    assert pair.send(path="/?say=1").status == 200
