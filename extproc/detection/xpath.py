r"""XPath and XQuery injection: a value that ends its string or bracket and goes on as a path or a function of nodes.

What is an injection:

- a quote, closing brackets, then `or`/`and`/`|` and something of XPath: a function of nodes (`count(`, `name(`,
  `string-length(`, `position()`), an axis (`ancestor::`), a path (`//*`), an attribute compared;
- a closing bracket of a predicate that was not opened, then a path or a union (`'] | //user`);
- functions that fetch (`doc("http:...")`, `unparsed-text(`) with an address.

A path as the whole value is what scrapers and test tools are configured with: none.
"""

from __future__ import annotations

from extproc.detection.contract import UNCOUNTED, Detector, Finding, Place, Reading
from extproc.detection.pattern import find, find_here

LIMIT_BYTES = 4096

_AXIS = (
    rb"(?:ancestor|ancestor-or-self|attribute|child|descendant|descendant-or-self|following"
    rb"|following-sibling|namespace|parent|preceding|preceding-sibling|self)::"
)
_FUNCTION = (
    rb"(?:not\s*\(\s*)?(?:count|name|local-name|namespace-uri|string-length|substring|substring-before"
    rb"|substring-after|starts-with|contains|position|last|"
    rb"normalize-space|translate|concat|string|number|sum|text|node|comment|id|lang|matches|tokenize"
    rb"|codepoints-to-string|"
    rb"string-to-codepoints|lower-case|upper-case|doc|doc-available|exists|empty|current|ends-with|boolean"
    rb"|processing-instruction)\s*\("
)
_PATH = (
    rb"(?:\.\.?/|/{1,2}(?:\*|@|[a-z][a-z0-9_:-]{0,40}(?:/|\[|\s*(?:\||\)|$)|\(\))|\.\.)"
    rb"|@[a-z*][a-z0-9_:-]{0,40}\s*[=!<>\]])"
)
_SOMETHING = rb"(?:" + _FUNCTION + rb"|" + _AXIS + rb"|" + _PATH + rb")"

_WAY_OUT = rb"(?:(?:[^\"'<>]*[^\"'<>\s=:(,\[])?[\"'][\s)\]]*|[^\"'<>]*[\"'][\s)\]]+)"
"""A quote that closes. One behind a blank or a sign opens a string of the text, unless a blank or bracket follows."""

_BREAKS = find_here(
    _WAY_OUT
    + rb"(?:(?:(?:or|and|div|mod)\b|[|]|!=)[\s(\"']*"
    + _SOMETHING
    + rb"|[=+*<>-][\s(\"']*(?:"
    + _FUNCTION
    + rb"|"
    + _AXIS
    + rb"))"
)
_BRACKET = find_here(
    rb"[^\"'<>\n\[(]{0,60}[\"']?\s*\)*\s*\][\s)\]]*(?:/|\||\[|(?:or|and)\b)[\s(]*(?:"
    + _SOMETHING
    + rb"|/|\*|\||%00|\x00|@|\")"
)
_NUMBER = find_here(rb"\s*-?[0-9]{1,9}[\s)\]]*(?:(?:or|and)\b|\|)[\s(]*" + _SOMETHING)
_LATER = find_here(
    _WAY_OUT + rb"(?:or|and)\s+[^\n]{1,160}?[\s('\"=](?:" + _AXIS + rb"|//\*|/\*\[|name\s*\(\s*\)|"
    rb"position\s*\(\s*\)|last\s*\(\s*\)|string-length\s*\(|count\s*\(\s*[/.@]|substring\s*\(\s*[/.@(]|"
    rb"text\s*\(\s*\)|node\s*\(\s*\)|local-name\s*\()"
)
_UNION = find_here(rb"[^\"'<>\n]{0,60}[\"']?[\s)\]]{0,6}\|\s*(?://?\*|//[a-z@][^\s]{0,80}\s*(?:\||\[)|" + _AXIS + rb")")
_FETCHES = find(
    rb"\b(?:doc|doc-available|document|unparsed-text|collection"
    rb"|json-doc)\s*\(\s*(?:concat\s*\(\s*)?[\"'](?:https?|file|ftp):|\bdoc\s*\(\s*concat\s*\("
)
_WHOLE_PROBE = find_here(
    rb"\s*(?:string-length|substring|count|starts-with|contains|name|local-name)\s*\(\s*"
    rb"(?:name\s*\(|//?\*|/[a-z]+\[|//[a-z]+\[|" + _AXIS + rb"|(?:doc|unparsed-text)\s*\()[^\n]*[=<>]\s*[\"'0-9]"
)

_SCORE, _PROBE = 6, 5


def detect(text: bytes, place: Place, reading: Reading = UNCOUNTED) -> Finding | None:
    """The first of the ways out."""
    for judge, score, context, reason in _JUDGES:
        spans = judge(text, 0)
        if spans is not None:
            return Finding("xpath", score, spans[0], context, reason)
    return None


_JUDGES = (
    (_BREAKS, _SCORE, "string", "closes the string, joins a path or a function of nodes"),
    (_BRACKET, _SCORE, "predicate", "closes ], goes on as a path"),
    (_LATER, _SCORE, "string", "closes the string, logic, then a function of nodes"),
    (_NUMBER, _SCORE, "number", "logic, then a path or a function of nodes"),
    (_UNION, _SCORE, "path", "a union with another path"),
    (_FETCHES, _SCORE, "whole value", "a function that fetches a document"),
    (_WHOLE_PROBE, _PROBE, "whole value", "a question about the document's nodes"),
)


_JOINS = frozenset((b"or", b"and", b"div", b"mod", b"|", b"=", b"+", b"*", b"<", b">", b"-"))
_NODES = frozenset((b"(", b"::", b"/", b"@", b".."))
_FUNCTIONS = frozenset((b"string-length", b"substring", b"count", b"starts-with", b"contains", b"name"))

DETECTOR = Detector(
    kind="xpath",
    gate=(
        (frozenset((b"'", b'"')), _JOINS, _NODES),
        (frozenset((b"]",)), frozenset((b"/", b"|", b"[", b"or", b"and"))),
        (frozenset((b"or", b"and", b"|")), _NODES),
        (frozenset((b"doc", b"unparsed-text", b"collection")), frozenset((b"(",))),
        (_FUNCTIONS, frozenset((b"(",)), frozenset((b"=", b"<", b">"))),
    ),
    detect=detect,
    limit_bytes=LIMIT_BYTES,
)
