"""One target under atheris: `fuzz_atheris.py TARGET [libFuzzer's flags] FOLDER`. Started by fuzz_run.py."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["extproc"]):
    from fuzz_targets import TARGETS


if __name__ == "__main__":
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
