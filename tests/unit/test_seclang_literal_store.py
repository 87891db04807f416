"""The cache of literals: used when it is sound, ignored and written anew when it is anything else."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from extproc.prefilter import literals
from extproc.seclang import literal_store
from extproc.seclang.literal_store import LiteralStore

PATTERN = rb"(?ms)union\s+select|\xff\xe4tail"


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The patterns whose tree was walked."""
    walked: list[bytes] = []
    walk = literals.required_clauses

    def counting(pattern: bytes) -> tuple[frozenset[bytes], ...]:
        walked.append(pattern)
        return walk(pattern)

    monkeypatch.setattr(literals, "required_clauses", counting)
    return walked


def ask(folder: Path | None) -> tuple[tuple[frozenset[bytes], ...], int]:
    store = LiteralStore(folder)
    told = store.clauses(PATTERN), store.min_bytes(PATTERN)
    store.save()
    return told


def test_a_second_start_reads_what_the_first_wrote(tmp_path: Path, walks: list[bytes]) -> None:
    first = ask(tmp_path / "new" / "folder")
    assert walks == [PATTERN]
    assert first == (literals.required_clauses(PATTERN), literals.required_min_bytes(PATTERN))
    walks.clear()
    assert ask(tmp_path / "new" / "folder") == first
    assert walks == []


def _altered(file: Path) -> None:
    checksum, _, body = file.read_bytes().partition(b"\n")
    rows = json.loads(body)
    rows[0][1] = [["never there"]]
    file.write_bytes(checksum + b"\n" + json.dumps(rows).encode())


def _well_formed_lie(file: Path) -> None:
    body = json.dumps([["pattern"]]).encode()
    file.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)


BROKEN: dict[str, Callable[[Path], object]] = {
    "altered": _altered,
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-20]),
    "empty": lambda file: file.write_bytes(b""),
    "noise": lambda file: file.write_bytes(bytes(range(256)) * 4),
    "another form": _well_formed_lie,
    "unreadable": lambda file: (file.unlink(), file.mkdir()),
}


@pytest.mark.parametrize("damage", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_ignored(tmp_path: Path, walks: list[bytes], damage: Callable[[Path], object]) -> None:
    expected = ask(tmp_path)
    [file] = tmp_path.iterdir()
    damage(file)
    walks.clear()
    assert ask(tmp_path) == expected
    assert walks == [PATTERN]
    if file.is_file():  # written anew
        walks.clear()
        assert ask(tmp_path) == expected
        assert walks == []
    assert not [left for left in tmp_path.iterdir() if left != file], "nothing half written stays"


def test_a_file_beyond_the_limit_is_not_read(
    tmp_path: Path, walks: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(tmp_path)
    [file] = tmp_path.iterdir()
    for limit, expected in ((file.stat().st_size, []), (file.stat().st_size - 1, [PATTERN])):
        monkeypatch.setattr(literal_store, "MAX_FILE_BYTES", limit)
        walks.clear()
        LiteralStore(tmp_path).clauses(PATTERN)
        assert walks == expected


def test_another_version_of_the_code_has_a_file_of_its_own(
    tmp_path: Path, walks: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(tmp_path)
    other = tmp_path / "literals.py"
    other.write_bytes(Path(literals.__file__).read_bytes() + b"\n# changed\n")
    monkeypatch.setattr(literals, "__file__", os.fspath(other))
    walks.clear()
    ask(tmp_path)
    assert walks == [PATTERN]


def test_without_a_folder_nothing_is_written_and_a_folder_that_cannot_be_is_no_fault(
    tmp_path: Path, walks: list[bytes]
) -> None:
    file = tmp_path / "a-file"
    file.write_bytes(b"")
    assert ask(None) == ask(file / "below")
    assert list(tmp_path.iterdir()) == [file]
    assert len(walks) == 2
