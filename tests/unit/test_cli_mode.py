"""The mode in words: what holds, and who decided it."""

from __future__ import annotations

import pytest

from extproc.cli.wiring import describe_mode
from extproc.config import resolve
from extproc.model.verdict import Mode


@pytest.mark.parametrize(
    ("flags", "environment", "rules", "said"),
    [
        ({}, {}, "block", "mode monitor: nothing is blocked, only reported (default; --mode block blocks)"),
        ({"mode": "block"}, {}, "block", "mode block: what the rules deny is blocked (--mode)"),
        ({}, {"EXTPROC_MODE": "block"}, "block", "mode block: what the rules deny is blocked (EXTPROC_MODE)"),
        (
            {"mode": "block"},
            {},
            "monitor",
            "mode monitor: nothing is blocked, only reported (SecRuleEngine is weaker than block (--mode))",
        ),
        ({"mode": "off"}, {}, "block", "mode off: nothing is inspected (--mode)"),
        ({"mode": "monitor"}, {}, "block", "mode monitor: nothing is blocked, only reported (--mode)"),
    ],
)
def test_the_effective_mode_and_why(
    flags: dict[str, object], environment: dict[str, str], rules: str, said: str
) -> None:
    assert describe_mode(resolve(flags, environment), Mode(rules)) == said
