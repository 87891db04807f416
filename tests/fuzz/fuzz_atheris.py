"""One target under atheris: `python -m tests.fuzz.fuzz_atheris TARGET [libFuzzer's flags] FOLDER`."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["extproc"]):
    from tests.fuzz.fuzz_targets import TARGETS


if __name__ == "__main__":
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
