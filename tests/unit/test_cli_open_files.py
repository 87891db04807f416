"""The limit of open files, in processes of their own: lowered limits cannot be raised again."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from extproc.cli.open_files import FILES_TOLD, FILES_WANTED

HARD = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
LARGEST = FILES_WANTED if HARD == resource.RLIM_INFINITY else min(HARD, FILES_WANTED)

PROGRAM = """
import resource, sys
from extproc.cli.open_files import raise_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
print(raise_limit(), resource.getrlimit(resource.RLIMIT_NOFILE)[0], sep="|")
"""


@pytest.mark.parametrize(
    ("soft", "hard", "raised", "told"),
    [
        (1_024, 4_096, 4_096, "limited to 4096 (ulimit -Hn)"),
        (1_024, FILES_TOLD - 1, FILES_TOLD - 1, f"limited to {FILES_TOLD - 1} "),
        (1_024, FILES_TOLD, FILES_TOLD, "None"),
        (1_024, LARGEST, LARGEST, "None"),
    ],
)
def test_the_limit_is_raised_as_far_as_it_goes_and_told_if_that_is_low(
    soft: int, hard: int, raised: int, told: str
) -> None:
    if HARD != resource.RLIM_INFINITY and hard > HARD:
        pytest.skip(f"open files are limited to {HARD} here")
    command = [sys.executable, "-c", PROGRAM, str(soft), str(hard)]
    said, limit = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().split("|")
    assert int(limit) == raised
    assert told in said
