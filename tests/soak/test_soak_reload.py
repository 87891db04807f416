"""Reload after reload under a constant load: nothing fails, no attack passes, memory and descriptors stay flat.

SOAK_RELOADS=1000 pytest tests/soak/test_soak_reload.py        (`make soak` does 100; a few in CI)

Prints how long the event loops of the workers stood still at worst, beside the bar, which only an idle machine can
hold; what CPU time a worker spent between two beats of its loop hardly depends on others. SOAK_RULES=crs takes the
Core Rule Set (CRS_DIR).
"""

from __future__ import annotations

import os
import signal
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

RELOADS = int(os.environ.get("SOAK_RELOADS", "9"))
TRANSPORT = os.environ.get("SOAK_TRANSPORT", "")
"""Empty: the default of `up`."""

STALL_BAR_MS = 50.0
WITHIN_S = 60.0
GROWTH_BYTES = 4 * 1024 * 1024
"""Of one process, medians of the second and the last third compared."""

GROWTH_DESCRIPTORS = 3
INJECTED = Path(__file__).parent / "injected"
CRS = Path(os.environ.get("CRS_DIR", Path(__file__).parents[3] / "shared" / "crs"))
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def rules_flags() -> tuple[str, ...]:
    if os.environ.get("SOAK_RULES") != "crs":
        return ()
    if not CRS.is_dir():
        pytest.skip(f"needs the Core Rule Set: {CRS}")
    return ("--crs", str(CRS), "--profile", "crs")


def look(pair: Any) -> dict[str, tuple[int, int]]:
    """Resident bytes and descriptors of the pair's processes, all generations but the serving one gone."""
    pids = {"up": pair.process.pid, "supervisor": pair.supervisor(), "envoy": pair.envoy()}
    pids |= {"generation": pair.generations()[0], "worker": pair.workers()[0]}
    return {
        name: (
            int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES,
            len(list(Path(f"/proc/{pid}/fd").iterdir())),
        )
        for name, pid in pids.items()
    }


def thirds(values: list[int]) -> tuple[float, float]:
    size = max(1, len(values) // 3)
    return statistics.median(values[size : 2 * size]), statistics.median(values[-size:])


@pytest.mark.timeout(120 + 20 * RELOADS)
def test_reloads_leave_everything_flat_and_fail_nothing(
    start_pair: Any, app: Any, tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats = tmp_path / "beats"
    beats.mkdir()
    monkeypatch.setenv("BEATS", str(beats))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(INJECTED), os.environ.get("PYTHONPATH", ""))))
    # A budget that no busy machine uses up: whoever fails fails by the reload.
    flags = ("--workers", "2", "--watch-seconds", "0", "--time-budget", "30s", "--lines", "off", *rules_flags())
    pair = start_pair(app.port, *flags, *(("--transport", TRANSPORT) if TRANSPORT else ())).await_start()
    seen: list[dict[str, tuple[int, int]]] = []
    paths: set[str] = set()
    reached = 0
    app.forget()  # what an earlier test sent
    with tools.Load(pair) as load:
        for number in range(1, RELOADS + 1):
            os.kill(pair.supervisor(), signal.SIGHUP)
            tools.wait_for(lambda number=number: pair.stderr.count(" reloaded in ") == number, WITHIN_S, "reload")
            tools.wait_for(lambda: len(pair.generations()) == 1, WITHIN_S, "leave of the old one")
            seen.append(look(pair))
            found = app.seen()  # the app remembers all of them: count and forget
            app.forget()
            reached += len(found)
            paths |= {request["path"] for request in found}
    found = app.seen()
    reached += len(found)
    paths |= {request["path"] for request in found}
    clean, attacks = (Counter(status for _, status in noted) for noted in (load.clean, load.attack))
    stalls = [[float(ms) for ms in file.read_text().split()] for file in beats.iterdir()]
    late, busy = (max(found[place] for found in stalls if found) for place in (0, 1))
    print(f"\n{RELOADS} reloads; clean {dict(clean)}, attacks {dict(attacks)}, seen by the app {reached}")
    print(f"event loops of {len(stalls)} workers stood still for {late:.1f} ms, with {busy:.1f} ms of CPU between two "
          f"beats, at worst / {STALL_BAR_MS:g} ms")  # fmt: skip
    for name in seen[0]:
        sizes, descriptors = ([each[name][place] for each in seen] for place in (0, 1))
        before, after = thirds(sizes)
        print(f"{name:<12} {before / 2**20:7.1f} → {after / 2**20:7.1f} MiB, descriptors "
              "{:.0f} → {:.0f}".format(*thirds(descriptors)))  # fmt: skip
    assert set(clean) == {200}
    assert set(attacks) == {403}
    assert paths == {"/hello"}
    wanted = len(load.clean) + len(load.attack) + RELOADS
    events = tools.wait_for(lambda: len(pair.events) == wanted and pair.events, WITHIN_S, "events")
    assert {event.get("coverage", event.get("outcome")) for event in events} == {"inspected", "serving"}
    for name in seen[0]:
        before, after = thirds([each[name][0] for each in seen])
        assert after - before < GROWTH_BYTES, f"{name} grows"
        before, after = thirds([each[name][1] for each in seen])
        assert after - before <= GROWTH_DESCRIPTORS, f"{name} keeps descriptors"
