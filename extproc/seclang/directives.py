"""Every directive of the ModSecurity manual and its fate here: the one table that parser and docs read.

SUPPORTED  does what the manual says
MAPPED     sets something of extproc that differs in detail; the note says how
IGNORED    accepted without effect, with one notice that names what to use instead
REFUSED    stops the load, because to go on would promise a protection that is not there

`settings` reads the values; `compile` reads the directives that change rules, by the accessors below.
Source: ModSecurity reference manual v3.x (*Configuration Directives*), and v2.x for those that
`modsecurity.conf-recommended` and older rule sets still hold.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from extproc.seclang.actions import parse_actions
from extproc.seclang.ids import parse_id_ranges
from extproc.seclang.syntax import Action, Directive, Variable
from extproc.seclang.variables import parse_variables


class Fate(StrEnum):
    """What happens to a directive."""

    SUPPORTED = "supported"
    MAPPED = "mapped"
    IGNORED = "no effect"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Known:
    """One row: canonical name, fate, how many arguments it takes (`most` None: any number), and why."""

    name: str
    fate: Fate
    note: str
    least: int = 1
    most: int | None = 1


def _rows(fate: Fate, *rows: tuple[str, str] | tuple[str, str, int, int | None]) -> list[Known]:
    return [Known(row[0], fate, *row[1:]) for row in rows]


_AUDIT = "decision events take its place: `--events FILE`"
_DEBUG = "use `extproc explain` to see what a rule saw"
_STORE = "nothing is stored on disk: uploads are counted, not kept"
_HASH = "links are not signed; remove it"
_PDF = "PDF protection left the manual with version 3; remove it"
_APACHE = "it concerns Apache's own connections; set Envoy's limits instead"
_BODY = "the streamed body is not a separate variable here; rules use REQUEST_BODY and RESPONSE_BODY"
_REGEX = "patterns run in linear time, so there is no backtracking to limit; each request has a time budget"

DIRECTIVES: dict[str, Known] = {
    known.name.lower(): known
    for known in [
        *_rows(
            Fate.SUPPORTED,
            ("Include", "a path or a glob, relative to the file that includes it; nothing found is an error"),
            ("IncludeOptional", "as Include, but nothing found is fine"),
            ("SecAction", "a rule without a condition; needs an id"),
            ("SecArgumentSeparator", "one byte between arguments of a form or query"),
            ("SecCollectionTimeout", "seconds that a persistent collection is kept"),
            ("SecComponentSignature", "kept and listed with the rule set"),
            ("SecDefaultAction", "per phase, for the rules after it; needs a disruptive action"),
            ("SecMarker", "where skipAfter goes on"),
            ("SecRequestBodyAccess", "On or Off"),
            ("SecRequestBodyLimitAction", "Reject or ProcessPartial"),
            ("SecResponseBodyAccess", "On or Off; needs `--response`"),
            ("SecResponseBodyLimitAction", "Reject or ProcessPartial"),
            ("SecResponseBodyMimeType", "adds media types whose bodies are inspected", 1, None),
            ("SecResponseBodyMimeTypesClear", "forgets the media types named so far", 0, 0),
            ("SecRule", "variables, operator, actions", 2, 3),
            ("SecRuleRemoveById", "ids and ranges", 1, None),
            ("SecRuleRemoveByMsg", "an expression searched in msg"),
            ("SecRuleRemoveByTag", "an expression searched in the tags"),
            ("SecRuleUpdateActionById", "id (or id:n for a link of its chain), actions", 2, 2),
            ("SecRuleUpdateTargetById", "ids or ranges, targets to add or exclude, target to replace", 2, 3),
            ("SecRuleUpdateTargetByMsg", "expression, targets, target to replace", 2, 3),
            ("SecRuleUpdateTargetByTag", "expression, targets, target to replace", 2, 3),
            ("SecWebAppId", "kept as WEBAPPID"),
        ),
        *_rows(
            Fate.MAPPED,
            ("SecArgumentsLimit", "arguments of one request, at most; beyond it the coverage is `partly`"),
            ("SecParseXmlIntoArgs", "On, Off or OnlyArgs; text of XML elements as arguments"),
            ("SecRequestBodyJsonDepthLimit", "nesting of JSON, at most"),
            ("SecRequestBodyLimit", "bytes of a request body that are inspected, at most"),
            ("SecRequestBodyNoFilesLimit", "the same for bodies that are not multipart"),
            ("SecResponseBodyLimit", "bytes of a response body that are inspected, at most"),
            ("SecRuleEngine", "On is block, DetectionOnly is monitor; the weaker of it, `--mode` and policy holds"),
            ("SecUploadFileLimit", "files of one multipart body, at most"),
        ),
        *_rows(
            Fate.IGNORED,
            ("SecAuditEngine", _AUDIT),
            ("SecAuditLog", _AUDIT),
            ("SecAuditLog2", _AUDIT),
            ("SecAuditLogDirMode", _AUDIT),
            ("SecAuditLogFileMode", _AUDIT),
            ("SecAuditLogFormat", "decision events are JSON lines: `--events FILE`"),
            ("SecAuditLogParts", _AUDIT),
            ("SecAuditLogPrefix", _AUDIT),
            ("SecAuditLogRelevantStatus", _AUDIT),
            ("SecAuditLogStorageDir", _AUDIT),
            ("SecAuditLogType", _AUDIT),
            ("SecCacheTransformations", "transformed values are always cached", 1, 2),
            ("SecConnEngine", _APACHE),
            ("SecConnReadStateLimit", _APACHE, 1, 3),
            ("SecConnWriteStateLimit", _APACHE, 1, 3),
            ("SecCookieV0Separator", "cookies are separated by semicolons"),
            ("SecDataDir", "persistent collections live in memory"),
            ("SecDebugLog", _DEBUG),
            ("SecDebugLogLevel", _DEBUG),
            ("SecDisableBackendCompression", "compressed responses are unpacked, within limits"),
            ("SecGuardianLog", "send decision events to your own program: `--events -`", 1, 2),
            ("SecInterceptOnError", "faults are answered by the failure mode"),
            ("SecPcreMatchLimit", _REGEX),
            ("SecPcreMatchLimitRecursion", _REGEX),
            ("SecReadStateLimit", _APACHE, 1, 3),
            ("SecRequestBodyInMemoryLimit", "bodies stay in memory; SecRequestBodyLimit bounds them"),
            ("SecRuleInheritance", "there is one rule set; scope rules by REQUEST_FILENAME or by policy"),
            ("SecRulePerfTime", "`extproc explain` shows what a rule costs"),
            ("SecSensorId", "the route and the host in an event say where it happened"),
            ("SecServerSignature", "set it in Envoy (`server_name`)"),
            ("SecStatusEngine", "nothing is ever sent home"),
            ("SecStreamInBodyInspection", _BODY),
            ("SecStreamOutBodyInspection", _BODY),
            ("SecTmpDir", _STORE),
            ("SecTmpSaveUploadedFiles", _STORE),
            ("SecUnicodeCodePage", "code page 20127 is built in"),
            ("SecUnicodeMapFile", "the mapping of code page 20127 is built in", 1, 2),
            ("SecUploadDir", _STORE),
            ("SecUploadFileMode", _STORE),
            ("SecWriteStateLimit", _APACHE, 1, 3),
        ),
        *_rows(
            Fate.REFUSED,
            ("SecChrootDir", "run the engine in a container instead"),
            ("SecContentInjection", "responses are inspected, never rewritten; remove it unless it is Off"),
            ("SecCookieFormat", "only version 0 cookies (the ones browsers send) are read; write SecCookieFormat 0"),
            ("SecEncryptionEngine", _HASH),
            ("SecEncryptionKey", _HASH, 1, 2),
            ("SecEncryptionMethodPm", _HASH, 1, 2),
            ("SecEncryptionMethodRx", _HASH, 1, 2),
            ("SecEncryptionParam", _HASH),
            ("SecGeoLookupDb", "there is no geographic data; let Envoy set a header and match that", 1, 2),
            ("SecGsbLookupDb", "there is no Safe Browsing lookup; remove it and its rules"),
            ("SecHashEngine", _HASH),
            ("SecHashKey", _HASH, 1, 2),
            ("SecHashMethodPm", _HASH, 1, 2),
            ("SecHashMethodRx", _HASH, 1, 2),
            ("SecHashParam", _HASH),
            ("SecHttpBlKey", "there are no DNS lookups on the request path; remove it and its @rbl rules"),
            ("SecPdfProtect", _PDF),
            ("SecPdfProtectMethod", _PDF),
            ("SecPdfProtectSecret", _PDF),
            ("SecPdfProtectTimeout", _PDF),
            ("SecPdfProtectTokenName", _PDF),
            ("SecRemoteRules", "rules are never fetched by the engine; download, check and mount them", 2, 2),
            ("SecRemoteRulesFailAction", "rules are never fetched by the engine"),
            ("SecRuleScript", "no scripts run in the engine; write the rule in SecLang", 1, 2),
            ("SecUploadKeepFiles", "uploads are not kept; write SecUploadKeepFiles Off"),
            ("SecXmlExternalEntity", "external entities are never fetched; write SecXmlExternalEntity Off"),
        ),
    ]
}
"""Lower-case name → its row."""

HARMLESS_VALUES: dict[str, frozenset[bytes]] = {
    "SecContentInjection": frozenset({b"off"}),
    "SecCookieFormat": frozenset({b"0"}),
    "SecEncryptionEngine": frozenset({b"off"}),
    "SecHashEngine": frozenset({b"off"}),
    "SecPdfProtect": frozenset({b"off"}),
    "SecUploadKeepFiles": frozenset({b"off"}),
    "SecXmlExternalEntity": frozenset({b"off"}),
}
"""Refused directives that may stay when their value (lower case) asks for what happens anyway."""

_OFFSET = re.compile(rb"\s*(\d{1,16}):(\d{1,3})\s*")


def id_ranges(directive: Directive) -> tuple[range, ...]:
    """The rules that a `...ById` directive means. Raises ValueError with a sentence for the user.

    SecRuleRemoveById has ids in every argument; the others in the first one, where `12:1` (a link
    of rule 12's chain, see `link_offset`) stands for rule 12.
    """
    if directive.name == "SecRuleRemoveById":
        return parse_id_ranges(b" ".join(directive.arguments))
    text = directive.arguments[0]
    offset = _OFFSET.fullmatch(text)
    return parse_id_ranges(offset[1] if offset else text)


def link_offset(directive: Directive) -> int:
    """n of `SecRuleUpdateActionById 12:n` (0: the first rule of the chain, also when there is no `:n`)."""
    match = _OFFSET.fullmatch(directive.arguments[0])
    return int(match[2]) if match else 0


def updated_targets(directive: Directive) -> tuple[Variable, ...]:
    """Second argument of SecRuleUpdateTarget...; an exclusion is removed, everything else added.

    Raises ValueError with a sentence for the user.
    """
    return _variables(directive.arguments[1])


def replaced_targets(directive: Directive) -> tuple[Variable, ...]:
    """Third argument of SecRuleUpdateTarget...: what the second one replaces; empty if there is none."""
    return _variables(directive.arguments[2]) if len(directive.arguments) > 2 else ()


def listed_actions(directive: Directive) -> tuple[Action, ...]:
    """The actions of SecDefaultAction or SecRuleUpdateActionById. Raises ValueError with a sentence."""
    problems: list[str] = []
    actions = parse_actions(directive.arguments[-1], problems.append)
    if problems:
        raise ValueError(problems[0])
    return actions


def check_syntax(directive: Directive) -> list[str]:
    """What is wrong with a directive that changes rules, as sentences; values of settings are not looked at."""
    try:
        if directive.name.endswith("ById"):
            id_ranges(directive)
        if directive.name.startswith("SecRuleUpdateTarget"):
            updated_targets(directive)
            replaced_targets(directive)
        if directive.name == "SecRuleUpdateActionById":
            names = {action.name for action in listed_actions(directive)}
            changed = names & {"id", "phase", "chain"}
            if changed:
                return [f"SecRuleUpdateActionById cannot change {', '.join(sorted(changed))}: change the rule itself"]
    except ValueError as error:
        return [f"{directive.name}: {error}"]
    return []


def table() -> str:
    """The Markdown table of docs/SECLANG.md: every directive, its fate and its note."""
    rows = [f"| `{known.name}` | {known.fate} | {known.note} |" for known in DIRECTIVES.values()]
    return "\n".join(["| directive | fate | note |", "|---|---|---|", *sorted(rows)])


def _variables(text: bytes) -> tuple[Variable, ...]:
    problems: list[str] = []
    found = parse_variables(text, problems.append)
    if problems:
        raise ValueError(problems[0])
    return found
