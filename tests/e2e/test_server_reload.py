"""Generations: one after another on the same addresses, the last good one for as long as none is better."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from tests.e2e.test_grpc_workers import NO_PROXY, Stream, body, children, eventually, free_address, head, status

SERVER = Path(__file__).parent / "servers" / "reload_server.py"
TRANSPORTS = ("grpc", "http2")


class Reloading:
    """The server, the word that its rules are, and what it says."""

    def __init__(self, folder: Path, addresses: list[str], **settings: object) -> None:
        self.rules = folder / "rules"
        self.rules.write_text("first")
        self._said = folder / "said"
        command = [sys.executable, str(SERVER), "--rules", str(self.rules)]
        for address in addresses:
            command += ["--grpc", address]
        for key, value in settings.items():
            command += ["--set", f"{key}={value!r}"]
        with self._said.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out)

    @property
    def said(self) -> str:
        return self._said.read_text()

    def generations(self) -> list[int]:
        return children(self.process.pid)

    def reload(self, word: str) -> None:
        self.rules.write_text(word)
        os.kill(self.process.pid, signal.SIGHUP)

    def await_said(self, text: str) -> str:
        return eventually(lambda: text in self.said and self.said)


@contextmanager
def reloading(folder: Path, addresses: list[str], **settings: object) -> Iterator[Reloading]:
    server = Reloading(folder, addresses, **settings)
    try:
        for address in addresses:
            eventually(lambda address=address: status(address))
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait(10)


def ruleset(reply: object) -> str:
    return reply.dynamic_metadata.fields["waf"].struct_value.fields["ruleset"].string_value


def asked(address: str) -> str:
    """The rules that a new connection meets."""
    with grpc.insecure_channel(address, NO_PROXY) as channel:
        stream = Stream(channel)
        found = ruleset(stream.ask(head()))
        stream.end()
        return found


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_stream_ends_on_the_rules_that_it_began_with(tmp_path: Path, transport: str) -> None:
    """G40. On a unix socket and on a port, and also on a connection that is older than the new rules."""
    addresses = [f"unix:{tmp_path}/one.sock", free_address()]
    with reloading(tmp_path, addresses, transport=transport) as server:
        for number, address in enumerate(addresses):
            before, after = ("first", "second", "third")[number : number + 2]
            eventually(lambda: len(server.generations()) == 1)
            with grpc.insecure_channel(address, NO_PROXY) as channel:
                old = Stream(channel)
                assert ruleset(old.ask(head(is_last=False))) == before
                server.reload(after)
                eventually(lambda address=address, after=after: asked(address) == after)
                eventually(lambda channel=channel, after=after: ruleset(Stream(channel).ask(head())) == after)
                assert ruleset(old.ask(body(b"x"))) == before
                assert old.end() is grpc.StatusCode.OK
        eventually(lambda: len(server.generations()) == 1)
        server.process.terminate()
        assert server.process.wait(20) == 0
        assert "Traceback" not in server.said
        assert list(tmp_path.glob("one.sock*")) == [], "nothing is left where it listened"


BAD = {
    "broken": "reload failed (SIGHUP), rules first go on: {rules}:1: this is no rule",
    "refused": "reload refused (SIGHUP), rules first go on: nobody wants it",
    "forever": "reload failed (SIGHUP), rules first go on: not ready within 1.5 s; it was ended",
    "killed": "reload failed (SIGHUP), rules first go on: its process ended by SIGKILL while loading",
    "deaf": "reload failed (SIGHUP), rules first go on: its process ended with code 1 while starting workers",
}


@pytest.mark.parametrize("word", BAD)
def test_what_is_bad_is_told_and_the_last_good_rules_go_on(tmp_path: Path, word: str) -> None:
    addresses = [f"unix:{tmp_path}/one.sock", free_address()]
    with reloading(tmp_path, addresses, load_limit_s=1.5) as server:
        before = server.generations()
        with grpc.insecure_channel(addresses[0], NO_PROXY) as channel:
            old = Stream(channel)
            assert ruleset(old.ask(head(is_last=False))) == "first"
            server.reload(word)
            server.await_said(BAD[word].format(rules=server.rules))
            assert [asked(address) for address in addresses] == ["first", "first"]
            assert ruleset(old.ask(body(b"x"))) == "first"
        eventually(lambda: server.generations() == before)
        server.reload("good")
        said = server.await_said("rules good, before first")
        eventually(lambda: [asked(address) for address in addresses] == ["good", "good"])
        # What was told is what anybody can read who was forked from the supervisor.
        [seen] = [line for line in said.splitlines() if line.startswith("status before") and "attempts=3" in line]
        assert re.search(r"generation=1, ruleset='first', .* failures=1, outcome='loading'", seen)


def test_bad_rules_at_the_start_end_it(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.write_text("broken")
    command = [sys.executable, str(SERVER), "--rules", str(rules), "--grpc", free_address()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert f"SecLangErrors: {rules}:1: this is no rule" in ended.stderr


def test_a_file_that_changes_is_loaded_without_being_asked(tmp_path: Path) -> None:
    with reloading(tmp_path, [free_address()], watch_s=0.2) as server:
        server.rules.write_text("second")
        server.await_said(f"({server.rules} changed); rules second, before first")
        server.rules.unlink()
        server.await_said(f"reload failed ({server.rules} changed), rules second go on:")
        server.rules.write_text("third")
        server.await_said("rules third, before second")
        assert server.said.count("reloaded in") == 2


def test_when_rules_are_lost_with_their_process_they_are_loaded_again(tmp_path: Path) -> None:
    with reloading(tmp_path, [address := free_address()]) as server:
        for _ in range(3):
            [pid] = eventually(server.generations)
            os.kill(pid, signal.SIGKILL)
            eventually(lambda pid=pid: server.generations() not in ([], [pid]) and asked(address) == "first")
        # With nobody serving a load that fails is tried again until one does not.
        [pid] = server.generations()
        server.rules.write_text("broken")
        os.kill(pid, signal.SIGKILL)
        server.await_said("nothing serves: ")
        server.rules.write_text("mended")
        eventually(lambda: asked(address) == "mended")


def test_those_who_leave_are_few_and_a_stop_waits_for_nobody_long(tmp_path: Path) -> None:
    """Streams that never end hold two old generations; a third one that is wanted ends the eldest."""
    with reloading(tmp_path, [address := free_address()], drain_grace_s=0.5) as server:
        held = []
        with open_channels() as channels:
            for word in ("second", "third", "fourth"):
                channel = grpc.insecure_channel(address, NO_PROXY)
                channels.append(channel)
                held.append(Stream(channel))
                held[-1].ask(head(is_last=False))
                server.reload(word)
                eventually(lambda word=word: asked(address) == word)
            eventually(lambda: len(server.generations()) == 3)
            assert held[0].call.code() is not grpc.StatusCode.OK, "the eldest was cut"
            assert held[1].call.is_active()
            assert held[2].call.is_active()
            server.process.terminate()
            assert server.process.wait(20) == 0


def test_the_time_of_those_who_leave_is_bounded(tmp_path: Path) -> None:
    with reloading(tmp_path, [address := free_address()], leave_grace_s=0.5) as server, open_channels() as channels:
        channels.append(grpc.insecure_channel(address, NO_PROXY))
        stuck = Stream(channels[0])
        stuck.ask(head(is_last=False))
        server.reload("second")
        assert stuck.call.code() is not grpc.StatusCode.OK
        eventually(lambda: len(server.generations()) == 1)
        assert asked(address) == "second"


@contextmanager
def open_channels() -> Iterator[list[grpc.Channel]]:
    channels: list[grpc.Channel] = []
    try:
        yield channels
    finally:
        for channel in channels:
            channel.close()
