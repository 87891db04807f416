"""The socket of a worker: its file, its mode, who may remove it."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from extproc.server.listener import KEEPALIVE_IDLE_S, Listener


def test_a_unix_socket_has_its_mode_and_goes_with_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    listener = Listener(f"unix:{path}", 0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    assert listener.port == 0
    listener.close()
    assert not path.exists()


def test_a_socket_left_over_is_replaced_and_its_owner_leaves_the_new_one(tmp_path: Path) -> None:
    """Of two generations on one path the older one closes last."""
    path = tmp_path / "a.sock"
    older, younger = Listener(f"unix:{path}", 0o660), Listener(f"unix:{path}", 0o660)
    older.close()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    younger.close()
    assert not path.exists()


def test_a_file_that_is_no_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    path.write_text("precious")
    with pytest.raises(OSError, match=f"cannot listen on unix:{path}"):
        Listener(f"unix:{path}", 0o660)
    assert path.read_text() == "precious"


def test_the_mask_of_the_process_is_as_before(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        Listener(f"unix:{tmp_path}/a.sock", 0o660).close()
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_tcp_connections_are_asked_whether_they_live(host: str) -> None:
    try:
        listener = Listener(f"{host}:0", 0)
    except OSError as fault:
        pytest.skip(f"no {host} here: {fault}")
    with socket.create_connection((host.strip("[]"), listener.port)), listener.socket.accept()[0] as accepted:
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == KEEPALIVE_IDLE_S
    listener.close()


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OSError, match=f"cannot listen on {re.escape(address)}"):
            Listener(address, 0)
