"""The supervisor around rules that are one word in a file, for tests of reloading alone.

    reload_server.py --grpc ADDRESS --rules FILE [--set KEY=VALUE]...

The word is the rules' hash, and what loading does: `broken` raises with file and line, `refused` as a rehearsal
would, `forever` never ends, `killed` dies as by the OOM killer, `deaf` loads and then cannot serve. An exchange is
answered with the word that it began with, as the rule set's hash.
"""

from __future__ import annotations

import argparse
import ast
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from extproc.model.errors import RulesetRefused, SecLangError, SecLangErrors
from extproc.model.inspection import Inspection
from extproc.model.phase import Phase
from extproc.model.verdict import Verdict
from extproc.server.generation import Attempt, Loaded
from extproc.server.reloads import SharedStatus
from extproc.server.settings import ServerSettings
from extproc.server.supervisor import run

sys.path.append(str(Path(__file__).parent))

from toy_server import ToyInspection


class Named(ToyInspection):
    def __init__(self, word: str) -> None:
        super().__init__()
        self.word = word

    def _judge(self, values: list[bytes], phase: Phase, is_last: bool) -> Verdict:
        return replace(super()._judge(values, phase, is_last), ruleset=self.word)

    def close(self, fault: str | None) -> None:
        print(f"closed by {self.word}", flush=True)


class NamedInspector:
    def __init__(self, word: str) -> None:
        self.ruleset_hash = word

    def open(self) -> Inspection:
        return Named(self.ruleset_hash)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--grpc", action="append", required=True)
    parser.add_argument("--rules", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[])
    given = parser.parse_args()
    pairs = (pair.partition("=") for pair in given.set)
    more = {"drain_delay_s": 0.0, "watch_s": 0.0} | {key: ast.literal_eval(value) for key, _, value in pairs}
    settings = ServerSettings(addresses=tuple(given.grpc), **more)
    status = SharedStatus()

    def load(attempt: Attempt) -> Loaded:
        print(f"status before: {status.read()}", flush=True)
        attempt.files.file(given.rules)
        word = given.rules.read_text().strip()
        if word == "broken":
            raise SecLangErrors([SecLangError(str(given.rules), 1, "this is no rule")])
        if word == "refused":
            raise RulesetRefused("nobody wants it")
        if word == "forever":
            time.sleep(3600)
        if word == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        told = replace(settings, addresses=("unix:/nowhere/at-all.sock",)) if word == "deaf" else settings
        return Loaded(NamedInspector(word), told, baseline=word, report=f"after {attempt.baseline}")

    return run(settings, load, status=status)


if __name__ == "__main__":
    raise SystemExit(main())
