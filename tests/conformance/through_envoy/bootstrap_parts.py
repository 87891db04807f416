"""Parts of a bootstrap of Envoy by their names, for those who read one and those who change one."""

from __future__ import annotations

from typing import Any

Tree = dict[str, Any]


def manager(tree: Tree) -> Tree:
    """The HTTP connection manager of the first listener."""
    found: Tree = tree["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def ext_proc(tree: Tree) -> Tree:
    """The settings of the ext_proc filter."""
    found: Tree = next(item for item in manager(tree)["http_filters"] if item["name"] == "extproc.ext_proc")
    settings: Tree = found["typed_config"]
    return settings


def cluster(tree: Tree, name: str) -> Tree:
    """The cluster of that name."""
    found: Tree = next(item for item in tree["static_resources"]["clusters"] if item["name"] == name)
    return found
