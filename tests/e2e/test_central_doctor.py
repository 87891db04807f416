"""The doctor at a shared engine: well, open, about to expire, and asked by the wrong proxy."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import free_port
from tests.e2e.tls_engine import SERVER, START_S, Engine, start, wait_for
from tests.k8s.certificates import make_authority, write_certificate

PLAIN = "does the engine take a call in plain text?"
NONE = "does the engine take a call without a certificate?"
ENGINE_EXPIRES = "until when is the engine's certificate good?"
PROXY = "is a proxy answered?"
PROXY_EXPIRES = "until when is the proxy's certificate good?"


def doctor(*arguments: object) -> tuple[int, dict[str, tuple[str, str]]]:
    command = [sys.executable, "-m", "extproc", "doctor", "--json", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout, done.stderr
    return done.returncode, {row["question"]: (row["grade"], row["sentence"]) for row in json.loads(done.stdout)}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = start(tmp_path_factory.mktemp("engine"), "http2")
    yield engine
    engine.stop()


def as_proxy(engine: Engine, client: str, ca: Path | None = None) -> list[str]:
    folder = engine.folder / client
    flags = [f"--engine=127.0.0.1:{engine.port}", f"--engine-ca={ca or engine.folder / 'ca.crt'}"]
    return [*flags, f"--engine-cert={folder}/tls.crt", f"--engine-key={folder}/tls.key", f"--engine-name={SERVER}"]


def test_an_engine_that_is_well(engine: Engine) -> None:
    code, found = doctor(f"--engine=127.0.0.1:{engine.port}")
    assert code == 0
    assert (found[PLAIN], found[NONE]) == (("fine", "no"), ("fine", "no"))
    assert found[ENGINE_EXPIRES][0] == "warning"  # two days, made for the test
    assert found[ENGINE_EXPIRES][1].startswith("for 2 days, until 20")
    assert found[PROXY][0] == "not asked"


@pytest.mark.parametrize(
    ("client", "code", "grade", "told", "expires"),
    [
        ("client", 0, "fine", "yes, with", "warning"),
        ("long", 0, "fine", "yes, with", "fine"),
        ("stranger", 1, "bad", "", "warning"),
        ("expired", 1, "bad", "", "bad"),
    ],
)
def test_it_is_asked_as_a_proxy_asks_it(
    engine: Engine, client: str, code: int, grade: str, told: str, expires: str
) -> None:
    write_certificate(engine.folder / "long", engine.authority, "proxy.test", is_client=True, days=30)
    found_code, found = doctor(*as_proxy(engine, client))
    assert (found_code, found[PROXY][0], found[PROXY_EXPIRES][0]) == (code, grade, expires)
    assert told in found[PROXY][1]


def test_an_engine_of_another_ca(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(make_authority("another").pem)
    _, found = doctor(*as_proxy(engine, "client", tmp_path / "ca.crt"))
    assert found[PROXY][0] == "bad"
    assert found[PROXY][1].startswith("no: the engine's certificate is not trusted")


def test_an_open_engine_is_bad() -> None:
    port, health = free_port(), free_port()
    command = [sys.executable, "-m", "extproc", "serve", f"--grpc=127.0.0.1:{port}", f"--health=127.0.0.1:{health}"]
    process = subprocess.Popen([*command, "--metrics=off"], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: PLAIN in doctor(f"--engine=127.0.0.1:{port}")[1], START_S, "engine")
        code, found = doctor(f"--engine=127.0.0.1:{port}")
        assert code == 1
        assert list(found) == [PLAIN]
        assert "whoever reaches that port can ask in anybody's name" in found[PLAIN][1]
    finally:
        process.kill()
        process.wait(10)


def test_nobody_there() -> None:
    code, found = doctor(f"--engine=127.0.0.1:{free_port()}")
    assert code == 1
    assert list(found) == ["does the engine listen?"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--engine-ca=x"], "--engine: is missing"),
        (["--engine=127.0.0.1:1", "--engine-ca=/no"], "--engine-ca: /no is no file"),
        (["--engine=127.0.0.1:1", f"--engine-ca={__file__}"], "--engine-cert: is missing"),
    ],
)
def test_what_cannot_be_asked_is_said(flags: list[str], said: str) -> None:
    command = [sys.executable, "-m", "extproc", "doctor", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert said in done.stderr
