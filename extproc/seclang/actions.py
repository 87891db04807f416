"""The last argument of SecRule: `id:1,phase:2,t:none,msg:'a, b',setvar:tx.score=+5` → actions.

`parse_actions` reads and checks a list; `set_var` and `control` take the two actions that hold a
small language of their own apart, for whoever compiles them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from extproc.seclang.ids import parse_id_ranges
from extproc.seclang.syntax import Action, Variable
from extproc.seclang.variables import parse_variables
from extproc.seclang.vocabulary import (
    ACTIONS,
    CTL_KEYS,
    ONCE_ONLY,
    PHASES,
    SEVERITIES,
    VARIABLES,
    Shape,
    Value,
    nearest,
)

MAX_RULE_ID = 2**53 - 1
"""Largest rule id: the largest whole number that every JSON reader keeps exact."""

_ITEM = re.compile(
    rb"""\s*([^\s:,']*)\s*
    (?: :\s*(?: '([^'\\]*+(?:\\.[^'\\]*+)*+)'\s*(?=,|\Z) | ([^,]*) ) )?
    (,|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_SETVAR = re.compile(rb"\s*(!?)\s*([A-Za-z_]+)[.:]([^=]+?)\s*(?:=\s*(.*))?", re.DOTALL)
_PAIR = re.compile(rb"[^=\s]+=.+", re.DOTALL)
_ENGINES = frozenset({b"on", b"off", b"detectiononly"})
_SWITCH = frozenset({b"on", b"off"})
_MACRO = b"%{"


@dataclass(frozen=True, slots=True)
class SetVar:
    """`setvar:tx.score=+5`. `operation` is `=`, `+`, `-` or `!` (unset); `key` and `value` may hold macros.

    No `=` at all sets b"1" (manual, *setvar*).
    """

    collection: str
    key: bytes
    operation: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Control:
    """`ctl:key=value`. `key` as the manual spells it. For `ruleRemoveTarget...` the value is cut at `;`.

    `targets` are what comes after the `;`, without a sign.
    """

    key: str
    value: bytes
    targets: tuple[Variable, ...] = ()


def parse_actions(text: bytes, report: Callable[[str], None]) -> tuple[Action, ...]:
    """The actions of a list, in order. Each mistake is reported as a sentence and its action left out."""
    found: list[Action] = []
    seen: set[str] = set()
    position, end = 0, len(text)
    while True:
        item = _ITEM.match(text, position)
        if item is None:
            report(f"expected an action at {_shown(text[position : position + 30])}")
            return tuple(found)
        raw_name, quoted, bare, comma = item.groups()
        position = item.end()
        if not raw_name and quoted is None and bare is None:
            if comma or found:
                report("an action is missing before or after a comma: remove the comma")
        else:
            value = quoted.replace(b"\\'", b"'") if quoted is not None else bare.rstrip() if bare is not None else None
            name = raw_name.decode("ascii", "backslashreplace").lower()
            problem = _problem(name, value, is_quoted=quoted is not None)
            if not problem and name in ONCE_ONLY and name in seen:
                problem = f"a second {name} in one rule: keep one"
            seen.add(name)
            if problem:
                report(problem)
            else:
                found.append(Action(name, value))
        if position >= end and not comma:
            return tuple(found)


def set_var(value: bytes) -> SetVar:
    """The parts of a setvar value. Raises ValueError with a sentence for the user."""
    match = _SETVAR.fullmatch(value)
    if match is None:
        raise ValueError(f"setvar:{_text(value)} cannot be read: write setvar:tx.name=value, or setvar:!tx.name")
    unset, raw_collection, key, assigned = match.groups()
    collection = raw_collection.decode("ascii").upper()
    if VARIABLES.get(collection) is not Shape.SETTABLE:
        settable = ", ".join(sorted(name.lower() for name, shape in VARIABLES.items() if shape is Shape.SETTABLE))
        raise ValueError(f"setvar cannot change {collection}: the collection is one of {settable}")
    if unset:
        if assigned is not None:
            raise ValueError(f"setvar:{_text(value)} unsets and assigns at once: remove the ! or the value")
        return SetVar(collection, key, "!", b"")
    if assigned is None:
        return SetVar(collection, key, "=", b"1")
    if assigned[:1] in (b"+", b"-"):
        return SetVar(collection, key, assigned[:1].decode("ascii"), assigned[1:])
    return SetVar(collection, key, "=", assigned)


def control(value: bytes) -> Control:
    """The parts of a ctl value. Raises ValueError with a sentence for the user."""
    raw_key, equals, argument = value.partition(b"=")
    written = raw_key.strip().decode("ascii", "backslashreplace")
    key = CTL_KEYS.get(written.lower())
    if key is None:
        raise ValueError(f"unknown ctl {written}{nearest(written, CTL_KEYS.values())}")
    argument = argument.strip()
    if not equals or not argument:
        raise ValueError(f"ctl:{key} needs a value: write ctl:{key}=...")
    targets: tuple[Variable, ...] = ()
    if key.startswith("ruleRemoveTarget"):
        argument, semicolon, listed = argument.partition(b";")
        if not semicolon or not argument.strip() or not listed.strip():
            raise ValueError(f"ctl:{key}={_text(argument)} names no target: write ctl:{key}=...;ARGS:name")
        problems: list[str] = []
        targets = parse_variables(listed, problems.append)
        if problems:
            raise ValueError(f"ctl:{key}: {problems[0]}")
        if any(target.is_exclusion or target.is_count for target in targets):
            raise ValueError(f"ctl:{key}: a target is written without ! or &")
    if key.endswith("ById") and _MACRO not in argument:
        parse_id_ranges(argument)
    elif key in ("ruleEngine", "hashEngine", "auditEngine"):
        allowed = {b"on", b"off", b"relevantonly"} if key == "auditEngine" else _ENGINES
        _one_of(f"ctl:{key}", argument, allowed)
    elif key.endswith(("BodyAccess", "BodyVariable")):
        _one_of(f"ctl:{key}", argument, _SWITCH)
    elif key.endswith("BodyLimit") and not argument.isdigit():
        raise ValueError(f"ctl:{key}={_text(argument)} is not a number of bytes")
    return Control(key, argument, targets)


def _one_of(name: str, value: bytes, allowed: frozenset[bytes] | set[bytes]) -> None:
    if value.lower() not in allowed:
        listed = ", ".join(sorted(word.decode("ascii") for word in allowed))
        raise ValueError(f"{name}={_text(value)}: the value is one of {listed}")


def _problem(name: str, value: bytes | None, is_quoted: bool) -> str:
    known = ACTIONS.get(name)
    if known is None:
        hint = nearest(name, (spelling for spelling, _ in ACTIONS.values()))
        return f"unknown action {name}{hint or ' (quote a value that holds a comma)'}"
    spelling, wants = known
    if value is not None and not is_quoted and value.startswith(b"'"):
        return f"{spelling}: missing closing ', or a ' inside it that is not written \\'"
    if wants is Value.NONE and value is not None:
        return f"{spelling} takes no value: remove :{_text(value)}"
    if wants is Value.NEEDED and not value and not (is_quoted and name in _MAY_BE_EMPTY):
        return f"{spelling} needs a value: write {spelling}:..."
    check = _CHECKS.get(name)
    if check is not None and value:
        try:
            check(value)
        except ValueError as error:
            return str(error)
    return ""


_MAY_BE_EMPTY = frozenset({"msg", "logdata", "tag", "ver", "rev", "append", "prepend"})


def rule_id(value: bytes) -> int:
    """The number of an id action. Raises ValueError."""
    text = value.strip()
    if not text.isdigit() or len(text) > 20 or not 1 <= int(text) <= MAX_RULE_ID:
        raise ValueError(f"id:{_text(value)} is not a whole number from 1 to {MAX_RULE_ID}")
    return int(text)


def phase(value: bytes) -> int:
    """The number of a phase action. Raises ValueError."""
    number = PHASES.get(value.strip().lower())
    if number is None:
        raise ValueError(f"unknown phase {_text(value)}: use 1 to 5, request, response or logging")
    return number


def severity(value: bytes) -> str:
    """The name of a severity action (`2` is CRITICAL). Raises ValueError."""
    text = _text(value.strip()).upper()
    if text.isdecimal() and int(text) < len(SEVERITIES):
        return SEVERITIES[int(text)]
    if text not in SEVERITIES:
        hint = nearest(text, SEVERITIES) or f": use 0 to {len(SEVERITIES) - 1} or a name such as CRITICAL"
        raise ValueError(f"unknown severity {_text(value)}{hint}")
    return text


def _number(name: str, low: int, high: int) -> Callable[[bytes], None]:
    def check(value: bytes) -> None:
        text = value.strip()
        if not text.isdigit() or not low <= int(text[:12]) <= high:
            raise ValueError(f"{name}:{_text(value)} is not a whole number from {low} to {high}")

    return check


def _pair(name: str, example: str) -> Callable[[bytes], None]:
    def check(value: bytes) -> None:
        if not _PAIR.fullmatch(value):
            raise ValueError(f"{name}:{_text(value)} cannot be read: write {name}:{example}")

    return check


def _allow(value: bytes) -> None:
    if value.strip().lower() not in (b"phase", b"request"):
        raise ValueError(f"allow:{_text(value)}: write allow, allow:phase or allow:request")


def _status(value: bytes) -> None:
    # A macro can only be known at run time.
    if _MACRO not in value:
        _number("status", 100, 599)(value)


_CHECKS: dict[str, Callable[[bytes], object]] = {
    "id": rule_id,
    "phase": phase,
    "severity": severity,
    "setvar": set_var,
    "ctl": control,
    "allow": _allow,
    "status": _status,
    "skip": _number("skip", 1, 1_000_000),
    "accuracy": _number("accuracy", 1, 9),
    "maturity": _number("maturity", 1, 9),
    "initcol": _pair("initcol", "ip=%{REMOTE_ADDR}"),
    "expirevar": _pair("expirevar", "ip.name=60"),
    "deprecatevar": _pair("deprecatevar", "ip.name=1/60"),
    "setenv": _pair("setenv", "name=value"),
    "xmlns": _pair("xmlns", "prefix=uri"),
}


def _shown(text: bytes) -> str:
    return repr(_text(text))


def _text(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")
