"""Every transformation by its SecLang name in lower case, both spellings of the paths included."""

from __future__ import annotations

from extproc.transformations.command_line import CMD_LINE
from extproc.transformations.comments import REMOVE_COMMENTS, REMOVE_COMMENTS_CHAR, REPLACE_COMMENTS
from extproc.transformations.contract import Transformation
from extproc.transformations.decode_base64 import BASE64_DECODE, BASE64_DECODE_EXT, BASE64_ENCODE
from extproc.transformations.decode_c import ESCAPE_SEQ_DECODE
from extproc.transformations.decode_css import CSS_DECODE
from extproc.transformations.decode_html import HTML_ENTITY_DECODE
from extproc.transformations.decode_js import JS_DECODE
from extproc.transformations.decode_url import URL_DECODE, URL_DECODE_UNI, URL_ENCODE
from extproc.transformations.digest import LENGTH, MD5, SHA1
from extproc.transformations.hexadecimal import HEX_DECODE, HEX_ENCODE, SQL_HEX_DECODE
from extproc.transformations.letter_case import LOWERCASE, UPPERCASE
from extproc.transformations.nulls import REMOVE_NULLS, REPLACE_NULLS
from extproc.transformations.parity import PARITY_EVEN_7BIT, PARITY_ODD_7BIT, PARITY_ZERO_7BIT
from extproc.transformations.path import NORMALIZE_PATH, NORMALIZE_PATH_WIN
from extproc.transformations.unicode import UTF8_TO_UNICODE
from extproc.transformations.whitespace import COMPRESS_WHITESPACE, REMOVE_WHITESPACE, TRIM, TRIM_LEFT, TRIM_RIGHT


def _none(value: bytes) -> bytes:
    return value


NONE = Transformation("none", _none, frozenset(), adds=frozenset())
"""Changes nothing by itself; that it also empties the list before it is the parser's business."""

TRANSFORMATIONS: dict[str, Transformation] = {
    "base64decode": BASE64_DECODE,
    "base64decodeext": BASE64_DECODE_EXT,
    "base64encode": BASE64_ENCODE,
    "cmdline": CMD_LINE,
    "compresswhitespace": COMPRESS_WHITESPACE,
    "cssdecode": CSS_DECODE,
    "escapeseqdecode": ESCAPE_SEQ_DECODE,
    "hexdecode": HEX_DECODE,
    "hexencode": HEX_ENCODE,
    "htmlentitydecode": HTML_ENTITY_DECODE,
    "jsdecode": JS_DECODE,
    "length": LENGTH,
    "lowercase": LOWERCASE,
    "md5": MD5,
    "none": NONE,
    "normalisepath": NORMALIZE_PATH,
    "normalisepathwin": NORMALIZE_PATH_WIN,
    "normalizepath": NORMALIZE_PATH,
    "normalizepathwin": NORMALIZE_PATH_WIN,
    "parityeven7bit": PARITY_EVEN_7BIT,
    "parityodd7bit": PARITY_ODD_7BIT,
    "parityzero7bit": PARITY_ZERO_7BIT,
    "removecomments": REMOVE_COMMENTS,
    "removecommentschar": REMOVE_COMMENTS_CHAR,
    "removenulls": REMOVE_NULLS,
    "removewhitespace": REMOVE_WHITESPACE,
    "replacecomments": REPLACE_COMMENTS,
    "replacenulls": REPLACE_NULLS,
    "sha1": SHA1,
    "sqlhexdecode": SQL_HEX_DECODE,
    "trim": TRIM,
    "trimleft": TRIM_LEFT,
    "trimright": TRIM_RIGHT,
    "uppercase": UPPERCASE,
    "urldecode": URL_DECODE,
    "urldecodeuni": URL_DECODE_UNI,
    "urlencode": URL_ENCODE,
    "utf8tounicode": UTF8_TO_UNICODE,
}
