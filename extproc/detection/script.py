r"""Script injection: markup that runs or loads code, and text that leaves an attribute or a script and goes on as code.

What is an injection:

- an element that runs or loads: `script` with a source or with code in it, frames, objects, `base`, `meta` refresh,
  style sheets, SVG animation of a link; in any element an `on...=` attribute, an address whose scheme runs code (blanks
  and controls taken out of it), a style with code in it, `srcdoc`. A browser runs these wherever the text is shown;
- a quote that ends the attribute around the value, then an event handler: the value stood in `value="..."`;
- a quote that ends the string around the value, an operator or a separator, then a use of something global;
- an address as the whole value whose scheme runs code: it stood in `href="..."`.

`<script` in a sentence is none: what follows must look like code. Formatting, links and images without handlers pass,
and so does `javascript:void(0)`, which does nothing.

Polarity: a quote right behind `=`, `:`, `(`, `,` or a blank opens a string of the text's own and ends nobody's.
"""

from __future__ import annotations

import re

from extproc.detection.contract import UNCOUNTED, Detector, Finding, Place, Reading
from extproc.detection.pattern import Spans, find, find_here

TAG_STEPS, ATTRIBUTE_STEPS, CONTENT_BYTES_A_STEP = 4, 2, 160
"""What it costs to read a tag, each of its attributes, and the code behind a tag that holds some, by its bytes."""

TAGS_LIMIT = 60
"""Tags of one text that are taken apart; later ones are not looked at."""

ATTRIBUTES_LIMIT = 40
"""Attributes of one tag that are looked at."""

LIMIT_BYTES = 8192

_EVENTS = (
    rb"on(?:abort|activate|after|animation|aria|auxclick|audio|before|begin|blur|bounce|cached|can|cell"
    rb"|change|chargin"
    rb"|checking|click|close|command|composition|connect|context|contentvis|control|copy|cue|cut|data|dbl|deactivate"
    rb"|device|dischar|dom|downloading|drag|drop|duration|emptied|encrypt|end|error|fetch|fencedframe|filter|finish"
    rb"|focus|form|fullscreen|gamepad|gesture|get|got|hash|help|input|install|invalid|key|language|layout|level|load"
    rb"|lose|lost|media|message|mouse|move|moz|ms|mut|navigat|notification|off|on|open|orient|outofsync|page|paint"
    rb"|paste|pause|play|point|pop|progress|property|push|rat|ready|rejection|redo|repeat|reset|resize|resum|revers"
    rb"|row|scroll|search|security|seek|select|show|slot|snap|sort|stalled|start|stop|storage|submit|suspend|sync"
    rb"|time|toggle|touch|track|transition|undo|unhandled|unload|update|url|user|visib|voice|volume|vr|wait|webkit"
    rb"|wheel|zoom)[a-z0-9]*"
)
"""Beginnings of the names of events (HTML, SVG, SMIL and what browsers had of their own)."""

_GAP = rb"[\x00-\x20]*"
_SCHEME_NAMES = (
    _GAP.join(re.escape(bytes([letter])) for letter in name)
    for name in (b"javascript", b"vbscript", b"livescript", b"mocha", b"jscript")
)
_RUNS = rb"(?:(?:feed|view-source|jar)\s*:\s*)?(?:" + rb"|".join(_SCHEME_NAMES) + rb")" + _GAP + rb"[:#]"
_DATA = (
    rb"data" + _GAP + rb":\s*[^,a-z]{0,4}(?:text/(?:html|xml|javascript|xsl)|application/(?:xhtml|xml|javascript)"
    rb"|image/svg|,|[a-z]+/javascript)"
)

# Without any of these no tag of the text does anything.
_SUSPECT = find(
    rb"on[a-z]{3}|<\s*/?(?:script|i?frame|object|embed|applet|base|meta|link|set|animate|style|layer|bgsound|isindex"
    rb"|[?!]import|\?xml-|use|portal|import|xml)|srcdoc|expression|binding|behavio|style\s*=|=[\s\"'`]*&\{"
    rb"|d\s*a\s*t\s*a\s*:|mhtml:|"
    rb"[stm]\s*c\s*r\s*i\s*p\s*t\s*[:#]|mocha"
)
_NESTED = find(rb"<[a-z]{1,12}<[/a-z]{1,12}>[a-z]{1,12}[\s>]")
_TAG = find(rb"<[\x00/]*([a-z?!%][^\s/>\"'=<\x00]{0,40})")
_ATTRIBUTE = find_here(
    rb"[\s/\"'`\x00,;]*([^\s/><\"'`\x00][^\s/>=<\x00\"]{0,80})"
    rb"(?:[\s\x00]*=[\s\x00]*(\"[^\"]*\"?|'[^']*'?|`[^`]*`?|[^\s>]+))?"
)
_EVENT = find_here(_EVENTS + rb"$")
_ANY_EVENT = find_here(rb"on[a-z]{3,24}$")
_RUNS_HERE = find_here(rb"(?:&\w{1,6};|[\x00-\x20\"'`])*(?:\d*;?\s*url\s*=\s*['\"]?\s*)?(" + _RUNS + rb")(.?)")
_DATA_HERE = find_here(rb"[\x00-\x20\"'`]*(?:\d*;?\s*url\s*=\s*['\"]?\s*)?(?:" + _DATA + rb"|mhtml:)")
_NOTHING = find_here(
    rb"[\x00-\x20\"'`]*javascript:\s*(?:void\s*\(?\s*0?\s*\)?|return\s+false|false|true|undefined"
    rb"|//)?\s*;?\s*[\"'`]?$"
)
_STYLE_CODE = find(
    rb"@i?m?p?\\\\|"
    rb"e\s*x\s*p\s*r\s*e\s*s\s*s\s*i\s*o\s*n\s*[(8]|-moz-binding\s*:|binding\s*:\s*url|behaviou?r\s*:\s*url|"
    rb"(?:java|vb)script\s*:|@i\W{0,3}m\W{0,3}port[^;]{0,40}(?:script|data:)"
)
_STYLE_HIDES = find(rb"@[a-z]{0,6}\\[^0-9a-f\s]")
"""A rule's name with an escape in it."""
_IN_VALUE = find(rb"/(" + _EVENTS + rb")=[^\s>]*[(`]")
"""Behind a slash some parsers begin a new attribute."""
_APART = re.compile(rb"\]\]>?<!\[cdata\[|<!--[^>]*-->", re.IGNORECASE)
"""What XML takes out again: a word that is cut by it comes together."""
_REMAINS = find(
    rb"<(?:[a-z]{1,12}>|[^<>]{1,80}[\"'])\s*new\s+activexobject\s*\(|script>[\s({]*(?:alert|confirm|prompt|eval)\s*[(`]|(?:alert|confirm|prompt|eval)\s*\([^)<]*\)[^<]*"
    rb"</(?:script|title|style|textarea|noscript|template|xmp|iframe)"
)
"""The second half of an attack, whose first half stood in another field."""
_CODE = find_here(
    rb"[\s\x00]*(?:/[/*]|<!|[({\[!+~$\"']|[a-z_$\\][\w$\\]*\s*(?:[(=.\[`{;:+]|\?\.)|(?:var|let|const"
    rb"|function|new|throw"
    rb"|import|try|if|for|while|with|async|void|delete|typeof|class)\b\s*[^\s,.]|</script)"
)
_STYLE_END = find(rb"</style")

_GLOBAL = (
    rb"(?:(?:window|self|top|parent|frames|globalthis|this|document|location|navigator)\s*(?:\?\.)?[.\[]"
    rb"|(?:alert|prompt|confirm|print|eval|fetch|import|function|settimeout|setinterval|setimmediate|atob"
    rb"|open|require"
    rb"|writeln?|xmlhttprequest|activexobject|constructor|postmessage|queuemicrotask)\s*(?:\?\.\s*)?[(`]"
    rb"|(?:alert|prompt|confirm|eval)\s*\.\s*(?:call|apply|bind)|\(\s*(?:alert|prompt|confirm|eval|print)\s*\)"
    rb"|(?:document\.)?(?:location|cookie|domain)\s*(?:\.[a-z]+\s*)?=[^=]|string\.fromcharcode"
    rb"|new\s+(?:image|function|websocket|worker)\b"
    rb"|(?:object|reflect|array|promise)\.[a-z]+\s*\(|(?:onerror|onload)\s*=\s*[a-z]|throw\s*[a-z\"'`{]"
    rb"|\[\s*[\"'](?:constructor|alert|eval))"
)
_BETWEEN = (
    rb"[\s/\x00)>;,]*(?:(?:[a-z-]{1,20}\s*=\s*(?:\"[^\"<>]{0,60}\"|'[^'<>]{0,60}'|[^\s\"'<>=]{1,60})"
    rb"|autofocus|contenteditable|open|controls|autoplay|hidden|popover|x)[\s/]+){0,6}[\s/\x00]*"
)
_IN_ATTRIBUTE = find_here(rb"([\"'`])" + _BETWEEN + rb"(" + _EVENTS + rb")\s*=\s*[\"'`]?\s*([^\s\"'`])")
_QUOTED_FIRST = find_here(rb"([\"'])[^\s\"'<>]{0,40}[\"'][\s/]+(" + _EVENTS + rb")\s*=\s*[\"'`]?\s*([^\s\"'`])")
_UNQUOTED = find_here(rb"[^\s\"'`<>]{0,40}[\s/]+(" + _EVENTS + rb")\s*=\s*[\"']?[^\s\"'<>]{0,60}[(`]")
_IN_SCRIPT = find_here(
    rb"\\?([\"'`])[\s)\]}]*(?:[;,+*/&|^%<>?:=-]|\bin\b|\n|(?:and|or)\b|\.)[^\"'`<>\n]{0,80}?(" + _GLOBAL + rb")"
)
_AFTER_COMMENT = find_here(rb"[^\"'<>(]{0,20}(?:\*/|-->|\n|\})[\s;)}]*(" + _GLOBAL + rb")")
_WHOLE_CALL = find_here(
    rb"[\s;(]*(?:(?:window|self|top|parent|this|globalthis)\s*[.\[][\"']?)*(?:alert|confirm|prompt"
    rb"|eval)[\"'\]]*\s*(?:\?\.)?"
    rb"[(`]\s*[^\s)`][^)`]{0,200}[)`][)\s;/>*-]*$"
)
_WHOLE_ADDRESS = find_here(rb"[^a-z0-9]{0,10}(?:[a-z]{1,12}=[^a-z0-9]{0,3})?(" + _RUNS + rb")\s*([^\s].*)?")
_QUOTED_ADDRESS = find(rb"[(\"'=]\s*(" + _RUNS + rb")[^\s\"'<>]{0,60}[(`=]")
_WHOLE_DATA = find_here(
    rb"[^a-z0-9]{0,6}mhtml:https?:[^\s]+!|[^a-z0-9]{0,6}data\s*:\s*(?:text/html|image/svg\+xml"
    rb"|application/xhtml\+xml|text/xml)[^,]{0,60},\s*[^\s]"
)
_CALLS = find(rb"[(`=\[]|//|%28")
_PUNCTUATION_CODE = find(rb"[\[\]()!+]{40,}|(?:\[\]|\(\)|!\[\]|\+\[\]){8,}")
_CONCATENATED = re.compile(rb"[\"'`]\s{0,3}\+\s{0,3}[\"'`]")

_LOADS = {
    b"isindex": (b"action", b"formaction", b"type"),
    b"iframe": (b"src", b"srcdoc", b"onload"),
    b"frame": (b"src",),
    b"object": (b"data", b"classid", b"type"),
    b"embed": (b"src", b"code"),
    b"applet": (b"code", b"archive", b"object"),
    b"base": (b"href",),
    b"layer": (b"src",),
    b"ilayer": (b"src",),
    b"bgsound": (b"src",),
    b"portal": (b"src",),
    b"?import": (b"implementation",),
    b"?xml-stylesheet": (b"href",),
    b"xml": (b"src",),
}
"""Elements that load what is named by one of these attributes."""

_OWN_PLACE = find_here(rb"[\s./]?[\w.-][\w./?=&%+~-]*$")
"""An address within the site: what is loaded from there the sender has not made."""

_ANIMATIONS = frozenset((b"set", b"animate", b"animatetransform", b"animatemotion"))
_SCORE_RUNS, _SCORE_LOADS, _SCORE_BREAKS, _SCORE_ODD, _HINT = 7, 6, 6, 5, 4
_OPENING = b"=:(,[{ \t\r\n"


def detect(text: bytes, place: Place, reading: Reading = UNCOUNTED) -> Finding | None:
    """The strongest finding; of equal ones the first."""
    best: Finding | None = None
    if b"<" in text and _SUSPECT(text, 0) is not None:
        best = _markup(text, reading)
        if best is None and (b"<!--" in text or b"<![" in text):
            joined = _APART.sub(b"", text)
            found = _markup(joined, reading) if joined != text else None
            if found is not None:
                best = _finding(found.score, (0, len(text)), found.context, f"cut by comments: {found.reason}")
    if best is None or best.score < _SCORE_RUNS:
        other = _outside(text)
        if other is not None and (best is None or other.score > best.score):
            best = other
    return best


def _finding(score: int, span: tuple[int, int], context: str, reason: str, is_complete: bool = True) -> Finding:
    return Finding("script", score, span, context, reason, is_complete)


# --- elements and their attributes ------------------------------------------------------------------------


def _markup(text: bytes, reading: Reading) -> Finding | None:
    best: Finding | None = None
    position = 0
    for _ in range(TAGS_LIMIT):
        tag = _TAG(text, position)
        if tag is None:
            break
        if b"+" in text[tag[1][0] : tag[1][1]]:
            # A blank that was sent as `+` and nobody undid.
            text = text.replace(b"+", b" ")
            continue
        code = len(text) - tag[0][1] if text[tag[1][0] : tag[1][1]].lower() in _HOLD_CODE else 0
        if not reading.spend(TAG_STEPS + code // CONTENT_BYTES_A_STEP):
            break
        found = _element(text, tag, reading)
        if found is not None:
            if found.score >= _SCORE_RUNS:
                return found
            if best is None or found.score > best.score:
                best = found
        position = tag[1][1]
    else:
        if _TAG(text, position) is not None:
            reading.leave_out()
    if best is None:
        nested = _NESTED(text, 0)
        if nested is not None:
            return _finding(
                _SCORE_ODD, nested[0], "element", "a tag within a tag's name, which shows when it is cut out"
            )
    return best


_HOLD_CODE = frozenset((b"script", b"style"))


def _element(text: bytes, tag: Spans, reading: Reading) -> Finding | None:
    start, position = tag[0]
    name = text[tag[1][0] : tag[1][1]].lower().rpartition(b":")[2]
    attributes: dict[bytes, bytes] = {}
    best: Finding | None = None
    is_clean = True
    is_open = True
    for _ in range(ATTRIBUTES_LIMIT):
        spans = _ATTRIBUTE(text, position)
        if spans is None:
            is_open = False
            break
        if not reading.spend(ATTRIBUTE_STEPS):
            break
        position = spans[0][1]
        key = text[spans[1][0] : spans[1][1]].lower()
        if spans[2][0] < 0:
            is_clean = is_clean and key.isalpha() and key in _BARE
            attributes.setdefault(key, b"")
            continue
        value = text[spans[2][0] : spans[2][1]].strip(b"\"'`")
        attributes.setdefault(key, value)
        found = _attribute(text, name, key, value, is_clean, (start, position))
        if found is not None and (best is None or found.score > best.score):
            best = found
            if best.score >= _SCORE_RUNS:
                return best
    else:
        if _ATTRIBUTE(text, position) is not None:
            reading.leave_out()
    end = text.find(b">", position) + 1 if is_open or text[position : position + 40].find(b">") >= 0 else position
    found = _loading(text, name, attributes, (start, end or len(text)))
    return found if best is None or (found is not None and found.score > best.score) else best


_BARE = frozenset(
    b"autofocus contenteditable open controls autoplay hidden disabled checked selected required readonly "
    b"multiple loop "
    b"muted async defer itemscope tabindex draggable popover x a id poster src loading".split()
)
"""Attributes that stand without a value in HTML; other bare words between them are prose."""


def _attribute(
    text: bytes, element: bytes, key: bytes, value: bytes, is_clean: bool, span: tuple[int, int]
) -> Finding | None:
    shown = key.decode("latin-1")
    if key[:2] == b"on" and value and key != b"on":
        if _EVENT(key, 0) is not None:
            return _finding(_SCORE_RUNS, span, "element", f"event handler {shown}")
        if is_clean and _ANY_EVENT(key, 0) is not None:
            return _finding(_SCORE_ODD, span, "element", f"attribute {shown} as of an event")
        return None
    if b"/on" in value:
        inner = _IN_VALUE(value, 0)
        if inner is not None:
            return _finding(_SCORE_ODD, span, "element", "event handler behind a slash")
    if key == b"srcdoc" and value:
        return _finding(_SCORE_RUNS, span, "element", "document in an attribute (srcdoc)")
    if key == b"style":
        if _STYLE_CODE(_without_comments(value), 0) is not None:
            return _finding(_SCORE_RUNS, span, "element", "style that runs code")
        return None
    if value[:2] == b"&{" and b"}" in value:
        return _finding(_SCORE_ODD, span, "element", f"script entity in {shown}")
    if b":" not in value and b"#" not in value:
        return None
    runs = _RUNS_HERE(value, 0)
    if runs is not None:
        if _NOTHING(value, 0) is not None:
            return None
        return _finding(_SCORE_RUNS, span, "element", f"address in {shown} whose scheme runs code")
    if _DATA_HERE(value, 0) is not None and (element != b"img" and element != b"image" and element != b"source"):
        return _finding(_SCORE_LOADS, span, "element", f"document as an address in {shown}")
    return None


def _without_comments(value: bytes) -> bytes:
    parts = value.replace(b"\\", b"").split(b"/*")
    return b"".join([parts[0], *(part.partition(b"*/")[2] for part in parts[1:])]) if len(parts) > 1 else parts[0]


def _loading(text: bytes, name: bytes, attributes: dict[bytes, bytes], span: tuple[int, int]) -> Finding | None:
    loads = _LOADS.get(name)
    if loads is not None:
        named = next((key for key in loads if attributes.get(key)), None)
        if named is None or attributes[named] in (b"about:blank", b"#"):
            return None
        score = _SCORE_LOADS if _OWN_PLACE(attributes[named], 0) is None else _HINT
        return _finding(score, span, "element", f"{name.decode('latin-1')} that loads by {named.decode('latin-1')}")
    if name == b"script":
        source = next((key for key in attributes if key in (b"src", b"href", b"xlink:href")), None)
        if source is not None and attributes[source]:
            score = _SCORE_RUNS if _OWN_PLACE(attributes[source], 0) is None else _HINT
            return _finding(score, span, "element", f"script that loads by {source.decode('latin-1')}")
        # In quotes of any kind it is a mention of the tag.
        is_mention = span[0] > 0 and text[span[0] - 1 : span[0]] == text[span[1] : span[1] + 1]
        if (
            text[span[1] - 1 : span[1]] == b">"
            and not is_mention
            and text[span[1] :].strip()
            and _CODE(text, span[1]) is not None
        ):
            return _finding(_SCORE_RUNS, (span[0], min(len(text), span[1] + 40)), "element", "script with code in it")
        if (
            span[1] == len(text)
            and text[span[1] - 1 : span[1]] != b">"
            and _GLOBAL_HERE(text[span[0] :], 0) is not None
        ):
            return _finding(_SCORE_LOADS, span, "element", "script that is not closed, with code in it")
        return None
    if name == b"meta":
        kind = attributes.get(b"http-equiv", b"").lower()
        content = attributes.get(b"content", b"").lower()
        if (
            kind in (b"refresh", b"set-cookie", b"link")
            or b"utf-7" in content
            or b"utf-7" in attributes.get(b"charset", b"")
        ):
            return _finding(_SCORE_LOADS, span, "element", "meta that sends elsewhere or changes how the page is read")
        return None
    if name == b"link":
        kind = attributes.get(b"rel", b"").lower()
        if attributes.get(b"href") and (b"stylesheet" in kind or b"import" in kind or b"load" in kind):
            score = _SCORE_ODD if _OWN_PLACE(attributes[b"href"], 0) is None else _HINT
            return _finding(score, span, "element", "link that loads a style sheet or a document")
        return None
    if name in _ANIMATIONS:
        target = attributes.get(b"attributename", b"").lower()
        if (target.endswith(b"href") or target.startswith(b"on") or target == b"innerhtml") and len(attributes) > 1:
            return _finding(_SCORE_LOADS, span, "element", "animation that sets an address or a handler")
        return None
    if name == b"style":
        end = _STYLE_END(text, span[1])
        content = text[span[1] : end[0][0] if end is not None else len(text)]
        if (
            _STYLE_CODE(_without_comments(content), 0) is not None
            or _STYLE_HIDES(content, 0) is not None
            or (attributes.get(b"type", b"").lower().endswith(b"javascript"))
        ):
            return _finding(_SCORE_LOADS, span, "element", "style sheet that runs code")
    return None


# --- out of an attribute, out of a script, the whole value ------------------------------------------------

_GLOBAL_HERE = find(_GLOBAL)


def _outside(text: bytes) -> Finding | None:
    if b":" in text:
        address = _WHOLE_ADDRESS(text, 0)
        if address is not None and address[2][0] >= 0 and _NOTHING(text, 0) is None:
            rest = text[address[2][0] : address[2][1]]
            if _CALLS(rest, 0) is not None:
                return _finding(_SCORE_RUNS, address[1], "whole value", "address whose scheme runs code, then code")
        address = _QUOTED_ADDRESS(text, 0)
        if address is not None and _NOTHING(text, address[1][0]) is None:
            return _finding(_SCORE_ODD, address[0], "string", "address whose scheme runs code, then a call", False)
        data = _WHOLE_DATA(text, 0)
        if data is not None:
            return _finding(_SCORE_ODD, data[0], "whole value", "document as an address")
    best: Finding | None = None
    for quote in (b'"', b"'", b"`"):
        best = _behind(text, quote) or best
    if best is not None:
        return best
    if b"=" in text:
        spans = _UNQUOTED(text, 0)
        if spans is not None:
            return _finding(
                _SCORE_ODD, spans[0], "attribute without quotes", "a blank, then an event handler that calls", False
            )
    if _GLOBAL_HERE(text, 0) is not None:
        spans = _AFTER_COMMENT(text, 0)
        if spans is not None and (b"*/" in text[: spans[1][0]] or b"</script" in text.lower()):
            return _finding(_SCORE_ODD, spans[0], "comment or block", "ends it, then uses something global", False)
        spans = _REMAINS(text, 0)
        if spans is not None:
            return _finding(
                _SCORE_ODD, spans[0], "end of a script", "a call of a dialogue or of eval, then the end tag"
            )
        spans = _WHOLE_CALL(text, 0)
        if spans is not None:
            return _finding(_SCORE_ODD, spans[0], "whole value", "a call of a dialogue or of eval, and no more")
    spans = _PUNCTUATION_CODE(text, 0)
    if spans is not None and b"[" in text and b"!" in text and b"+" in text:
        return _finding(_SCORE_ODD, spans[0], "whole value", "code written in brackets and signs alone")
    return None


def _behind(text: bytes, quote: bytes) -> Finding | None:
    """The first quote of the kind, if it ends a string around the value."""
    position = text.find(quote)
    if position < 0:
        return None
    before = text[:position].rstrip(b"\\")
    if before and (before[-1] in _OPENING or (before[-1] in b"<>\"'`" and b"<" in before)):
        return None
    name = quote.decode()
    spans = _IN_ATTRIBUTE(text, position)
    if spans is None and position == 0:
        spans = _QUOTED_FIRST(text, 0)
    if spans is not None:
        event = text[spans[2][0] : spans[2][1]].decode("latin-1")
        return _finding(_SCORE_BREAKS, spans[0], f"attribute in {name}", f"closes {name}, event handler {event}")
    rest = text[position : position + LIMIT_BYTES]
    spans = _IN_SCRIPT(_CONCATENATED.sub(b"", rest) if b"+" in rest else rest, 0)
    if spans is not None:
        return _finding(
            _SCORE_BREAKS,
            (position, min(len(text), position + spans[0][1])),
            f"script string in {name}",
            f"closes {name}, goes on as code, uses something global",
        )
    return None


_HANDLER_STARTS = frozenset(
    start + b"on"
    for start in (b" ", b"\t", b"\n", b"\r", b"\x0c", b"/", b'"', b"'", b"`", b"\x00", b"\x0b", b",", b";")
)
_GLOBALS = frozenset(
    b"alert prompt confirm print eval fetch import function settimeout setinterval setimmediate atob open "
    b"require write "
    b"xmlhttp activex constructor postmessage window self top parent frames globalthis this document location cookie "
    b"navigator fromcharcode new object reflect array promise onerror onload throw domain queuemicrotask".split()
)

DETECTOR = Detector(
    kind="script",
    gate=(
        (
            frozenset((b"<",)),
            frozenset(
                b"script frame object embed applet base meta link set animate style layer bgsound isindex import ?xml "
                b"use "
                b"portal on srcdoc expression binding behavio data mhtml mocha xml".split()
            )
            | frozenset((b":",)),
        ),
        (frozenset((b'"', b"'", b"`")), frozenset((b"=",)), frozenset((b"on",))),
        (frozenset((b'"', b"'", b"`")), _GLOBALS),
        (frozenset((b"=",)), _HANDLER_STARTS, frozenset((b"(", b"`"))),
        (
            frozenset((b":",)),
            frozenset((b"t:", b"mhtml:", b"t :", b"t\t:", b"a:", b"a :", b"data", b"\t", b"\n", b"\r", b" :", b"\x00")),
        ),
        (frozenset((b"alert", b"confirm", b"prompt", b"eval", b"print")), frozenset((b"(", b"`"))),
        (frozenset((b"*/", b"-->", b"\n", b"}")), _GLOBALS),
        (frozenset((b"[]", b"()", b"!+", b"+!", b"([", b"[(", b"])")), frozenset((b"+",)), frozenset((b"!",))),
    ),
    detect=detect,
    limit_bytes=LIMIT_BYTES,
)
