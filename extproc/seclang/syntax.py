"""Step 4a, the syntax tree: what a rule file says, before anything is compiled.

    file = statement*
    statement = Rule (SecRule or SecAction, with the links of its chain) | Marker | Directive

Nothing is looked up here: operator and transformation names, data files and default actions are
the business of `compile`. `render` is the inverse of the parser.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Variable:
    """One target: `ARGS`, `&ARGS:id`, `!ARGS:/^x/`, `XML:/*`.

    `collection` is in upper case. `key` is the selector as written, without quotes; `key_pattern`
    is the expression of a `/.../` selector. At most one of the two is set. An XPath (`XML:/*`) is
    always a `key`.
    """

    collection: str
    key: bytes | None = None
    key_pattern: bytes | None = None
    is_count: bool = False
    is_exclusion: bool = False


@dataclass(frozen=True, slots=True)
class OperatorCall:
    """`!@name argument`. `name` is as written, without `@`; a text without `@` is `rx`.

    `argument` has the blanks after the name removed and macros unexpanded.
    """

    name: str
    is_negated: bool = False
    argument: bytes = b""


@dataclass(frozen=True, slots=True)
class Action:
    """`name` in lower case (`ctl`, `setvar`, `t`); `value` without its quotes, None if there is no colon."""

    name: str
    value: bytes | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """SecRule, or SecAction (`operator` None, no variables).

    `links` are the further rules of the chain, in order, all on the starter; a link's own `links`
    is empty. The `chain` action itself is not kept: `links` says it.
    """

    file: str
    line: int
    variables: tuple[Variable, ...]
    operator: OperatorCall | None
    actions: tuple[Action, ...]
    links: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Marker:
    """SecMarker: where `skipAfter:name` goes on. Compare `name` with the value of `skipAfter`."""

    file: str
    line: int
    name: bytes


@dataclass(frozen=True, slots=True)
class Directive:
    """Every other directive; `name` in its canonical spelling, `arguments` without quotes."""

    file: str
    line: int
    name: str
    arguments: tuple[bytes, ...]


Statement: TypeAlias = Rule | Marker | Directive


def render(statement: Statement) -> bytes:
    """SecLang text that parses to `statement` again (but for file and line), ending in a newline.

    Raises ValueError for the few values that no SecLang text can say: a line break, or a
    quote that an odd number of backslashes precedes.
    """
    if isinstance(statement, Marker):
        return b"SecMarker %s\n" % _word(statement.name)
    if isinstance(statement, Directive):
        words = [statement.name.encode("ascii"), *(_word(argument) for argument in statement.arguments)]
        return b" ".join(words) + b"\n"
    rules = (statement, *statement.links)
    last = len(rules) - 1
    return b"".join(_rule(rule, is_chained=position < last) for position, rule in enumerate(rules))


def render_variable(variable: Variable) -> bytes:
    """One target as a rule file writes it."""
    prefix = (b"!" if variable.is_exclusion else b"") + (b"&" if variable.is_count else b"")
    name = prefix + variable.collection.encode("ascii")
    if variable.key_pattern is not None:
        selector, plain = b"/%s/" % variable.key_pattern, _PLAIN_PATTERN
    elif variable.key is not None:
        selector, plain = variable.key, _PLAIN_XPATH if variable.collection == "XML" else _PLAIN_KEY
    else:
        return name
    return name + b":" + (selector if plain.fullmatch(selector) else _quoted(selector, b"'"))


_PLAIN_KEY = re.compile(rb"(?!/)[^\s|,'\"\\]+")
_PLAIN_PATTERN = re.compile(rb"/[^\s|,'\"/\\]+/")
_PLAIN_XPATH = re.compile(rb"[^\s|,'\"\\]+")
_PLAIN_ACTION_VALUE = re.compile(rb"(?![\s'])[^,\r\n]*(?<!\s)")
_PLAIN_WORD = re.compile(rb"[^\s\"'\\#<]+")


def _rule(rule: Rule, is_chained: bool) -> bytes:
    actions = [_action(action) for action in rule.actions]
    if is_chained:
        actions.append(b"chain")
    words = [b"SecAction"]
    if rule.operator is not None:
        variables = b"|".join(render_variable(variable) for variable in rule.variables)
        words = [b"SecRule", _word(variables), _word(_operator(rule.operator), always_quote=True)]
    if actions:
        words.append(_word(b",".join(actions), always_quote=True))
    return b" ".join(words) + b"\n"


def _operator(operator: OperatorCall) -> bytes:
    head = (b"!@" if operator.is_negated else b"@") + operator.name.encode("ascii")
    return head + b" " + operator.argument if operator.argument else head


def _action(action: Action) -> bytes:
    name = action.name.encode("ascii")
    if action.value is None:
        return name
    is_plain = action.value and _PLAIN_ACTION_VALUE.fullmatch(action.value)
    return name + b":" + (action.value if is_plain else _quoted(action.value, b"'"))


def _word(text: bytes, always_quote: bool = False) -> bytes:
    if not always_quote and _PLAIN_WORD.fullmatch(text):
        return text
    return _quoted(text, b'"')


def _quoted(text: bytes, quote: bytes) -> bytes:
    if b"\n" in text or b"\r" in text:
        raise ValueError("a line break cannot be written in SecLang")
    ends = rb"(?<!\\)(?:\\\\)*\\(?:%s|$)" % quote
    if re.search(ends, text):
        raise ValueError("a quote after an odd number of backslashes cannot be written in SecLang")
    return quote + text.replace(quote, b"\\" + quote) + quote
