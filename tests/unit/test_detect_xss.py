"""@detectXSS: cases with reasons, for every place a fragment may be put into, and its limits."""

from __future__ import annotations

import pytest

from extproc.operators.detect_xss import MIN_BYTES, WORDS, compile_detect_xss


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
    ("value", "is_code"),
    [
        (b"<script>", True),
        (b"onclick=1", True),
        (b"'onclick=1", True),
        (b'x"onclick=1', True),
        (b"x`onclick=1", True),
        (b"xonclick=1", False),
        (b"x>onclick=1", False),
        (b"'\"`><script>", True),
        (b"'x='onclick=1", False),
        (b"a='onclick=1", True),
        (b"a='b'onclick=1", True),
        (b"a=b/onclick=1", False),
        (b"a=b onclick=1", True),
        (b"a =onclick=1", False),
        (b"a = onclick=1", False),
        (b"<a = onclick=1", True),
        (b"a b =onclick=1", False),
        (b"=onclick=1", False),
        (b"= onclick=1", True),
        (b"a/=b onclick=1", True),
        (b"<a x=>onclick=1", False),
        (b"<a x=><svg>", True),
        (b"<a.onclick=1>", False),
        (b"<<svg>", True),
        (b"< svg>", False),
    ],
)
def test_a_name_begins_and_ends_where_a_browser_has_it(value: bytes, is_code: bool) -> None:
    assert (OPERATOR.test(value) is not None) is is_code


@pytest.mark.parametrize(
    ("value", "is_code"),
    [
        # A back quote is code inside a comment only.
        (b"<!--x-->`", False),
        (b"<!--x--!>`", False),
        (b"<!--x-\x00->`", False),
        (b"<!--x--->`", False),
        (b"<!---->`", False),
        (b"<!---!>`", False),
        (b"<!--x->`", True),
        (b"<!--x--\x00>`", True),
        (b"<!--x-- >`", True),
        (b"<!--x-!->`", True),
        (b"<!--->`", True),
        (b"<!-->`", True),
        (b"<!--x--`-->", True),
        (b"<!--x-!`-->", True),
        (b"<!--x--><svg>", True),
        (b"<!--[if-->", False),
        (b"<!--[if -->", True),
        (b"<!--xml--!>", True),
        (b"<!--xml--", True),
        (b"<!xml>", False),
        (b"<!xml >", True),
        (b"<!import>", True),
        (b"<!impor>", False),
        (b"<!x`>", True),
        (b"<!x>`", False),
        (b"<!-x><svg>", True),
        (b"<![CDATA[x]<svg>", False),
        (b"<![CDATA[x]]]><svg>", True),
        (b"<![CDATA[`]]>", False),
        (b"<![cdata[`]]>", True),
        (b"<![CDATA><svg>", True),
        (b"<%x> ` %>", True),
        (b"<%x%>`", False),
        (b"<%x%%>`", False),
        (b"<%`%>", True),
        (b"<%xml%>", False),
        (b"<%xml%%>", True),
        (b"<?x`>", True),
        (b"<?php echo 1 ?>", False),
        (b"</ x><svg>", True),
        (b"</`>", True),
        (b"</[if x>", True),
        (b"</svg", True),
        (b"</svg>", False),
        (b"</svg/>", True),
    ],
)
def test_a_comment_ends_where_a_browser_has_it(value: bytes, is_code: bool) -> None:
    assert (OPERATOR.test(value) is not None) is is_code


SHIELD = b"=\"y='><!--"
"""Keeps attribute values from seeing what follows: two never close, one goes on in a comment, back quotes are none."""


@pytest.mark.parametrize(
    ("before", "behind", "is_code"),
    [
        (b"<%", b"<svg>", False),
        (b"<%", b"%><svg>", True),
        (b"<%", b"%%><svg>", True),
        (b"<%", b"a%b%><svg>", True),
        (b"<%", b"% ><svg>", False),
        (b"<![CDATA[", b"<svg>", False),
        (b"<![CDATA[", b"]]><svg>", True),
        (b"<![CDATA[", b"]]]><svg>", True),
        (b"<![CDATA[", b"a]b]]c]]><svg>", True),
        (b"<![CDATA[", b"]x]><svg>", False),
        (b"<![CDATA[", b"]] ><svg>", False),
        (b"<!--", b" -><svg>", False),
        (b"<!--", b"-- ><svg>", False),
        (b"<!--", b"--\x00><svg>", False),
        (b"<!--", b"-!-x><svg>", False),
        (b"<![cdata[", b"--><svg>", True),
    ],
)
def test_text_is_read_beyond_what_ends(before: bytes, behind: bytes, is_code: bool) -> None:
    assert (OPERATOR.test(before + SHIELD + behind) is not None) is is_code


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
        (b"&#X4A;ava", True),
        (b"&#32;java", True),
        (b"&#33;java", False),
        (b"&#32; \x01java", True),
        (b"ja&#10;va", True),
        (b"ja\n\x00va", True),
        (b"&#1066;ava", False),
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
    for quote in (b"'", b'"', b"`"):
        assert (OPERATOR.test(b"<a href=" + quote + url + quote) is not None) is expected, quote


def test_a_url_without_quotes_ends_at_white_space() -> None:
    assert OPERATOR.test(b"<a href= \x01java")
    assert OPERATOR.test(b"<a href=ja&#10;va")
    assert not OPERATOR.test(b"<a href=ja\nva")


@pytest.mark.parametrize(
    ("attribute", "is_code"),
    [
        (b"style=x", True),
        (b"style=''", True),
        (b"style=>", True),
        (b"style=", False),
        (b"style", False),
        (b"styles=x", False),
        (b"onClick=x", True),
        (b"onanimationstart=x", True),
        (b"onloadend=x", True),
        (b"onbegin=x", True),
        (b"onbegins=x", False),
        (b"onfoo=x", False),
        (b"on=x", False),
        (b"xmlns:x=y", True),
        (b"xlink:href=x", True),
        (b"href=x", False),
        (b"href=java", True),
        (b"to=data:x", True),
        (b"title=java", False),
        (b"attributeName=href", True),
        (b"attributeName=hrefs", False),
        (b"attributeName='on'", False),
        (b"attributeName='onload'", True),
        (b"attributeName='hr\x00ef'", True),
        (b"attributeName='href\"'", False),
        (b"attributeName='href", True),
        (b"style=\xff", True),
    ],
)
def test_an_attribute_is_code(attribute: bytes, is_code: bool) -> None:
    assert (OPERATOR.test(b"<p " + attribute) is not None) is is_code


def test_values_below_the_minimum_never_match() -> None:
    alphabet = b"<=!?%/`>aon '\"\x00"
    short = [bytes((a, b)) for a in alphabet for b in alphabet] + [bytes((a,)) for a in range(256)]
    assert [value for value in short if OPERATOR.test(value)] == []
    assert OPERATOR.test(b"<!`")
    assert OPERATOR.min_bytes == MIN_BYTES == 3


def test_one_of_the_words_is_in_every_match() -> None:
    assert OPERATOR.words == WORDS
    assert all(any(word in value for word in WORDS) for value, _ in INJECTIONS)


def test_an_argument_is_named_as_useless() -> None:
    notices = Notices()
    compile_detect_xss(b"x", notices)
    assert ["no argument" in text for text in notices.texts] == [True]
