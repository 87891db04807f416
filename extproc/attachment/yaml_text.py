"""Operations on the text of a YAML (or JSON) document: what is not changed keeps every byte, comments included.

A parser that writes the document anew would lose comments, quotes and order, and a diff would show the whole file.
So only positions come from the parser; the text is cut and pasted. What one addition inserted, the removal of the
same path takes out to the byte.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable
from typing import Any

import yaml

from extproc.attachment.operations import Operation, Path
from extproc.model.errors import ExtprocError, yaml_fault

DOCUMENT_LIMIT_BYTES = 4 * 1024 * 1024
"""Longest text that is read; larger ones are hardly manifests."""

_SEPARATOR = re.compile(r"^---(?=\s|$).*\n?", re.MULTILINE)


class YamlTextError(ExtprocError):
    """The text cannot be changed in place: not YAML, or an alias stands where the change would be."""


def split(text: str) -> list[str]:
    """Documents of a stream, each with the separator line before it; joined they are `text` again."""
    cuts = [0, *(found.start() for found in _SEPARATOR.finditer(text) if found.start()), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(cuts) if end > start]


def load(document: str) -> Any:
    """The data of one document, None if it is empty. Raises YamlTextError."""
    try:
        return yaml.safe_load(document)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise YamlTextError(f"is not valid YAML: {yaml_fault(error)}") from error


def edit(document: str, operations: Iterable[Operation]) -> str:
    """The document with all changes made, in order. Raises YamlTextError."""
    for operation in operations:
        try:
            root = yaml.compose(document, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            raise YamlTextError(f"is not valid YAML: {yaml_fault(error)}") from error
        document = _Edit(document, root).make(operation)
    return document


class _Edit:
    """One change in one text. Indexes are characters, as the parser's marks are."""

    def __init__(self, text: str, root: Any) -> None:
        self._text = text
        self._root = root

    def make(self, operation: Operation) -> str:
        parent, column = self._find(operation.path[:-1])
        last = operation.path[-1]
        if operation.op == "add":
            return self._add(parent, column, last, operation.value)
        if operation.op == "remove":
            return self._remove(parent, last)
        node, _ = self._child(parent, last)
        return self._replace(node, operation.value)

    # Where it is

    def _find(self, path: Path) -> tuple[Any, int]:
        """(node, column of the key that it belongs to)."""
        node, column = self._root, -2
        for step in path:
            node, column = self._child(node, step)
        return node, column

    def _child(self, parent: Any, step: str | int) -> tuple[Any, int]:
        if isinstance(parent, yaml.MappingNode):
            for key, value in parent.value:
                if key.value == str(step):
                    if value.start_mark.index < key.end_mark.index:
                        raise YamlTextError(
                            f"line {key.start_mark.line + 1}: {step} is an alias of another part of the file; "
                            "write it out, so that it can be changed alone"
                        )
                    return value, key.start_mark.column
        elif isinstance(parent, yaml.SequenceNode) and isinstance(step, int) and step < len(parent.value):
            item = parent.value[step]
            if step and item.start_mark.index < parent.value[step - 1].start_mark.index:
                raise YamlTextError(
                    f"line {parent.start_mark.line + 1}: an item of this list is an alias; write it out"
                )
            return item, item.start_mark.column
        raise YamlTextError(f"{step} is not where it was expected")

    def _end(self, node: Any) -> int:
        """Behind the node's last character of content; the parser's marks also span comments that follow."""
        if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
            last = node.value[-1]
            return self._end(last[1] if isinstance(last, tuple) else last)
        end: int = node.end_mark.index
        if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
            return end - 1 if self._text[end - 1 : end] == "\n" else end
        return end

    def _line_end(self, index: int) -> int:
        end = self._text.find("\n", index)
        return len(self._text) if end < 0 else end

    def _line_start(self, index: int) -> int:
        return self._text.rfind("\n", 0, index) + 1

    # Changes

    def _add(self, parent: Any, column: int, last: str | int, value: Any) -> str:
        is_item = last == "-"
        if isinstance(parent, yaml.CollectionNode) and parent.flow_style:
            written = (
                json.dumps(value, default=str) if is_item else f"{_key(str(last))}: {json.dumps(value, default=str)}"
            )
            if parent.value:
                return self._insert(self._end(_last(parent)), f", {written}")
            return self._insert(parent.start_mark.index + 1 + self._tag(parent), written)
        if isinstance(parent, yaml.CollectionNode):
            at = self._line_end(self._end(parent))
            if is_item:
                dash = self._text.rfind("-", 0, parent.value[0].start_mark.index)
                return self._insert(at, _item(value, dash - self._line_start(dash)))
            return self._insert(at, _entry(str(last), value, parent.value[0][0].start_mark.column))
        if parent is not None and parent.tag == "tag:yaml.org,2002:null" and parent.start_mark == parent.end_mark:
            # `initContainers:` with nothing behind it.
            at = self._line_end(self._text.rfind(":", 0, parent.start_mark.index + 1))
            written = _item(value, column) if is_item else _entry(str(last), value, column + 2)
            return self._insert(at, written)
        raise YamlTextError(f"nothing can be added at {last}")

    def _tag(self, node: Any) -> int:
        """Characters of an anchor or tag before the bracket."""
        found: int = min(
            place - node.start_mark.index
            for bracket in "[{"
            if (place := self._text.find(bracket, node.start_mark.index)) >= 0
        )
        return found

    def _insert(self, at: int, written: str) -> str:
        return self._text[:at] + written + self._text[at:]

    def _replace(self, node: Any, value: Any) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.style in ("|", ">"):
            raise YamlTextError(f"line {node.start_mark.line + 1}: only a plain value can be changed in place")
        start, end = node.start_mark.index, node.end_mark.index
        if node.style in ("'", '"') and isinstance(value, str):
            quoted = value.replace("'", "''") if node.style == "'" else json.dumps(value)[1:-1]
            return self._text[:start] + node.style + quoted + node.style + self._text[end:]
        return self._text[:start] + _scalar(value) + self._text[end:]

    def _remove(self, parent: Any, last: str | int) -> str:
        if isinstance(parent, yaml.MappingNode):
            place = next((i for i, (key, _) in enumerate(parent.value) if key.value == str(last)), None)
        else:
            place = last if isinstance(last, int) and last < len(parent.value) else None
        if place is None:
            raise YamlTextError(f"{last} is not where it was expected")
        starts = [(entry[0] if isinstance(entry, tuple) else entry).start_mark.index for entry in parent.value]
        ends = [self._end(entry[1] if isinstance(entry, tuple) else entry) for entry in parent.value]
        if parent.flow_style:
            if place:
                start, end = ends[place - 1], ends[place]
            else:
                start, end = starts[0], starts[1] if len(starts) > 1 else ends[0]
        else:
            start, end = self._line_start(starts[place]), self._line_end(ends[place])
            is_first_of_item = isinstance(parent, yaml.MappingNode) and self._text[start : starts[place]].strip()
            if is_first_of_item:
                raise YamlTextError(
                    f"line {parent.start_mark.line + 1}: {last} opens a list item and cannot be cut out"
                )
            start -= 1  # the line break before it, as `_add` put it there
        return self._text[: max(start, 0)] + self._text[end:]


def _last(node: Any) -> Any:
    entry = node.value[-1]
    return entry[1] if isinstance(entry, tuple) else entry


def dump(value: Any) -> str:
    """A document of its own, without anchors."""
    return "\n".join(_dump(value)) + "\n"


def _dump(value: Any) -> list[str]:
    written: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=10_000)
    return written.removesuffix("\n").removesuffix("\n...").split("\n")


class _Dumper(yaml.SafeDumper):
    """Writes small mappings and lists of words in one line, as a person would."""

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        node = super().represent_mapping(tag, mapping, flow_style)
        if node.value and all(isinstance(value, yaml.ScalarNode) for _, value in node.value) and len(node.value) <= 3:
            node.flow_style = True
        return node

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        node = super().represent_sequence(tag, sequence, flow_style)
        if node.value and all(isinstance(value, yaml.ScalarNode) for value in node.value):
            node.flow_style = True
        return node

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _entry(key: str, value: Any, column: int) -> str:
    lines = _dump({key: value})
    if lines[0].startswith("{"):
        lines = [lines[0][1:-1]]
    return "".join(f"\n{' ' * column}{line}" for line in lines)


def _item(value: Any, column: int) -> str:
    first, *rest = _dump(value)
    return f"\n{' ' * column}- {first}" + "".join(f"\n{' ' * column}  {line}" for line in rest)


def _scalar(value: Any) -> str:
    return _dump(value)[0]


def _key(key: str) -> str:
    return json.dumps(key)
