"""What counts as a change of what was read, and when; and the state that a supervisor shares."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from extproc.model.files import FilesRead
from extproc.seclang.assemble import Sources, crs_files, load_ruleset
from extproc.server.reloads import CAPACITY_BYTES, ReloadStatus, SharedStatus
from extproc.server.watch import Watch

RULE = 'SecRule ARGS "@pmFromFile words.data" "id:{id},phase:2,deny"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Rules as a kubelet mounts them: names that lead through `..data` to a folder with a date."""
    for name in ("..one", "..two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "main.conf").write_text("Include more/*.conf\nIncludeOptional local.conf\n")
        (tmp_path / name / "words.data").write_text("evil\n")
    (tmp_path / "..data").symlink_to("..one")
    (tmp_path / "main.conf").symlink_to("..data/main.conf")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.conf").write_text(RULE.format(id=1))
    (tmp_path / "more" / "words.data").write_text("evil\n")
    return tmp_path


def read(folder: Path) -> FilesRead:
    files = FilesRead()
    load_ruleset(Sources((folder / "main.conf",)), files=files)
    return files


def swap(folder: Path) -> None:
    (folder / "..data_tmp").symlink_to("..two")
    (folder / "..data_tmp").rename(folder / "..data")


def replace_by_rename(folder: Path) -> None:
    other = folder / "other"
    other.write_text(RULE.format(id=1))
    before = (folder / "more" / "a.conf").stat()
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(folder / "more" / "a.conf")


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file grew": (lambda folder: (folder / "more" / "a.conf").write_text(RULE.format(id=1) * 2), "more/a.conf"),
    "of the same size and time, but another file": (replace_by_rename, "more/a.conf"),
    "a ConfigMap was swapped": (swap, "main.conf"),
    "a data file": (lambda folder: (folder / "more" / "words.data").write_text("evil\nbad\n"), "more/words.data"),
    "a file that an Include's pattern finds": (
        lambda folder: (folder / "more" / "b.conf").write_text(RULE.format(id=2)),
        "more/*.conf",
    ),
    "a file that may be there": (lambda folder: (folder / "local.conf").write_text("# nothing\n"), "local.conf"),
    "a file is gone": (lambda folder: (folder / "more" / "words.data").unlink(), "more/words.data"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_counts_once_it_has_come_to_rest(folder: Path, name: str) -> None:
    change, what = CHANGES[name]
    watch = Watch()
    watch.know(read(folder).looks)
    assert watch.look() == ""
    change(folder)
    assert watch.look() == "", "it may still be going on"
    assert watch.look().startswith(str(folder / what))
    assert watch.look() == "", "told once"


def test_what_is_written_in_pieces_is_one_change(folder: Path) -> None:
    watch = Watch()
    watch.know(read(folder).looks)
    text = RULE.format(id=7)
    for length in range(1, len(text), 9):
        (folder / "more" / "a.conf").write_text(text[:length])
        assert watch.look() == ""
    assert watch.look() != ""


def test_what_nobody_read_is_no_change(folder: Path) -> None:
    watch = Watch()
    watch.know(read(folder).looks)
    (folder / "more" / ".a.conf.swp").write_text("an editor's")
    (folder / "more" / "notes.txt").write_text("a person's")
    assert [watch.look() for _ in range(3)] == [""] * 3


def test_a_change_between_the_look_and_the_end_of_loading_is_one(folder: Path) -> None:
    files = read(folder)
    (folder / "more" / "a.conf").write_text(RULE.format(id=1) * 2)
    watch = Watch()
    watch.know(files.looks)
    watch.look()
    assert watch.look() != ""


def test_of_a_core_rule_set_new_files_are_seen(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "crs-setup.conf.example").touch()
    (tmp_path / "rules" / "A.conf").touch()
    files = FilesRead()
    crs_files(tmp_path, files)
    watch = Watch()
    for path in ("crs-setup.conf", "rules/B.conf", "plugins/x-before.conf"):
        watch.know(files.looks)
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
        watch.look()
        assert watch.look(), path
        files = FilesRead()
        crs_files(tmp_path, files)


def test_a_state_is_read_by_whoever_was_forked() -> None:
    shared = SharedStatus()
    status = ReloadStatus(3, "abc", outcome="failed", reason="a.conf:1: é\n" * 10, worker_deaths=2)
    end, other = os.pipe()
    child = os.fork()
    if not child:
        os.read(end, 1)
        os._exit(0 if shared.read() == status and not status.is_current else 1)
    shared.write(status)
    os.write(other, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_reason_of_any_length_fits() -> None:
    shared = SharedStatus()
    for letter in ("a", "é", "\x00", "\U0001f600"):
        shared.write(ReloadStatus(reason=letter * CAPACITY_BYTES, rehearsal="x" * 1000, ruleset="y" * 64))
        read = shared.read()
        assert read is not None
        assert set(read.reason) == {letter}


def test_half_a_state_is_none() -> None:
    shared = SharedStatus()
    shared._memory[20:21] = b"\0"
    assert shared.read() is None
