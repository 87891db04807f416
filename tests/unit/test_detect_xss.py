"""@detectXSS: cases with reasons, for every place a fragment may be put into, and its limits."""

from __future__ import annotations

import pytest

from extproc.operators import xss_html
from extproc.operators.detect_xss import MIN_BYTES, WORDS, compile_detect_xss, may_assign
from extproc.operators.xss_html import Attribute, Place, is_code_url, kind_of_attribute, runs_code


class Notices:
    """A CompileContext that keeps what it is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def read_file(self, name: bytes) -> bytes:
        raise OSError

    def notice(self, text: str) -> None:
        self.texts.append(text)


OPERATOR = compile_detect_xss(b"", Notices())

INJECTIONS = [
    (b"<script>alert(1)</script>", "a script"),
    (b"<ScRiPt", "case, and cut off"),
    (b"<scr\x00ipt>", "NULs are left out"),
    (b"<svg/onload=alert(1)>", "SVG"),
    (b"<img src=x onerror=alert(1)>", "an event handler"),
    (b"<p style=x>", "a style"),
    (b"<a href='javascript:1'>", "a URL that is code"),
    (b"<a href=jav&#x61;script:1>", "with an entity"),
    (b'<a href=" \x01java\nscript:1">', "with control characters and a line feed"),
    (b"<set attributename=onclick>", "names an attribute to set"),
    (b"<!DOCTYPE html>", "a document type"),
    (b"<!--[if gte IE 4]-->", "a conditional comment"),
    (b"<!-- ` -->", "a back quote in a comment"),
    (b"<?import namespace=x>", "an import"),
    (b"<!ENTITY x>", "an entity"),
    (b"<![CDATA[ x ]]><script>", "after a section of data"),
    (b"x onclick=1", "inside an attribute without quotes"),
    (b"' onclick=1", "inside single quotes"),
    (b'" onclick=1', "inside double quotes"),
    (b"` onclick=1", "inside back quotes"),
    (b"'><script>", "closes the tag it stands in"),
    (b"x onclick\x00=1", "a NUL is white space"),
    (b"</><script>", "an empty closing tag is skipped"),
    (b"</script x>", "a closing tag with something in it"),
]

HARMLESS = [
    (b"", "nothing"),
    (b"hello", "a word"),
    (b"a < b and c > d", "less and more"),
    (b"x=1&y=2", "assignments"),
    (b"<b>bold</b> and <i>italic</i>", "plain markup"),
    (b'<a href="https://example.com/">so on</a>', "a link"),
    (b"</script>", "a closing tag runs nothing"),
    (b"onclick", "a name without a value"),
    (b"onclick=", "the same"),
    (b"x onfoo=1", "no event"),
    (b"once = upon a time", "begins like one"),
    (b"<!-- a comment -->", "a comment"),
    (b"< script>", "a space before the name"),
    (b"<a title='<script>'>", "inside quotes"),
    (b"<![CDATA[<script>]]>", "inside a section of data"),
    (b"text from=here to=there", "URLs that run nothing"),
    (b'{"html": "1 < 2", "on": true}', "JSON"),
]


@pytest.mark.parametrize(("value", "reason"), INJECTIONS)
def test_code_is_found(value: bytes, reason: str) -> None:
    assert OPERATOR.test(value) == (value,), reason


@pytest.mark.parametrize(("value", "reason"), HARMLESS)
def test_harmless_text_passes(value: bytes, reason: str) -> None:
    assert OPERATOR.test(value) is None, reason


@pytest.mark.parametrize(
    ("value", "places"),
    [
        (b"<script>", {Place.TEXT}),
        (b"onclick=1", {Place.UNQUOTED}),
        (b"'onclick=1", {Place.SINGLE}),
        (b'x"onclick=1', {Place.DOUBLE}),
        (b"x`onclick=1", {Place.BACK}),
        (b"x' onclick=1", {Place.UNQUOTED, Place.SINGLE}),
        (b"'\"`><script>", {Place.TEXT, Place.UNQUOTED, Place.SINGLE, Place.DOUBLE, Place.BACK}),
    ],
)
def test_the_places_in_which_a_fragment_runs_code(value: bytes, places: set[Place]) -> None:
    assert {place for place in Place if runs_code(value, place, set())} == places


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (b"javascript:1", True),
        (b"JAVA", True),
        (b"data:x", True),
        (b"vbscript:", True),
        (b"view-source:x", True),
        (b"\x80\xff java", True),
        (b"&#106;ava", True),
        (b"&#0106ava", True),
        (b"&#32;java", True),
        (b"ja&#10;va", True),
        (b"/java", False),
        (b"https://java", False),
        (b"ja va", False),
        (b"&Tab;java", False),
        (b"&#;java", False),
        (b"dat", False),
        (b"", False),
        (b"&#" + b"0" * 9000 + b"106;ava", True),
        (b"&#" + b"9" * 9000 + b";java", False),
    ],
)
def test_a_url_is_code(url: bytes, expected: bool) -> None:
    assert is_code_url(url) is expected


def test_entities_at_the_edge() -> None:
    code = xss_html.HIGHEST_ENTITY
    jay = code & ~0xFF | ord("j")
    assert jay <= code
    assert is_code_url(b"&#%d;ava" % jay)
    assert not is_code_url(b"&#%d;ava" % (jay + 0x100))
    assert len(str(code)) == xss_html.ENTITY_DIGITS


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"style", Attribute.CODE),
        (b"onClick", Attribute.CODE),
        (b"onanimationstart", Attribute.CODE),
        (b"xmlns:x", Attribute.CODE),
        (b"xlink:href", Attribute.CODE),
        (b"href", Attribute.URL),
        (b"to", Attribute.URL),
        (b"attributeName", Attribute.ATTRIBUTE_NAME),
        (b"onfoo", None),
        (b"title", None),
        (b"on", None),
        (b"styles", None),
    ],
)
def test_the_kind_of_an_attribute(name: bytes, kind: Attribute | None) -> None:
    assert kind_of_attribute(name) is kind


def test_the_guard_asks_for_a_name_before_an_equals_sign() -> None:
    assert may_assign(b"a onclick = 1")
    assert may_assign(b"a'b=1")
    assert not may_assign(b"a=1&b=2 onclick")


def test_values_below_the_minimum_never_match() -> None:
    alphabet = b"<=!?%/`>aon '\"\x00"
    short = [bytes((a, b)) for a in alphabet for b in alphabet] + [bytes((a,)) for a in range(256)]
    assert [value for value in short if OPERATOR.test(value)] == []
    assert OPERATOR.test(b"<!`")
    assert OPERATOR.min_bytes == MIN_BYTES == 3


def test_one_of_the_words_is_in_every_match() -> None:
    assert OPERATOR.words == WORDS
    assert all(any(word in value for word in WORDS) for value, _ in INJECTIONS)


def test_memory_is_bounded() -> None:
    assert kind_of_attribute.cache_parameters()["maxsize"] == xss_html.ATTRIBUTES_REMEMBERED


def test_an_argument_is_named_as_useless() -> None:
    notices = Notices()
    compile_detect_xss(b"x", notices)
    assert ["no argument" in text for text in notices.texts] == [True]
