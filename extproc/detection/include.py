r"""Includes on the server: directives that a web server or a cache works out in the page it sends.

`<!--#exec`, `<!--#include`, `<!--#echo` and their kin (SSI), `<esi:include`, `<esi:vars`, ... (ESI): in no language of
pages do they mean anything else, and no person writes them into a form. A comment of HTML is none.
"""

from __future__ import annotations

from extproc.detection.contract import UNCOUNTED, Detector, Finding, Place, Reading
from extproc.detection.pattern import find

LIMIT_BYTES = 8192

_SSI = find(
    rb"<!-{1,2}\s*#\s*(exec|include|echo|printenv|config|flastmod|fsize|set|if|elif|endif|else|odbc|goto"
    rb"|label|email|break)\b[^>]{0,20}"
)
_ESI = find(
    rb"<(?:!--)?\s*esi(?::\s*(include|inline|vars|assign|remove|comment|try|attempt|choose|when|function"
    rb"|foreach|eval|debug|text|dca|otherwise)\b|\b)"
)

_SCORE = 7


def detect(text: bytes, place: Place, reading: Reading = UNCOUNTED) -> Finding | None:
    """The first directive."""
    spans = _SSI(text, 0)
    if spans is not None:
        name = text[spans[1][0] : spans[1][1]].decode("latin-1").lower()
        return Finding("include", _SCORE, spans[0], "page", f"directive {name} of server-side includes")
    spans = _ESI(text, 0)
    if spans is not None and spans[1][0] >= 0:
        name = text[spans[1][0] : spans[1][1]].decode("latin-1").lower()
        return Finding("include", _SCORE, spans[0], "page", f"directive {name} of edge-side includes")
    return None


DETECTOR = Detector(
    kind="include",
    gate=((frozenset((b"<!-",)), frozenset((b"#",))), (frozenset((b"<",)), frozenset((b"esi",)))),
    detect=detect,
    limit_bytes=LIMIT_BYTES,
)
