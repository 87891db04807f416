"""Changes of an object as JSON Patch has them (RFC 6902), so that a file, a webhook and a test apply the same ones."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indexes from the root. `-` as the last one of an addition: behind the last item."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One change. `value` is plain JSON data, None for a removal."""

    op: Literal["add", "replace", "remove"]
    path: Path
    value: Any = None

    def below(self, prefix: Path) -> Operation:
        """The same change of an object that stands at `prefix` of a larger one."""
        return Operation(self.op, (*prefix, *self.path), self.value)

    def to_json(self) -> dict[str, Any]:
        """As it goes over the wire."""
        pointer = "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in self.path)
        written: dict[str, Any] = {"op": self.op, "path": pointer}
        return written if self.op == "remove" else {**written, "value": self.value}


def apply(tree: Any, operations: Iterable[Operation]) -> Any:
    """A copy of `tree` with the changes made, in order. Raises KeyError or IndexError where a path leads nowhere."""
    result = copy.deepcopy(tree)
    for operation in operations:
        parent = descend(result, operation.path[:-1])
        last: Any = operation.path[-1]
        value = copy.deepcopy(operation.value)
        if operation.op == "remove":
            del parent[last]
        elif isinstance(parent, list) and operation.op == "add":
            parent.insert(len(parent) if last == "-" else last, value)
        else:
            parent[last] = value
    return result


def descend(tree: Any, path: Path) -> Any:
    """What stands at `path`."""
    for step in path:
        tree = tree[step]
    return tree


def look(tree: Any, *path: str | int) -> Any:
    """What stands at `path`, None where it leads nowhere."""
    for step in path:
        if isinstance(tree, Mapping):
            tree = tree.get(step)
        elif isinstance(tree, list) and isinstance(step, int) and step < len(tree):
            tree = tree[step]
        else:
            return None
    return tree
