"""The first argument of SecRule: `ARGS|!ARGS:id|&FILES|XML:/*` → targets."""

from __future__ import annotations

import re
from collections.abc import Callable

from extproc.seclang.syntax import Variable
from extproc.seclang.vocabulary import VARIABLES, Shape, nearest

_HEAD = re.compile(rb"\s*([!&\s]*)([A-Za-z_][A-Za-z0-9_]*)\s*(:?)")
_QUOTED = re.compile(rb"'([^'\\]*+(?:\\.[^'\\]*+)*+)'\s*(?=[|,]|\Z)", re.DOTALL)
_PATTERN = re.compile(rb"/((?:[^/\\]|\\.|/(?!\s*(?:[|,]|\Z)))+)/\s*(?=[|,]|\Z)", re.DOTALL)
_PLAIN = re.compile(rb"[^|,]*")
_XPATH = re.compile(rb"[^|]*")


def parse_variables(text: bytes, report: Callable[[str], None]) -> tuple[Variable, ...]:
    """The targets that `text` lists, separated by `|` (or `,` as libmodsecurity also takes).

    A selector is a key (`ARGS:id`), a quoted key (`ARGS:'a|b'`) or an expression (`ARGS:/a|b/`,
    `ARGS:'/a|b/'`); after `XML:` it is an XPath. Each mistake is reported as a sentence and its
    target left out.
    """
    found: list[Variable] = []
    position, end = 0, len(text)
    while True:
        head = _HEAD.match(text, position)
        if head is None:
            report(f"expected a variable at {_shown(text[position : position + 30])}")
            return tuple(found)
        signs, name, colon = head.groups()
        collection = name.decode("ascii").upper()
        position = head.end()
        key: bytes | None = None
        key_pattern: bytes | None = None
        quoted: re.Match[bytes] | None = None
        if colon:
            quoted = _QUOTED.match(text, position)
            pattern = None if quoted or collection == "XML" else _PATTERN.match(text, position)
            if pattern is not None:
                key_pattern, position = pattern[1], pattern.end()
            elif quoted is not None:
                key, position = quoted[1].replace(b"\\'", b"'"), quoted.end()
                if collection != "XML" and len(key) > 2 and key.startswith(b"/") and key.endswith(b"/"):
                    key_pattern, key = key[1:-1], None
            else:
                plain = (_XPATH if collection == "XML" else _PLAIN).match(text, position)
                key, position = (plain[0].strip(), plain.end()) if plain else (b"", position)
        problem = _problem(signs, collection, key, key_pattern, is_quoted=quoted is not None)
        if problem:
            report(problem)
        else:
            found.append(Variable(collection, key, key_pattern, b"&" in signs, b"!" in signs))
        rest = text[position:].lstrip()
        if not rest:
            return tuple(found)
        if rest[:1] not in (b"|", b","):
            report(f"expected | between variables at {_shown(rest[:30])}")
            return tuple(found)
        position = end - len(rest) + 1


def _problem(signs: bytes, collection: str, key: bytes | None, key_pattern: bytes | None, is_quoted: bool) -> str:
    shape = VARIABLES.get(collection)
    if shape is None:
        hint = nearest(collection, VARIABLES) or " (quote a selector that holds a comma: ARGS:'a,b')"
        return f"unknown variable {collection}{hint}"
    if b"!" in signs and b"&" in signs:
        return f"{collection} is counted (&) and excluded (!) at once: keep one of the signs"
    if key == b"":
        return f"{collection} has an empty selector: write {collection} for all of it"
    if key is not None and not is_quoted and key.startswith(b"'"):
        return f"missing closing ' in the selector of {collection}"
    if key is not None and not is_quoted and key.startswith(b"/") and collection != "XML":
        return f"missing closing / in the selector of {collection}: quote it ('{_text(key)}') if it is a plain key"
    if shape is Shape.SINGLE and (key is not None or key_pattern is not None):
        return f"{collection} is a single value and takes no selector: write {collection} alone"
    return ""


def _shown(text: bytes) -> str:
    return repr(_text(text))


def _text(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")
