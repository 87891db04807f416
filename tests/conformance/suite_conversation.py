"""Runs CASES against the server under `--target`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from cases import CASES, Case
from peer import Peer


@pytest.fixture(scope="session")
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    if not request.config.option.target:
        pytest.exit("name the server under test: --target HOST:PORT or unix:PATH", returncode=2)
    connected = Peer(request.config)
    yield connected
    connected.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.number} {case.title}")
def test_case(peer: Peer, case: Case, record_property: Callable[[str, str], None]) -> None:
    if case.run is None:
        pytest.skip(f"not applicable: {case.reason}")
    record_property("expects", " ".join((case.run.__doc__ or "").split()))
    case.run(peer)
