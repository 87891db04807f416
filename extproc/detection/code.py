r"""Code of server languages: calls that start programs, read files or evaluate text, in PHP, Java, Python, Node, Ruby.

What is an injection:

- an opening tag of PHP or ASP, then code;
- a call that evaluates or starts a program, with a literal, a superglobal or another such call as its argument, as the
  whole value or behind what ends the expression around the value (`'.system('id').'`, `1;phpinfo()`, `}}eval(...)`);
- chains that serve no other purpose wherever they stand: `Runtime.getRuntime().exec(`, `__import__('os').system(`,
  `require('child_process').exec(`, `eval($_POST[...`, `new Function(...)` over `constructor`;
- keys that change the prototype of all objects (`__proto__`, `constructor.prototype`) as a name.

A snippet of ordinary code, which defines and calls what it has itself, is none; nor is the name of a function in prose.
"""

from __future__ import annotations

from extproc.detection.contract import UNCOUNTED, Detector, Finding, Place, Reading
from extproc.detection.pattern import find, find_here

LIMIT_BYTES = 8192

_ARGUMENT = rb"(?:[\"'`]|\$_?[a-z{(]|\\[\"']|[a-z_]+\s*\(|chr\s*\(|0x|\[|@)"
_STARTS = (
    rb"(?:(?:shell_)?exec|system|passthru|popen|proc_open|pcntl_exec|eval|assert|create_function"
    rb"|call_user_func(?:_array)?|base64_decode|gzinflate|str_rot13|file_get_contents"
    rb"|file_put_contents|readfile|highlight_file|show_source|fopen|include(?:_once)?|require(?:_once)?"
    rb"|preg_replace|array_map|usort|unserialize|move_uploaded_file|ini_set|putenv|dl|print_r|var_dump|die"
    rb"|extract|parse_str|fsockopen|curl_exec|scandir|glob|unlink|symlink|mail)"
)
_PHP_TAG = find(
    rb"<\?(?:php\b\s*|=\s*|\s+)[^>]{0,20}[a-z$@\"'`({/]|<script\s+language\s*=\s*[\"']?php|<%\s*(?:eval"
    rb"|execute|response\.write|@\s*page|=\s*(?:system|exec|runtime|new\s|process)|runtime|system\."
    rb"|out\.print|import)|<%@\s*(?:page|import)"
)
_XML_TAG = find_here(rb"<\?xml[\s-]")
_SUPERGLOBAL = find(
    rb"\b(?:eval|assert|system|exec|shell_exec|passthru|popen|include|require|include_once|require_once"
    rb"|create_function|call_user_func|preg_replace|unserialize|file_get_contents"
    rb"|array_map)\s*[\s(@]\s*(?:[a-z0-9_]+\s*\(\s*){0,3}\$(?:_(?:get|post|request|cookie|server|files|env"
    rb"|session)\b|\{|globals\b)|\b(?:echo|print)\s*[\s(@]\s*\$_(?:get|post|request|cookie|server|files"
    rb"|env|session)\b|\$_(?:get|post|request|cookie)\s*\[[^\]]{1,40}\]\s*\("
)
_WHOLE_CALL = find_here(
    rb"[\s;@'\")\]}.+,|&*/-]{0,12}(?:(?:echo|print|return|die)\s+|@)?\(?" + _STARTS + rb"\)?\s*\(\s*" + _ARGUMENT
)
_WHOLE_BARE = find_here(
    rb"[\s;@'\")\]}.+,|&*/\w-]{0,12}?\b(?:phpinfo|phpversion|getcwd|php_uname|phpcredits|get_current_user"
    rb"|getmypid|sys_get_temp_dir"
    rb"|get_defined_vars)\s*\(\s*-?[0-9]?\s*\)\s*[;.'\")\]}/#*-]*\s*[\w.'\"]{0,12}\s*$"
)
_BREAKS_CALL = find_here(
    rb"[^\n]{0,60}?[\"'`][\s)\]}]*[.;,+&|]+\s*(?:print|echo|return|die)?[\s(@]*(?:"
    + _STARTS
    + rb"\s*\(\s*"
    + _ARGUMENT
    + rb"|phpinfo\s*\()"
)
_NUMBER_CALL = find_here(
    rb"\s*[\w${]{0,16}[})]*\s*[;)}]+\s*(?:@|echo\s+|print\s+)?(?:"
    + _STARTS
    + rb"\s*\(\s*"
    + _ARGUMENT
    + rb"|phpinfo\s*\()"
)
_BRACED = find(rb"\$\{\s*@?(?:" + _STARTS + rb"|phpinfo|print)\s*\(|\{\$\{[^}]*\(")
_UNMISTAKABLE = find(
    rb"getruntime\s*\(\s*\)\s*\.\s*(?:exec|load)|\bnew\s+(?:java\.lang\.)?processbuilder\s*\("
    rb"|\bprocessbuilder\s*\(\s*(?:new|[\"'\[{])|java\.lang\.(?:runtime|processbuilder|processimpl"
    rb"|classloader|thread)\b|class\.forname\s*\(\s*[\"']"
    rb"|scriptenginemanager|new\s+initialcontext\s*\(|new\s+urlclassloader|[\"']\s*\.\s*execute\s*\(\s*\)"
    rb"|\bt\s*\(\s*java\.|groovyshell|jshell\s*\.\s*create|defineclass\s*\("
    rb"|__import__\s*\(\s*[\"'`]|__builtins__\s*[.\[]|\]?\.__subclasses__\s*\(\s*\)\s*[\[.]"
    rb"|__globals__\s*[.\[]|\bos\s*\.\s*(?:system|popen|execv[pe]{0,2}"
    rb"|spawn[lv]p?e?)\s*\(\s*(?:[\"'`]|f[\"']|\w+\))|subprocess\s*\.\s*(?:popen|call|check_output"
    rb"|check_call|run|getoutput|getstatusoutput)\s*\(\s*(?:[\"']|\[?\s*[\"'](?:/|ba?sh|id|ls|cat|whoami"
    rb"|nc|curl|wget|cmd|powershell|python|ping|uname)\b)"
    rb"|\bexec\s*\(\s*(?:[\"']import|compile\s*\(|base64|bytes|__|codecs|urllib|requests)"
    rb"|\beval\s*\(\s*(?:compile\s*\(|base64|__|atob|bytes|buffer\.from|string\.fromcharcode|[\"']__"
    rb"|request\.|input\s*\()|importlib\s*\.\s*import_module\s*\(\s*[\"'](?:os|subprocess|socket|pty)"
    rb"|pty\s*\.\s*spawn\s*\("
    rb"|require\s*\(\s*[\"'`](?:node:)?child_process[\"'`]\s*\)\s*\.?\s*(?:exec|spawn|fork)"
    rb"|require\s*\(\s*[\"'`](?:node:)?fs[\"'`]\s*\)\s*\.\s*(?:read|write|unlink|append"
    rb"|exists)[a-z]*\s*\(\s*[\"'`]|process\s*\.\s*(?:mainmodule|binding\s*\(|dlopen\s*\(\s*[^)\s]|_load)"
    rb"|global\s*\.\s*process\b|\bmainmodule\s*\.\s*(?:require|constructor)"
    rb"|child_process\s*[\"'`]?\s*\)?\s*\.\s*(?:exec|spawn)(?:sync|file|filesync)?\s*\(\s*[^)\s]"
    rb"|constructor\s*(?:\.|\[\s*[\"'`])\s*(?:constructor|prototype)[\"'`]?\s*\]?\s*(?:\(|\.|\[)"
    rb"|(?:new\s+)?function\s*\(\s*[\"'`]\s*(?:return\s+(?:this|process|global)|[a-z]+\s*\()"
    rb"|deno\s*\.\s*run|bun\s*\.\s*spawn"
    rb"|\b(?:kernel|process|open3|io|pty)\s*\.\s*(?:exec|system|spawn|popen[23e]?|capture2e?"
    rb"|capture3)\s*\(?\s*[\"'`]|%x[({\[][a-z]|\bos\.execute\s*\(\s*[\"'`\[]|io\.popen\s*\(\s*[\"'`\[]"
    rb"|__class__\s*\.\s*__(?:bases?|mro)__|\bconstructor\s*\(\s*[\"'`]return\s|processgroovymethods\s*\.\s*execute"
    rb"|\baddtype\s+application/x-httpd|\bclass\.(?:module\.)?classloader\.[a-z]|<cfexecute\s[^>]{0,80}name|wscript\.shell|createobject\s*\(\s*[\"']|system\.diagnostics\.process|process\.start\s*\(\s*[\"']"
    rb"|-exec\s+bypass|\bsystem\s*\(\s*[\"'](?:id|ls|cat|whoami|uname|pwd|nc|wget|curl|ping|/bin/|cmd|rm"
    rb"|sleep|echo|bash|sh|dir|type|python|perl)\b"
)
_ONE_CALL = find_here(
    rb"[\s;'\")\]}+,|&-]{0,8}(?:(?:import|from)\s+(?:os|subprocess|sys|socket|pty|commands)\b[^\n;]{0,40};"
    rb"|open\s*\(\s*[\"'](?:/etc/|/proc/|\.\./|c:\\|[a-z]+://)[^\n]*\)\s*\.\s*read|file\s*\.\s*(?:open"
    rb"|read)\s*\(\s*[\"']/|system\s*\(\s*[\"']|exec\s*\(\s*[\"']|eval\s*\(\s*[\"'`]|res\.(?:end|send"
    rb"|write)\s*\(\s*require"
    rb"|global\.|process\.(?:exit|kill|cwd|env|version)\s*(?:\(|$)|require\s*\(\s*[\"'](?:fs|child_process"
    rb"|os|net|vm|http|util)[\"']\s*\)|settimeout\s*\(\s*[\"']"
    rb"|throw\s+new\s+error\s*\(|import\s*\(\s*[\"'](?:fs|child_process|https?:)|qx[/{(|]"
    rb"|dir\.(?:entries|glob|pwd)|response\.write\s*\(|server\.execute|thread\.sleep\s*\(\s*[0-9]"
    rb"|time\.sleep\s*\(\s*[0-9])"
)
_LOADER = find(rb"(?:^|[.\[])class(?:\.|\]?\[)[\"']?(?:module[\"'\]]?[.\[]+[\"']?)?classloader\b")
_POINTER = find_here(rb"[\w./~-]{0,80}/(?:__proto__|constructor/prototype)/\w[\w./~-]{0,80}$")
_PROTOTYPE = find(rb"(?:^|[.\[\"'])(?:__proto__|constructor\]?[.\[]+[\"']?prototype)(?:$|[.\]\"'\[])")

_SURE, _CALL, _WEAK = 7, 6, 5


def detect(text: bytes, place: Place, reading: Reading = UNCOUNTED) -> Finding | None:
    """The strongest finding; of equal ones the first."""
    if place is Place.NAME:
        spans = _PROTOTYPE(text, 0)
        if spans is not None:
            return _finding(_CALL, spans[0], "name", "the prototype of all objects")
        spans = _LOADER(text, 0)
        return None if spans is None else _finding(_SURE, spans[0], "name", "the loader of classes, through a property")
    spans = _POINTER(text, 0)
    if spans is not None:
        return _finding(_CALL, spans[0], "whole value", "the prototype of all objects, as a path to it")
    spans = _UNMISTAKABLE(text, 0)
    if spans is not None:
        is_alone = b"\n" not in text.strip() or len(text) < 400
        score = _SURE if is_alone else _CALL
        return _finding(score, spans[0], "code", "a chain of calls that starts a program or reaches the interpreter")
    spans = _SUPERGLOBAL(text, 0)
    if spans is not None:
        return _finding(_SURE, spans[0], "code of PHP", "runs what the request holds")
    if b"<" in text:
        spans = _PHP_TAG(text, 0)
        if spans is not None and _XML_TAG(text, spans[0][0]) is None:
            return _finding(_CALL, spans[0], "whole value", "opening tag of a server page, then code")
    if b"(" in text or b"`" in text or b"." in text:
        for judge, score, context, reason in _JUDGES:
            spans = judge(text, 0)
            if spans is not None:
                return _finding(score, spans[0], context, reason)
    return None


def _finding(score: int, span: tuple[int, int], context: str, reason: str) -> Finding:
    return Finding("code", score, span, context, reason)


_JUDGES = (
    (_WHOLE_CALL, _CALL, "whole value", "a call that evaluates, starts a program or reads a file"),
    (_WHOLE_BARE, _CALL, "whole value", "a call that tells of the server"),
    (_BREAKS_CALL, _CALL, "string", "closes the string, then a call that evaluates or starts a program"),
    (_NUMBER_CALL, _CALL, "expression", "ends the expression, then a call that evaluates or starts a program"),
    (_BRACED, _CALL, "string of PHP", "a call in braces within a string"),
    (_ONE_CALL, _WEAK, "whole value", "a call of the language's own library"),
)

_CALLED = frozenset(
    (
        b"exec subprocess system passthru popen eval assert create_function call_user_func base64_decode gzinflate "
        b"str_rot13 file_get file_put readfile highlight_file show_source fopen include require preg_replace array_map "
        b"usort unserialize move_uploaded ini_set putenv dl print_r var_dump die extract parse_str fsockopen curl_exec "
        b"scandir glob unlink symlink mail proc_open phpinfo phpversion getcwd php_uname phpcredits get_current "
        b"getmypid sys_get get_defined getruntime processbuilder forname initialcontext execute jshell __ spawn "
        b"importlib child_process binding function createobject io. open file settimeout throw response server "
        b"thread time. dir res. import print java. ${"
    ).split()
)
_WITHOUT_CALL = frozenset(
    (
        b"java.lang. scriptengine urlclassloader initialcontext __builtins__ __globals__ mainmodule constructor "
        b"classloader cfexecute deno bun wscript system.diagnostics -exec groovyshell defineclass qx %x dir. global. "
        b"jshell __proto__ __class__ processgroovy x-httpd "
        b"prototype dlopen"
    ).split()
)
_RUNS = frozenset(
    b"eval assert system exec passthru popen include require create_function call_user_func preg_replace unserialize "
    b"file_get_contents array_map echo print".split()
)
_QUOTES = frozenset((b"'", b'"', b"`"))

DETECTOR = Detector(
    kind="code",
    gate=(
        (_CALLED, frozenset((b"(",))),
        (_WITHOUT_CALL,),
        (frozenset((b"$",)), _RUNS),
        (frozenset((b"$_",)),),
        (
            frozenset(b"exec system spawn popen capture".split()),
            _QUOTES,
            frozenset(b"kernel process open3 io pty".split()),
        ),
        (frozenset((b"global",)), frozenset((b"process",))),
        (frozenset((b"process",)), frozenset(b"mainmodule binding dlopen _load exit kill cwd env version".split())),
        (frozenset((b"import", b"from")), frozenset((b";",))),
        (frozenset((b"<?", b"<%", b"<script")),),
    ),
    detect=detect,
    limit_bytes=LIMIT_BYTES,
)
