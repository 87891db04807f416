"""What is judged: the corpus, our own variants of classes it lacks, and their benign twins; each with its half.

Nothing of the corpus is kept here: it is read at run time from CORPUS_DIR, else `../shared/corpus`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CORPUS = Path(os.environ.get("CORPUS_DIR") or ROOT.parent / "shared" / "corpus")
VARIANTS = Path(__file__).parent / "variants"


@dataclass(frozen=True, slots=True)
class Value:
    """One text, its class (`benign` for harmless ones), where it is from, and where it is put (see `placing`)."""

    text: str
    kind: str
    source: str
    place: str = "query"

    @property
    def is_tuned(self) -> bool:
        """Is it of the half that detectors were tuned on? The other half is looked at rarely."""
        return is_tuned(self.text)


def is_tuned(text: str) -> bool:
    """By the first byte of its SHA-256: even."""
    return hashlib.sha256(text.encode()).digest()[0] % 2 == 0


def corpus() -> tuple[list[Value], list[Value]]:
    """(attacks, benign values). Raises FileNotFoundError when there is no corpus."""
    attacks = [Value(row["value"], row["class"], row["source"]) for row in _rows(CORPUS / "attacks.jsonl")]
    benign = [Value(row["value"], "benign", row["source"]) for row in _rows(CORPUS / "benign.jsonl")]
    return attacks, benign


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def variants() -> tuple[list[Value], list[Value]]:
    """(attacks, twins) of `variants/*.yaml`: `class`, then `attacks` and `twins` as lists by place."""
    found: dict[str, list[Value]] = {"attacks": [], "twins": []}
    for file in sorted(VARIANTS.glob("*.yaml")):
        table = yaml.safe_load(file.read_text(encoding="utf-8"))
        for sort, values in found.items():
            for place, texts in table[sort].items():
                values += [Value(text, table["class"], "variants", place) for text in texts]
    return found["attacks"], found["twins"]
