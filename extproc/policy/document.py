"""YAML text → nodes with their lines, of bounded depth.

PyYAML's own composer calls itself once per level: a policy of brackets would end the process by a stack overflow in C.
"""

from __future__ import annotations

from typing import Any

import yaml

MAX_DEPTH = 16
"""Lists and mappings inside each other; a policy needs seven."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = "tag:yaml.org,2002:null"
_NULL_WORDS = frozenset({"", "~", "null", "Null", "NULL"})


def compose(data: bytes, depth_limit: int = MAX_DEPTH) -> yaml.Node | None:
    """The one document of `data`; None if there is none. Raises yaml.MarkedYAMLError or UnicodeDecodeError.

    Scalars are texts but for null; aliases are the node that they name.
    """
    anchors: dict[str, yaml.Node] = {}
    open_nodes: list[yaml.CollectionNode] = []
    keys: list[yaml.Node | None] = []  # of each open mapping, the key that waits for its value
    root: yaml.Node | None = None
    for event in yaml.parse(data, Loader=_LOADER):
        mark: Any = event.start_mark
        if isinstance(event, yaml.CollectionEndEvent):
            open_nodes.pop()
            keys.pop()
            continue
        if not isinstance(event, yaml.NodeEvent):
            if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                raise yaml.MarkedYAMLError(problem="a second document begins here; keep one", problem_mark=mark)
            continue
        node = _node(event, anchors)
        if root is None:
            root = node
        else:
            _hang(node, open_nodes[-1], keys)
        if isinstance(event, yaml.CollectionStartEvent):
            if len(open_nodes) == depth_limit:
                raise yaml.MarkedYAMLError(problem=f"more than {depth_limit} levels deep", problem_mark=mark)
            open_nodes.append(node)
            keys.append(None)
    return root


def _node(event: Any, anchors: dict[str, yaml.Node]) -> Any:
    mark: Any = event.start_mark
    end: Any = event.end_mark
    if isinstance(event, yaml.AliasEvent):
        if event.anchor not in anchors:
            raise yaml.MarkedYAMLError(problem=f"nothing is called &{event.anchor} above", problem_mark=mark)
        return anchors[event.anchor]
    if isinstance(event, yaml.ScalarEvent):
        is_null = event.implicit[0] and event.value in _NULL_WORDS
        node: yaml.Node = yaml.ScalarNode(_NULL if is_null else "str", event.value, mark, end)
    elif isinstance(event, yaml.SequenceStartEvent):
        node = yaml.SequenceNode("seq", [], mark, end)
    else:
        node = yaml.MappingNode("map", [], mark, end)
    if event.anchor is not None:
        anchors[event.anchor] = node
    return node


def _hang(node: yaml.Node, parent: yaml.CollectionNode, keys: list[yaml.Node | None]) -> None:
    if isinstance(parent, yaml.SequenceNode):
        parent.value.append(node)
    elif keys[-1] is None:
        keys[-1] = node
    else:
        parent.value.append((keys[-1], node))
        keys[-1] = None
