"""@detectSQLi: cases with reasons, the tokens and folding that lead there, and its limits."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from extproc.operators import sqli_folding, sqli_grammar, sqli_guard, sqli_tokens
from extproc.operators.detect_sqli import MIN_BYTES, compile_detect_sqli, detect_sqli_steps, find_injection
from extproc.operators.sqli_folding import STEP_TOKENS, fold
from extproc.operators.sqli_tokens import ANSI, LONG_BYTES, MYSQL, Dialect, tokenize
from extproc.operators.sqli_words import PHRASES, WORDS

INJECTIONS = [
    (b"1 or 1=1 --", b"1&1c", "as it is, and the rest is cut off"),
    (b"' or '1'='1", b"s&sos", "inside single quotes"),
    (b'" or "a"="a', b"s&sos", "inside double quotes"),
    (b"x' = 'y", b"sos", "closes a string and opens the next"),
    (b"admin'--", b"sc", "nothing after the name is read"),
    (b"admin'/*", b"sc", "the same with an open comment"),
    (b"admin' or 1#", b"s&1c", "MySQL's comment"),
    (b"1;drop table users", b"1;Tnn", "a second statement"),
    (b"1 union select name, pass from users", b"1UEnk", "a list folds to its first item"),
    (b"1 union/**/select 1", b"1UE1", "comments between words are skipped"),
    (b"1 UniOn aLL SeLect 1", b"1UE1", "case, and two words that are one"),
    (b"-1-2 union select 1", b"1UE1", "a calculation folds to a number"),
    (b"((1)) or ((1))=1", b"1)&(1", "brackets that stand together are one"),
    (b"1/*!union*/select", b"X", "only MySQL reads what is in this comment"),
    (b"1/*/*nested*/*/", b"X", "nobody nests comments"),
    (b"sleep(5)", b"f(1)", "a call on its own"),
    (b"1 and sleep(5)", b"1&f(1", "a call after a condition"),
    (b"foo into outfile 'x'", b"nks", "writes a file"),
    (b"-1 or 1", b"1&1", "the sign says that it is not prose"),
    (b"1;waitfor delay '0:0:5' --", b"1;Esc", "SQL Server"),
    (b"1 or 0x31=0x31 -- ", b"1&1c", "hexadecimal numbers"),
    (b"1.e(1) or 1.e(1)=1", b"1)&(1", "digits with an exponent that never comes are nothing"),
    (b"q'(a)' or '1'='1", b"s&sos", "Oracle's quotes"),
    (b"{``.id}", b"X", "an empty name in braces"),
    (b"a`or`1", None, "back quotes inside a word are part of it"),
]

HARMLESS = [
    (b"", "nothing"),
    (b"hello", "a word"),
    (b"select", "one reserved word"),
    (b"1 or 2", "three plain words are prose"),
    (b"terms and conditions", "the same"),
    (b"1 union", "a number and a word"),
    (b"The union of workers selected a new leader", "prose with reserved words"),
    (b"It's a nice day, isn't it?", "apostrophes"),
    (b"rock 'n' roll", "quotes in prose"),
    (b"O'Brien or O'Neil", "names with apostrophes"),
    (b"well -- perhaps", "a dash in prose"),
    (b"1#top", "a fragment of a link"),
    (b"a' -- x", "a comment after a string, but not a bare one"),
    (b"'a'='b'", "a whole comparison of strings closes what it opens"),
    (b"https://example.com/?a=1&b=2#c", "a URL"),
    (b'{"a": 1, "b": [1, 2]}', "JSON"),
    (b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)", "a browser"),
    (b"jane.doe@example.com", "an address"),
    (b"550e8400-e29b-41d4-a716-446655440000", "a UUID"),
    (b"sleep (", "no call"),
]


class Notices:
    """A CompileContext that keeps what it is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def read_file(self, name: bytes) -> bytes:
        raise OSError

    def notice(self, text: str) -> None:
        self.texts.append(text)


OPERATOR = compile_detect_sqli(b"", Notices())


@pytest.mark.parametrize(("value", "fingerprint", "reason"), [case for case in INJECTIONS if case[1]])
def test_an_injection_is_found_with_its_fingerprint(value: bytes, fingerprint: bytes, reason: str) -> None:
    assert OPERATOR.test(value) == (fingerprint,), reason


@pytest.mark.parametrize(("value", "reason"), [*HARMLESS, *((v, why) for v, found, why in INJECTIONS if not found)])
def test_harmless_text_passes(value: bytes, reason: str) -> None:
    assert OPERATOR.test(value) is None, reason


@pytest.mark.parametrize(
    ("value", "kinds"),
    [
        (b"abc 'd' 17 null", "ns1v"),
        (b"a.b select.c user.d", "nE.ny.n"),
        (b"1e5 .5 0x1F 0b01 0xg $1,000.00 1f", "1111nn11"),
        (b"x'4f' b'01' n'a' e'b' u&'c' q'(d)' nq'[e]'", "11sssss"),
        (b"$$a$$ $tag$b$tag$ $ $.x", "ssnn"),
        (b"@a @@b @'c' @`d`", "vvvv"),
        (b"`a` `sleep` `` `", "nfde"),
        (b"<=> || && :: := |/ !<", "o&&jooo"),
        (b"+ - ! ~ * / % = , ; : ? ] { } \\ .", "ppuummmo,;:??{}\\."),
        (b"[a b] c", "nn"),
        (b"/*a*/ /*!b*/ --c", "cXc"),
        (b"\\N \\", "1\\"),
        (b"a:", "no"),
        (b"\xa0a\xa0b\x00c", "nnn"),
    ],
)
def test_the_tokens_of_a_fragment(value: bytes, kinds: str) -> None:
    assert "".join(kind for kind, _ in tokenize(value, 0, ANSI)) == kinds


def test_the_dialects_differ_in_comments() -> None:
    value = b"a--b #c"
    assert [kind for kind, _ in tokenize(value, 0, ANSI)] == ["n", "c"]
    assert [kind for kind, _ in tokenize(value, 0, MYSQL)] == ["n", "p", "n", "c"]


@pytest.mark.parametrize(
    ("value", "fingerprint"),
    [
        (b"1 + 2 * 3", "1"),
        (b"a, b, c", "n"),
        (b"'a' 'b'", "s"),
        (b"(((1", "1"),
        (b"f.g.h", "n"),
        (b"order by 1", "B1"),
        (b"order/**/by 1", "B1"),
        (b"in (1", "o(1"),
        (b"x in y", "nnn"),
        (b"database (", "f("),
        (b"user (", "f("),
        (b"user (a", "n(n"),
        (b"; if 1", ";T1"),
        (b"1 collate utf8_bin 2", "1A1"),
        (b"{x 1}", "1"),
        (b"\\ - 1", "1"),
        (b"a b c d e f g h", "nnnnn"),
        (b"1 -- x", "1c"),
        (b"-- x", ""),
    ],
)
def test_what_a_fragment_folds_to(value: bytes, fingerprint: str) -> None:
    assert fold(tokenize(value, 0, ANSI))[0] == fingerprint


def test_a_longer_value_is_read_like_a_short_one() -> None:
    long = Dialect(ANSI.long, ANSI.long)
    for value in (
        b"a,b,c,d union select 1",
        b"1,2,3,4 or 1=1",
        b"'a', 1+2+3+b=select 1",
        b"a,b,c<=d,e",
        b"a, order by 1",
    ):
        assert fold(tokenize(value, 0, long))[0] == fold(tokenize(value, 0, ANSI))[0], value


@pytest.mark.parametrize("length", [LONG_BYTES, LONG_BYTES + 1])
def test_an_injection_behind_a_long_list_is_found(length: int) -> None:
    end = b" union select 1"
    value = (b"1," * LONG_BYTES)[: length - len(end)].removesuffix(b",").ljust(length - len(end), b"1") + end
    assert len(value) == length
    assert OPERATOR.test(value) == (b"1UE1",)


def test_values_below_the_minimum_never_match() -> None:
    every_byte = [bytes([byte]) for byte in range(256)]
    assert [value for value in every_byte if find_injection(value)] == []
    assert find_injection(b"{`") == b"X"
    assert OPERATOR.min_bytes == MIN_BYTES == len(b"{`")


@pytest.mark.parametrize(
    ("kinds", "is_possible"),
    [
        ("", False),
        ("1", False),
        ("f1", False),  # functions never matter alone: `_NEVER_ALONE`
        ("k", False),
        ("k1", True),
        ("kF", True),
        ("A", True),  # COLLATE and a name with an underscore
        ("&", False),
        ("&1", True),
        ("i1", False),
        ("T", True),
        ("E", True),
        ("U", True),
        ("B", True),
    ],
)
def test_the_guard_knows_with_which_words_a_pattern_can_hold(kinds: str, is_possible: bool) -> None:
    assert sqli_guard.may_be_injection(frozenset(kinds)) is is_possible


def test_no_pattern_holds_for_a_fingerprint_of_kinds_that_the_guard_lets_go() -> None:
    """The proof in sqli_guard, by trying: fingerprints drawn from what a plain value may fold to."""
    source = random.Random(3)
    there = "".join(sqli_guard.ALWAYS_THERE)
    for _ in range(20_000):
        kinds = "".join(source.sample("EUBTkfA&v1", source.randrange(4)))
        fingerprint = "".join(source.choices(there + 3 * kinds, k=source.randrange(2, 6)))
        if not sqli_guard.may_be_injection(frozenset(kinds)):
            assert not sqli_grammar.is_injection(fingerprint), (kinds, fingerprint)


@pytest.mark.parametrize("unit", [b"&#", b"<!--", b"--x\n", b"'' ", b"*/"])
def test_a_long_value_is_read_in_steps_and_found_alike(unit: bytes) -> None:
    value = unit * (40_000 // len(unit))
    found = []

    def read() -> Iterator[None]:
        found.append((yield from detect_sqli_steps(value)))

    count = sum(1 for _ in read())
    assert found == [OPERATOR.test(value)]
    assert count >= 20_000 // len(unit) // STEP_TOKENS


def test_every_reserved_word_is_one_token_of_its_kind() -> None:
    for word, kind in WORDS.items():
        assert list(tokenize(word.lower(), 0, ANSI)) == [(kind, word)]


def test_every_phrase_folds_to_one_kind() -> None:
    for phrase, kind in PHRASES.items():
        value = b"1 " + phrase + b" 7"
        if kind in "kEUTB":
            assert kind in fold(tokenize(value, 0, ANSI))[0], phrase


def test_memories_are_bounded() -> None:
    assert sqli_folding._push.cache_parameters()["maxsize"] == sqli_folding.STATES
    assert sqli_grammar.is_injection.cache_parameters()["maxsize"] == sqli_grammar.FINGERPRINTS


def test_a_word_longer_than_any_reserved_one_is_not_split() -> None:
    edge = b"a" * (sqli_tokens.WORD_BYTES + 1)
    assert list(tokenize(edge + b".b", 0, ANSI)) == [("n", (edge + b".b").upper())]
    assert max(map(len, WORDS)) <= sqli_tokens.WORD_BYTES


def test_an_argument_is_named_as_useless() -> None:
    notices = Notices()
    compile_detect_sqli(b"x", notices)
    assert ["no argument" in text for text in notices.texts] == [True]
