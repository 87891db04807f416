"""XML that makes the parser fetch or multiply: entities, external subsets, XInclude, style sheets with code.

What is an injection:

- a declared entity that names a file or an address (`SYSTEM`, `PUBLIC`), or any parameter entity: reading the document
  makes the parser fetch it. No client of an API has a reason to declare one;
- a document type with an external subset, but for the public identifiers of known formats (XHTML, SVG, MathML,
  property lists), which parsers have at hand;
- entities built of other entities, which multiply;
- `xi:include`, and in style sheets and schemas `document()`, `import`, `include` of another place, extension functions;
- an attribute that refers to a file or runs a program (`xlink:href="file:///..."`);
- the same written in UTF-7.

A plain document type, an entity that stands for a text (drawing programs declare name spaces so), CDATA: none.
"""

from __future__ import annotations

from extproc.detection.contract import UNCOUNTED, Detector, Finding, Place, Reading
from extproc.detection.pattern import find, find_here

LIMIT_BYTES = 8192

DECLARATIONS_LIMIT = 40
"""Entity declarations of one text that are looked at."""

_ENTITY = find(rb"<!entity\s+(%\s*)?([^\s\"'>%&;<]{1,80})\s+(?:(system|public)\s*[\"']?([^\"'>]*)|[\"']([^\"'>]*))")
_DOCTYPE = find(
    rb"<!doctype\s+[^\s\[>]{1,80}\s+(?:system\s*[\"']([^\"']*)|public\s*[\"']([^\"']*)[\"']\s*[\"']?([^\"'>]*))"
)
_KNOWN = find_here(
    rb"\+?-//(?:w3c|ietf|oasis|apple|apple computer|docbook|nlm|openoffice\.org|sun microsystems"
    rb"|mybatis\.org|hibernate|"
    rb"wapforum|softquad|webtechs|omf|gnome|freedesktop|google|openid|iso|niso|tei|xml-dev"
    rb"|apache software foundation)\b"
)
_KNOWN_PLACE = find_here(
    rb"(?:https?://(?:www\.)?(?:w3\.org|apple\.com|java\.sun\.com|oasis-open\.org|docbook\.org"
    rb"|dtd\.nlm\.nih\.gov|mybatis\.org"
    rb"|hibernate\.org|wapforum\.org)/|[a-z0-9_-]{1,40}\.dtd$|about:legacy-compat$|urn:|$)"
)
_INCLUDE = find(
    rb"<(?:[a-z0-9_-]{1,20}:)?include\s[^>]*?(?:\bhref|\bparse)\s*="
    rb"|xmlns(?::[a-z0-9_-]{1,20})?\s*=\s*[\"']?http://www\.w3\.org/200[13]/xinclude"
)
_INCLUDE_PREFIXED = find(rb"<xi:include\b")
_STYLE_SHEET = find(
    rb"\bdocument\s*\(\s*[\"'](?:[a-z]+:|/)|<xsl:(?:include|import)\s[^>]*href\s*="
    rb"|<xsl:[^>]*(?:unparsed-text|system-property)\s*\(|"
    rb"<msxsl:script|<(?:[a-z]+:)?script\s[^>]*implements-prefix|php:function\s*\(|[a-z]{2,6}:(?:exec"
    rb"|getruntime|forname|new)\s*\(|"
    rb"xmlns:[a-z0-9]{1,12}\s*=\s*[\"'](?:http://xml\.apache\.org/xalan/java|http://saxon\.sf\.net/|java:"
    rb"|http://exslt\.org/common\"\s+[^>]{0,40}exsl:document|http://php\.net/xsl"
    rb"|urn:schemas-microsoft-com:xslt)|<exsl:document\b|<xsl:result-document\b"
)
_REFERENCE = find(
    rb"<[a-z][^<>]*[\s:](?:href|src|schemalocation|location|data|system|url)\s*=\s*[\"'][^\"']{0,80}?"
    rb"(?:file:/|expect:|php:|gopher:|jar:|netdoc:|dict:|ldaps?:|(?:text|msl|ephemeral|label|vid|caption):/)"
)
_SUBSET_REFERENCE = find(rb"<!doctype[^>]*\[\s*(?:<![^>]*>\s*){0,6}%[a-z0-9_.-]{1,40};")
_UTF7 = find(
    rb"\+adw-?(?:!|acea?q?-?)?\s*(?:entity|doctype)|\+adwai[qr]-?(?:entity|doctype)"
    rb"|encoding\s*=\s*[\"']utf-7[\"'].*?\+ad"
)

_FETCHES, _MULTIPLIES, _REFERS = 8, 7, 6


def detect(text: bytes, place: Place, reading: Reading = UNCOUNTED) -> Finding | None:
    """The strongest finding."""
    best: Finding | None = None
    for found in (_entities(text, reading), _external_subset(text), _others(text)):
        if found is not None and (best is None or found.score > best.score):
            best = found
    return best


def _finding(score: int, span: tuple[int, int], context: str, reason: str) -> Finding:
    return Finding("xml", score, span, context, reason)


def _entities(text: bytes, reading: Reading) -> Finding | None:
    position, best, built_up = 0, None, 0
    for _ in range(DECLARATIONS_LIMIT):
        spans = _ENTITY(text, position)
        if spans is None:
            return best
        position = spans[0][1]
        if spans[1][0] >= 0:
            return _finding(_FETCHES, spans[0], "document type", "declares a parameter entity")
        if spans[3][0] >= 0:
            return _finding(_FETCHES, spans[0], "document type", "declares an entity that is fetched from elsewhere")
        value = text[spans[5][0] : spans[5][1]]
        references = value.count(b"&") - value.count(b"&#")
        built_up += references > 1
        if (references > 1 and built_up > 1) or references > 8:
            return _finding(_MULTIPLIES, spans[0], "document type", "declares entities that multiply")
        if b"<!" in value or b"&#x3c;!" in value.lower() or b"&#60;!" in value:
            return _finding(_FETCHES, spans[0], "document type", "declares an entity that declares another")
        if best is None:
            best = _finding(3, spans[0], "document type", "declares an entity that stands for a text")
    if _ENTITY(text, position) is not None:
        reading.leave_out()
    return best


def _external_subset(text: bytes) -> Finding | None:
    spans = _DOCTYPE(text, 0)
    if spans is not None:
        if spans[1][0] >= 0:
            address = text[spans[1][0] : spans[1][1]]
            is_known = _KNOWN_PLACE(address.strip(), 0) is not None
        else:
            address = text[spans[3][0] : spans[3][1]]
            is_known = (
                _KNOWN(text[spans[2][0] : spans[2][1]], 0) is not None
                and b":" not in address.replace(b"http:", b"", 1).replace(b"https:", b"", 1)
            ) or _KNOWN_PLACE(address.strip(), 0) is not None
        if not is_known:
            return _finding(_FETCHES, spans[0], "document type", "its definition is fetched from elsewhere")
    spans = _SUBSET_REFERENCE(text, 0)
    if spans is not None:
        return _finding(_MULTIPLIES, spans[0], "document type", "uses a parameter entity")
    return None


def _others(text: bytes) -> Finding | None:
    spans = _INCLUDE(text, 0)
    if spans is not None and (b"xinclude" in text.lower() or _INCLUDE_PREFIXED(text, 0) is not None):
        return _finding(_FETCHES, spans[0], "element", "includes another document (XInclude)")
    spans = _STYLE_SHEET(text, 0)
    if spans is not None:
        return _finding(_FETCHES, spans[0], "style sheet", "reads another document or calls out of the style sheet")
    spans = _REFERENCE(text, 0)
    if spans is not None:
        return _finding(_REFERS, spans[0], "attribute", "refers to a file, a program or an odd scheme")
    spans = _UTF7(text, 0)
    if spans is not None:
        return _finding(_MULTIPLIES, spans[0], "document", "a document type written in UTF-7")
    return None


_CALLS_OUT = frozenset((b"php:function", b":exec", b"getruntime", b"forname", b":new", b"xmlns:"))
"""Literals of style sheets that call what is outside of them."""

DETECTOR = Detector(
    kind="xml",
    gate=(
        (frozenset((b"<!entity",)),),
        (frozenset((b"<!doctype",)), frozenset((b"system", b"public", b"%"))),
        (frozenset((b"include",)), frozenset((b"<",)), frozenset((b"href", b"parse", b"xmlns"))),
        (
            _CALLS_OUT | {b"document", b"xsl:", b"script"},
            frozenset((b"(", b"<")),
            _CALLS_OUT | {b"xsl", b"document", b"implements-prefix"},
        ),
        (
            frozenset((b"<",)),
            frozenset((b"href", b"src", b"location", b"data", b"system", b"url")),
            frozenset(
                (b"file:", b"expect:", b"php:", b"gopher:", b"jar:", b"netdoc:", b"dict:", b"ldap", b"text:", b"msl:")
            )
            | frozenset((b"ephemeral:", b"label:", b"vid:", b"caption:")),
        ),
        (frozenset((b"+ad",)),),
    ),
    detect=detect,
    limit_bytes=LIMIT_BYTES,
)
