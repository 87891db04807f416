"""Runs CASES through a real Envoy."""

from __future__ import annotations

import pytest

from tests.conformance.through_envoy.envoy_cases import CASES, Case
from tests.conformance.through_envoy.ground import Site

pytestmark = pytest.mark.envoy


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.number} {case.title}")
def test_case(site: Site, case: Case) -> None:
    if case.run is None:
        pytest.skip(f"not applicable: {case.reason}")
    case.run(site)
