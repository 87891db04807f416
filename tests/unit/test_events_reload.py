"""The event of a reload: whole, in one write, and never waited for."""

from __future__ import annotations

import json
import os
import select
from pathlib import Path

import pytest

from extproc.events import reload

SAYS = {
    "time": 0.5,
    "outcome": "failed",
    "generation": 2,
    "ruleset": "ab",
    "why": "SIGHUP",
    "reason": "",
    "rehearsal": "",
}


def test_it_is_a_line_behind_others(tmp_path: Path) -> None:
    file = tmp_path / "events"
    file.write_text("{}\n")
    reload.write(str(file), **SAYS | {"reason": "a.conf:1: x"})
    first, second = file.read_text().splitlines()
    assert first == "{}"
    assert json.loads(second) == {
        "schema": "extproc.reload/1",
        "time": "1970-01-01T00:00:00.500Z",
        "outcome": "failed",
        "why": "SIGHUP",
        "generation": 2,
        "ruleset": "ab",
        "reason": "a.conf:1: x",
        "rehearsal": None,
    }


@pytest.mark.parametrize("letter", ["a", '"', "\x00", "é", "\uffff"])
def test_whatever_it_says_it_is_one_write_into_a_pipe(tmp_path: Path, letter: str) -> None:
    file = tmp_path / "events"
    reload.write(str(file), **SAYS | dict.fromkeys(("why", "reason", "rehearsal"), letter * 10000))
    assert file.stat().st_size <= select.PIPE_BUF
    json.loads(file.read_text())


def test_a_file_that_cannot_be_had_and_a_reader_that_stands_still_are_no_faults(tmp_path: Path) -> None:
    reload.write(str(tmp_path / "nowhere" / "events"), **SAYS)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reload.write(str(fifo), **SAYS)  # nobody reads
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        for _ in range(10_000):  # more than any pipe holds
            reload.write(str(fifo), **SAYS)
        assert os.read(reader, 65_536).count(b"\n") > 100
    finally:
        os.close(reader)
