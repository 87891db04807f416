"""What is masked by place, by name and by look, and what is left readable."""

import base64

import pytest

from extproc.events.masking import MASK, MAX_SCANNED_BYTES, Masking

MASKING = Masking()

SECRET_NAMES = [
    b"password", b"Password", b"user_password", b"userPassword", b"passwd", b"pwd", b"pass", b"db-pass", b"userpass",
    b"secret", b"client_secret", b"token", b"access_token", b"csrfToken", b"api-key", b"X-Api-Key", b"apikey",
    b"session", b"sessionId", b"JSESSIONID", b"PHPSESSID", b"sid", b"otp", b"cvv", b"cvc2", b"pin", b"Authorization",
    b"Proxy-Authorization", b"Cookie", b"Set-Cookie", b"user[password]", b"json.user.password.0", b"%70assword",
    b"%2570assword", b"p\\u0061ssword", b"private_key", b"credit-card",
]  # fmt: skip
OPEN_NAMES = [
    b"q", b"id", b"page", b"author", b"bypass", b"compass", b"spinner", b"opinion", b"key", b"name", b"inside",
    b"passenger", b"keyboard", b"design",
]  # fmt: skip


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_secret_names(name: bytes) -> None:
    assert MASKING.is_secret_name(name)


@pytest.mark.parametrize("name", OPEN_NAMES)
def test_open_names(name: bytes) -> None:
    assert not MASKING.is_secret_name(name)


def test_extra_names_are_whole_and_caseless() -> None:
    masking = Masking(extra_names=frozenset({"Kundennummer"}))
    assert masking.mask_text(b"a=1&kundenNUMMER=4711&b=2") == b"a=1&kundenNUMMER=[masked]&b=2"
    assert masking.mask_text(b"kundennummern=4711") == b"kundennummern=4711"
    assert MASKING.mask_text(b"kundennummer=4711") == b"kundennummer=4711"


@pytest.mark.parametrize(
    ("variable", "is_secret"),
    [
        ("ARGS:password", True),
        ("ARGS:json.user.password", True),
        ("REQUEST_HEADERS:authorization", True),
        ("REQUEST_HEADERS:cookie", True),
        ("REQUEST_COOKIES:theme", True),
        ("REQUEST_COOKIES", True),
        ("&ARGS:token", True),
        ("REQUEST_COOKIES_NAMES:theme", False),
        ("ARGS_NAMES:password", False),
        ("REQUEST_HEADERS:user-agent", False),
        ("ARGS:q", False),
        ("REQUEST_BODY", False),
    ],
)
def test_secret_variables(variable: str, is_secret: bool) -> None:
    assert MASKING.is_secret_variable(variable) is is_secret


TEXTS = [
    # by name
    (b"/login?user=joe&password=hunter2&x=1", b"/login?user=joe&password=[masked]&x=1"),
    (b"/login?user=joe&%70ass%77ord=hunter2&x=1", b"/login?user=joe&%70ass%77ord=[masked]&x=1"),
    (b"/a?next=%2Flogin%3Fpassword%3Dhunter2&x=1", b"/a?next=[masked]&x=1"),
    (b"/a;jsessionid=ABCDEF?x=1", b"/a;jsessionid=[masked]"),
    (b'{"user":"joe","password":"hun\\"ter2","x":1}', b'{"user":"joe","password":"[masked]","x":1}'),
    (b'{"pin": 1234, "x": 1}', b'{"pin": [masked], "x": 1}'),
    (b'{"p\\u0061ssword":"hunter2","x":1}', b'{"p\\u0061ssword":"[masked]","x":1}'),
    (b'"{\\"token\\":\\"abc\\",\\"x\\":1}"', b'"{\\"token\\":\\"[masked]\\",\\"x\\":1}"'),
    (b'{"password":{"value":"hunter2"}}', b'{"password":[masked]'),
    (b"Authorization: Basic dTpw\r\nHost: a", b"Authorization: [masked]\r\nHost: a"),
    (b"Cookie: a=b; c=d\nHost: a", b"Cookie: [masked]\nHost: a"),
    (b"<user>joe</user><password>hunter2</password>", b"<user>joe</user><password>[masked]</password>"),
    (b'<a password="hunter2" b="c"/>', b'<a password="[masked]" b="c"/>'),
    (b'form-data; name="password"\r\n\r\nhunter2\r\n--x', b'form-data; name="password"[masked]\r\n--x'),
    (b"Matched Data: x found within ARGS:password: hunter2", b"Matched Data: x found within ARGS:password: [masked]"),
    (b"within REQUEST_COOKIES:theme: dark", b"within REQUEST_COOKIES:[masked]"),
    # by look
    (b"x eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdefgh y", b"x [masked] y"),
    (b"pay 4111 1111 1111 1111 now", b"pay [masked] now"),
    (b"pay 4111111111111111 now", b"pay [masked] now"),
    (b"key AKIAIOSFODNN7EXAMPLE here", b"key [masked] here"),
    (b"Bearer abcdef123", b"Bearer [masked]"),
    (b"https://joe:hunter2@example.org/", b"https://joe:[masked]@example.org/"),
    (b"a -----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- b", b"a [masked] b"),
    (b"a -----BEGIN PRIVATE KEY-----\nMIIE cut", b"a [masked]"),
    # left alone
    (b"/shop?page=2&sort=price", b"/shop?page=2&sort=price"),
    (b"/a?t=1700000000004", b"/a?t=1700000000004"),
    (b"order 4111111111111112", b"order 4111111111111112"),
    (b"1' or 1=1 -- ", b"1' or 1=1 -- "),
    (b"password", b"password"),
]


@pytest.mark.parametrize(("text", "masked"), TEXTS)
def test_texts(text: bytes, masked: bytes) -> None:
    assert MASKING.mask_text(text) == masked


@pytest.mark.parametrize(("text", "masked"), [row for row in TEXTS if row[0] != row[1]])
def test_off_means_off(text: bytes, masked: bytes) -> None:
    assert Masking(is_enabled=False).mask_text(text) == text


def test_base64_is_looked_into() -> None:
    hidden = base64.b64encode(b'{"user":"joe","password":"hunter2"}')
    assert MASKING.mask_text(b"q=" + hidden + b"&x=1") == b"q=" + MASK + b"&x=1"
    harmless = base64.b64encode(b"nothing to see here, only words")
    assert harmless in MASKING.mask_text(b"q=" + harmless)


def test_a_text_is_cut_at_the_limit_and_not_before() -> None:
    assert MASKING.mask_text(b"a" * MAX_SCANNED_BYTES) == b"a" * MAX_SCANNED_BYTES
    assert MASKING.mask_text(b"a" * MAX_SCANNED_BYTES + b"b") == b"a" * MAX_SCANNED_BYTES


@pytest.mark.parametrize(
    "secret",
    [
        *(b"eyJhbGciOi.x", b"AKIAIOSFODNN7EXAMPLE", b"ASIAIOSFODNN7EXAMPLE", b"AROAIOSFODNN7EXAMPLE"),
        *(b"AIDAIOSFODNN7EXAMPLE", b"ABIAIOSFODNN7EXAMPLE", b"ACCAIOSFODNN7EXAMPLE", b"AIza" + b"x" * 35),
        *(b"ghp_" + b"x" * 36, b"gho_" + b"x" * 36, b"ghu_" + b"x" * 36, b"ghs_" + b"x" * 36, b"ghr_" + b"x" * 36),
        *(
            b"github_pat_" + b"x" * 22,
            b"glpat-" + b"x" * 20,
            b"xoxb-12345678",
            b"sk_live_12345678",
            b"pk-test-12345678",
        ),
        *(b"rk_live-12345678", b"sk-" + b"x" * 24, b"sk-ant-12345678", b"npm_" + b"x" * 36),
    ],
)
def test_every_look_is_looked_for(secret: bytes) -> None:
    """What is searched first, as it costs little, leaves none of them out."""
    assert Masking().mask_text(b"see " + secret + b" there") == b"see [masked] there"
