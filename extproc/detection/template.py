r"""Template and expression injection: what a template engine would work out, and lookups of loggers.

Only what stands inside delimiters counts, `{{ }}`, `{% %}`, `${ }`, `#{ }`, `*{ }`, `%{ }`, `@( )`, `<%= %>`, `{ }` of
Smarty, `<# >` and `?new` of FreeMarker, `#set` of Velocity. An expression there is an injection when it

- works out numbers: `7*7` between constants proves to whoever sends it that it runs, and no form fills in such a thing;
- reaches behind the template: dunder names, classes by name, the interpreter's or the framework's own objects, a call
  of a program, a filter that calls what it is named;
- is a lookup of a logger that loads (`jndi`, `script`, `dns`, `url`) or one within another: lookups that stand for one
  letter are put together first, from the inside out.

A name, a member, a filter for text, a product of two names are what people write into templates: no finding.
"""

from __future__ import annotations

import re

from extproc.detection.contract import UNCOUNTED, Detector, Finding, Place, Reading
from extproc.detection.pattern import find, find_here

EXPRESSION_STEPS = 12
"""What it costs to read one."""

EXPRESSIONS_LIMIT = 64
"""Delimited expressions of one text that are looked at."""

EXPRESSION_LIMIT_BYTES = 512
"""Of one expression; what is behind it is read as text."""

FOLDS_LIMIT = 12
"""Passes that put nested lookups together, from the inside out."""

LIMIT_BYTES = 8192

_OPENS = find(
    rb"\{\{|\{%|[$#*%@~!]\{|<%|\[\[|\[\(|\[#|\{(?:smarty_|math\s+equation|php|\$|[a-z:]+\(|/|[0-9'\"(]|=|#|system|include|fetch|if"
    rb"|literal|self)|@\(|<#|</#|#set\s*\(|\$\("
)
_CLOSES = {
    b"{{": b"}}",
    b"{%": b"%}",
    b"<%": b"%>",
    b"[[": b"]]",
    b"[#": b"]",
    b"[(": b")]",
    b"@(": b")",
    b"#s": b")",
    b"<#": b">",
    b"$(": b")",
}

_ARITHMETIC = find_here(
    rb"(?:\s*(?:if|elif|print|do|return|set\s+\w{1,20}\s*=)\b)?[\s{(=$#*%@!'\"-]*[0-9]{1,20}[\s'\")]*(?:\*\*?|/|%|\+|-|\|\||&&|<<|\^)[\s'\"(]*[0-9]{1,20}[\s'\")"
    rb"|a-z_]*(?:[*+/-][\s0-9'\"()]*)?(?:[=!<>]=?\s*[0-9]{1,20})?[\s})%]*$"
)
_PLAIN_NUMBERS = find_here(rb"[\s$]*[0-9]{1,4}\s*[-/][\s]*[0-9]{1,4}(?:\s*[-/]\s*[0-9]{1,4})?\s*$")
_REPEATED = find_here(rb"[\s{=]*[\"'][^\"']{0,20}[\"']\s*\*\s*[0-9]{1,9}\s*\}*$")
_CONCATENATED = find_here(rb"[\s{=]*[\"'][a-z0-9]{1,12}[\"']\s*(?:\+|~|\.join|\|\s*join)\s*[\"'(\[]")

_REACHES = find(
    rb"__(?:class|globals|init|mro|bases?|subclasses|builtins|import|getitem|getattribute|dict|self|code"
    rb"|closure|func|name|"
    rb"module|loader|spec|file|reduce|enter|exit|call|new|del|str|doc|dir|delattr|weakref|request)__"
    rb"|\b(?:lipsum|cycler|joiner|namespace|url_for|get_flashed_messages)\s*[.|\[(]"
    rb"|\brequest\s*(?:\.\s*(?:application|environ|args|values|cookies|headers|__)|\|\s*attr|\[)"
    rb"|\|\s*(?:attr\s*\(|(?:map|filter|sort|reduce|uasort|usort|find)\s*\(\s*['\"](?:system|exec|passthru"
    rb"|popen|shell_exec|assert|phpinfo|file_get|call_user|id)"
    rb"|_?self\s*\.\s*(?:env\b|_|__))"
    rb"|\['?\"?(?:id|ls|cat|whoami)[^\]]{0,60}\]\s*\|\s*(?:map|filter|sort|reduce|join)"
    rb"|_self\b|registerundefinedfiltercallback|registerfilter|getfilter\s*\(|_templatereference"
    rb"|\bt\s*\(\s*[a-z]+\.[a-z]|\bjava\s*\.\s*(?:lang|util|io|net|nio)|\bjavax\s*\."
    rb"|runtime\s*\.\s*(?:exec|getruntime)|getruntime\s*\("
    rb"|\.\s*(?:getclass|class)\s*(?:\(\s*\)|\.|\[|\|)|\.\s*forname\s*\(|processbuilder|scriptengine"
    rb"|objectconstructor|jythonruntime"
    rb"|\?\s*(?:new|api|eval|interpret)\b|freemarker\s*\.|\bclass\s*\.\s*(?:inspect|type|class)"
    rb"|\.\s*(?:newinstance|getmethod|getdeclared\w+|invoke|getconstructor\w*|loadclass|getclassloader"
    rb"|protectiondomain)\b"
    rb"|#_?memberaccess|#(?:context|attr|request|session|application|parameters|cmd|p|a|rt|os|res|foo"
    rb"|ognl\w*)\s*[.=\[]|@[a-z]+(?:\.[a-z]+)+@"
    rb"|\bconstructor\b|\b(?:process\s*\.\s*(?:mainmodule|binding|env\b|version|exit|cwd|dlopen)"
    rb"|mainmodule|child_process|global\s*\.\s*process|globalthis\s*\.|require\s*\(\s*['\"]"
    rb"|return\s+process)"
    rb"|\b(?:settings|config|app\.config|current_app)\s*\.\s*(?:secret|items|from|update|root|keys|values"
    rb"|database|__|init)|\bapp\s*\.\s*request\b|\bdump\s*\(\s*(?:app|_context|self)|\bphpinfo\b"
    rb"|\bgetenv\s*\(|\$_(?:get|post|request|server|cookie|env|files)\b"
    rb"|\b(?:import|from)\s+(?:os|sys|subprocess|socket|commands|platform|shutil|pty|base64|java|builtins"
    rb"|importlib)\b|\bos\s*\.\s*(?:popen|system|environ|listdir|getcwd|uname|read|path)|subprocess\s*\."
    rb"|\.\s*popen\s*\(|\bpopen\s*\("
    rb"|\b(?:system|exec|shell_exec|passthru|eval|assert|proc_open|spawn|execsync|`|file_get_contents"
    rb"|readfile|fopen|file_put_contents|call_user_func\w*|highlight_file|show_source|include_once"
    rb"|require_once)\s*\(?\s*['\"(`$\[]"
    rb"|\b(?:file|io|dir|kernel|open3|pty)\s*\.\s*(?:open|read|popen|entries|exec|system|spawn|glob"
    rb"|capture\w*|readlines|write|each_child|children|foreach)\b|%x[\[({|]|`[^`]{1,80}`"
    rb"|\bself\s*::|\bsmarty\s*\.\s*(?:version|template|now|server|env|const|current)|\bgetstreamvariable"
    rb"|\bsmarty_internal|\$this\s*->|\{\s*php\s*\}|\bstring\s*\.\s*sub\b|\blookup\s+string"
    rb"|\bwith\s+['\"]s['\"]\s+as\b|\bdefine(?:getter|property)\b|\b__define"
    rb"|\b(?:application|session|request|page)scope\b|\bpagecontext\b|facescontext|\bparam\s*\.\s*[a-z]+\."
    rb"|\bservletcontext\b|\bresponse\s*\.\s*(?:write|add|end|redirect)|\bcreateobject\s*\(|wscript"
    rb"|system\s*\.\s*(?:diagnostics|io|net|reflection|environment)|\bassembly\s*\.|\btypeof\s*\("
    rb"|file\s*\.\s*read|\.gettype\s*\(|process\s*\.\s*start|server\s*\.\s*(?:mappath|createobject)"
    rb"|directory\s*\.\s*get"
    rb"|\bbeans\s*\.|@bean\b|#ctx\b|\bnew\s+(?:java|javax|org|com|groovy|function|system)\b"
    rb"|\.\s*execute\s*\(\s*\)|\bgroovy\b|\bsession\s*\.\s*setattribute"
    rb"|\bdebug\s*(?:%|$)|\binclude\s+['\"]?(?:/|\.\./|file:|php:|https?:)|\bload\s+log\b"
    rb"|\bget_admin_log\b|\bcsrf_token\s*%|\bmro\b|\bsubclasses\b|\bbuiltins\b|\bglobals\b"
    rb"|\bundefined\s*\.|\bscope\s*\.|\b\$(?:eval|on|parent|new)\b|\btoString\s*\(\s*\)\s*\."
    rb"|[\"'](?:/(?:etc|proc|root)/[^\"']{1,80}|php://[^\"']{1,80})[\"']|\bconstant\s*\(\s*[\"']|\.data_model\b"
    rb"|\bsigner\s*\.\s*key\b|smarty_[a-z_]{1,40}::|\bequation\s*=\s*[\"'][^}]{0,80}(?:\\x|[\"']\s*\)\s*\()"
    rb"|\bfromcharcode|\balert\s*\(|\bfetch\s*\("
)
_WHOLE_NAME = find_here(
    rb"[\s=]*(?:config|self|settings|request|app|debug|env|_context|_self|dump\(\)|globals\(\)|locals\(\)"
    rb"|vars\(\)|dir\(\)|this|\.|\$smarty\.version"
    rb"|smarty\.version|range\.constructor|\.(?:version|globals|main|vars|namespace|template_name)|\$class|\$context|applicationscope|sessionscope"
    rb"|request\.application)[\s]*$"
)
_STATEMENT = find_here(
    rb"\s*(?:import|from|debug|extends|include|load|set\s|assign|macro|call|exec|python|raw_?php|php|eval)\b"
)
_VELOCITY = find(
    rb"#(?:include|parse)\s*\(\s*[\"'](?:/|\.\.|[a-z]{2,8}:)|#evaluate\s*\(\s*[\"'$]|\$!?\{?[a-z_]\w{0,30}\}?\s*\.\s*(?:getclass\s*\(|class\s*\.|inspect\s*\()"
)
_LOADS = find(rb"\$\{\s*(?:jndi|jn?di)\s*:\s*[^}\s]?")
_LOADS_OTHER = find(
    rb"\$\{\s*(script\s*:\s*[a-z]+\s*:|dns\s*:|url\s*:\s*[a-z0-9-]+\s*:|base64decoder\s*:"
    rb"|resourcebundle\s*:|file\s*:\s*utf-?8\s*:)"
)
_TELLS = find(
    rb"\$\{\s*(?:env|sys|ctx|java|web|docker|k8s|kubernetes|spring|log4j|hostname|lower|upper|sd|main)"
    rb"\s*:[^}]{1,200}"
)
_NESTED = find(rb"\$\{\s*\$\{[a-z]{1,12}\s*:")
_INNERMOST = re.compile(rb"\$\{(?:[^{}$]{0,200}?:-|[a-z0-9_]{1,12}:)?([^{}$:]{0,200})\}", re.IGNORECASE)
"""`${lower:x}`, `${::-x}`, `${env:NAME:-x}` stand for x; `${name}` is left alone by `_fold`."""
_READS_FILE = find_here(
    rb"\s*[\w.]{1,60}\s*\(\s*[\"'](?:/(?:etc|proc|var|root|home|tmp|app|usr|opt)/|[a-z]:\\|\.\./|file:)"
)
_OF_SMARTY = frozenset(
    (b"equation", b"*", b"php", b"$", b"system", b"self", b"smarty", b"include", b"fetch", b"exec", b"eval")
)
"""Single braces are everywhere; one of these must be between them."""
_PROBE = find(rb"(?:[$#*@~]?\{\{|[$#*@~]\{|\{%|\[%|<#|\[#){0,4}<%(?:[$#*@~]?\{\{|[$#*@~]\{|\{%|\[%|<#|\[#){1,4}['\"%]")
"""Openings of several languages at once: each fails in its own way on what follows."""
_RAZOR = find(
    rb"@(?:[a-z]{1,20}\.[a-z]{1,20}\(\s*)?(?:system\.(?:io|diagnostics|net|reflection|environment)|microsoft\.win32)\.[a-z.]+\s*[.(]"
)

_RUNS, _TELLS_SCORE, _WORKS_OUT, _NAMES = 8, 5, 6, 5


def detect(text: bytes, place: Place, reading: Reading = UNCOUNTED) -> Finding | None:
    """The strongest finding of lookups and expressions."""
    best: Finding | None = None
    if b"${" in text:
        best = _lookup(text, reading)
        if best is not None and best.score >= _RUNS:
            return best
    found = _expressions(text, reading)
    if found is not None and (best is None or found.score > best.score):
        best = found
    if best is None:
        spans = _RAZOR(text, 0)
        if spans is not None:
            return _finding(_RUNS, spans[0], "expression in @", "reaches behind the template")
        spans = _PROBE(text, 0)
        if spans is not None:
            return _finding(_WORKS_OUT, spans[0], "expression", "openings of several languages at once")
        spans = _VELOCITY(text, 0)
        if spans is not None:
            best = _finding(_WORKS_OUT, spans[0], "reference of Velocity", "reaches a class or a file")
    return best


def _finding(score: int, span: tuple[int, int], context: str, reason: str) -> Finding:
    return Finding("template", score, span, context, reason)


# --- lookups of loggers -----------------------------------------------------------------------------------


def _lookup(text: bytes, reading: Reading) -> Finding | None:
    folded, folds = text, 0
    if text.count(b"${") > 1:
        while folds < FOLDS_LIMIT:
            after = _INNERMOST.sub(_fold, folded)
            if after == folded:
                break
            folded, folds = after, folds + 1
        else:
            reading.leave_out()
    whole = (text.find(b"${"), len(text))
    if _LOADS(folded, 0) is not None or _LOADS(text, 0) is not None:
        how = "lookups put together: jndi" if folds and _LOADS(text, 0) is None else "lookup jndi"
        return _finding(9, whole, "lookup of a logger", how)
    other = _LOADS_OTHER(folded, 0)
    if other is not None:
        name = folded[other[1][0] : other[1][1]].partition(b":")[0].decode("latin-1")
        return _finding(_RUNS, whole, "lookup", f"lookup {name}, which runs or loads")
    if folds and (_TELLS(text, 0) is not None or _NESTED(text, 0) is not None) and text.count(b"${") > 2:
        return _finding(_WORKS_OUT, whole, "lookup of a logger", "lookups within lookups")
    spans = _TELLS(text, 0)
    if spans is None:
        return None
    if text[: spans[0][0]].strip() or text[spans[0][1] :].strip(b"} \r\n\t"):
        return _finding(4, spans[0], "lookup of a logger", "lookup that tells of the system, in a text")
    return _finding(_TELLS_SCORE, spans[0], "lookup of a logger", "lookup that tells of the system")


def _fold(found: re.Match[bytes]) -> bytes:
    """What an inner lookup stands for; one that only names a variable stays."""
    inner = found[0][2:-1]
    if not inner:
        return b""
    return found[1] if b":" in inner and inner.partition(b":")[0].strip().lower() not in _KEPT else found[0]


_KEPT = frozenset((b"jndi", b"script", b"dns", b"url", b"base64decoder"))


# --- expressions between delimiters -----------------------------------------------------------------------


def _expressions(text: bytes, reading: Reading) -> Finding | None:
    best: Finding | None = None
    position = 0
    for _ in range(EXPRESSIONS_LIMIT):
        opened = _OPENS(text, position)
        if opened is None:
            return best
        if not reading.spend(EXPRESSION_STEPS):
            break
        start, after = opened[0]
        sign = text[start : start + 2].lower()
        if sign in (b"#s", b"<#"):
            after = start + 2
        elif sign[:1] == b"{" and sign not in (b"{{", b"{%"):
            after = start + 1
        close = text.find(_CLOSES.get(sign, b"}"), after)
        end = close if close >= 0 else len(text)
        if end > after + EXPRESSION_LIMIT_BYTES:
            end = after + EXPRESSION_LIMIT_BYTES
            if close >= 0:
                reading.leave_out()
        found = _expression(text, start, after, end, sign, close >= 0)
        if found is not None and (best is None or found.score > best.score):
            best = found
            if best.score >= _RUNS:
                return best
        position = after
    if _OPENS(text, position) is not None:
        reading.leave_out()
    return best


def _expression(text: bytes, start: int, after: int, end: int, sign: bytes, is_closed: bool) -> Finding | None:
    inner = text[after:end]
    shown = sign.decode("latin-1")
    span = (start, min(len(text), end + 2))
    is_single = sign[:1] == b"{" and sign not in (b"{{", b"{%")
    if is_single and not any(word in inner.lower() for word in _OF_SMARTY):
        return None
    context = f"expression in {shown[:1] if is_single else shown}"
    if (is_closed or sign == b"<%") and _ARITHMETIC(inner, 0) is not None:
        is_weak = is_single or sign in (b"[[", b"[(", b"$(") or _PLAIN_NUMBERS(inner, 0) is not None
        if not is_weak or b"*" in inner:
            return _finding(_WORKS_OUT, span, context, "numbers to be worked out")
    if is_closed and not is_single and (_REPEATED(inner, 0) is not None or _CONCATENATED(inner, 0) is not None):
        return _finding(_NAMES, span, context, "constants to be put together")
    if sign in (b"[[", b"[(", b"$(") and b"${" not in inner:
        return None
    if sign == b"{p" and inner.lower() == b"php":
        return _finding(_RUNS, span, context, "a block of PHP")
    if (sign == b"%{" and inner[:1] == b"$") or (sign in (b"{'", b'{"') and b".__" not in inner):
        return None  # a hash of Perl, a dictionary of Python
    if sign == b"{{" and _READS_FILE(inner, 0) is not None:
        return _finding(_WORKS_OUT, span, context, "a call with the path of a file")
    reached = _REACHES(inner, 0)
    if reached is not None and not _is_code(text, inner, sign):
        return _finding(_RUNS, span, context, "reaches behind the template")
    # The framework's own object as all that is asked for: printed, it tells the settings.
    is_alone = not text[:start].strip(b"{ \r\n\t\"'") and not text[span[1] :].strip(b"} \r\n\t\"'")
    if is_alone and not is_single and _WHOLE_NAME(inner, 0) is not None:
        return _finding(_NAMES, span, context, "an object of the framework itself")
    return None


def _is_code(text: bytes, inner: bytes, sign: bytes) -> bool:
    """A literal of JavaScript or a shell's variable in a text that is code: its expressions are the code's own."""
    return sign in (b"${", b"$(") and b"`" in text and b"__" not in inner and b"java" not in inner.lower()


_OPENERS = frozenset(
    (
        b"{{",
        b"{%",
        b"${",
        b"#{",
        b"*{",
        b"%{",
        b"@{",
        b"~{",
        b"!{",
        b"<%",
        b"[[",
        b"[(",
        b"[#",
        b"#evaluate",
        b"#include",
        b"#parse",
        b"@(",
        b"<#",
        b"</#",
        b"#set",
        b"$(",
    )
)

DETECTOR = Detector(
    kind="template",
    gate=(
        (_OPENERS,),
        (frozenset((b"{",)), _OF_SMARTY),
        (frozenset((b"@",)), frozenset((b"system.", b"microsoft."))),
        (frozenset((b"$",)), frozenset((b".getclass", b".class.", b".inspect", b"class"))),
    ),
    detect=detect,
    limit_bytes=LIMIT_BYTES,
)
