"""The own rules, loaded once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from own_cases import Engine


@pytest.fixture(scope="session")
def own() -> Engine:
    return Engine()
