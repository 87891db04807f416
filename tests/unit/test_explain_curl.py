"""curl's arguments → the request: a table, and the same commands sent by the real curl to a socket of ours."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading

import pytest

from extproc.model.errors import ConfigError
from extproc.replay.curl import AGENT, BOUNDARY, MAX_FILE_BYTES, request_of
from extproc.replay.http1 import parse_request

HEAD = b"Host: h.example\r\nUser-Agent: " + AGENT + b"\r\nAccept: */*\r\n"
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
URL = "http://h.example/p"

# What curl sends, with the URL's host as it is; `FILE` stands for a file with b"a\r\nb=1 c\0".
COMMANDS = {
    "get": [URL + "?q=%27%20OR+1=1--&a=b"],
    "head": ["-I", URL],
    "no path": ["http://h.example?x=1"],
    "fragment": [URL + "#frag"],
    "dots": ["http://h.example/a/./b/../../c/.."],
    "dots kept": ["--path-as-is", "http://h.example/a/../../etc/passwd"],
    "data": [URL, "-d", "a=1", "-d", "b= '2"],
    "data without a body": [URL, "-d", ""],
    "data file loses line ends": [URL, "-d", "@FILE"],
    "data-binary keeps them": [URL, "--data-binary", "@FILE"],
    "data-raw takes an @": [URL, "--data-raw", "@FILE"],
    "urlencode name": [URL, "--data-urlencode", "q=a b&c'd/é~-._"],
    "urlencode bare": [URL, "--data-urlencode", "a b"],
    "urlencode equals": [URL, "--data-urlencode", "=a=b"],
    "urlencode file": [URL, "--data-urlencode", "n@FILE"],
    "get with data": ["-G", URL + "?x=1", "-d", "a=1", "--data-urlencode", "b=2 3"],
    "method": ["-X", "DELETE", URL],
    "method attached": ["-XPUT", URL, "-d", "x"],
    "json": [URL, "--json", '{"a":1}'],
    "headers": [URL, "-H", "X-One: 1", "-H", "X-Two:", "-H", "X-Empty;", "-H", "Accept:", "-H", "Host: other"],
    "content type of ours": [URL, "-d", "{}", "-H", "Content-Type: application/json"],
    "cookies": [URL, "-b", "a=1; b=2", "-b", "c=3"],
    "agent and referer": [URL, "-A", "me/1", "-e", "http://from/"],
    "no agent": [URL, "-A", ""],
    "user": ["-u", "joe:p:w", URL],
    "user in the URL": ["http://joe:pw@h.example/"],
    "compressed": ["--compressed", URL],
    "joined switches": ["-sSkLX", "POST", URL],
    "range": ["-r", "0-99", URL],
    "form fields": [URL, "-F", "a=1", "-F", "b=x;type=text/html", "--form-string", "c=@x;type=y"],
    "form file": [URL, "-F", "f=@FILE", "-F", "g=@FILE;filename=../x.php;type=text/plain", "-F", "h=<FILE"],
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "FILE"
    path.write_bytes(b"a\r\nb=1 c\0")
    return path


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("get", b"GET /p?q=%27%20OR+1=1--&a=b HTTP/1.1\r\n" + HEAD + b"\r\n"),
        ("data", b"POST /p HTTP/1.1\r\n" + HEAD + b"Content-Length: 9\r\n" + FORM + b"\r\na=1&b= '2"),
        ("get with data", b"GET /p?x=1&a=1&b=2+3 HTTP/1.1\r\n" + HEAD + b"\r\n"),
        ("dots", b"GET / HTTP/1.1\r\n" + HEAD + b"\r\n"),
        ("no agent", b"GET /p HTTP/1.1\r\nHost: h.example\r\nAccept: */*\r\n\r\n"),
    ],
)
def test_the_request_is_curls(command, expected):
    assert request_of([word.encode() for word in COMMANDS[command]]) == expected


@pytest.mark.parametrize("word", [[], [b"curl"]])
def test_the_word_curl_may_be_left_out(word):
    assert request_of([*word, b"http://h/"]).startswith(b"GET / HTTP/1.1\r\nHost: h\r\n")


def test_blanks_in_a_url_are_escaped_so_that_the_target_stays_whole():
    request = parse_request(request_of([b"h.example/?q=1 or 1=1"]))
    assert request.head.path == b"/?q=1%20or%201=1"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "curl: name one URL"),
        (["http://a/", "http://b/"], "curl: name one URL, not 2"),
        (["-X"], "curl -X: needs a value"),
        (["--nonsense", URL], "curl --nonsense"),
        (["-Z", URL], "curl -Z"),
        (["ftp://h/"], "curl: ftp:// is not HTTP"),
        (["http:///p"], "names no host"),
        (["http://[::1"], "[::1 is no host"),
        (["http://h:65536/"], "h:65536 is no host"),
        (["http://::1/"], "::1 is no host"),
        ([URL, "-b", "jar.txt"], "curl -b: a cookie file"),
        ([URL, "-H", "@file"], "curl -H"),
        ([URL, "-H", "no colon"], "curl -H"),
        ([URL, "-F", "nameless"], "curl -F"),
        ([URL, "-F", "a=1", "-d", "b=2"], "takes -d or -F"),
        ([URL, "-G", "-F", "a=1"], "curl -G"),
        ([URL, "-T", "x"], "curl -T"),
        ([URL, "-d", "@/nonexistent/file"], "curl @/nonexistent/file: cannot be read: No such file or directory"),
        (["http://h/a\nb"], "line break"),
    ],
)
def test_what_cannot_be_said_is_an_error_that_names_the_option(arguments, named):
    with pytest.raises(ConfigError, match=re.escape(named)):
        request_of([word.encode() for word in arguments])


@pytest.mark.parametrize(("size", "is_read"), [(MAX_FILE_BYTES, True), (MAX_FILE_BYTES + 1, False)])
def test_files_are_read_up_to_the_limit(tmp_path, size, is_read):
    large = tmp_path / "large"
    with large.open("wb") as stream:
        stream.truncate(size)
    arguments = [URL.encode(), b"--data-binary", b"@" + bytes(large)]
    if is_read:
        assert len(parse_request(request_of(arguments)).body) == size
    else:
        with pytest.raises(ConfigError, match="is larger than"):
            request_of(arguments)


def _sent_by_curl(arguments) -> bytes:
    """The bytes that the real curl sends for these arguments, caught on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        port = server.getsockname()[1]
        received = bytearray()

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(20)
                while not _is_whole(received) and (data := connection.recv(65536)):
                    received.extend(data)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        subprocess.run(
            ["curl", "-q", "-s", "--noproxy", "*", "--connect-to", f"::127.0.0.1:{port}", "-m", "20", *arguments],
            check=True,
            timeout=30,
            stdout=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin"},
        )
        thread.join(30)
    return bytes(received)


def _is_whole(received: bytearray) -> bool:
    head, blank, body = bytes(received).partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return bool(blank) and len(body) >= int(length[1] if length else 0)


def _comparable(raw: bytes) -> tuple[object, ...]:
    """Without what differs between versions of curl: its name, its boundary, its order of headers, its encodings."""
    boundary = re.search(rb"boundary=(\S+)", raw)
    if boundary:
        raw = raw.replace(boundary[1], BOUNDARY)
    request = parse_request(raw)
    ignored = (b"content-length", b"accept-encoding")
    headers = sorted(
        (name, re.sub(rb"^curl/.*", b"curl", value)) for name, value in request.head.headers if name not in ignored
    )
    return request.head.method, request.head.path, request.head.protocol, headers, request.body


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("name", COMMANDS)
def test_the_real_curl_sends_the_same(name, file):
    arguments = [word.replace("FILE", str(file)) for word in COMMANDS[name]]
    ours = request_of([word.encode() for word in arguments])
    assert _comparable(ours) == _comparable(_sent_by_curl(arguments))
