"""What the directives of a rule set ask of the engine, read once into one frozen value.

A field that no directive sets is None: whoever wires the parts puts its own default there.
Where a directive stands twice the later one holds, as in ModSecurity.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from extproc.model.errors import SecLangError, SecLangErrors
from extproc.model.phase import Phase
from extproc.model.verdict import Mode
from extproc.seclang.actions import phase
from extproc.seclang.directives import DIRECTIVES, HARMLESS_VALUES, Fate, listed_actions
from extproc.seclang.syntax import Action, Directive, Statement
from extproc.seclang.vocabulary import DISRUPTIVE

MAX_BYTES_SETTING = 2**40
"""Largest number that a directive in bytes may say (1 TiB): more is a typing mistake."""

MAX_COUNT_SETTING = 10_000_000
"""Largest number that a directive that counts (arguments, files, depth, seconds) may say."""


class Notice(NamedTuple):
    """Something that a rule file says and that has no effect, or another than it seems."""

    file: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class RulesetSettings:
    """Values of the directives that are no rules; the comment names the directive.

    Limits are bytes unless the name says otherwise. `default_actions` holds the last
    SecDefaultAction of each phase; `compile` follows their order in the statements.
    """

    mode: Mode | None = None  # SecRuleEngine: On block, DetectionOnly monitor, Off off
    request_body_access: bool | None = None  # SecRequestBodyAccess
    request_body_limit_bytes: int | None = None  # SecRequestBodyLimit
    request_body_no_files_limit_bytes: int | None = None  # SecRequestBodyNoFilesLimit
    request_body_is_rejected: bool | None = None  # SecRequestBodyLimitAction: Reject (else ProcessPartial)
    json_depth: int | None = None  # SecRequestBodyJsonDepthLimit
    arguments: int | None = None  # SecArgumentsLimit
    upload_files: int | None = None  # SecUploadFileLimit
    xml_into_args: str | None = None  # SecParseXmlIntoArgs: on, off or onlyargs
    response_body_access: bool | None = None  # SecResponseBodyAccess
    response_body_limit_bytes: int | None = None  # SecResponseBodyLimit
    response_body_is_rejected: bool | None = None  # SecResponseBodyLimitAction: Reject (else ProcessPartial)
    response_mime_types: tuple[bytes, ...] | None = None  # SecResponseBodyMimeType, lower case
    argument_separator: bytes | None = None  # SecArgumentSeparator, one byte
    collection_timeout_s: int | None = None  # SecCollectionTimeout
    web_app_id: bytes | None = None  # SecWebAppId
    component_signatures: tuple[bytes, ...] = ()  # SecComponentSignature
    default_actions: Mapping[Phase, tuple[Action, ...]] = field(default_factory=dict)  # SecDefaultAction


def settings(statements: Iterable[Statement]) -> tuple[RulesetSettings, list[Notice]]:
    """The settings of a rule set, and one notice for each directive name that has no effect.

    Raises SecLangErrors with every value that cannot be used and every refused directive.
    """
    values: dict[str, Any] = {}
    signatures: list[bytes] = []
    defaults: dict[Phase, tuple[Action, ...]] = {}
    notices: list[Notice] = []
    findings: list[SecLangError] = []
    noticed: set[str] = set()
    for statement in statements:
        if not isinstance(statement, Directive):
            continue
        name, arguments = statement.name, statement.arguments
        known = DIRECTIVES[name.lower()]
        try:
            if known.fate is Fate.REFUSED:
                if arguments[0].strip().lower() not in HARMLESS_VALUES.get(name, frozenset()):
                    raise ValueError(f"{name} is refused: {known.note}")
            elif known.fate is Fate.IGNORED:
                if name not in noticed:
                    noticed.add(name)
                    notices.append(Notice(statement.file, statement.line, f"{name} has no effect: {known.note}"))
            elif name == "SecDefaultAction":
                number, actions = _default_actions(statement)
                if number in defaults:
                    text = f"a second SecDefaultAction for phase {number:d}: it holds for the rules after it"
                    notices.append(Notice(statement.file, statement.line, text))
                defaults[number] = actions
            elif name == "SecComponentSignature":
                signatures.append(arguments[0])
            elif name == "SecResponseBodyMimeTypesClear":
                values["response_mime_types"] = ()
            elif name == "SecResponseBodyMimeType":
                listed = b" ".join(arguments).lower().split()
                kept = values.get("response_mime_types", ())
                values["response_mime_types"] = tuple(dict.fromkeys((*kept, *map(_mime_type, listed))))
            elif name in _VALUES:
                key, read = _VALUES[name]
                values[key] = read(arguments[0].strip())
        except ValueError as error:
            text = str(error) if str(error).startswith(name) else f"{name}: {error}"
            findings.append(SecLangError(statement.file, statement.line, text))
    if findings:
        raise SecLangErrors(findings)
    return RulesetSettings(**values, component_signatures=tuple(signatures), default_actions=defaults), notices


def _default_actions(directive: Directive) -> tuple[Phase, tuple[Action, ...]]:
    actions = listed_actions(directive)
    names = {action.name for action in actions}
    unsuitable = names & {"id", "chain", "skip", "skipafter"}
    if unsuitable:
        raise ValueError(f"{', '.join(sorted(unsuitable))} cannot be a default: give it to the rule")
    if not names & DISRUPTIVE:
        raise ValueError("a disruptive action is missing: add pass, deny, block, drop, allow, redirect or proxy")
    # Without a phase it is phase 2, as for a rule (manual, *SecDefaultAction*).
    numbers = [phase(action.value) for action in actions if action.name == "phase" and action.value]
    return Phase(numbers[0] if numbers else 2), tuple(action for action in actions if action.name != "phase")


def _words(**meanings: Any) -> Callable[[bytes], Any]:
    by_lower = {word.lower().encode("ascii"): meaning for word, meaning in meanings.items()}

    def read(value: bytes) -> Any:
        if value.lower() not in by_lower:
            raise ValueError(f"{_text(value)} is not one of {', '.join(meanings)}")
        return by_lower[value.lower()]

    return read


def _number(high: int, unit: str, low: int = 0) -> Callable[[bytes], int]:
    def read(value: bytes) -> int:
        if not value.isdigit() or len(value) > 20 or not low <= int(value) <= high:
            raise ValueError(f"{_text(value)} is not a whole number of {unit} from {low} to {high}, without a suffix")
        return int(value)

    return read


_MIME_TYPE = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+/[!#$%&'*+.^_`|~0-9a-z-]+|\(null\)")


def _mime_type(value: bytes) -> bytes:
    if not _MIME_TYPE.fullmatch(value):
        raise ValueError(f"{_text(value)} is not a media type: write text/html")
    return value


def _one_byte(value: bytes) -> bytes:
    if len(value) != 1:
        raise ValueError(f"{_text(value)!r} is not one byte: write & or ;")
    return value


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


_BYTES = _number(MAX_BYTES_SETTING, "bytes", low=1)
_ON_OFF = _words(On=True, Off=False)
_REJECT = _words(Reject=True, ProcessPartial=False)
_VALUES: dict[str, tuple[str, Callable[[bytes], Any]]] = {
    "SecRuleEngine": ("mode", _words(On=Mode.BLOCK, Off=Mode.OFF, DetectionOnly=Mode.MONITOR)),
    "SecRequestBodyAccess": ("request_body_access", _ON_OFF),
    "SecRequestBodyLimit": ("request_body_limit_bytes", _BYTES),
    "SecRequestBodyNoFilesLimit": ("request_body_no_files_limit_bytes", _BYTES),
    "SecRequestBodyLimitAction": ("request_body_is_rejected", _REJECT),
    "SecRequestBodyJsonDepthLimit": ("json_depth", _number(MAX_COUNT_SETTING, "levels", low=1)),
    "SecArgumentsLimit": ("arguments", _number(MAX_COUNT_SETTING, "arguments", low=1)),
    "SecUploadFileLimit": ("upload_files", _number(MAX_COUNT_SETTING, "files", low=1)),
    "SecParseXmlIntoArgs": ("xml_into_args", _words(On="on", Off="off", OnlyArgs="onlyargs")),
    "SecResponseBodyAccess": ("response_body_access", _ON_OFF),
    "SecResponseBodyLimit": ("response_body_limit_bytes", _BYTES),
    "SecResponseBodyLimitAction": ("response_body_is_rejected", _REJECT),
    "SecArgumentSeparator": ("argument_separator", _one_byte),
    "SecCollectionTimeout": ("collection_timeout_s", _number(MAX_COUNT_SETTING, "seconds")),
    "SecWebAppId": ("web_app_id", bytes),
}
"""Directive → (field of RulesetSettings, how its value is read)."""
