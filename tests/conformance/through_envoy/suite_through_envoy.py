"""Runs CASES through a real Envoy."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.through_envoy.configurations import ATTACHED, CONFIGURATIONS
from tests.conformance.through_envoy.envoy_cases import CASES, Case
from tests.conformance.through_envoy.ground import Site

pytestmark = pytest.mark.envoy


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.number} {case.title}")
def test_case(site: Site, case: Case, pytestconfig: pytest.Config, record_property: Callable[[str, str], None]) -> None:
    if reason := {**CONFIGURATIONS, **ATTACHED}[pytestconfig.getoption("configuration")].differs.get(case.number):
        pytest.skip(f"not applicable: {reason}")
    record_property("expects", " ".join((case.run.__doc__ or "").split()))
    case.run(site)
