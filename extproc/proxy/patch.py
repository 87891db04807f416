"""What a user adds to the rendered bootstrap (TLS, tracing): a file of the same shape, laid over it."""

from __future__ import annotations

import copy
from typing import Any

from extproc.model.errors import ConfigError
from extproc.proxy.tree import Tree


def lay_over(tree: Tree, patch: Tree, source: str) -> Tree:
    """`tree` with `patch` over it; neither is changed.

    Mappings are merged, null takes a key out. Items of a list are told by their `name`: one that is there is merged, a
    new one goes before the last (the catch-all of routes, the router of filters). A list of one unnamed mapping is
    merged with the only one there. Any other value replaces. Raises ConfigError, which names `source`.
    """
    return _merged(tree, patch, source, "")


def _merged(old: Tree, new: Tree, source: str, path: str) -> Tree:
    result = dict(old)
    for key, value in new.items():
        place = f"{path}.{key}" if path else key
        if value is None:
            result.pop(key, None)
        elif key in result:
            result[key] = _laid(result[key], value, source, place)
        else:
            result[key] = copy.deepcopy(value)
    return result


def _laid(old: Any, new: Any, source: str, path: str) -> Any:
    if isinstance(old, dict | list) and not isinstance(new, type(old)):
        kind = "a mapping" if isinstance(old, dict) else "a list"
        raise ConfigError(source, f"{path} must be {kind}, as it is in what it is laid over")
    if isinstance(old, dict):
        return _merged(old, new, source, path)
    if isinstance(old, list) and _are_mappings(old) and _are_mappings(new):
        if _are_named(old) and _are_named(new):
            return _merged_by_name(old, new, source, path)
        if len(old) == len(new) == 1:
            return [_merged(old[0], new[0], source, f"{path}[0]")]
    return copy.deepcopy(new)


def _merged_by_name(old: list[Tree], new: list[Tree], source: str, path: str) -> list[Tree]:
    result = list(old)
    for item in new:
        names = [there["name"] for there in result]
        if item["name"] in names:
            at = names.index(item["name"])
            result[at] = _merged(result[at], item, source, f"{path}[{item['name']}]")
        else:
            result.insert(max(len(result) - 1, 0), copy.deepcopy(item))
    return result


def _are_mappings(items: list[Any]) -> bool:
    return bool(items) and all(isinstance(item, dict) for item in items)


def _are_named(items: list[Tree]) -> bool:
    return all(isinstance(item.get("name"), str) for item in items)
