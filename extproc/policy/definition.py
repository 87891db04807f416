"""The keys of a policy file: what each takes and means. The loader, the JSON Schema and docs/POLICY.md come from it."""

from __future__ import annotations

from typing import Any

from extproc.policy.fields import KINDS
from extproc.policy.patterns import compile_pattern
from extproc.policy.scopes import HOST_TEXT, HostPattern, PathPattern
from extproc.policy.shapes import (
    Key,
    Named,
    Record,
    Scalar,
    Several,
    choice,
    day,
    duration_ms,
    number,
    size,
    switch,
    text,
)
from extproc.policy.variables import parse_variable

SCHEMA = "extproc.policy/1"
"""Version of the file's format; a file of another version is refused."""

MODES = ("off", "monitor", "safe-block", "block")
"""Weakest first."""

PROFILES = ("own", "crs", "crs-api", "own+crs")
"""Rule sets that a policy can choose."""

MAX_POLICIES = 500
"""Policies in one file."""

MAX_EXCLUSIONS = 1000
"""Exclusions of one policy; each is held against each other when the file is loaded."""

MAX_ALL_EXCLUSIONS = 5000
"""Exclusions of all policies of a file together."""

MAX_LISTED = 200
"""Items of a short list: rules, tags, variables, hosts, paths, methods."""

MAX_ADDRESSES = 100_000
"""Addresses of one list, those of its files included."""

BODY_LIMIT_BYTES = (1024, 64 * 1024 * 1024)
TIME_LIMIT_MS = (10, 60_000)
STATUSES = frozenset({*range(400, 418), *range(421, 425), 426, 428, 429, 431, *range(500, 509), 510, 511})
"""Of a block: errors, so that no cache and no client takes it for the app's answer; those that Envoy knows."""

THRESHOLD_RANGE = (1, 10_000)
DETECTION_RANGE = (1, 9)
BATCH_RANGE = (1, 1000)
MAX_RULE_ID = 2**31 - 1
FILE_PREFIX = "file:"
"""Before the name of a file in a list of addresses."""


def _rules(value: str) -> tuple[int, int]:
    first, dash, last = value.partition("-")
    try:
        found = (int(first), int(last if dash else first))
    except ValueError:
        raise ValueError(f"must be a rule id such as 942100, or a range 942000-942999, not {value!r}") from None
    if not 0 < found[0] <= found[1] <= MAX_RULE_ID:
        raise ValueError(f"must be a rule id, or a range from the smaller to the larger, not {value!r}")
    return found


def _status(value: str) -> int:
    if not value.isdecimal() or int(value) not in STATUSES:
        raise ValueError(f"must be an error status that Envoy knows, such as 403, 404 or 429, not {value!r}")
    return int(value)


def _host(value: str) -> HostPattern:
    if _HOST.parse(value):
        return HostPattern(value.lower())
    raise ValueError("must be a host name")


def _look(value: str) -> Any:
    look = compile_pattern(value)
    if look.search(b"") is not None:
        raise ValueError(f"matches a text without anything in it: {value!r} would blot out everything")
    return look


def _entry(value: str) -> str:
    if not value.strip():
        raise ValueError("must be an address, a CIDR block, or file:NAME")
    return value.strip()


_HOST = text(HOST_TEXT, "a host name such as shop.example or *.example.com, without a port")
_NAME = text(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "a name of letters, digits, dots, dashes, at most 63 of them")
_LINE = text(r"[^\x00-\x1f\x7f]{1,500}", "a text of one line, at most 500 characters")
_ROUTE = text(r"[^\x00-\x1f\x7f]{1,300}", "the name of a route in Envoy's configuration")
_FILE = text(r"[^\x00-\x1f\x7f]{1,1000}", "the name of a file")
_METHOD = text(r"[A-Z][A-Z0-9_-]{0,31}", "a method in capitals, such as POST")
_PATH = Scalar(PathPattern.of, {"type": "string", "pattern": r"^/"})
_HOSTS = Scalar(_host, _HOST.json)
_ADDRESSES = Several(Scalar(_entry, {"type": "string"}), MAX_ADDRESSES)


def _some(item: Scalar) -> Several:
    return Several(item, MAX_LISTED, or_one=True)


MATCH = Record(
    {
        "route": Key(_some(_ROUTE), "Envoy's name of the route; only Envoy says it, so a client cannot choose it"),
        "host": Key(_some(_HOSTS), "the host asked for, or *.example.com for every name below"),
        "path": Key(_some(_PATH), "the path; * is one segment, /** at the end everything below"),
    }
)
"""All keys that are given must fit; of a key's items, one."""

EXCLUSION = Record(
    {
        "rules": Key(
            _some(Scalar(_rules, {"type": ["integer", "string"], "pattern": r"^\d+(-\d+)?$"})),
            "rule ids, or ranges 942000-942999",
        ),
        "tags": Key(_some(_LINE), "tags: every rule that has one of them"),
        "variables": Key(
            _some(Scalar(parse_variable, {"type": "string"})),
            "what the rules shall not look at, such as ARGS:q or REQUEST_COOKIES; without it they do not run at all",
        ),
        "route": Key(_some(_ROUTE), "only on these routes"),
        "host": Key(_some(_HOSTS), "only for these hosts"),
        "path": Key(_some(_PATH), "only on these paths"),
        "method": Key(_some(_METHOD), "only for these methods"),
        "owner": Key(_LINE, "who answers for it", is_required=True),
        "reason": Key(_LINE, "why it is safe", is_required=True),
        "expires": Key(day(), "its last day (UTC); from then on it is reported as a block that would have been"),
    },
    "exclusion",
)

BLOCK = Record(
    {
        "status": Key(Scalar(_status, {"enum": sorted(STATUSES)}), "status of what the rules or the deny list refuse"),
        "html": Key(_FILE, "template for browsers, beside this file"),
        "problem": Key(_FILE, "template for clients that accept JSON (RFC 9457)"),
        "plain": Key(_FILE, "template for all others, gRPC included"),
    }
)

RATE_LIMIT = Record(
    {
        "requests": Key(number(1, 1_000_000), "how many", is_required=True),
        "per": Key(duration_ms(50, 86_400_000), "in which time", is_required=True),
        "burst": Key(number(1, 1_000_000), "how many at once; the same number if it is not given"),
        "by": Key(choice("client", "all"), "counted per client address, or for all together (default)"),
    }
)

SETTINGS: dict[str, Key] = {
    "mode": Key(choice(*MODES), "what happens to what the rules deny; safe-block blocks suspicious sources only"),
    "profile": Key(choice(*PROFILES), "which rules run; all but own need --crs"),
    "paranoia": Key(number(1, 4), "paranoia level of the Core Rule Set"),
    "thresholds": Key(
        Record(
            {
                "inbound": Key(number(*THRESHOLD_RANGE), "score from which a request is denied"),
                "outbound": Key(number(*THRESHOLD_RANGE), "score from which a response is denied"),
                "detection": Key(number(*DETECTION_RANGE), "score from which a finding of the own detectors counts"),
            }
        ),
        "anomaly scores",
    ),
    "graphql": Key(
        Record(
            {
                "introspection": Key(switch(), "false: a question for the schema is denied (rule 7100609)"),
                "batch": Key(number(*BATCH_RANGE), "operations of one request; more are denied (rule 7100610)"),
            }
        ),
        "GraphQL, by the own rules",
    ),
    "exclusions": Key(
        Several(EXCLUSION, MAX_EXCLUSIONS), "what the rules shall leave alone; those of all policies add up"
    ),
    "body": Key(
        Record(
            {
                "limit": Key(size(*BODY_LIMIT_BYTES), "largest request body; at most what --body-limit lets through"),
                "beyond": Key(
                    choice("reject", "inspect-prefix", "skip"),
                    "a larger one is answered 413, inspected up to the limit, or not inspected at all",
                ),
            }
        ),
        "request bodies",
    ),
    "time": Key(
        Record(
            {
                "limit": Key(duration_ms(*TIME_LIMIT_MS), "time for one inspection; at most --time-budget"),
                "beyond": Key(choice("reject", "allow"), "a request that needs longer is answered 503, or let through"),
            }
        ),
        "time of inspection",
    ),
    "response": Key(switch(), "inspect responses; needs --response, or Envoy does not send them"),
    "ip": Key(
        Record(
            {
                "allow": Key(_ADDRESSES, "never blocked, still inspected and reported; wins over the others"),
                "deny": Key(_ADDRESSES, "refused before any rule runs"),
                "suspicious": Key(_ADDRESSES, "whom safe-block blocks"),
            }
        ),
        "addresses and CIDR blocks, or file:NAME with one a line; those of all policies add up",
    ),
    "trusted_proxies": Key(
        _ADDRESSES, "proxies whose X-Forwarded-For is believed when the client's address is looked for"
    ),
    "rate_limit": Key(RATE_LIMIT, "kept by Envoy itself, before anything is inspected"),
    "block": Key(BLOCK, "what a blocked client gets"),
    "fields": Key(
        Named(
            text(
                r"(?:ARGS|REQUEST_COOKIES|REQUEST_HEADERS|FILES):[^\x00-\x1f]{1,200}", "a variable such as ARGS:comment"
            ),
            choice(*KINDS),
            MAX_LISTED,
        ),
        "what is expected in a field, so that prose is not taken for code; those of all policies add up",
    ),
    "openapi": Key(_FILE, "an OpenAPI 3 document (YAML or JSON) that says the same of each operation's fields"),
}
"""What `defaults` and each policy may say."""

MASKING = Record(
    {
        "names": Key(_some(_LINE), "further names of fields whose values are secrets, case ignored"),
        "looks": Key(_some(Scalar(_look, {"type": "string"})), "what secrets look like: regular expressions (RE2)"),
    }
)

POLICY = Record(
    {
        "schema": Key(choice(SCHEMA), "version of this format", is_required=True),
        "defaults": Key(Record(SETTINGS), "for every request"),
        "policies": Key(
            Named(
                _NAME,
                Record(
                    {
                        "match": Key(
                            Several(MATCH, MAX_LISTED, or_one=True),
                            "which requests; without it only those that Envoy sends with x-waf-policy: NAME",
                        ),
                        **SETTINGS,
                    }
                ),
                MAX_POLICIES,
            ),
            "by name; a request may fit several, which are merged field by field",
        ),
        "shadow_rules": Key(_some(_FILE), "rule files that run beside the others and decide nothing"),
        "masking": Key(MASKING, "what is blotted out of events and logs, beside what always is"),
    }
)


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a policy file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{SCHEMA.replace('/', ':')}",
        "title": "extproc policy",
        **POLICY.schema(),
    }
