"""Who judges: rule sets on our engine, and libmodsecurity with the Core Rule Set. Each: request → blocked?"""

from __future__ import annotations

from collections.abc import Callable

from tests.bench.engines import LibModSecurity, Ours, load_ours
from tests.bench.traffic import Sent

Judge = Callable[[Sent], bool]


def _ours(rules: str) -> Judge:
    engine = Ours(load_ours(rules))
    return lambda sent: engine.tell(sent)[0]


def _libmodsecurity() -> Judge:
    engine = LibModSecurity("crs-pl1")
    return lambda sent: engine.tell(sent)[0]


JUDGES: dict[str, Callable[[], Judge]] = {
    "own": lambda: _ours("own"),
    "crs-pl1": lambda: _ours("crs-pl1"),
    "crs-pl2": lambda: _ours("crs-pl2"),
    "libmodsecurity": _libmodsecurity,
}
"""Name → a judge. Making one raises Missing when this machine lacks what it needs. `own` is judged by the bars."""
