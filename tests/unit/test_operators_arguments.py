"""Arguments of operators: what is refused says how to mend it, files are read, limits hold at the edge."""

from __future__ import annotations

import pytest

from extproc.operators import addresses, comparison, identity_numbers, phrases, validation
from extproc.operators.registry import OPERATORS


class Files:
    """A CompileContext with files in memory; keeps what was noticed."""

    def __init__(self, files: dict[bytes, bytes] | None = None) -> None:
        self.files = files or {}
        self.notices: list[str] = []

    def read_file(self, name: bytes) -> bytes:
        if name not in self.files:
            raise FileNotFoundError(2, "No such file or directory")
        return self.files[name]

    def notice(self, text: str) -> None:
        self.notices.append(text)


REFUSED = [
    ("ipMatch", b"", "knows no address"),
    ("ipMatch", b"10.0.0.1,", "knows no address"),
    ("ipMatch", b"10.0.0", "knows no address or CIDR block '10.0.0'"),
    ("ipMatch", b"1.2.3.4/33", "1.2.3.4/33"),
    ("ipMatch", b"!10.0.0.1", "!10.0.0.1"),
    ("ipMatch", b"\xff", "knows no address"),
    ("ipMatchFromFile", b"", "needs the name of a file"),
    ("ipMatchFromFile", b"bad.data", "'not-an-address'"),
    ("ipMatchFromFile", b"gone.data", "cannot read gone.data: No such file"),
    ("pmFromFile", b"", "needs the name of a file"),
    ("pmFromFile", b" ", "needs the name of a file"),
    ("pmFromFile", b"gone.data", "cannot read gone.data: No such file"),
    ("pmFromFile", b"https://example.org/list", "does not fetch"),
    ("pmFromFile", b"http://example.org/list", "does not fetch"),
    ("validateByteRange", b"", "cannot read ''"),
    ("validateByteRange", b"256", "from 0 to 255"),
    ("validateByteRange", b"5-3", "'5-3' is no range"),
    ("validateByteRange", b"1,,2", "cannot read ''"),
    ("validateByteRange", b"-3", "cannot read '-3'"),
    ("validateByteRange", b"a-b", "cannot read 'a-b'"),
    ("verifyCC", b"", "needs a pattern"),
    ("verifyCC", rb"(?=\d)\d+", "without look-around"),
    ("fuzzyHash", b"x 1", "ssdeep"),
    ("inspectFile", b"/bin/true", "may not start programs"),
    ("rsub", b"s/a/b/", "never rewritten"),
    ("validateDTD", b"x.dtd", "validate in the app"),
    ("validateSchema", b"x.xsd", "validate in the app"),
    ("validateHash", b"x", "remove the rule"),
]


@pytest.mark.parametrize(("name", "argument", "says"), REFUSED)
def test_a_bad_argument_is_refused_with_a_sentence(name, argument, says):
    with pytest.raises(ValueError) as raised:
        OPERATORS[name.lower()](argument, Files({b"bad.data": b"10.0.0.1\nnot-an-address\n"}))
    assert says in str(raised.value)
    assert str(raised.value).startswith(f"@{name} ")


@pytest.mark.parametrize(
    ("name", "argument", "says"),
    [
        ("geoLookup", b"", "never matches here"),
        ("gsbLookup", b"x", "never matches here"),
        ("rbl", b"sbl.example", "never matches here"),
        ("pm", b" ", "never matches"),
        ("pmFromFile", b"empty.data", "holds no phrase"),
        ("ipMatchFromFile", b"empty.data", "holds no address"),
        ("validateUrlEncoding", b"x", "without effect"),
        ("validateUtf8Encoding", b"x", "without effect"),
    ],
)
def test_an_operator_without_effect_says_so_at_load(name, argument, says):
    context = Files({b"empty.data": b"# nothing\n\n"})
    compiled = OPERATORS[name.lower()](argument, context)
    assert says in context.notices[0]
    if "never" in context.notices[0]:
        assert compiled.test(b"anything") is None
        assert compiled.words == frozenset() or compiled.words is None


PHRASE_FILE = b"# a comment\n\n  # indented comment\nfoo bar\r\n trailing \n\xe9t\xe9\n#hash\nb#r\n   \nlast"


@pytest.mark.parametrize(
    ("value", "captured"),
    [
        (b"xFOO BARx", b"foo bar"),
        (b"trailing", None),
        (b"a trailing b", b" trailing "),
        (b"\xe9T\xe9", b"\xe9t\xe9"),
        (b"\xc9t\xc9", None),  # only ASCII letters fold
        (b"hash", None),
        (b"comment", None),
        (b"B#R", b"b#r"),
        (b"at last", b"last"),
        (b"", None),
    ],
)
@pytest.mark.parametrize("name", ["pmfromfile", "pmf"])
def test_a_phrase_file_is_read_line_by_line(name, value, captured):
    operator = OPERATORS[name](b"p.data", Files({b"p.data": PHRASE_FILE}))
    found = operator.test(value)
    assert (None if found is None else found[0]) == captured


def test_several_files_make_one_list():
    context = Files({b"a.data": b"one\n", b"b.data": b"two\n"})
    operator = OPERATORS["pmfromfile"](b"a.data b.data", context)
    assert operator.words == {b"one", b"two"}


def test_addresses_come_from_a_file_with_comments():
    context = Files({b"ip.data": b"# office\n10.0.0.0/8 # inside\n\n2001:db8::/32\r\n"})
    for name in ("ipmatchfromfile", "ipmatchf"):
        operator = OPERATORS[name](b"ip.data", context)
        assert operator.test(b"10.9.9.9") == (b"10.9.9.9",)
        assert operator.test(b"2001:db8::5") == (b"2001:db8::5",)
        assert operator.test(b"11.0.0.1") is None


def test_a_hundred_thousand_phrases_load_and_find():
    count = 100_000
    content = b"\n".join(b"phrase-%06d-end" % index for index in range(count))
    operator = OPERATORS["pmfromfile"](b"big.data", Files({b"big.data": content}))
    assert operator.test(b"xx PHRASE-099999-end") == (b"phrase-099999-end",)
    assert operator.test(b"phrase-100000-end") is None
    assert len(operator.words or ()) == count


@pytest.mark.parametrize("count", [phrases.FEW_PHRASES, phrases.FEW_PHRASES + 1])
def test_few_and_many_phrases_report_the_same(count):
    fillers = b" ".join(b"filler%d" % index for index in range(count - 3))
    operator = OPERATORS["pm"](b"he hers she " + fillers, Files())
    assert operator.test(b"uSHErs") == (b"she",)
    assert operator.test(b"u*sh*ers") is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"9" * comparison.SAFE_DIGITS, 10**18 - 1),
        (b"9223372036854775807", comparison.LARGEST),
        (b"9223372036854775808", comparison.LARGEST),
        (b"-9223372036854775807", -comparison.LARGEST),
        (b"9" * 100_000, comparison.LARGEST),
        (b"0" * 100_000 + b"7", 7),
        (b"\xb25", 0),  # a digit only in Latin-1
    ],
)
def test_numbers_stop_at_64_bits(text, number):
    assert comparison.parse_integer(text) == number


def test_an_address_has_at_most_45_bytes():
    longest = b"0000:0000:0000:0000:0000:ffff:255.255.255.255"
    assert len(longest) == addresses.ADDRESS_MAX_BYTES
    operator = OPERATORS["ipmatch"](b"255.255.255.255", Files())
    assert operator.test(longest) == (longest,)
    assert operator.test(b"0" + longest) is None


def test_few_refused_bytes_are_words_and_more_are_not():
    limit = validation.REFUSED_WORDS_LIMIT
    at_the_edge = OPERATORS["validatebyterange"](b"%d-255" % limit, Files())
    beyond = OPERATORS["validatebyterange"](b"%d-255" % (limit + 1), Files())
    assert at_the_edge.words == {bytes([byte]) for byte in range(limit)}
    assert beyond.words is None


def test_only_so_many_findings_are_checked():
    limit = identity_numbers.CANDIDATES_LIMIT
    operator = OPERATORS["verifycc"](rb"\d\d", Files())
    assert operator.test(b"1 " * 3 + b"17 " * (limit - 1) + b"18") == (b"18",)
    assert operator.test(b"17 " * limit + b"18") is None


def test_every_operator_of_the_manual_is_there():
    manual = """beginsWith contains containsWord detectSQLi detectXSS endsWith fuzzyHash eq ge geoLookup gsbLookup gt
        inspectFile ipMatch ipMatchF ipMatchFromFile le lt noMatch pm pmf pmFromFile rbl rsub rx streq strmatch
        unconditionalMatch validateByteRange validateDTD validateHash validateSchema validateUrlEncoding
        validateUtf8Encoding verifyCC verifyCPF verifySSN verifySVNR within"""
    ours = {name for name in OPERATORS if name.startswith("detect")} - {"detectsqli", "detectxss"}
    assert {name.lower() for name in manual.split()} | {"ne"} | ours == set(OPERATORS)
