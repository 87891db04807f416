"""Reads a fragment of HTML as a browser does, and says whether it holds what runs code.

A walk over the tokens of the HTML standard (section *Tokenization*): text, tags with attributes, comments,
declarations. The fragment may be put into text or into the value of an attribute; then the walk begins where that value
ends (one without quotes is thought to be over already). A NUL is white space between attributes and is left out of the
names of tags, as in old browsers.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache

from extproc.operators.xss_names import (
    ATTRIBUTE_BEGINNINGS,
    ATTRIBUTES,
    EVENTS,
    NAME_ATTRIBUTES,
    SCHEMES,
    TAG_BEGINNINGS,
    TAGS,
    URL_ATTRIBUTES,
)


class Place(Enum):
    """Where a fragment is put: into text, or into an attribute's value with the quotes that this is written in."""

    TEXT = b"<"
    UNQUOTED = b""
    SINGLE = b"'"
    DOUBLE = b'"'
    BACK = b"`"


class Attribute(Enum):
    """What the value of an attribute is."""

    CODE = 1
    URL = 2
    ATTRIBUTE_NAME = 3


_WHITE = rb"\x00\x09-\x0d "
_TO_BRACKET = rb"[^>]*+>?"

_MARKUP = re.compile(
    rb"<(?:(?P<tag>[A-Za-z\x00][^\x09-\x0d />]*+)"
    rb"|/(?:(?P<end>[A-Za-z][^\x09-\x0d />]*+)|(?P<bogus>[^>]*+)>?+)"
    rb"|(?P<doctype>![Dd][Oo][Cc][Tt][Yy][Pp][Ee])"
    rb"|!--(?P<comment>(?:[^-]++|-(?!\x00*+[-!]>))*)(?:-\x00*+[-!]>)?"
    rb"|(?P<data>!\[CDATA\[)(?:[^\]]++|\](?!\]>))*(?:\]\]>)?"
    rb"|%(?P<server>(?:[^%]++|%(?!>))*)(?:%>)?"
    rb"|[!?](?P<declaration>[^>]*+)>?+)"
)
"""What a `<` begins; before anything else it is text."""

_ATTRIBUTE = re.compile(
    rb"[/%(white)b]*+(?:(?P<close>>)|(?P<name>[^>/%(white)b][^=>/%(white)b]*+)[%(white)b]*+"
    rb"(?:=[%(white)b]*+(?:\"(?P<double>[^\"]*+)\"?+|'(?P<single>[^']*+)'?+|`(?P<back>[^`]*+)`?+"
    rb"|(?P<unquoted>[^>%(white)b]++|(?=>)))?)?)" % {b"white": _WHITE}
)
"""The next attribute of a tag, or the end of the tag. A quote that never closes has all the rest as its value."""

_NAME = _ATTRIBUTE.groupindex["name"]
_VALUE_GROUPS = ("double", "single", "back", "unquoted")

_ENTITY = re.compile(rb"&#(?:[Xx]([0-9A-Fa-f]++)|([0-9]++));?+")

HIGHEST_ENTITY = 0x1000FF
"""A numeric entity above this stands for itself."""

ENTITY_DIGITS = 7
"""A numeric entity with more digits, leading zeros aside, is above HIGHEST_ENTITY."""

ATTRIBUTES_REMEMBERED = 1024
"""Names of attributes whose kind is remembered; the least recently used is forgotten."""


def _character(entity: re.Match[bytes]) -> bytes:
    digits = (entity[1] or entity[2]).lstrip(b"0")
    if len(digits) > ENTITY_DIGITS:
        return entity[0]
    code = int(digits or b"0", 16 if entity[1] else 10)
    return entity[0] if code > HIGHEST_ENTITY else bytes((code & 0xFF,))


_CONTROLS = bytes(range(0x21))
_SKIPPED = _CONTROLS + bytes(range(0x7F, 0x100))


def is_code_url(value: bytes) -> bool:
    """Does the value of a URL attribute begin with a scheme that runs code?

    Browsers skip control characters before a scheme, and line feeds and NULs within it (URL standard, *URL parsing*).
    """
    url = value.lstrip(_SKIPPED)
    if url[:1] not in b"DJVdjv&":
        return False
    if b"&#" in url:
        url = _ENTITY.sub(_character, url).lstrip(_CONTROLS)
    return url.translate(None, b"\x00\n").upper().startswith(SCHEMES)


@lru_cache(ATTRIBUTES_REMEMBERED)
def kind_of_attribute(name: bytes) -> Attribute | None:
    """None if the value of the attribute runs no code, whatever it is."""
    name = name.upper()
    if name in ATTRIBUTES or name.startswith(ATTRIBUTE_BEGINNINGS):
        return Attribute.CODE
    if name.startswith(b"ON"):
        return Attribute.CODE if name.startswith(EVENTS) else None
    if name in URL_ATTRIBUTES:
        return Attribute.URL
    return Attribute.ATTRIBUTE_NAME if name in NAME_ATTRIBUTES else None


def _is_code_value(kind: Attribute, found: re.Match[bytes]) -> bool:
    """Does an attribute of this kind run code with the value it has, if any?"""
    value = next((found[group] for group in _VALUE_GROUPS if found[group] is not None), None)
    if value is None:
        return False
    if kind is Attribute.URL:
        return is_code_url(value)
    return kind is Attribute.CODE or kind_of_attribute(value) is not None


def _is_code_tag(name: bytes) -> bool:
    name = name.upper()
    return name.startswith(TAG_BEGINNINGS) or name.replace(b"\x00", b"") in TAGS


def _is_code_comment(text: bytes) -> bool:
    """Back quotes and conditional comments of Internet Explorer, and declarations that load something."""
    start = text[:7].upper()
    return (
        b"`" in text
        or (len(text) > 3 and start.startswith((b"[IF", b"XML")))
        or (len(text) > 5 and start.startswith((b"IMPORT", b"ENTITY")))
    )


def runs_code(value: bytes, place: Place, seen: set[int]) -> bool:
    """Does `value`, put into `place`, run code?

    `seen` holds the positions from which an earlier walk went on as text and found nothing; they are added here.
    """
    position = 0
    is_in_tag = place is not Place.TEXT
    if is_in_tag and place is not Place.UNQUOTED:
        position = value.find(place.value) + 1
        if not position:
            return False
    while True:
        while is_in_tag:
            attribute = _ATTRIBUTE.match(value, position)
            if attribute is None:
                return False
            position = attribute.end()
            name = attribute[_NAME]
            if name is None:
                is_in_tag = False
                if position in seen:
                    return False
                seen.add(position)
            elif (kind := kind_of_attribute(name)) and _is_code_value(kind, attribute):
                return True
        markup = _MARKUP.search(value, position)
        if markup is None:
            return False
        position = markup.end()
        match markup.lastgroup:
            case "tag":
                if _is_code_tag(markup["tag"]):
                    return True
                is_in_tag = True
            case "end":
                # A closing tag that is not closed at once is read as an opening one by some.
                if value[position : position + 1] != b">" and _is_code_tag(markup["end"]):
                    return True
                is_in_tag = True
            case "doctype":
                return True
            case "comment" | "server" | "declaration" | "bogus" as group if _is_code_comment(markup[group]):
                return True
