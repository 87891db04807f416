"""What the suite can ask of a server's owner: other servers, a drain, other rules, the state of the process.

`--control COMMAND` names a program that the suite starts once. It reads requests from its standard input and writes
answers to its standard output, each a JSON object on a line of its own, one answer per request, in order; at the end
of its input it stops what it started. docs/CONFORMANCE.md lists the requests. A control that cannot do what it is
asked answers {"not_applicable": REASON}, and the case reads so; {"error": TEXT} fails it.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

STOP_LIMIT_S = 30.0


class Control:
    """The program behind `--control`, running."""

    def __init__(self, command: str) -> None:
        self._process = subprocess.Popen(shlex.split(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._shared: dict[str, Started] = {}

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def ask(self, do: str, **more: object) -> dict[str, Any]:
        """One request and its answer. Skips the case if that is not applicable, fails it on an error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **more}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            pytest.fail(f"the control ended when asked to {do}")
        answer: dict[str, Any] = json.loads(line)
        if "not_applicable" in answer:
            pytest.skip(f"not applicable: {answer['not_applicable']}")
        if "error" in answer:
            pytest.fail(f"the control could not {do}: {answer['error']}")
        return answer

    def shared(self, profile: str) -> Started:
        """A server of that profile that all cases share: none may stop or change it."""
        if profile not in self._shared:
            self._shared[profile] = self._start(profile)
        return self._shared[profile]

    @contextmanager
    def started(self, profile: str) -> Iterator[Started]:
        """A server of the case's own, gone afterwards."""
        server = self._start(profile)
        try:
            yield server
        finally:
            self.ask("kill", server=server.name)

    def _start(self, profile: str) -> Started:
        answer = self.ask("start", profile=profile)
        return Started(self, answer["server"], answer["target"], answer.get("options", {}))


class Started:
    """A server that the control started. `options` are what the suite must know of it, as its own options."""

    def __init__(self, control: Control, name: str, target: str, options: Mapping[str, Any]) -> None:
        self.name = name
        self.target = target
        self.options = options
        self._control = control

    def drain(self) -> None:
        """Tells it to end in order (SIGTERM), and does not wait."""
        self._control.ask("drain", server=self.name)

    def exit_code(self) -> int:
        """Waits for its end."""
        code: int = self._control.ask("wait", server=self.name)["exit"]
        return code

    def load(self) -> None:
        """Gives a server of profile `loading` the rules that it waits for."""
        self._control.ask("load", server=self.name)

    def reload(self, rules: str) -> None:
        """Returns when the server has taken (`other`) or refused (`broken`) rules."""
        self._control.ask("reload", server=self.name, rules=rules)

    def usage(self) -> tuple[int, int]:
        """Resident bytes and open descriptors of all its processes."""
        answer = self._control.ask("usage", server=self.name)
        return answer["bytes"], answer["descriptors"]
