"""Where the time of the mixed stream goes: cProfile, summed by module. A map, no measurement: it slows Python's calls
more than those into C. Run: python -m tests.bench.profile_mixed [crs-pl1|crs-pl2|own]
"""

from __future__ import annotations

import cProfile
import pstats
import sys
from collections import Counter
from pathlib import Path

from tests.bench.engines import Ours, load_ours, to_model
from tests.bench.report import ROOT
from tests.bench.traffic import Source, mixed

REQUESTS = 1_000
SHOWN = 22


def main() -> None:
    """Prints shares of the engine's own time: by module, C functions by name."""
    engine = Ours(load_ours(sys.argv[1] if len(sys.argv) > 1 else "crs-pl1"))
    engine.run(Source("profile", "before").take(mixed, REQUESTS))
    requests = [to_model(sent) for sent in Source("profile").take(mixed, REQUESTS)]
    profile = cProfile.Profile()
    profile.enable()
    for request in requests:
        engine.pass_through(request)
    profile.disable()
    spent: Counter[str] = Counter()
    for (file, _, name), (_, _, own, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        path = Path(file)
        spent[str(path.relative_to(ROOT)) if path.is_relative_to(ROOT / "extproc") else name] += own
    whole = sum(spent.values())
    for what, own in spent.most_common(SHOWN):
        print(f"{own / whole:6.1%}  {what}")


if __name__ == "__main__":
    main()
