"""Files, includes and their limits."""

import os
from pathlib import Path

import pytest

from extproc.model.errors import SecLangErrors
from extproc.seclang import load as module
from extproc.seclang.load import MAX_FILES, MAX_INCLUDE_DEPTH, MAX_TOTAL_BYTES, load
from extproc.seclang.syntax import Directive, Marker

Files = dict[str, bytes]


def write(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def names(*paths: Path) -> list[str]:
    """What the markers and directives of the files say, in order."""
    return [
        one.name.decode() if isinstance(one, Marker) else one.arguments[0].decode()
        for one in load(paths)
        if isinstance(one, Marker | Directive)
    ]


def findings(*paths: Path) -> list[str]:
    with pytest.raises(SecLangErrors) as caught:
        load(paths)
    return [str(finding) for finding in caught.value.findings]


INCLUDES: list[tuple[str, Files, list[str]]] = [
    ("one", {"a.conf": b"SecMarker A\n"}, ["A"]),
    (
        "in place, relative to the including file",
        {
            "a.conf": b"SecMarker A\nInclude sub/b.conf\nSecMarker D\n",
            "sub/b.conf": b"SecMarker B\nInclude c.conf\n",
            "sub/c.conf": b"SecMarker C",
        },
        ["A", "B", "C", "D"],
    ),
    (
        "a glob, sorted by name",
        {"a.conf": b"Include r/*.conf\n", "r/2.conf": b"SecMarker Z", "r/1.conf": b"SecMarker Y", "r/x.data": b"no"},
        ["Y", "Z"],
    ),
    ("optional, missing", {"a.conf": b"IncludeOptional none.conf\nincludeoptional no/*.conf\nSecMarker A"}, ["A"]),
    ("optional, there", {"a.conf": b"IncludeOptional b.conf", "b.conf": b"SecMarker B"}, ["B"]),
    ("twice is no loop", {"a.conf": b"Include b.conf\nInclude b.conf", "b.conf": b"SecMarker B"}, ["B", "B"]),
    ("bytes", {"a.conf": b"SecWebAppId \"\xc3\xa4\"\n"}, ["ä"]),
]  # fmt: skip


@pytest.mark.parametrize(("files", "expected"), [row[1:] for row in INCLUDES], ids=[row[0] for row in INCLUDES])
def test_includes(tmp_path: Path, files: Files, expected: list[str]) -> None:
    assert names(write(tmp_path, files) / "a.conf") == expected


def test_files_in_the_order_given(tmp_path: Path) -> None:
    write(tmp_path, {"a.conf": b"SecMarker A", "b.conf": b"SecMarker B"})
    assert names(tmp_path / "b.conf", tmp_path / "a.conf") == ["B", "A"]


FAULTS: list[tuple[str, Files, list[str]]] = [
    ("missing", {}, ["a.conf:0: ", "a.conf cannot be read: No such file"]),
    ("directory", {"a.conf/x": b""}, ["a.conf:0: ", "is a directory: name a file, or include"]),
    ("missing include", {"a.conf": b"\nInclude b.conf"}, ["a.conf:2: ", "b.conf cannot be read"]),
    ("empty glob", {"a.conf": b"Include *.none"}, ["a.conf:1: Include ", "matches no file"]),
    ("directory include", {"a.conf": b"Include d", "d/x": b""}, ["a.conf:1: ", "is a directory"]),
    ("loop", {"a.conf": b"Include b.conf", "b.conf": b"\nInclude a.conf"}, ["b.conf:2: files include each other"]),
    ("self", {"a.conf": b"Include a.conf"}, ["a.conf:1: files include each other in a loop"]),
    ("zero byte", {"a.conf": b"Include a\0b"}, ["a.conf:1: Include: a path cannot hold a zero byte"]),
    (
        "chain over a border",
        {"a.conf": b'SecRule ARGS a "id:1,chain"\nInclude b.conf', "b.conf": b""},
        ["a.conf:1: chain without a next rule (Include at line 2"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("files", "parts"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_faults(tmp_path: Path, files: Files, parts: list[str]) -> None:
    (finding,) = findings(write(tmp_path, files) / "a.conf")
    for part in parts:
        assert part in finding


def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.conf")
    assert "is not a regular file" in findings(tmp_path / "a.conf")[0]
    assert "is not a regular file" in findings(Path("/dev/zero"))[0]


def test_all_findings_of_all_files_at_once(tmp_path: Path) -> None:
    files = {
        "a.conf": b'SecFoo\nInclude b.conf\nSecRule ARGS a "id:7"\n',
        "b.conf": b'SecRule ARGX a "id:8"\nSecRule ARGS a "id:7"\n',
        "c.conf": b'SecRule ARGS a "id:7,denie"\n',
    }
    folder = write(tmp_path, files)
    found = [
        line.replace(f"{folder}/", "") for line in findings(folder / "a.conf", folder / "c.conf", folder / "d.conf")
    ]
    assert [line.split(": ")[0] for line in found] == [
        "a.conf:1",
        "b.conf:1",
        "c.conf:1",
        "d.conf:0",
        "a.conf:3",
        "c.conf:1",
    ]
    assert "id 7 is taken by the rule at b.conf:2" in found[4]
    assert "id 7 is taken by the rule at b.conf:2" in found[5]


def test_the_largest_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_TOTAL_BYTES < 50_000_000
    monkeypatch.setattr(module, "MAX_TOTAL_BYTES", 24)
    files = {"a.conf": b"SecMarker A\n", "b.conf": b"SecMarker B\n", "c.conf": b"SecMarker CC\n"}
    folder = write(tmp_path, files)
    assert names(folder / "a.conf", folder / "b.conf") == ["A", "B"]
    (finding,) = findings(folder / "a.conf", folder / "c.conf", folder / "b.conf")
    assert "takes the rule files over 24 bytes" in finding


def test_a_sparse_giant_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "a.conf").open("wb") as file:
        file.truncate(50_000_000)
    assert f"over {MAX_TOTAL_BYTES} bytes" in findings(tmp_path / "a.conf")[0]


def test_the_deepest_include(tmp_path: Path) -> None:
    for number in range(MAX_INCLUDE_DEPTH + 1):
        (tmp_path / f"{number}.conf").write_bytes(b"SecMarker %d\nIncludeOptional %d.conf\n" % (number, number + 1))
    (tmp_path / f"{MAX_INCLUDE_DEPTH}.conf").unlink()
    assert len(names(tmp_path / "0.conf")) == MAX_INCLUDE_DEPTH
    (tmp_path / f"{MAX_INCLUDE_DEPTH}.conf").write_bytes(b"")
    assert f"is included {MAX_INCLUDE_DEPTH} files deep" in findings(tmp_path / "0.conf")[0]


def test_the_most_files(tmp_path: Path) -> None:
    write(tmp_path, {"a.conf": b"Include b.conf\n" * (MAX_FILES - 1), "b.conf": b""})
    assert names(tmp_path / "a.conf") == []
    write(tmp_path, {"a.conf": b"Include b.conf\n" * (MAX_FILES + 5)})
    (finding,) = findings(tmp_path / "a.conf")
    assert f"more than {MAX_FILES} files" in finding


def test_a_name_that_is_no_text_is_read_and_shown(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff.conf"
    with open(name, "wb") as file:  # noqa: PTH123 (a name in bytes)
        file.write(b"SecFoo")
    write(tmp_path, {"a.conf": b"Include \xff.conf"})
    (finding,) = findings(tmp_path / "a.conf")
    assert finding.partition(": ")[0].endswith("/\\xff.conf:1")
