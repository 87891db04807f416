"""The decode ladder: which views a value has, and how each came to light."""

from __future__ import annotations

import base64
import gzip
import json
from contextlib import suppress

import pytest

from extproc.detection.contract import Place, Reading
from extproc.detection.ladder import (
    ENCODED_MIN_BYTES,
    NESTING,
    PADDING_MIN_BYTES,
    PARTS_LIMIT,
    ROUNDS,
    SENTENCE_MIN_BYTES,
    STAGES_LIMIT_BYTES,
    STRUCTURE_LIMIT_BYTES,
    UNPACKED_LIMIT_BYTES,
    VIEW_BYTES_A_STEP,
    VIEW_STEPS,
    VIEWS_LIMIT,
    WORDS_MIN_BYTES,
    hides_nothing,
    is_plain,
    ladder,
)
from tests.detect.material import corpus, variants

BREAK_OUT = b"' or 1=1-- "


def views_of(value: bytes) -> tuple[list[bytes], bool]:
    """(texts of the views, was something left out?) without a limit to the work."""
    reading = Reading(1 << 40)
    return [view.text for view in ladder(value, Place.ARGUMENT, reading)], reading.is_partly


B64 = base64.b64encode(BREAK_OUT)
JWT = b".".join(
    base64.urlsafe_b64encode(part).rstrip(b"=")
    for part in (b'{"alg":"none"}', json.dumps({"sub": BREAK_OUT.decode()}).encode(), b"signature")
)

VIEWS = [
    (b"%27 or 1=1", b"' or 1=1", ("percent",)),
    (b"%2527 or 1=1", b"' or 1=1", ("percent", "percent")),
    (b"%252527 or 1=1", b"' or 1=1", ("percent", "percent", "percent")),
    (b"%u0027 or 1=1", b"' or 1=1", ("percent",)),
    (b"%27+or+1%3d1", b"' or 1=1", ("percent",)),
    (b"..%c0%af..", b"../..", ("percent", "overlong")),
    (b"..\xe0\x80\xaf..", b"../..", ("overlong",)),
    (b"\xc0\x27 or 1", b"' or 1", ("overlong",)),
    ("＇ or １＝１".encode(), b"' or 1=1", ("unicode",)),
    ("‹ſcript›".encode(), b"<script>", ("unicode",)),
    (b"&#39; or &#x31;=1", b"' or 1=1", ("entities",)),
    (b"&lt;b&gt", b"<b>", ("entities",)),
    (b"&#0000060;b", b"<b", ("entities",)),
    (b"java&Tab;script", b"java\tscript", ("entities",)),
    (rb"\u0027 or 1", b"' or 1", ("escapes",)),
    (rb"\x27\u{20}or\0401", b"' or 1", ("escapes",)),
    (rb"it\'s", b"it's", ("escapes",)),
    (b"+ADw-script+AD4-", b"<script>", ("utf-7",)),
    (b"s\x00elect", b"select", ("nul",)),
    (b"a<![CDATA[<b]]>c", b"a<bc", ("cdata",)),
    (B64, BREAK_OUT, ("base64",)),
    (base64.b64encode(B64), BREAK_OUT, ("base64", "base64")),
    (base64.urlsafe_b64encode(b"<<???>>>a").rstrip(b"="), b"<<???>>>a", ("base64",)),
    (b"data:text/html;base64," + B64, BREAK_OUT, ("base64",)),
    (base64.b64encode(gzip.compress(BREAK_OUT, mtime=0)), BREAK_OUT, ("base64",)),
    (base64.b64encode(json.dumps({"a": BREAK_OUT.decode()}).encode()), BREAK_OUT, ("base64", "json")),
    (b'{"a": ["' + BREAK_OUT + b'"]}', BREAK_OUT, ("json",)),
    (b'{"' + BREAK_OUT + b'": 1}', BREAK_OUT, ("json",)),
    (b'{"a": "x", "a": "' + BREAK_OUT + b'"}', BREAK_OUT, ("json",)),
    (b'{"a": "{\\"b\\": \\"' + BREAK_OUT + b'\\"}"}', BREAK_OUT, ("json", "json")),
    (b"https://h.example/p?q=%27%20or%201=1--%20", BREAK_OUT, ("url",)),
    (b"/p?q=%27+or+1=1--+", BREAK_OUT, ("url",)),
    (b"a=1&q=%27+or+1=1--+", BREAK_OUT, ("form",)),
    (JWT, BREAK_OUT, ("jwt", "json")),
    (b"Bearer " + JWT, BREAK_OUT, ("jwt", "json")),
]


@pytest.mark.parametrize(("value", "text", "via"), VIEWS)
def test_a_view_comes_to_light(value, text, via):
    assert (text, via) in [(view.text, view.via) for view in ladder(value, Place.ARGUMENT)]


UNTOUCHED = [
    b"plain words, and more",
    b"100 % of it",
    b"Tom & Jerry",
    b"50 + 50",
    "café, 東京, Ελλάδα".encode(),
    b"deadbeefdeadbeefdeadbeef",
    b"ABCDEFGHIJKLMNOPQRSTUVWX",
    b"averylongIdentifierInCamelCase",
    b"{not json}",
    b"see [1] and [2]",
]


@pytest.mark.parametrize("value", UNTOUCHED)
def test_what_says_nothing_else_has_one_view(value):
    assert [view.text for view in ladder(value, Place.ARGUMENT)] == [value]


def test_json_is_told_by_its_parts():
    views = list(ladder(b'{"name": "O\'Neil, or so"}', Place.ARGUMENT))
    assert [(view.text, view.is_structure, view.place) for view in views] == [
        (b'{"name": "O\'Neil, or so"}', True, Place.ARGUMENT),
        (b"O'Neil, or so", False, Place.ARGUMENT),
    ]


def test_keys_are_names():
    views = list(ladder(b'{"$where the": 1}', Place.ARGUMENT))
    assert [(view.text, view.place) for view in views[1:]] == [(b"$where the", Place.NAME)]


def test_a_path_is_told_by_its_segments_too():
    assert [view.text for view in ladder(b"/shop/' or 1=1--/items", Place.PATH)] == [
        b"/shop/' or 1=1--/items",
        b"' or 1=1--",
    ]


def test_the_way_ends_after_so_many_rounds():
    def escaped(times: int) -> bytes:
        return b"%" + b"25" * times + b"27 or 1"

    views, is_partly = views_of(escaped(ROUNDS * ROUNDS - 1))
    assert b"' or 1" in views
    assert not is_partly
    views, is_partly = views_of(escaped(ROUNDS * ROUNDS))
    assert b"' or 1" not in views
    assert is_partly


def test_structures_inside_structures_have_an_end():
    def nested(times: int) -> bytes:
        value = BREAK_OUT.decode()
        for _ in range(times):
            value = json.dumps([value])
        return value.encode()

    views, is_partly = views_of(nested(NESTING))
    assert BREAK_OUT in views
    assert not is_partly
    views, is_partly = views_of(nested(NESTING + 1))
    assert BREAK_OUT not in views
    assert is_partly


def test_views_beyond_the_limit_are_told():
    def leaves(count: int) -> bytes:
        return json.dumps([f"the leaf number {number}" for number in range(count)]).encode()

    assert views_of(leaves(VIEWS_LIMIT - 1))[1] is False
    views, is_partly = views_of(leaves(VIEWS_LIMIT))
    assert is_partly
    assert len(views) == VIEWS_LIMIT


def test_json_without_its_escapes_is_no_text():
    views = list(ladder(rb'{"a": "one \"two\"; exec f"}', Place.ARGUMENT))
    assert [view.text for view in views if not view.is_structure] == [b'one "two"; exec f']
    assert [view.via for view in views if view.is_structure] == [(), ("escapes",)]


def test_stages_of_long_texts_are_no_views():
    def stages(size: int) -> int:
        return len(views_of(b"&#39;\\x3c".ljust(size, b"."))[0])

    assert stages(STAGES_LIMIT_BYTES) == 3
    assert stages(STAGES_LIMIT_BYTES + 8) == 2


def test_parts_beyond_the_limit_are_told():
    def form(count: int) -> bytes:
        return b"&".join(b"n%d=%d" % (number, number) for number in range(count))

    assert views_of(form(PARTS_LIMIT // 2))[1] is False
    assert views_of(form(PARTS_LIMIT // 2 + 1))[1] is True


def test_work_beyond_the_limit_is_told():
    text = b"a" * (4 * VIEW_BYTES_A_STEP - 4) + b" b c"
    reading = Reading(VIEW_STEPS + 4)
    assert len(list(ladder(text, Place.ARGUMENT, reading))) == 1
    assert not reading.is_partly
    reading = Reading(VIEW_STEPS + 3)
    assert list(ladder(text, Place.ARGUMENT, reading)) == []
    assert reading.is_partly


def test_large_texts_are_not_taken_apart():
    def filled(size: int) -> bytes:
        return b'["' + BREAK_OUT + b'", "' + b"x" * (size - len(BREAK_OUT) - 8) + b'"]'

    assert len(filled(STRUCTURE_LIMIT_BYTES)) == STRUCTURE_LIMIT_BYTES
    views, is_partly = views_of(filled(STRUCTURE_LIMIT_BYTES))
    assert BREAK_OUT in views
    assert not is_partly
    views, is_partly = views_of(filled(STRUCTURE_LIMIT_BYTES + 1))
    assert BREAK_OUT not in views
    assert is_partly


def test_gzip_unpacks_to_a_limit():
    packed = base64.b64encode(gzip.compress(b"<" * (UNPACKED_LIMIT_BYTES + 1), mtime=0))
    views, is_partly = views_of(packed)
    assert max(map(len, views)) == UNPACKED_LIMIT_BYTES
    assert is_partly


def test_letters_before_a_payload_are_padding():
    def padded(size: int) -> list[bytes]:
        return [view.text for view in ladder(b"a" * size + b" " + BREAK_OUT, Place.ARGUMENT)]

    assert BREAK_OUT in padded(PADDING_MIN_BYTES)
    assert BREAK_OUT not in padded(PADDING_MIN_BYTES - 1)


def test_words_without_an_end_are_padding():
    def padded(size: int) -> list[bytes]:
        words = (b"some words " * size)[: size - 1] + b" "
        return [view.text for view in ladder(words + b"/etc/hosts x", Place.ARGUMENT)]

    assert b"/etc/hosts x" in padded(WORDS_MIN_BYTES)
    assert b"/etc/hosts x" not in padded(WORDS_MIN_BYTES - 1)


def behind(text: bytes) -> list[bytes]:
    return [view.text for view in ladder(text, Place.ARGUMENT) if view.via == ("sentence",)]


@pytest.mark.parametrize(
    "rest", [b"/etc/hosts", b"; id x", b"' or 1=1", b"O:8:x{}", b"http://10.0.0.1/", b"-1 or //user"]
)
def test_what_stands_behind_a_sentence_is_a_value(rest):
    assert behind(b"This is a sentence. " + rest) == [rest]
    assert behind(b"Is this a sentence?  " + rest) == [rest]


@pytest.mark.parametrize(
    "text",
    [
        b"This is one. This is another one.",
        b"This is one. A second, I think.",
        b"Flowers, e.g. the roses and tulips of my garden",
        b"Wait for it... /etc/hosts",
        b"Chapter 7. /etc/hosts",
        "Das ist gut. Öl ist teuer.".encode(),
        b"That is it. :-)",
        b"That is it. (/etc/hosts and more).",
    ],
)
def test_a_sentence_behind_a_sentence_is_none(text):
    assert behind(text) == []


def test_a_sentence_has_some_length():
    assert behind(b"a" * SENTENCE_MIN_BYTES + b". /etc/hosts")
    assert not behind(b"a" * (SENTENCE_MIN_BYTES - 1) + b". /etc/hosts")


def test_short_base64_is_a_word():
    short = base64.b64encode(b";id;x")
    assert len(short) == ENCODED_MIN_BYTES
    assert b";id;x" in [view.text for view in ladder(short, Place.ARGUMENT)]
    assert len(list(ladder(base64.b64encode(b";id"), Place.ARGUMENT))) == 1


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"17",
        b"3.14",
        b"2026-11-23 02:00",
        b"blue",
        b"item_17",
        b"a.b@mail.example",
        b"createdAt",
        b"JohnSmith",
        b"ABC-1234-XY",
    ],
)
def test_plain(value):
    assert is_plain(value)


@pytest.mark.parametrize("value", [b"' or 1", b"1 or 1=1", b"$ne", b"../x", b"id;id", b"O2lkO2xz", b"a" * 12, b"<b>"])
def test_not_plain(value):
    assert not is_plain(value)


PIECES = [
    (b"some words, and more of them", True),
    (b"a=1&b=2&copyright", True),
    (b"a < b", True),
    (b"https://shop.example/a/b?c=d#e", True),
    (b'{"a": ["b c"]}', True),
    (b"/a/b-c/d.html", True),
    (b"a=1&lt", False),
    (b"a%41", False),
    (b"a=1+2", False),
    (b"a\\x41", False),
    (b"a\x00b", False),
    ("’".encode(), False),
    (b"<![CDATA[a]]>", False),
    (B64, False),
    (b"a=" + B64, False),
    (b"data:text/plain;base64," + B64, False),
]


@pytest.mark.parametrize(("text", "is_so"), PIECES)
def test_texts_that_hide_nothing_are_told(text: bytes, is_so: bool) -> None:
    assert hides_nothing(text, text.lower(), Place.ARGUMENT) is is_so


def test_what_hides_nothing_shows_only_pieces_of_itself() -> None:
    texts = [value.text.encode() for values in variants() for value in values]
    with suppress(FileNotFoundError):  # the corpus is no part of the repository
        texts += [value.text.encode() for values in corpus() for value in values[::7]]
    quiet = [text for text in texts if hides_nothing(text, text.lower(), Place.ARGUMENT)]
    assert len(quiet) > len(texts) // 4
    for text in quiet:
        for view in ladder(text, Place.ARGUMENT):
            assert view.text in text
