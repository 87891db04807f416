"""The sink against real files and pipes: whole lines, bounded memory, full disks, several writers."""

import errno
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from extproc.events import sink as module
from extproc.events.sink import EventSink


def wait_for(is_true: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_the_file_exists_from_the_start_and_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_bytes(b"old\n")
    sink = EventSink(str(path))
    fresh = EventSink(str(tmp_path / "new.json"))
    assert (tmp_path / "new.json").read_bytes() == b""
    sink.start()
    sink.start()
    assert sink.write(b"one\n")
    assert sink.write(b"two\n")
    wait_for(lambda: path.read_bytes() == b"old\none\ntwo\n")
    sink.stop()
    fresh.stop()
    assert (sink.written, sink.dropped) == (2, 0)


def test_a_file_that_cannot_be_opened_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        EventSink(str(tmp_path / "missing" / "events.json"))


def test_stop_writes_what_is_queued_and_then_refuses(tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    sink = EventSink(str(path))
    for number in range(500):
        sink.write(b"%d\n" % number)
    sink.start()
    sink.stop()
    sink.stop()
    assert path.read_bytes() == b"".join(b"%d\n" % number for number in range(500))
    assert not sink.write(b"late\n")
    assert sink.dropped == 1


def test_the_queue_is_bounded_in_lines_and_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE_LINES", 3)
    sink = EventSink(str(tmp_path / "a"))
    assert [sink.write(b"x\n") for _ in range(4)] == [True, True, True, False]
    assert sink.dropped == 1
    monkeypatch.setattr(module, "QUEUE_BYTES", 5)
    sink = EventSink(str(tmp_path / "b"))
    assert [sink.write(line) for line in (b"12\n", b"12\n", b"1\n", b"\n")] == [True, False, True, False]
    sink.start()
    wait_for(lambda: sink.written == 2)
    wait_for(lambda: sink.write(b"again\n"[-5:]))
    sink.stop()


def test_a_full_disk_is_reported_once_and_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    path = tmp_path / "events.json"
    failures = [OSError(errno.ENOSPC, "No space left on device")] * 3
    real_write = os.write

    def write(descriptor: int, data: bytes) -> int:
        if failures:
            raise failures.pop()
        return real_write(descriptor, data)

    monkeypatch.setattr(module.os, "write", write)
    sink = EventSink(str(path))
    sink.start()
    sink.write(b"one\n")
    sink.write(b"two\n")
    wait_for(lambda: sink.written == 2)
    sink.stop()
    assert path.read_bytes() == b"one\ntwo\n"
    assert capsys.readouterr().err.count("No space left") == 1
    assert sink.dropped == 0


def test_a_torn_line_is_ended_and_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    lengths = [3]
    real_write = os.write

    def write(descriptor: int, data: bytes) -> int:
        return real_write(descriptor, data[: lengths.pop()] if lengths else data)

    monkeypatch.setattr(module.os, "write", write)
    sink = EventSink(str(tmp_path / "a"))
    sink.start()
    sink.write(b'{"a":1}\n')
    wait_for(lambda: sink.written == 1)
    sink.stop()
    assert (tmp_path / "a").read_bytes() == b'{"a\n{"a":1}\n'


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        (0, b"one\ntwo\nthree\n"),
        (2, b"on\none\ntwo\nthree\n"),
        (4, b"one\ntwo\nthree\n"),
        (6, b"one\ntw\ntwo\nthree\n"),
        (13, b"one\ntwo\nthree\nthree\n"),
    ],
)
def test_lines_written_together_are_torn_in_one_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, expected: bytes
) -> None:
    """What was whole is not written again."""
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    lengths = [room]
    real_write = os.write

    def write(descriptor: int, data: bytes) -> int:
        return real_write(descriptor, data[: lengths.pop()] if lengths else data)

    monkeypatch.setattr(module.os, "write", write)
    sink = EventSink(str(tmp_path / "a"))
    for line in (b"one\n", b"two\n", b"three\n"):
        sink.write(line)
    sink.start()
    wait_for(lambda: sink.written == 3)
    sink.stop()
    assert (tmp_path / "a").read_bytes() == expected
    assert sink.dropped == 0


def test_lines_that_wait_are_written_together_up_to_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WRITE_BYTES", 8)
    sizes = []
    real_write = os.write

    def write(descriptor: int, data: bytes) -> int:
        sizes.append(len(data))
        return real_write(descriptor, data)

    monkeypatch.setattr(module.os, "write", write)
    sink = EventSink(str(tmp_path / "a"))
    for line in (b"one\n", b"two\n", b"three\n", b"longer than that\n", b"4\n"):
        sink.write(line)
    sink.start()
    sink.stop()
    assert sizes == [8, 6, 17, 2]


def test_a_disk_that_stays_full_does_not_hold_up_stop(capsys: pytest.CaptureFixture[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    sink = EventSink("/dev/full")
    sink.start()
    for _ in range(5):
        sink.write(b"lost\n")
    sink.stop(timeout_s=20)
    assert (sink.written, sink.dropped) == (0, 5)
    assert "events: 5 lines were not written to /dev/full\n" in capsys.readouterr().err


def test_a_reader_that_does_not_read_costs_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE_LINES", 10)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    sink = EventSink(str(fifo))
    threads = threading.active_count()
    sink.start()
    line = b"x" * 60_000 + b"\n"
    for _ in range(100):
        sink.write(line)
    assert sink.dropped >= 80
    sink.stop(timeout_s=0.1)
    os.close(reader)
    wait_for(lambda: threading.active_count() == threads)  # it complains of the broken pipe, not in another test


def test_dropped_lines_are_told_once_and_counted_when_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "QUEUE_LINES", 4)
    path = tmp_path / "events.json"
    sink = EventSink(str(path))
    for _ in range(7):
        sink.write(b"x\n")
    assert capsys.readouterr().err == f"events: {path} takes no more; lines are dropped until it does\n"
    sink.start()
    wait_for(lambda: sink.written == 4)
    sink.stop()
    assert capsys.readouterr().err == f"events: {path} takes lines again; 3 were dropped\n"


def _append(path: str, worker: int, count: int) -> None:
    sink = EventSink(path)
    sink.start()
    for number in range(count):
        while not sink.write(b"%d %d " % (worker, number) + b"x" * 3000 + b"\n"):
            time.sleep(0.001)
    sink.stop(20)


def test_several_processes_share_one_file(tmp_path: Path) -> None:
    path = str(tmp_path / "events.json")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append, args=(path, worker, 300)) for worker in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    lines = Path(path).read_bytes().splitlines()
    assert sorted(lines) == sorted(
        b"%d %d " % (worker, number) + b"x" * 3000 for worker in range(2) for number in range(300)
    )
    for worker in (b"0", b"1"):
        assert [int(line.split()[1]) for line in lines if line.startswith(worker)] == list(range(300))


def test_rotation_by_size_keeps_the_youngest(tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    sink = EventSink(str(path), max_file_bytes=8, kept_files=3)
    sink.start()
    for number in range(1, 13):
        sink.write(b"%03d\n" % number)
    sink.stop()
    assert path.read_bytes() == b"011\n012\n"
    assert path.with_name("events.json.1").read_bytes() == b"009\n010\n"
    assert path.with_name("events.json.2").read_bytes() == b"007\n008\n"
    assert path.with_name("events.json.3").read_bytes() == b"005\n006\n"
    assert not path.with_name("events.json.4").exists()


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.json"
    sink = EventSink(str(path))
    sink.start()
    sink.write(b"one\n")
    wait_for(lambda: sink.written == 1)
    path.rename(tmp_path / "old")
    wait_for(lambda: sink.write(b"two\n") and path.exists())
    sink.stop()
    assert (tmp_path / "old").read_bytes().startswith(b"one\n")
    assert path.read_bytes().endswith(b"two\n")


def test_only_the_starter_has_a_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    sink = EventSink(str(tmp_path / "a"))
    assert threading.active_count() == before
    sink.start()
    sink.start()
    assert threading.active_count() == before + 1
    sink.stop()
    assert threading.active_count() == before
