"""What the cases stand on: one shared pair, pairs of their own, and the table at the end."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.case_table import Table
from tests.conformance.through_envoy.configurations import ATTACHED, CONFIGURATIONS
from tests.conformance.through_envoy.ground import Site
from tests.e2e.conftest import app, envoy_binary, start_up

__all__ = ["app", "envoy_binary"]

SHARED_FLAGS = ("--workers", "2", "--upgrade-paths", "/ws", "--body-limit", "64KiB")


@pytest.fixture(scope="session")
def session_site(envoy_binary: Path, app: object, pytestconfig: pytest.Config) -> Iterator[Site]:
    with tempfile.TemporaryDirectory() as folder:
        shared = Path(folder, "shared")
        shared.mkdir()
        pair = start_up(shared, app.port, *SHARED_FLAGS)
        is_attached = pytestconfig.getoption("configuration") in ATTACHED
        site = Site(pair, app, envoy_binary, Path(folder), is_attached)
        try:
            pair.await_start()
            yield site
        finally:
            pair.stop()
            site.stop_others()


@pytest.fixture
def site(session_site: Site) -> Iterator[Site]:
    session_site.app.forget()
    yield session_site
    session_site.stop_others()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption(
        "--configuration",
        default="plain",
        choices={**CONFIGURATIONS, **ATTACHED},
        help="what the pairs are rendered as",
    )


def pytest_configure(config: pytest.Config) -> None:
    os.environ.update({**CONFIGURATIONS, **ATTACHED}[config.getoption("configuration", "plain")].environment)
    config.pluginmanager.register(Table("through Envoy"), "envoy-table")
