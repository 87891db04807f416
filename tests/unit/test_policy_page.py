"""docs/POLICY.md: its examples load, and it names every key that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from extproc.policy.definition import BLOCK, EXCLUSION, MATCH, POLICY, SETTINGS
from extproc.policy.load import load_policy
from extproc.policy.shapes import Record

PAGE = (Path(__file__).parents[2] / "docs" / "POLICY.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_loads(tmp_path: Path, number: int) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "bad.txt").write_text("192.0.2.255\n")
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "refused.json").write_text('{"incident": "${incident}"}')
    (tmp_path / "shop.yaml").write_text("openapi: 3.1.0\n")
    file = tmp_path / "waf.yaml"
    file.write_text(EXAMPLES[number])
    assert load_policy(file).file == str(file)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4


@pytest.mark.parametrize("key", [*POLICY.keys, *SETTINGS, *MATCH.keys, *EXCLUSION.keys, *BLOCK.keys])
def test_every_key_is_told(key: str) -> None:
    assert re.search(rf"[`. ({{\n]{key}[`:.,]", PAGE), key


def test_every_inner_key_is_told() -> None:
    for name, key in SETTINGS.items():
        if isinstance(key.shape, Record):
            missing = [inner for inner in key.shape.keys if not re.search(rf"\b{inner}\b", PAGE)]
            assert missing == [], name
