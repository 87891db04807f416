"""Folders of those who were killed are removed by the next one, those in use are not."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from extproc.cli.private_folder import private_folder


def test_what_a_killed_one_left_is_removed_and_what_is_in_use_is_not(tmp_path: Path) -> None:
    end, other = os.pipe()
    child = os.fork()
    if not child:
        with private_folder("mine-", tmp_path):
            os.write(other, b"x")
            signal.pause()
        os._exit(1)
    os.read(end, 1)
    [used] = tmp_path.iterdir()
    with private_folder("mine-", tmp_path) as second:
        assert set(tmp_path.iterdir()) == {used, second}
        assert second.stat().st_mode & 0o777 == 0o700
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        (tmp_path / "mine-of-nobody").mkdir()  # no lock in it: another's, which is being made
        with private_folder("mine-", tmp_path) as third:
            assert set(tmp_path.iterdir()) == {second, third, tmp_path / "mine-of-nobody"}
    assert [path.name for path in tmp_path.iterdir()] == ["mine-of-nobody"]


def test_a_place_where_none_can_be_made_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), private_folder("mine-", tmp_path / "nowhere"):
        pass
