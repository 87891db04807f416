"""The words of SecLang: variables, actions, ctl keys, phases and severities, as the manual lists them.

Known is not supported: `compile` says which of them this engine has. A name outside these tables
is a spelling mistake, and `nearest` says which one was probably meant.
Source: ModSecurity reference manual v3.x (*Variables*, *Actions*), with the names that only v2.x has.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import Enum, auto


class Shape(Enum):
    """What a variable holds, and so whether it takes a selector (`NAME:selector`)."""

    SINGLE = auto()
    COLLECTION = auto()
    SETTABLE = auto()  # a collection that setvar may change


def _table(shape: Shape, names: str) -> dict[str, Shape]:
    return dict.fromkeys(names.split(), shape)


VARIABLES: dict[str, Shape] = {
    **_table(Shape.SETTABLE, "TX IP GLOBAL SESSION USER RESOURCE"),
    **_table(
        Shape.COLLECTION,
        """
        ARGS ARGS_GET ARGS_GET_NAMES ARGS_NAMES ARGS_POST ARGS_POST_NAMES ENV
        FILES FILES_NAMES FILES_SIZES FILES_TMPNAMES FILES_TMP_CONTENT GEO JSON
        MATCHED_VARS MATCHED_VARS_NAMES MULTIPART_FILENAME MULTIPART_NAME MULTIPART_PART_HEADERS
        PERF_RULES REQUEST_COOKIES REQUEST_COOKIES_NAMES REQUEST_HEADERS REQUEST_HEADERS_NAMES
        RESPONSE_HEADERS RESPONSE_HEADERS_NAMES RULE WEBSERVER_ERROR_LOG XML
        """,
    ),
    **_table(
        Shape.SINGLE,
        """
        ARGS_COMBINED_SIZE AUTH_TYPE DURATION FILES_COMBINED_SIZE FULL_REQUEST FULL_REQUEST_LENGTH
        HIGHEST_SEVERITY INBOUND_DATA_ERROR MATCHED_VAR MATCHED_VAR_NAME MODSEC_BUILD
        MSC_PCRE_ERROR MSC_PCRE_LIMITS_EXCEEDED MULTIPART_BOUNDARY_QUOTED
        MULTIPART_BOUNDARY_WHITESPACE MULTIPART_CRLF_LF_LINES MULTIPART_DATA_AFTER
        MULTIPART_DATA_BEFORE MULTIPART_FILE_LIMIT_EXCEEDED MULTIPART_HEADER_FOLDING
        MULTIPART_INVALID_HEADER_FOLDING MULTIPART_INVALID_PART MULTIPART_INVALID_QUOTING
        MULTIPART_LF_LINE MULTIPART_MISSING_SEMICOLON MULTIPART_SEMICOLON_MISSING
        MULTIPART_STRICT_ERROR MULTIPART_UNMATCHED_BOUNDARY OUTBOUND_DATA_ERROR PATH_INFO
        PERF_ALL PERF_COMBINED PERF_GC PERF_LOGGING PERF_PHASE1 PERF_PHASE2 PERF_PHASE3 PERF_PHASE4
        PERF_PHASE5 PERF_SREAD PERF_SWRITE QUERY_STRING REMOTE_ADDR REMOTE_HOST REMOTE_PORT
        REMOTE_USER REQBODY_ERROR REQBODY_ERROR_MSG REQBODY_PROCESSOR REQBODY_PROCESSOR_ERROR
        REQBODY_PROCESSOR_ERROR_MSG REQUEST_BASENAME REQUEST_BODY REQUEST_BODY_LENGTH
        REQUEST_FILENAME REQUEST_LINE REQUEST_METHOD REQUEST_PROTOCOL REQUEST_URI REQUEST_URI_RAW
        RESPONSE_BODY RESPONSE_CONTENT_LENGTH RESPONSE_CONTENT_TYPE RESPONSE_PROTOCOL RESPONSE_STATUS
        SCRIPT_BASENAME SCRIPT_FILENAME SCRIPT_GID SCRIPT_GROUPNAME SCRIPT_MODE SCRIPT_UID
        SCRIPT_USERNAME SDBM_DELETE_ERROR SERVER_ADDR SERVER_NAME SERVER_PORT SESSIONID STATUS_LINE
        STREAM_INPUT_BODY STREAM_OUTPUT_BODY TIME TIME_DAY TIME_EPOCH TIME_HOUR TIME_MIN TIME_MON
        TIME_SEC TIME_WDAY TIME_YEAR UNIQUE_ID UNPARSED_BODY URLENCODED_ERROR USERAGENT_IP USERID WEBAPPID
        """,
    ),
}
"""Every variable of the manual, upper case → its shape."""


class Value(Enum):
    """Whether an action takes a value (`action:value`)."""

    NONE = auto()
    MAYBE = auto()
    NEEDED = auto()


ACTIONS: dict[str, tuple[str, Value]] = {
    name.lower(): (name, value)
    for value, names in {
        Value.NONE: """
            auditlog block capture chain deny drop log multiMatch noauditlog nolog pass
            """,
        Value.MAYBE: "allow sanitiseMatched sanitiseMatchedBytes sanitizeMatched sanitizeMatchedBytes",
        Value.NEEDED: """
            accuracy append ctl deprecatevar exec expirevar id initcol logdata maturity msg pause
            phase prepend proxy redirect rev sanitiseArg sanitiseRequestHeader sanitiseResponseHeader
            sanitizeArg sanitizeRequestHeader sanitizeResponseHeader setenv setrsc setsid setuid
            setvar severity skip skipAfter status t tag ver xmlns
            """,
    }.items()
    for name in names.split()
}
"""Lower-case name → (spelling of the manual, whether it takes a value)."""

DISRUPTIVE = frozenset({"allow", "block", "deny", "drop", "pass", "proxy", "redirect"})
"""Actions that decide what happens to the transaction: a chain has them on its first rule only."""

STARTER_ONLY = DISRUPTIVE | {"id", "phase", "skip", "skipafter"}
"""Actions that a chain's further rules may not have (manual, *chain*)."""

ONCE_ONLY = frozenset({"id", "phase"})
"""Actions of which a rule has at most one."""

_CTL_KEYS = """
    auditEngine auditLogParts debugLogLevel forceRequestBodyVariable forceResponseBodyVariable
    hashEnforcement hashEngine parseXmlIntoArgs requestBodyAccess requestBodyLimit
    requestBodyProcessor responseBodyAccess responseBodyLimit ruleEngine ruleRemoveById
    ruleRemoveByMsg ruleRemoveByTag ruleRemoveTargetById ruleRemoveTargetByMsg ruleRemoveTargetByTag
"""
CTL_KEYS: dict[str, str] = {name.lower(): name for name in _CTL_KEYS.split()}
"""Lower-case ctl key → spelling of the manual."""

PHASES: dict[bytes, int] = {
    b"1": 1,
    b"2": 2,
    b"3": 3,
    b"4": 4,
    b"5": 5,
    b"request": 2,
    b"response": 4,
    b"logging": 5,
}
"""What `phase:` may say → number (manual, *phase*)."""

SEVERITIES: tuple[str, ...] = (
    "EMERGENCY",
    "ALERT",
    "CRITICAL",
    "ERROR",
    "WARNING",
    "NOTICE",
    "INFO",
    "DEBUG",
)
"""Name at its number (manual, *severity*): 0 is the worst."""


def nearest(name: str, known: Iterable[str]) -> str:
    """` (did you mean X?)`, or nothing if no known name is close."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f" (did you mean {by_lower[close[0]]}?)" if close else ""
