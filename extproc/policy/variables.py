"""A variable as an exclusion names it: `ARGS:q`, `REQUEST_COOKIES`, `ARGS:/^items\\./`."""

from __future__ import annotations

import difflib

from extproc.engine.ruleset import Target
from extproc.engine.variables import CHANGING, VARIABLES
from extproc.policy.patterns import compile_pattern

MAX_VARIABLE_CHARS = 300
"""A longer one is refused."""


def parse_variable(text: str) -> Target:
    """Text → target, its key in lower case. Raises ValueError with a sentence that mends it."""
    if len(text) > MAX_VARIABLE_CHARS:
        raise ValueError(f"must be at most {MAX_VARIABLE_CHARS} characters long")
    collection, colon, key = text.partition(":")
    collection = collection.upper()
    if collection not in VARIABLES or collection in CHANGING:
        near = difflib.get_close_matches(collection, VARIABLES.keys() - CHANGING, n=1)
        hint = f"did you mean {near[0]}?" if near else "write ARGS:name, REQUEST_HEADERS:name or REQUEST_COOKIES:name"
        raise ValueError(f"must be a variable of the request, not {text!r}; {hint}")
    if colon and not key:
        raise ValueError(f"has an empty name behind its colon: write {collection} for all of it")
    if len(key) > 2 and key.startswith("/") and key.endswith("/"):
        return Target(collection, key_test=compile_pattern("(?i)" + key[1:-1]).search, text=text)
    return Target(collection, key.lower().encode() if key else None, text=text)
