"""Patterns whose automata explode, on text made for it: each keeps to its share of memory, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

PATTERNS = 40
SHARE_KIB = 1024
"""What a pattern may grow by (docs/LIMITS.md); with re2's own default of 8 MiB these take three times as much."""

ADDRESS_SPACE_BYTES = 2 << 30

CHILD = """
import random, resource, sys
from extproc.operators.rx import compile_rx
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)
class Silent:
    def notice(self, text): pass
# The automaton of "an a, n bytes before the end" has two to the power of n states.
tests = [compile_rx(b"a[ab]{%d}c" % (12 + number), Silent()).test for number in range(int(sys.argv[1]))]
source = random.Random(1)
def held_kib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 1024
before = held_kib()
for test in tests:
    for _ in range(4):
        assert test(bytes(source.choices(b"ab", k=50_000))) is None
print(held_kib() - before)
"""


def test_automata_keep_to_their_share() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(PATTERNS), str(ADDRESS_SPACE_BYTES)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    grown_kib = int(done.stdout)
    bound_kib = PATTERNS * SHARE_KIB
    print(f"memory {grown_kib} / {bound_kib} KiB for {PATTERNS} patterns")
    assert grown_kib <= bound_kib
