r"""Serialised objects: what rebuilds objects of the sender's choice when it is read back.

Recognised by the marks of the formats, as they are and in Base64: streams of Java, PHP objects (`O:`,
`C:`; plain arrays and texts are none), pickles of Python with a call, Marshal of Ruby with an object, .NET's binary
formatter and its type names in JSON and XML, tags of YAML that name a class, XML of XMLEncoder and XStream, functions
in JSON of Node, type fields of JSON that name a class (`@type`, `$type`, `@class`) of a known kind of gadget.
"""

from __future__ import annotations

from extproc.detection.contract import UNCOUNTED, Detector, Finding, Place, Reading
from extproc.detection.pattern import find, find_here

LIMIT_BYTES = 8192

_JAVA_TYPES = (
    rb"(?:java|javax|sun|com\.sun|org\.(?:apache|springframework|hibernate|jboss|codehaus|mozilla|python"
    rb"|aspectj|h2|postgresql)|com\.(?:mchange|zaxxer|mysql|alibaba|ibatis|rometools|caucho)|br\.com"
    rb"|net\.sf|ch\.qos|oracle|groovy|clojure|bsh)\.[a-z]"
)

_JAVA = find(rb"\xac\xed\x00\x05[sturqzwpxy{|}~]")
_JAVA_BASE64 = find(rb"(?:^|[^a-z0-9+/])(?-i:rO0AB[QSUWX])[a-z0-9+/]")
_PHP = find(
    rb"(?:^|[;{:\s|=\"'])[oc]:\+?[0-9]{1,4}:[\"']{1,2}(?:\\?[^\"'\x00]{1,120})[\"']{1,2}:\+?[0-9]{1,4}:\{"
    rb"|phar.{0,40}__halt_compiler"
)
_PICKLE = find_here(
    rb"\x80[\x02-\x05](?:\x95.{8})?.*?(?:\x8c.{1,80}?\x93|c[a-z_.]{1,40}\n[a-z_.]{1,40}\n"
    rb"|\x8c.{1,60}\x94\x8c.{1,60}\x94\x93|r\.$|\x85|R)"
)
_PICKLE_TEXT = find(
    rb"(?:^|\s)(?:\(+[a-z]?\n?)*c(?:os|posix|nt|sys|subprocess|builtins|__builtin__|commands|platform|socket"
    rb"|pty|shutil|webbrowser|timeit|importlib|pickle|runpy|code|base64|copy_reg|copyreg|types|functools"
    rb"|operator)\n[a-z_.]{1,40}\n|\(i(?:os|posix|subprocess|__builtin__|builtins)\n"
)
_PICKLE_BASE64 = find(
    rb"(?:^|[^a-z0-9+/])(?-i:gASV[A-Za-z0-9+/]{3,6}AAAA|gA(?:N|J|R|S)[A-Za-z0-9+/]*(?:b3MK|b3MB|cG9zaXg|c3lzdGVt"
    rb"|X19idWlsdGluX18|YnVpbHRpbnM|c3VicHJvY2Vzcw)"
    rb"|Y29zCnN5c3RlbQ|Y3Bvc2l4|KGRwMA|KGlvcw)"
)
_RUBY = find_here(
    rb"\x04\x08[ouIcmCeUS@\[{](?:.{0,400}?)(?:o:|\x3a\x11|gem::|erb|activesupport|deprecatedinstance|@src"
    rb"|kernel)"
)
_RUBY_BASE64 = find(rb"(?:^|[^a-z0-9+/])(?-i:BAho|BAhv|BAhbC|BAhVO|BAhjF)[A-Za-z0-9+/]{8}")
_NET = find(rb"(?:\x00\x01\x00\x00\x00\xff\xff\xff\xff\x01|(?-i:AAEAAAD/////AQAAAA))")
_NET_TYPE = find(
    rb"[\"']?(?:\$type|__type)[\"']?\s*:\s*[\"'](?:system|microsoft|newtonsoft|mscorlib"
    rb"|presentationframework|windowsbase)[.,]|<(?:objectdataprovider|resourcedictionary"
    rb"|processstartinfo)\b|x:type\s+(?:diag:)?process|xmlns:[a-z]+=\"clr-namespace:system"
)
_YAML = find(
    rb"!!?(?:python/(?:object|name|module|tuple)[/:]|ruby/(?:object|hash|struct|class|regexp|exception"
    rb"|range|sym)[:\s]|javax?\.|com\.sun\.|org\.(?:apache|spring)|!?js/(?:function|regexp|undefined)"
    rb"|sun\.|clojure\.|groovy\.|<tag:yaml\.org,2002:(?:python|ruby|java))"
)
_XML_ENCODER = find(
    rb"<java\b[^>]*class\s*=\s*[\"']java\.beans\.xmldecoder|<(?:object|void)\s+class\s*=\s*[\"'](?:java"
    rb"|javax|com\.sun|org)\.|<dynamic-proxy>|java\.beans\.eventhandler|<(?:java|javax|sun|com\.sun"
    rb"|org\.[a-z]+)\.[a-z0-9_.$-]+(?:\s[^>]*)?>|<sorted-set>\s*<|<tree-map>\s*<|<entry>\s*<(?:jdk|java"
    rb"|javax|sun|com\.sun)\.|class=\"(?:java|javax|com\.sun)\.[a-z.]+\"|<jdk\.nashorn"
    rb"|serialization=\"custom\"|resolves-to=\""
)
_TYPE_FIELD = find(rb"[\"'](?:@type|@class|class|_class|\$class|javaclass|type)[\"']\s*:\s*[\"']\[?l?" + _JAVA_TYPES)
_TYPE_ARRAY = find_here(rb"\s*\[\s*[\"']" + _JAVA_TYPES + rb"[\w.$]*[\"']\s*,\s*[\[{\"']")
_GADGET = find_here(
    rb"\s*(?:com\.sun\.rowset\.|com\.sun\.org\.apache\."
    rb"|org\.springframework\.context\.support\.(?:classpath|filesystem)xml|javax\.(?:naming|script"
    rb"|management)\."
    rb"|org\.apache\.(?:xalan|xbean|commons\.(?:collections|beanutils|configuration|dbcp)|tomcat\.dbcp"
    rb"|ibatis\.datasource|activemq|shiro\.jndi)[\w.]*\.|com\.mchange\.v2\."
    rb"|com\.zaxxer\.hikari\.|bsh\.interpreter|groovy\.util\.|java\.net\.urlclassloader"
    rb"|java\.lang\.(?:processbuilder|runtime|autocloseable)$|java\.net\.inet(?:[46]|socket)address$|gem::[a-z]+|json::genericobject|ch\.qos\.logback\.core\.db\."
    rb"|system\.(?:windows|diagnostics|configuration|security|workflow|data|management|io|web"
    rb"|activities)\.[\w.+]*,\s*[a-z][\w.]*)[\w.$, =-]*$"
)
"""Names of classes that are known to run what they are made of, as all of a value: JSON tells a class so."""
_PICKLED_NAME = find(rb"(?:^|[.\[])py/(?:object|reduce|type|function|repr|newargs(?:ex)?|initargs)\]?$")
_NODE = find(
    rb"_\$\$nd_func\$\$_|_\$\$nd_cc\$\$_|\{\s*[\"']?__js_function[\"']?\s*:|[\"']__proto__[\"']\s*:\s*\{|[\"']constructor[\"']\s*:\s*\{\s*[\"']prototype[\"']\s*:\s*\{"
)
_VIEWSTATE_TYPES = find(
    rb"typeconfusedelegate|textformattingrunproperties|activitysurrogateselector|windowsidentity"
    rb"|objectstateformatter|losformatter|sessionsecuritytoken"
)

_SCORE = 7


def detect(text: bytes, place: Place, reading: Reading = UNCOUNTED) -> Finding | None:
    """The first mark that fits."""
    if place is Place.NAME:
        spans = _PICKLED_NAME(text, 0)
        return (
            None
            if spans is None
            else Finding("serialised", _SCORE, spans[0], "name", "an object of Python (jsonpickle)")
        )
    for judge, reason in _JUDGES:
        spans = judge(text, 0)
        if spans is not None:
            if place is Place.COOKIE and reason == _RUBY_NAME:
                continue  # a signed session of Rails
            return Finding("serialised", _SCORE, spans[0], "serialised object", reason)
    return None


_RUBY_NAME = "an object of Ruby (Marshal)"

_JUDGES = (
    (_JAVA, "a stream of Java"),
    (_JAVA_BASE64, "a stream of Java in Base64"),
    (_PHP, "an object of PHP"),
    (_PICKLE, "a pickle of Python with a call"),
    (_PICKLE_TEXT, "a pickle of Python with a call"),
    (_PICKLE_BASE64, "a pickle of Python in Base64"),
    (_RUBY, _RUBY_NAME),
    (_RUBY_BASE64, _RUBY_NAME),
    (_NET, "a stream of .NET"),
    (_NET_TYPE, "a type of .NET that is made when read"),
    (_YAML, "a tag of YAML that names a class"),
    (_XML_ENCODER, "XML that makes objects of Java"),
    (_TYPE_FIELD, "a field that names a class of Java"),
    (_TYPE_ARRAY, "an array that names a class of Java"),
    (_GADGET, "the name of a class that runs what it is made of"),
    (_NODE, "a function or a prototype in JSON"),
    (_VIEWSTATE_TYPES, "a gadget of .NET"),
)

_MARKS = frozenset(
    b"ro0ab __halt_compiler gasv gan gaj gar gas y29zcn y3bvc2 kgrw kglvcw bah aaeaaad nd_func nd_cc __js "
    b"__proto__ py/ prototype "
    b"clr-namespace resolves-to serialization typeconfused textformatting activitysurrogate windowsidentity "
    b"objectstateformatter losformatter sessionsecurity objectdataprovider resourcedictionary processstartinfo "
    b"dynamic-proxy sorted-set tree-map".split()
) | frozenset(
    (b"\xac\xed\x00\x05", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"\x04\x08", b"\xff\xff\xff\xff")
)
_PACKAGES = frozenset(
    (
        b"java com. com.sun org. sun. sun: br.com net.sf ch.qos oracle groovy clojure bsh system microsoft "
        b"newtonsoft mscorlib presentationframework windowsbase jdk. process"
    ).split()
)
_MODULES = frozenset(
    prefix + module + b"\n"
    for prefix in (b"c", b"(i")
    for module in (
        b"os posix nt sys subprocess builtins __builtin__ commands platform socket pty shutil webbrowser timeit "
        b"importlib pickle runpy code base64 copy_reg copyreg types functools operator"
    ).split()
)
_GADGETS = frozenset(
    b"com.sun. org.springframework javax. org.apache com.mchange com.zaxxer bsh.interpreter groovy.util java.net.url "
    b"java.lang. java.net. gem:: json::generic ch.qos system.".split()
)

DETECTOR = Detector(
    kind="serialised",
    gate=(
        (_MARKS,),
        (frozenset((b"o:", b"c:")), frozenset((b":{",))),
        (frozenset((b"type", b"class", b"[")), frozenset((b'"', b"'")), _PACKAGES),
        (frozenset((b"!",)), frozenset(b"python ruby java js/ com.sun org. sun. clojure groovy".split())),
        (frozenset((b"<",)), frozenset(b"java sun. org. jdk.".split())),
        (_MODULES,),
        (_GADGETS,),
    ),
    detect=detect,
    limit_bytes=LIMIT_BYTES,
    reads_structures=True,
)
