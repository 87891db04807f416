r"""Injection into document and graph databases: operators where a value belongs, and break-outs into their languages.

- An operator as part of a name (`user[$ne]`, `login.$gt`): a form's parser makes an object of it, and the query
  compares with that instead of a text. `$where`, `$function`, `$accumulator` and `$expr` run code wherever they stand;
- an operator object whose operand is true of everything (`{"$ne": null}`, `{"$gt": ""}`, `{"$regex": ".*"}`): an honest
  filter compares with something. Objects such as `{"$gt": 21}` are a query language by contract: none;
- a quote that ends the string around the value, then JavaScript as `$where` takes it (`this.`, `return`, `while`), or a
  clause of a graph query (`MATCH`, `RETURN`, `LOAD CSV`), or a further member of the object (`, $or: [`);
- the shell's own calls (`db.users.drop()`).
"""

from __future__ import annotations

from extproc.detection.contract import UNCOUNTED, Detector, Finding, Place, Reading
from extproc.detection.pattern import find, find_here

LIMIT_BYTES = 8192

_COMPARES = (
    rb"(?:ne|eq|gte?|lte?|n?in|regex|exists|not|all|size|type|mod|elemmatch|options|or|and|nor|text"
    rb"|jsonschema|bit[a-z]+)"
)
_RUNS = rb"(?:where|function|accumulator|expr|eval|mapreduce|merge|out|lookup|group|unionwith|graphlookup)"

_NAME = find(rb"(?:\[[\"']?|\.|^\s*)\$(?:(" + _RUNS + rb")|(" + _COMPARES + rb"))\b")
_BRACKETED = find(rb"\[[\"']?\$")
_MEMBER_RUNS = find(
    rb"(?:^|[\s,{(\"'])[\"']?\$(?:where|function|accumulator|eval|mapreduce)[\"']?\s*[:=]\s*(?:[\"'`\[{(]"
    rb"|function|this|return|sleep|[0-9]|true)"
)
_TRIVIAL = find(
    rb"[{,\s\"']\$(?:(?:ne|nin|not)[\"']?\s*:\s*(?:[\"']{2}|null\b|undefined\b|-?[01]\b|\[\s*(?:[\"']{0,2}"
    rb"|null|0|1)\s*\]"
    rb"|\{\s*\}|[\"'](?:x|a|1|0|foo|bar|test|toto|xyz|admin|invalid|doesnotexist|-1| )[\"']|/)"
    rb"|(?:lte?|gte?|eq)[\"']?\s*:\s*(?:[\"']{2}|null\b|undefined\b|\[\s*\]|\{\s*\}|[\"'] [\"'])"
    rb"|(?:regex)[\"']?\s*:\s*[\"'/]?\s*(?:\^?\.[*+?]|\^|\$|\.|\*|\[?[\"'/]|[a-z0-9]?\.\*)"
    rb"|exists[\"']?\s*:\s*(?:true|false|1|0)"
    rb"|(?:or|and|nor)[\"']?\s*:\s*\[\s*\{\s*(?:\}|[\"']?[a-z0-9]?[\"']?\s*:\s*[\"']?[a-z0-9]?[\"']?\s*\}))"
)
_OBJECT_START = find_here(rb"\s*(?:[\"'][^\"']*[\"']\s*:\s*)?\{\s*[\"']?\$")
_MEMBER_START = find_here(
    rb"[^{}\n]{0,80}[,}]\s*[\"']?\$?(?:\$where|\$or|\$and|\$nor|\$expr|\$ne|\$gt|\$regex)[\"']?\s*:"
)
_GRAPHQL_VARIABLES = find_here(
    rb"\s*(?:query|mutation|subscription)\b\s*\w*\s*"
    rb"(\((?:\s*\$\w+\s*:\s*\[*\w+[!\]]*\s*(?:=\s*[\w.\[\] -]*)?[,\s]*)+\))"
)
"""Variables of an operation are declared with names and types (GraphQL 2.10); one may be called `$where`."""

_BREAK_SCRIPT = find_here(
    rb"[^\"']*[\"'][\s)}\]]*(?:;|\|\||&&|\+)\s*(?:return\b[\s(!\"'a-z0-9_]|this\s*[.\[]|var\s+[a-z_$]+\s*="
    rb"|while\s*\(|sleep\s*\(|do ?\{|db\s*\.|function\s*\(|throw\b|emit\s*\(|tojson|new\s+date"
    rb"|let\s+[a-z]|if ?\(|for ?\()"
)
_BREAK_COMPARE = find_here(
    rb"[^\"']*[\"'][\s)]*(?:\|\||&&)\s*(?:[\"']?(\w{0,12})[\"']?\s*[=!]==?\s*[\"']?\w{0,12}|true|1|this\b|!?[\"']{2}"
    rb"|\w+\.(?:match|test|length|indexof|charat|substr)\b|object\.keys|/)"
)
_NUMBER_SCRIPT = find_here(
    rb"\s*[0-9]{0,9}\s*(?:;|\|\||&&)\s*(?:return\s+(?:true|1)|var\s+\w{1,20}\s*=\s*new\s+date|do ?\{"
    rb"|this\.[a-z_]+\s*[.!=<>]|(?:while|sleep)\s*\("
    rb"|db\.|true\s*(?:;|$))"
)
_CYPHER = find_here(
    rb"[^\"'`]*[\"'`]\s*[})\]]*\s*(?:(?:return|with)\b.{0,120}?\b(?:match|call|return|load\s+csv|delete)\b"
    rb"|union\s+(?:all\s+)?(?:match|call|return|load|unwind|with)\b"
    rb"|(?:detach\s+)?delete\s+[a-z]|load\s+csv\s+(?:with\s+headers\s+)?from|"
    rb"(?:optional\s+)?match\s*\(|call\s+(?:db|dbms|apoc|\{)|(?:or|and)\s+[^\n;]{0,40}[=<>~][^\n;]{0,40}\s(?:return"
    rb"|with)\s+[a-z*]|create\s*\(|merge\s*\(|set\s+[a-z]+\.[a-z]+\s*=|foreach\s*\()"
)
_LOAD_CSV = find(
    rb"\bload\s+csv\s+(?:with\s+headers\s+)?from\s+[\"'](?:https?|file|ftp):|\bcall\s+(?:db|dbms"
    rb"|apoc)\.[a-z.]+\s*\("
)
_SHELL = find(
    rb"\bdb\s*\.\s*(?:[a-z_]\w{0,40}\s*\.\s*(?:drop|remove|deletemany|deleteone|find|findone|insert"
    rb"|insertone|insertmany|update\w*|aggregate|count|save|mapreduce|stats)\s*\("
    rb"|(?:getcollection|getcollectionnames|dropdatabase|admincommand|runcommand|eval|version|hostinfo"
    rb"|createuser|getusers|injection)\b\s*[.(])"
)

_CODE, _OPERATOR, _BREAKS, _INSIDE = 7, 6, 6, 5


def detect(text: bytes, place: Place, reading: Reading = UNCOUNTED) -> Finding | None:
    """The strongest finding."""
    if place is Place.NAME:
        return _name(text)
    best: Finding | None = None
    if b"$" in text:
        best = _operators(text, place)
    for judge, score, context, reason in _JUDGES:
        if best is not None and best.score >= score:
            continue
        spans = judge(text, 0)
        if spans is not None:
            best = _finding(score, spans[0], context, reason)
    return best


def _finding(score: int, span: tuple[int, int], context: str, reason: str) -> Finding:
    return Finding("nosql", score, span, context, reason)


_JUDGES = (
    (_BREAK_SCRIPT, _BREAKS, "string of a script", "closes the string, goes on as a script of the database"),
    (_BREAK_COMPARE, _BREAKS, "string of a script", "closes the string, then a comparison joined by a sign"),
    (_NUMBER_SCRIPT, _BREAKS, "number in a script", "a separator, then a script of the database"),
    (_CYPHER, _BREAKS, "string of a graph query", "closes the string, then a clause of a graph query"),
    (_LOAD_CSV, _OPERATOR, "whole value", "a clause of a graph query that loads or calls"),
    (_SHELL, _OPERATOR, "whole value", "a call of the database's shell"),
)


def _name(text: bytes) -> Finding | None:
    spans = _NAME(text, 0)
    if spans is None:
        return None
    name = text[spans[0][0] : spans[0][1]].lstrip(b"[\"'. \t").decode("latin-1")
    if spans[1][0] >= 0:
        # Stages of an aggregation are named so in honest pipelines; only what runs code is proof by its name.
        score = _CODE if name.lower() in ("$where", "$function", "$accumulator", "$eval", "$mapreduce", "$expr") else 3
        if score == 3 and _BRACKETED(text, 0) is not None:
            score = _OPERATOR
        return _finding(score, spans[0], "name", f"operator {name}")
    if _BRACKETED(text, 0) is not None:
        return _finding(_OPERATOR, spans[0], "name", f"operator {name} in brackets")
    return _finding(3, spans[0], "name", f"operator {name}")


def _operators(text: bytes, place: Place) -> Finding | None:
    declared = _GRAPHQL_VARIABLES(text, 0)
    if declared is not None:
        start, end = declared[1]
        text = text[:start] + b" " * (end - start) + text[end:]
    spans = _MEMBER_RUNS(text, 0)
    if spans is not None:
        return _finding(_CODE, spans[0], "object", "operator that runs code")
    spans = _TRIVIAL(text, 0)
    if spans is not None and b":" in text:
        is_object = text.lstrip()[:1] in (b"{", b"[") or place is Place.BODY
        if is_object or _OBJECT_START(text, 0) is not None or _MEMBER_START(text, 0) is not None:
            return _finding(_OPERATOR, spans[0], "object", "operator whose operand is true of everything")
        if text[: spans[0][0] + 1].rstrip(b"\"' \t\r\n").endswith(b"{"):
            return _finding(_INSIDE, spans[0], "object in a text", "operator whose operand is true of everything")
    spans = _MEMBER_START(text, 0)
    if spans is not None and text.lstrip()[:1] not in (b"{", b"["):
        return _finding(_OPERATOR, spans[0], "object", "ends the member, goes on with an operator")
    if text.lstrip()[:1] == b"[" or text.lstrip()[:1] != b"{":
        spans = _BRACKETED_OPERATOR(text, 0)
        if spans is not None:
            return _finding(_OPERATOR, spans[0], "name", "operator in brackets")
    return None


_BRACKETED_OPERATOR = find_here(rb"[\w.\[\]-]{0,60}\[\$(?:" + _COMPARES + rb"|" + _RUNS + rb")\](?:\[\w{0,20}\])?\s*=")

_NAMED = frozenset(
    b"$ne $eq $gt $lt $in $nin $regex $exists $not $all $size $type $mod $elemmatch $options $or $and $nor"
    b" $text $jsonschema "
    b"$bit $where $function $accumulator $expr $eval $mapreduce $merge $out $lookup $group $unionwith $gra"
    b"phlookup".split()
)
_QUOTES = frozenset((b"'", b'"', b"`"))

DETECTOR = Detector(
    kind="nosql",
    gate=(
        (_NAMED,),
        (
            _QUOTES,
            frozenset((b";", b"||", b"&&", b"+")),
            frozenset(b"return this var while sleep db function throw emit tojson date let do{ if( for(".split())
            | frozenset((b"do {", b"if (", b"for (")),
        ),
        (_QUOTES, frozenset((b"||", b"&&"))),
        (
            frozenset((b";", b"||", b"&&")),
            frozenset((b"return", b"this.", b"date", b"do{", b"do {", b"while", b"sleep", b"db.", b"true")),
        ),
        (_QUOTES, frozenset(b"return union with delete match load call create merge foreach set".split())),
        (frozenset((b"load", b"call")), frozenset((b"csv", b"db.", b"dbms.", b"apoc."))),
        (frozenset((b"db",)), frozenset((b".",)), frozenset((b"(", b"."))),
    ),
    detect=detect,
    limit_bytes=LIMIT_BYTES,
    reads_structures=True,
)
