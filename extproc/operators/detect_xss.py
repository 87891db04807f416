"""@detectXSS (in work; a first version): is a value a fragment of HTML that runs code where it is put?"""

from __future__ import annotations

import re

from extproc.operators.contract import Captures, CompileContext, Operator

_MARKUP = re.compile(
    rb"(?i)<[\x00-\x20]*/?(?:script|iframe|object|embed|applet|base|frame|frameset|ilayer|layer|link|meta|style|svg|xml|xsl"
    rb"|import|isindex|noscript|vmlframe|handler|listener|doctype|!doctype|\?|!entity|!\[cdata)"
    rb"|(?:<[^>]*|^[^<>]*)[\x00-\x20\"'`/](?:on[a-z]{3,24}|style|xmlns(?:[:=])|xlink)[\x00-\x20]*="
    rb"|<[^>]*=[\x00-\x20\"'`]*(?:j[\x00-\x20]*a[\x00-\x20]*v[\x00-\x20]*a|vbscript|view-source|data:)"
)


def detect_xss(value: bytes) -> Captures | None:
    """The operator: group 0 is the value."""
    return (value,) if _MARKUP.search(value) else None


def compile_detect_xss(argument: bytes, context: CompileContext) -> Operator:
    """@detectXSS. An argument has no effect, as in ModSecurity."""
    if argument:
        context.notice("@detectXSS takes no argument; what is written after it has no effect")
    return Operator("detectXSS", argument, detect_xss)
