"""Lines and words: comments, continuations, quotes."""

import pytest

from extproc.seclang.lexer import MAX_LINE_BYTES, LexError, Line, Word, logical_lines, words

LINES = [
    (b"", []),
    (b"\n  \n# a\n", []),
    (b"A b", [(1, b"A b")]),
    (b"A b\r\nC d\r\n", [(1, b"A b"), (2, b"C d")]),
    (b"\xef\xbb\xbfA", [(1, b"A")]),
    (b"A \\\n  b\nC", [(1, b"A   b"), (3, b"C")]),
    (b"A \\\r\n  b\r\n", [(1, b"A   b")]),
    (b"# comment \\\nA b", [(2, b"A b")]),
    (b"A \\\n\nB", [(1, b"A"), (3, b"B")]),
    (b"A \\", [(1, b"A")]),
    (b"\\\n", []),
    (b"\\", []),
    (b"A \\ \nB", [(1, b"A \\"), (2, b"B")]),
]


@pytest.mark.parametrize(("source", "expected"), LINES)
def test_logical_lines(source: bytes, expected: list[tuple[int, bytes]]) -> None:
    assert [(line.number, line.text) for line in logical_lines(source)] == expected


WORDS = [
    (b"A b  c", [b"A", b"b", b"c"]),
    (b'A "b c"\t"d"', [b"A", b"b c", b"d"]),
    (b"A 'b c'", [b"A", b"b c"]),
    (b'A "say \\"hi\\""', [b"A", b'say "hi"']),
    (b'A "a\\\\" "b"', [b"A", b"a\\\\", b"b"]),
    (b'A "\\\\\\""', [b"A", b'\\\\"']),
    (b'A "\\d\\x5c\'"', [b"A", b"\\d\\x5c'"]),
    (b"A ARGS:'a b|c' x", [b"A", b"ARGS:'a b|c'", b"x"]),
    (b"A id:1,msg:'a b',pass", [b"A", b"id:1,msg:'a b',pass"]),
    (b'A ""', [b"A", b""]),
    (b"A b # comment", [b"A", b"b"]),
    (b'A "#b"', [b"A", b"#b"]),
    (b"A \xff\x00", [b"A", b"\xff\x00"]),
]


@pytest.mark.parametrize(("text", "expected"), WORDS)
def test_words(text: bytes, expected: list[bytes]) -> None:
    assert [word.text for word in words(Line(1, text, False))] == expected


def test_a_word_knows_its_quote() -> None:
    assert words(Line(1, b"A 'b' \"c\"", False)) == [Word(b"A"), Word(b"b", b"'"), Word(b"c", b'"')]


BROKEN = [
    (b'A "b', False, 'missing closing "'),
    (b"A 'b", False, "missing closing '"),
    (b'A "b"c', False, "text glued to a closing"),
    (b'A "b""c"', False, "text glued to a closing"),
    (b"A b # c", True, "a comment inside a continued directive"),
    (b"A b \\", False, "a backslash with blanks after it"),
]


@pytest.mark.parametrize(("text", "is_continued", "message"), BROKEN)
def test_what_is_no_line_says_why(text: bytes, is_continued: bool, message: str) -> None:
    with pytest.raises(LexError, match=message):
        words(Line(1, text, is_continued))


def test_the_longest_line() -> None:
    assert len(words(Line(1, b"A " + b"b" * (MAX_LINE_BYTES - 2), False))) == 2
    with pytest.raises(LexError, match="split the rule"):
        words(Line(1, b"A " + b"b" * (MAX_LINE_BYTES - 1), False))


def test_hostile_lines_are_read_in_linear_time() -> None:
    # A regular expression that backtracks would need hours; the timeout of the suite is the bar.
    for text in (b"A " + b"\\" * 200_001, b"A '" + b'"' * 200_000, b"A " + b":'" * 100_000, b'A "' + b'\\"' * 100_000):
        try:
            words(Line(1, text, False))
        except LexError:
            continue
