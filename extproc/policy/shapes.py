"""What a value of a policy file may look like: one definition reads it, names every mistake, and makes the JSON Schema.

YAML is read as nodes, not as values, so that each finding has its line and `off` stays a word.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

import yaml

from extproc.model.quantities import parse_duration_ms, parse_size

NEAR = 0.65
"""difflib ratio from which an unknown name is taken for a slip of a known one."""

MAX_SHOWN = 60
"""Characters of a wrong value that a finding repeats."""

MAX_FINDINGS = 200
"""Findings told of one file; the rest is counted."""

MAX_VALUES = 400_000
"""Values read of one file, those of aliases each time; a few lines of YAML can stand for millions."""

_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class _Missing:
    """What was wrong and has been told: no value."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Any = _Missing()


class Report:
    """Every finding of one file: `file:line: what, and how to mend it`."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._findings: dict[tuple[int, str], None] = {}
        self._values_left = MAX_VALUES

    def spend(self, line: int) -> bool:
        """One more value is read; False, and told once, when there are too many."""
        self._values_left -= 1
        if self._values_left == -1:
            self.tell(line, f"more than {MAX_VALUES} values, aliases counted each time; write less, or use files")
        return self._values_left >= 0

    def tell(self, line: int, message: str) -> None:
        """`line` counts from 1; 0 is the file as a whole."""
        self._findings.setdefault((line, message))

    def has(self, line: int) -> bool:
        """Was something told of that line?"""
        return any(told == line for told, _ in self._findings)

    @property
    def findings(self) -> list[str]:
        """In file order."""
        told = sorted(self._findings, key=lambda finding: finding[0])
        lines = [f"{self.file}:{line}: {message}" for line, message in told[:MAX_FINDINGS]]
        if len(told) > MAX_FINDINGS:
            lines.append(f"{self.file}:0: {len(told) - MAX_FINDINGS} more findings are not shown; mend these first")
        return lines


def line_of(node: yaml.Node) -> int:
    """Where the node begins, counted from 1."""
    return int(node.start_mark.line) + 1


@dataclass(frozen=True, slots=True)
class Given:
    """A value and the line it stands in."""

    value: Any
    line: int


class Shape(Protocol):
    """Node → value or MISSING, and the JSON Schema of the same."""

    def read(self, node: yaml.Node, report: Report, key: str) -> Any: ...

    def schema(self) -> dict[str, Any]: ...


def nearest(name: str, known: Sequence[str]) -> str:
    """`; did you mean x?`, or the names there are."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=NEAR)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"


def shown(text: str) -> str:
    """A wrong value, bounded and printable."""
    return repr(text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "...")


@dataclass(frozen=True, slots=True)
class Scalar:
    """One text, read by `parse`, which raises ValueError with a sentence that mends it."""

    parse: Callable[[str], Any]
    json: Mapping[str, Any]

    def read(self, node: yaml.Node, report: Report, key: str) -> Any:
        """The value of a scalar node."""
        if not report.spend(line_of(node)):
            return MISSING
        if not isinstance(node, yaml.ScalarNode):
            kind = "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
            report.tell(line_of(node), f"{key} must be a single value, not {kind}")
            return MISSING
        try:
            return self.parse(node.value)
        except ValueError as error:
            report.tell(line_of(node), f"{key} {error}")
            return MISSING

    def schema(self) -> dict[str, Any]:
        """As `json` says."""
        return dict(self.json)


def text(pattern: str = r"[^\x00-\x1f\x7f]{1,1000}", example: str = "a text") -> Scalar:
    """A text that matches the pattern as a whole."""
    compiled = re.compile(pattern)

    def parse(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise ValueError(f"must be {example}, not {shown(value)}")
        return value

    return Scalar(parse, {"type": "string", "pattern": f"^(?:{pattern})$"})


def choice(*choices: str) -> Scalar:
    """One of some words."""

    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}, not {shown(value)}; {nearest(value, choices)}")
        return value

    # YAML 1.1 reads a bare `off` as false, and so do editors that hold a file against the schema.
    offs = [False] if "off" in choices else []
    return Scalar(parse, {"enum": [*choices, *offs]})


def number(low: int, high: int) -> Scalar:
    """A whole number within limits."""

    def parse(value: str) -> int:
        if re.fullmatch(r"-?\d{1,12}", value) is None:
            raise ValueError(f"must be a whole number, not {shown(value)}")
        if not low <= int(value) <= high:
            raise ValueError(f"must be between {low} and {high}, not {value}")
        return int(value)

    return Scalar(parse, {"type": "integer", "minimum": low, "maximum": high})


def switch() -> Scalar:
    """true or false, in YAML's spellings."""

    def parse(value: str) -> bool:
        known = _BOOLEANS.get(value.lower())
        if known is None:
            raise ValueError(f"must be true or false, not {shown(value)}")
        return known

    return Scalar(parse, {"type": "boolean"})


def size(low: int, high: int) -> Scalar:
    """Bytes, `128KiB`, `1MiB`."""

    def parse(value: str) -> int:
        found = parse_size(value)
        if not low <= found <= high:
            raise ValueError(f"must be between {low} and {high} bytes, not {found}")
        return found

    return Scalar(parse, {"type": ["string", "integer"], "description": "a size: 131072, 128KiB, 1MiB"})


def duration_ms(low: int, high: int) -> Scalar:
    """A time in milliseconds, `500ms`, `2s`."""

    def parse(value: str) -> int:
        found = parse_duration_ms(value)
        if not low <= found <= high:
            raise ValueError(f"must be between {low} and {high} ms, not {found}")
        return found

    return Scalar(parse, {"type": ["string", "number"], "description": "a time: 500, 500ms, 0.5s, 1m"})


def day() -> Scalar:
    """A date, `2026-12-31`."""

    def parse(value: str) -> date:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", value) is None:
            raise ValueError(f"must be a date such as 2026-12-31, not {shown(value)}")
        try:
            return date.fromisoformat(value)
        except ValueError as error:
            raise ValueError(f"is no day of the calendar: {value} ({error}); write one that exists") from None

    return Scalar(parse, {"type": "string", "format": "date"})


@dataclass(frozen=True, slots=True)
class Several:
    """A list; with `or_one` a single item stands for a list of it. Read as a tuple of Given."""

    item: Shape
    most: int
    or_one: bool = False

    def read(self, node: yaml.Node, report: Report, key: str) -> Any:
        """The items that could be read; what is wrong with the others has been told."""
        if not isinstance(node, yaml.SequenceNode):
            if self.or_one and not _is_null(node):
                value = self.item.read(node, report, key)
                return MISSING if value is MISSING else (Given(value, line_of(node)),)
            report.tell(line_of(node), f"{key} must be a list: `[a, b]`, or lines that begin with a dash")
            return MISSING
        if len(node.value) > self.most:
            report.tell(line_of(node), f"{key} has {len(node.value)} items, more than {self.most}; leave some out")
            return MISSING
        if not report.spend(line_of(node)):
            return MISSING
        values = [(self.item.read(item, report, key), line_of(item)) for item in node.value]
        return tuple(Given(value, line) for value, line in values if value is not MISSING)

    def schema(self) -> dict[str, Any]:
        """A list, or with `or_one` the item too."""
        item = self.item.schema()
        several = {"type": "array", "items": item, "maxItems": self.most}
        return {"anyOf": [item, several]} if self.or_one else several


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a record, and what it means."""

    shape: Shape
    help: str
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """A mapping with known keys. Read as a dict of Given by key."""

    keys: Mapping[str, Key]
    title: str = ""

    def read(self, node: yaml.Node, report: Report, key: str) -> Any:
        """The keys that are known and sound; MISSING if it is no mapping or one that is needed is not there."""
        pairs = pairs_of(node, report, key)
        if pairs is None:
            return MISSING
        found: dict[str, Given] = {}
        is_whole = True
        for name, name_node, value_node in pairs:
            known = self.keys.get(name)
            if known is None:
                report.tell(line_of(name_node), f"{name} is no key of {key}; {nearest(name, list(self.keys))}")
                continue
            value = known.shape.read(value_node, report, f"{key}.{name}" if key != TOP else name)
            if value is not MISSING:
                found[name] = Given(value, line_of(name_node))
            is_whole = is_whole and (value is not MISSING or not known.is_required)
        named = {name for name, _, _ in pairs}
        for name, known in self.keys.items():
            if known.is_required and name not in named:
                report.tell(line_of(node), f"{key} needs {name}: {known.help}")
                is_whole = False
        return found if is_whole else MISSING

    def schema(self) -> dict[str, Any]:
        """An object that takes no other key."""
        described: dict[str, Any] = {
            "type": "object",
            "properties": {
                name: {**known.shape.schema(), "description": known.help} for name, known in self.keys.items()
            },
            "additionalProperties": False,
        }
        required = [name for name, known in self.keys.items() if known.is_required]
        return {**described, "required": required} if required else described


@dataclass(frozen=True, slots=True)
class Named:
    """A mapping from names of the user's to records. Read as a dict of Given, in file order."""

    name: Scalar
    item: Shape
    most: int

    def read(self, node: yaml.Node, report: Report, key: str) -> Any:
        """The entries that could be read."""
        pairs = pairs_of(node, report, key)
        if pairs is None:
            return MISSING
        if len(pairs) > self.most:
            report.tell(line_of(node), f"{key} has {len(pairs)} entries, more than {self.most}; leave some out")
            return MISSING
        found: dict[str, Given] = {}
        for name, name_node, value_node in pairs:
            if self.name.read(name_node, report, f"a name in {key}") is MISSING:
                continue
            value = self.item.read(value_node, report, f"{key}.{name}")
            if value is not MISSING:
                found[name] = Given(value, line_of(name_node))
        return found

    def schema(self) -> dict[str, Any]:
        """An object whose names match the pattern."""
        names = self.name.schema()
        return {
            "type": "object",
            "propertyNames": names,
            "additionalProperties": self.item.schema(),
            "maxProperties": self.most,
        }


TOP = "the policy"
"""How findings name the file's outermost mapping."""


def pairs_of(node: yaml.Node, report: Report, key: str) -> list[tuple[str, yaml.Node, yaml.Node]] | None:
    """(name, its node, the value's node) of a mapping; [] for an empty one, None if it is something else."""
    if _is_null(node):
        return []
    if not isinstance(node, yaml.MappingNode):
        report.tell(line_of(node), f"{key} must hold `name: value` lines")
        return None
    pairs: list[tuple[str, yaml.Node, yaml.Node]] = []
    seen: dict[str, int] = {}
    for name_node, value_node in node.value:
        name = name_node.value if isinstance(name_node, yaml.ScalarNode) else ""
        if not name:
            report.tell(line_of(name_node), f"a name in {key} must be a text")
            continue
        if name in seen:
            report.tell(line_of(name_node), f"{name} is written twice in {key}, first in line {seen[name]}; keep one")
            continue
        seen[name] = line_of(name_node)
        pairs.append((name, name_node, value_node))
    return pairs


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"
