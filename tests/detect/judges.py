"""Who judges: rule sets on our engine, and libmodsecurity with the Core Rule Set. Each: request → (blocked?, rules)."""

from __future__ import annotations

from collections.abc import Callable

from tests.bench.engines import LibModSecurity, Ours, load_ours
from tests.bench.traffic import Sent

Judge = Callable[[Sent], tuple[bool, frozenset[int]]]


def _ours(rules: str) -> Judge:
    return Ours(load_ours(rules)).tell


def _libmodsecurity() -> Judge:
    return LibModSecurity("crs-pl1").tell


JUDGES: dict[str, Callable[[], Judge]] = {
    "own": lambda: _ours("own"),
    "crs-pl1": lambda: _ours("crs-pl1"),
    "crs-pl1-nested": lambda: Ours(load_ours("crs-pl1"), has_views=True).tell,
    "crs-pl2": lambda: _ours("crs-pl2"),
    "own+crs": lambda: _ours("own+crs"),
    "crs-api": lambda: _ours("crs-api"),
    "libmodsecurity": _libmodsecurity,
}
"""Name → a judge. Making one raises Missing when this machine lacks what it needs. `own` is judged by the bars.

`crs-pl1-nested` is CRS with `--decode nested`."""
