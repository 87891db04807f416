"""@rx: what PCRE matches, we match; held against the PCRE2 inside of the libmodsecurity wheel."""

from __future__ import annotations

import ctypes
import itertools
import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import libmodsecurity
import pytest

from extproc.operators import rx
from extproc.operators.pattern_set import PatternSet
from extproc.operators.rx import FALLBACK_LIMIT_BYTES, compile_rx

CRS = Path(os.environ.get("CRS_DIR", Path(__file__).parents[3] / "shared" / "crs"))
PCRE2_DOTALL, PCRE2_MULTILINE = 0x20, 0x400
EVERY_BYTE = bytes(range(256))


class Notices:
    """A CompileContext that remembers what it was told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def notice(self, text: str) -> None:
        self.texts.append(text)

    def read_file(self, name: bytes) -> bytes:
        raise FileNotFoundError(name)


@pytest.fixture(scope="module")
def pcre() -> Callable[[bytes], Callable[[bytes], tuple[bytes, ...] | None]]:
    """pattern → search, by PCRE2 with libmodsecurity's flags."""
    folder = Path(libmodsecurity.__file__).parent.parent / "libmodsecurity.libs"
    libraries = sorted(folder.glob("libmodsecurity-*"))
    if not libraries:
        pytest.skip("this libmodsecurity wheel brings no shared PCRE2")
    lib = ctypes.CDLL(str(libraries[0]))
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    lib.pcre2_compile_8.restype = pointer
    lib.pcre2_compile_8.argtypes = [ctypes.c_char_p, size, ctypes.c_uint32, pointer, pointer, pointer]
    lib.pcre2_match_data_create_from_pattern_8.restype = pointer
    lib.pcre2_match_data_create_from_pattern_8.argtypes = [pointer, pointer]
    lib.pcre2_match_8.argtypes = [pointer, ctypes.c_char_p, size, size, ctypes.c_uint32, pointer, pointer]
    lib.pcre2_get_ovector_pointer_8.restype = ctypes.POINTER(size)
    lib.pcre2_get_ovector_pointer_8.argtypes = [pointer]
    lib.pcre2_get_ovector_count_8.argtypes = [pointer]
    unset = size(-1).value

    def compile_pcre(pattern: bytes) -> Callable[[bytes], tuple[bytes, ...] | None]:
        error, offset = ctypes.c_int(), size()
        flags = PCRE2_DOTALL | PCRE2_MULTILINE
        code = lib.pcre2_compile_8(pattern, len(pattern), flags, ctypes.byref(error), ctypes.byref(offset), None)
        assert code, (pattern, error.value)
        data = lib.pcre2_match_data_create_from_pattern_8(code, None)

        def search(value: bytes) -> tuple[bytes, ...] | None:
            if lib.pcre2_match_8(code, value, len(value), 0, 0, data, None) < 0:
                return None
            ends = lib.pcre2_get_ovector_pointer_8(data)
            spans = [(ends[2 * n], ends[2 * n + 1]) for n in range(lib.pcre2_get_ovector_count_8(data))]
            return tuple(value[start:end] if start != unset else b"" for start, end in spans)

        return search

    return compile_pcre


# Pattern, whether re2 runs it, values. Each answer, captures included, must be PCRE's.
DIALECT: list[tuple[bytes, bool, list[bytes]]] = [
    (rb"a.b", True, [b"a\nb", b"ab", b"a\xffb"]),
    (rb"A", True, [b"a", b"A"]),
    (rb"^b$", True, [b"a\nb", b"b\n", b"a\nb\nc", b"ab"]),
    (rb"^$", True, [b"", b"a\n", b"\n", b"a\n\nb", b"a", b"\na"]),
    (rb"^[^x]*$", True, [b"x\n", b"x\n\n", b"a\n", b"x\na", b""]),
    (rb"(?:^a*)$|q", True, [b"b\n", b"q\n", b"b"]),
    (rb"a\z", True, [b"a", b"a\n"]),
    (rb"\Aa", True, [b"a", b"\na"]),
    (rb"\x{41}\x42\x4\x", True, [b"AB\x04\x00", b"AB4"]),
    (rb"[\x7f-\x{ff}]", True, [b"\x7f", b"\x80", b"\xff", b"~"]),
    (rb"\e\a\f\cA\t", True, [b"\x1b\x07\x0c\x01\t"]),
    (rb"\012\0\o{101}", True, [b"\n\x00A"]),
    (rb"[\1\b]", True, [b"\x01", b"\x08", b"1"]),
    (rb"^\s+$", True, [b"\x0b", b"\t\n\x0b\x0c\r ", b"\x85", b"\xa0"]),
    (rb"a\/b\-c\_\"\'", True, [b"a/b-c_\"'"]),
    (rb"\Q.*\E+", True, [b".*", b".***", b"xx"]),
    (rb"(?i)abc", True, [b"ABC", b"aBc", b"xabc"]),
    (rb"a(?i)b|c", True, [b"aB", b"C", b"AB", b"Ab"]),
    (rb"x(?:a(?i)b|c)d", True, [b"xaBd", b"xCd", b"xCD"]),
    (rb"(?i)a(?s-i)b|c", True, [b"Ab", b"AB", b"C", b"c"]),
    (rb"(?-s:a.b)(?-m:$)", True, [b"a\nb", b"axb", b"axb\nc"]),
    (rb"(?i)\xe9", True, [b"\xe9", b"\xc9"]),
    (rb"(?i)[^k]", True, [b"K", b"k", b"l"]),
    (rb"(?P<n>a)(?<m>b)?(?'o'c)", True, [b"abc", b"ac"]),
    (rb"(a)?(b)", True, [b"b", b"ab"]),
    (rb"a{,2}b{2,}c{1}", True, [b"bbc", b"aabbbc", b"a{,2}bbc"]),
    (rb"a{x}b{", True, [b"a{x}b{"]),
    (rb"a+?b??", True, [b"aaab"]),
    (rb"[]a][^]b]", True, [b"]a", b"ac", b"bb"]),
    (rb"[[a]|[\d-]", True, [b"[", b"a", b"-", b"5", b"b", b"c"]),
    (rb"[[:alpha:]][[:^]", True, [b"a:", b"a^", b"aa"]),
    (rb"[a&&b~~||]|[--/]|[x-]", True, [b"&", b"~", b"|", b"b", b"c", b"-", b".", b"x"]),
    (rb"a(?#comment)b", True, [b"ab"]),
    (rb"\Rb", True, [b"\r\nb", b"\x0bb", b"\x85b", b"b"]),
    (rb"[^\"]*+\"", True, [b'abc"', b"abc"]),
    (rb"\d++[a-f]", True, [b"123a", b"123"]),
    (rb"\w++", True, [b"abc"]),
    (rb"a++ab", False, [b"aaab", b"aab"]),
    (rb"(?:ab)*+a", False, [b"aba", b"abab"]),
    (rb"a++b?", False, [b"aab", b"b"]),
    (rb"foo(?=bar)", False, [b"foobar", b"foobaz"]),
    (rb"foo(?!bar)\z", False, [b"foo", b"foobar"]),
    (rb"(?<=a)b|(?<!x)y", False, [b"ab", b"cb", b"y", b"xy"]),
    (rb"(?>a+)b\\z", False, [b"aab\\z", b"aab"]),
    (rb"(['\"])x\1", False, [b"'x'", b"'x\""]),
    (rb"(?<q>.)x\k<q>\g{1}", False, [b"axaa", b"axab"]),
    (rb"a{1000}", True, [b"a" * 1000, b"a" * 999]),
    (rb"a{1001}", False, [b"a" * 1001, b"a" * 1000]),
    *[(rb"\%c" % c, True, [bytes((b,)) for b in range(256)]) for c in b"dDwWsShHvVN"],
    *[(rb"[\%c_]" % c, True, [bytes((b,)) for b in range(256)]) for c in b"dDwWsShHvV"],
    *[(rb"(?i)[^\%c_]" % c, True, [bytes((b,)) for b in range(256)]) for c in b"dDwWsShHvV"],
    *[
        (b"[[:%s:]]" % name, True, [bytes((b,)) for b in range(256)])
        for name in (rb"alpha digit alnum upper lower word space blank punct cntrl graph print xdigit ascii").split()
    ],
]


@pytest.mark.parametrize(("pattern", "runs_in_re2", "values"), DIALECT, ids=lambda v: None)
def test_agrees_with_pcre(pcre, pattern: bytes, runs_in_re2: bool, values: list[bytes]) -> None:
    notices = Notices()
    operator = compile_rx(pattern, notices)
    search = pcre(pattern)
    for value in values:
        assert operator.test(value) == search(value), (pattern, value)
    assert (operator.pattern is not None) is runs_in_re2
    assert bool(notices.texts) is not runs_in_re2


@pytest.mark.parametrize("byte", range(256))
def test_each_byte_is_one_character(byte: int) -> None:
    one = bytes((byte,))
    for pattern in (b"^.$", b"^\\x%02x$" % byte, b"^\\x{%02x}$" % byte, b"^[\\x%02x]$" % byte, b"^" + re.escape(one)):
        assert compile_rx(pattern, Notices()).test(one) == (one,)
    assert compile_rx(b"[^\\x%02x]" % byte, Notices()).test(one) is None


def test_end_of_text_that_swallows_the_newline() -> None:
    # The one known difference in what is captured: re2 has no look-ahead to leave the newline out.
    test = compile_rx(rb"a\Z", Notices()).test
    assert test(b"a") == (b"a",)
    assert test(b"a\n") == (b"a\n",)
    assert test(b"a\nb") is None


REFUSED = [
    (b"(", "missing"),
    (b"a)", "closes nothing"),
    (b"[a", "not closed"),
    (b"[b-a]", "no range"),
    (b"[a-\\d]", "no range"),
    (b"\\", "ends the pattern"),
    (b"\\x{100}", "no byte"),
    (b"\\y", "not known"),
    (b"[\\y]", "not known"),
    (b"[[:what:]]", "not known"),
    (b"(?R)", "not supported"),
    (b"(?x)a", "not supported"),
    (b"(*UTF)a", "not supported"),
    (b"(?<=a+)b", "look-behind"),
    (b"\\2(a)", "back-reference"),
    (b"\\k!", "back-reference"),
    (b"(?#a", "not closed"),
    (b"a{2}{3}", "pattern: bad repetition"),
]


@pytest.mark.parametrize(("pattern", "words"), REFUSED)
def test_refused_with_a_reason(pattern: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        compile_rx(pattern, Notices())


@pytest.mark.parametrize("at", [0, FALLBACK_LIMIT_BYTES - 1, FALLBACK_LIMIT_BYTES, 5 * FALLBACK_LIMIT_BYTES - 3])
def test_a_backtracking_pattern_sees_all_of_a_long_value(at: int) -> None:
    test = compile_rx(rb"needle(?=!)", Notices()).test
    half = FALLBACK_LIMIT_BYTES // 2
    assert test(b"." * at + b"needle!" + b"." * half) == (b"needle",)
    assert test(b"." * at + b"needle?" + b"." * half) is None


def test_a_backtracking_pattern_sees_no_more_than_the_limit_at_once() -> None:
    test = compile_rx(rb"a.*(?=b)", Notices()).test
    assert test(b"a" + b"." * (FALLBACK_LIMIT_BYTES - 2) + b"b") is not None
    assert test(b"." + b"a" + b"." * (FALLBACK_LIMIT_BYTES - 2) + b"b" + b"." * FALLBACK_LIMIT_BYTES) is None


def test_a_pattern_over_the_memory_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = b"(?:[a-m]{20}[^q-z]{30}){20}"
    monkeypatch.setattr(rx, "MAX_MEM_BYTES", 24 * 1024)
    monkeypatch.setattr(rx, "LARGE_PROGRAM_BYTES", 32 * 1024)
    assert compile_rx(wide, Notices()).test(b"a" * 1000) is not None
    monkeypatch.setattr(rx, "LARGE_PROGRAM_BYTES", 24 * 1024)
    with pytest.raises(ValueError, match="too large"):
        compile_rx(wide, Notices())


def test_hostile_text_takes_linear_work() -> None:
    # Exponential for an engine that backtracks; would not return within the test's time limit.
    assert compile_rx(rb"^(?:a+)+$", Notices()).test(b"a" * 50_000 + b"b") is None


def crs_patterns() -> list[bytes]:
    """Every unique @rx argument of the rule files, quotes unescaped."""
    found: dict[bytes, None] = {}
    for file in [*sorted((CRS / "rules").glob("*.conf")), CRS / "crs-setup.conf.example"]:
        lines = [line for line in file.read_bytes().split(b"\n") if not line.lstrip().startswith(b"#")]
        for match in re.finditer(rb'"!?@rx ((?:[^"\\]|\\.)*)"', b"\n".join(lines).replace(b"\\\n", b""), re.DOTALL):
            found[match[1].replace(b'\\"', b'"')] = None
    return list(found)


def mutations(seed: int, count: int) -> list[bytes]:
    """Values out of fragments that rules look for, with every oddity of bytes and lines."""
    pieces = rb"' or 1=1|union select |<script>|javascript:|../|/etc/passwd|;cat |$(|`id`|${jndi:|%0d%0a|php://|" + (
        rb"eval(|{{7*7}}|onerror=|--|/*|*/|a|Z|9| |" + b"\n|\r\n|\t|\x0b|\x00|\x80|\xff|\xa0|\"|'|=|&|@@|::$DATA"
    )
    parts, rng = pieces.split(b"|"), random.Random(seed)
    return [b"".join(rng.choices(parts, k=rng.randint(1, 9))) for _ in range(count)]


@pytest.mark.crs
@pytest.mark.skipif(not (CRS / "rules").is_dir(), reason="no Core Rule Set at CRS_DIR or ../shared/crs")
def test_core_rule_set_runs_in_re2_and_agrees_with_pcre(pcre) -> None:
    patterns = crs_patterns()
    assert len(patterns) >= 200
    values = mutations(4, 80)
    matched = 0
    for pattern in patterns:
        notices = Notices()
        operator = compile_rx(pattern, notices)
        assert operator.pattern is not None, pattern
        assert not notices.texts
        search = pcre(pattern)
        for value in values:
            expected = search(value)
            assert operator.test(value) == expected, (pattern, value)
            matched += expected is not None
    assert matched > 500


SET = [b"(?ms)a.c", b"(?ms)\\A", b"(?ms)x(?i:y)", b"(?ms)^q$", b"(?ms)\\xff"]


def test_pattern_set_says_what_each_pattern_says() -> None:
    chosen = PatternSet(SET)
    single = [compile_rx(pattern.removeprefix(b"(?ms)"), Notices()).test for pattern in SET]
    for letters in itertools.product([b"", b"a", b"b", b"c", b"xY", b"q", b"\n", b"\xff"], repeat=4):
        value = b"".join(letters)
        if value.endswith(b"\n"):
            continue  # re2's own view of ^ there; a candidate too many is allowed
        assert chosen.matching(value) == tuple(n for n, test in enumerate(single) if test(value) is not None)


def test_empty_pattern_set_names_nothing() -> None:
    assert PatternSet([]).matching(b"abc") == ()


@pytest.mark.parametrize("memory", [0, 1_000, 8_000, 20_000, 40_000, 60_000, 80_000, 120_000])
def test_pattern_set_without_memory_never_says_a_wrong_no(memory: int) -> None:
    patterns = [b"(?s)(?:[a-z]+=.{0,40}){3}x", b"foo", b"[^a]{20}b[^c]{20}"]
    chosen = PatternSet(patterns, max_mem_bytes=memory)
    rng = random.Random(2)
    value = bytes(rng.choices(b"abcx=f", k=3000)) + b"foo"
    expected = {n for n, p in enumerate(patterns) if compile_rx(p, Notices()).test(value)}
    assert expected <= set(chosen.matching(value))


def test_pattern_set_that_ran_out_of_memory_names_all() -> None:
    chosen = PatternSet(SET)
    chosen._match = lambda value: []  # what the binding answers then
    assert chosen.matching(b"nothing") == tuple(range(len(SET)))


def test_pattern_set_refuses_what_re2_refuses() -> None:
    with pytest.raises(ValueError, match="refuses"):
        PatternSet([b"(?=a)"])
