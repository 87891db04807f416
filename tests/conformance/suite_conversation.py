"""Runs CASES against the server under `--target`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import pytest
from cases import CASES, Case
from control import Control
from peer import Peer


@pytest.fixture(scope="session")
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    options = argparse.Namespace(**vars(request.config.option))
    if not options.target and not options.control:
        pytest.exit("name the server under test: --target HOST:PORT or unix:PATH, or --control COMMAND", returncode=2)
    control = Control(options.control) if options.control else None
    try:
        if control is not None and not options.target:
            server = control.shared("plain")
            vars(options).update(server.options, target=server.target)
        connected = Peer(options, control)
        yield connected
        connected.close()
    finally:
        if control is not None:
            control.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.number} {case.title}")
def test_case(peer: Peer, case: Case, record_property: Callable[[str, str], None]) -> None:
    record_property("expects", " ".join((case.run.__doc__ or "").split()))
    case.run(peer)
