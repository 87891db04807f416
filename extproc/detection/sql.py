"""SQL injection: the value leaves the place it was put in, and what follows goes on as SQL.

A query puts a value inside quotes, or as a number or name. So the text is read from the places where it could leave
that (*joints*): behind a quote, and at a word or sign that goes on with a query. From there a small grammar reads
expressions, set operations, clauses and statements as far as they go. Three things make the difference to prose that
holds the same words:

- *Polarity*: a quote behind `=`, `:`, `(`, `,` or at the start of a word opens a string of the text's own; it closes
  none of the app's.
- *Completeness*: a logic word needs a comparison, a call or a subselect behind it; `union`, `order by`, `drop` need
  what their grammar asks for. A bare word as operand proves nothing.
- *Closure*: what leaves a quoted place must end in a comment, in a `;`, or inside a string that the app's own quote
  closes; or at least at the end of the text. Where the grammar stops before, only what no prose says counts (`1 = 1`,
  a call that waits, a list behind `union select`).

A whole statement that breaks out of nothing is another thing (a query console, a question in a forum): it is a hint,
and more only if it reads the database's own tables or calls what waits or leaves the database.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from extproc.detection.contract import UNCOUNTED, Detector, Finding, Place, Reading
from extproc.detection.pattern import find
from extproc.detection.scan import seeker
from extproc.detection.sql_reader import Reader
from extproc.detection.sql_tokens import DANGEROUS, FUNCTIONS, Token

JOINTS_LIMIT = 40
"""Places of each kind from which a text is read, half of them its first, half its last."""

READ_LIMIT = 960
"""Tokens of one text that are read, from all places together."""

_QUOTED = re.compile(
    rb"['\"`](?=[\x00-\x20)\\%\]]{0,16}(?:(?:or|and|xor|not|union|except|intersect|minus|like|rlike|regexp|in|is|between"
    rb"|having|order|group|limit|procedure|into|div|mod|where|select|case|if|sounds|glob|collate|as|from|offset|exec"
    rb"|waitfor|insert|update|delete|drop|alter|create)(?![a-z])|[-+*/|&^=<>;,#!~]|%[\x00-\x20]*[0-9'\"]"
    rb"|\([\x00-\x20(]{0,8}select))",
    re.IGNORECASE,
)
_LOGIC_BEHIND = (
    # What could be compared: a literal, a comment, a subselect, or a name with an operator behind it.
    rb"[\x00-\x20\xa0(!~+-]{0,16}(?:not[\x00-\x20(]+|binary[\x00-\x20]+)?[\x00-\x20(]{0,8}(?:[0-9'\"@`.]|/\*|--|#"
    rb"|(?:select|exists|true|false|null|case|if)\b|[a-z_][\w.$]*[\x00-\x20`]{0,8}(?:[=<>!(|/*+]|-[0-9]|in[\x00-\x20]*\("
    rb"|is[\x00-\x20]+(?:not|null|true)|(?:not[\x00-\x20]+)?(?:like|between|regexp|rlike|glob)[\x00-\x20(]*(?:[0-9'\"]|binary)))"
)
_REST_BARE = (
    rb"(?:union|except|intersect|minus)(?:[\x00-\x20\xa0(+]|/\*|all|distinct|select|$)"
    rb"|(?:order|group)(?:[\x00-\x20\xa0+]|/\*)+[^a-z]*by[^a-z]"
    rb"|(?:having|where|limit)[\x00-\x20\xa0(]{1,8}(?:[0-9'\"@]|not |/\*|[a-z_][\w.]*[\x00-\x20]*[=<>!(]|null|true)"
    rb"|procedure[\x00-\x20]+analyse|into[\x00-\x20]+(?:out|dump)file"
    rb"|(?:like|rlike|regexp|between)[\x00-\x20]*(?:[(0-9'\"]|[a-z_]+\()"
)
_STATEMENTS_BEHIND = b"|".join(
    [
        rb"select|exec|call|declare|waitfor|shutdown|begin|backup|restore|kill|prepare|deallocate|handler|do|copy|drop"
        rb"|alter|create|truncate|rename|grant|revoke|insert|update|delete|replace|merge|upsert|load|case|i?if"
        rb"|[\w.]{1,32}\.sleep",
        *(re.escape(name) for name in sorted(DANGEROUS)),
    ]
)
_AFTER_SIGN = (
    rb";[\x00-\x20\xa0;(]{0,16}(?:/\*|"
    + _STATEMENTS_BEHIND
    + rb")|,[\x00-\x20]{0,4}(?:\([\x00-\x20(]{0,4}(?:select|case)|iif|if\()"
    rb"|\)[\x00-\x20)]{0,8}(?:or|and|union|;|--|\|\|)"
)
_BARE = find(
    rb"(?:(?:^|[^a-z_.$-])(or|and|xor)|(&&|\|\|))"
    + _LOGIC_BEHIND
    + rb"|(?:^|[^a-z_.$-])("
    + _REST_BARE
    + rb")|("
    + _AFTER_SIGN
    + rb")"
)
_LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_BEFORE_NAMES = _LETTERS | frozenset(b"_.$-")
_IN_NAMES = _LETTERS | frozenset(b"_:-")
"""Bytes that make a word the end, or the beginning, of a name."""
_NAMED_CALL = re.compile(rb"(?<![\w$@.])[a-z_][\w.$]*+(?=[\x00-\x20]{0,4}\()", re.IGNORECASE)
_CALLING = re.compile(rb"(?<![\w$])(?:waitfor[\x00-\x20]+(?:delay|time)|case[\x00-\x20]+when)(?![\w$])", re.IGNORECASE)
_AMBIGUOUS = frozenset((b"exp", b"dump", b"elt", b"polygon", b"rlike"))
"""Dangerous only inside an expression that breaks out; elsewhere they are mathematics or words."""

_is_called_in = seeker(
    rb"(?:\b|_)(?:waitfor[\x00-\x20]+(?:delay|time)|case[\x00-\x20]+when|(?:[\w.]+\.sleep|i?if|"
    + b"|".join(re.escape(name) for name in sorted(DANGEROUS - _AMBIGUOUS))
    + rb")[\x00-\x20]{0,4}\()"
)

_SELECT = re.compile(rb"select|case[\x00-\x20]|sleep|benchmark|waitfor", re.IGNORECASE)
_STATEMENT = re.compile(
    rb"[\x00-\x20(;]{0,16}(?:select|insert|update|delete|drop|alter|create|truncate|exec|execute|declare|waitfor|shutdown|"
    rb"grant|backup|merge|replace|load|call|begin|union|handler)(?![a-z])",
    re.IGNORECASE,
)
_NUMBER_SELECT = re.compile(
    rb"[\x00-\x20(+-]*[0-9]{1,20}[\x00-\x20)]{0,16}(?=\([\x00-\x20(]{0,8}select[\x00-\x20(])", re.IGNORECASE
)
_OPERAND = re.compile(
    rb"[\x00-\x20(+-]*(?:-?[0-9][0-9.e]{0,20}|0x[0-9a-f]+|[a-z_][\w.@$-]*+|'[^']{0,40}'|\"[^\"]{0,40}\"|@@?[\w.]+|null|%)?"
    rb"[\x00-\x20)%]*",
    re.IGNORECASE,
)
"""What stands before a joint when the value is nothing but a number, a name or a string."""

_NUMERIC = re.compile(
    rb"[\x00-\x20(+-]*(?:[0-9][0-9.e]{0,20}|0x[0-9a-f]+|null|true|false)?[\x00-\x20)%]*", re.IGNORECASE
)
_KEYWORD = re.compile(rb"\s*(?:begin|commit|go|end|start|set|use|select|where|from)\s*", re.IGNORECASE)
_QUOTES = frozenset((b"'", b'"', b"`"))
_SHORT_TAIL = re.compile(rb"[\x00-\x20+-]*(?:\w{0,8}|[^\w\s]{0,6})[\x00-\x20]*")
_OPENS = frozenset(b"=:([{,")
_STRONG_END = frozenset("CS;")


_NAMES = {b"'": "single quote", b'"': "double quote", b"`": "back quote"}


def detect(text: bytes, place: Place, reading: Reading = UNCOUNTED) -> Finding | None:
    """The strongest finding."""
    best: Finding | None = None
    left = READ_LIMIT
    has_comment = b"--" in text or b"#" in text or b"/*" in text
    # A quote and a comma are a list, if nothing is there that a list of SQL could go on to.
    has_list = has_comment or _SELECT.search(text) is not None
    closing: list[int] = []
    if b"'" in text or b'"' in text or b"`" in text:
        odd = frozenset(quote[0] for quote in _QUOTES if text.count(quote) % 2)
        closing = [
            match.start()
            for match in _QUOTED.finditer(text)
            if (has_list or text[match.start() + 1 : match.start() + 2] != b",")
            and _may_close(text, match.start(), odd)
        ]
    for at in _both_ends(closing, reading):
        reader = Reader(text, at + 1, reading)
        best = _stronger(best, _quoted(text, at, reader))
        left -= len(reader.stream)
        if left < 0:
            reading.leave_out()
            return best
        if best is not None and best.score >= 7:
            return best
    for at in _both_ends(_bare_joints(text), reading):
        reader = Reader(text, at, reading)
        best = _stronger(best, _bare(text, at, reader))
        left -= len(reader.stream)
        if left < 0:
            reading.leave_out()
            return best
    if _is_called_in(text):
        for at in _both_ends([match.start() for match in (*_calls(text), *_CALLING.finditer(text))], reading):
            best = _stronger(best, _called(text, at, reading))
    if _STATEMENT.match(text):
        best = _stronger(best, _whole(text, reading))
    elif b"(" in text:
        number = _NUMBER_SELECT.match(text)
        if number is not None:
            best = _stronger(best, _behind_number(text, number.end(), reading))
    return best


def _stronger(best: Finding | None, finding: Finding | None) -> Finding | None:
    return finding if finding is not None and (best is None or finding.score > best.score) else best


def _both_ends(joints: list[int], reading: Reading) -> list[int]:
    """At most JOINTS_LIMIT of them: an attack hides behind a long text as well as in front of one."""
    if len(joints) <= JOINTS_LIMIT:
        return joints
    reading.leave_out()
    half = JOINTS_LIMIT // 2
    return joints[:half] + joints[-half:]


def _bare_joints(text: bytes) -> list[int]:
    """Where a word or sign stands with which a query could go on."""
    joints: list[int] = []
    spans = _BARE(text, 0)
    while spans is not None:
        start, end = max(spans[1:5])
        is_logic, is_sign, is_rest = spans[1][0] >= 0, spans[2][0] >= 0, spans[3][0] >= 0
        is_name = (is_logic or is_rest) and start > 0 and text[start - 1] in _BEFORE_NAMES
        if not (is_name or (is_logic and text[end] in _IN_NAMES)):
            joints.append(start)
        spans = _BARE(text, end if is_logic or is_sign else start + 1)
    return joints


def _calls(text: bytes) -> Iterator[re.Match[bytes]]:
    """Where one of the functions is called that count wherever they stand."""
    for match in _NAMED_CALL.finditer(text):
        name = match[0].lower()
        if (name in DANGEROUS and name not in _AMBIGUOUS) or name in (b"if", b"iif") or name.endswith(b".sleep"):
            yield match


def _may_close(text: bytes, at: int, odd: frozenset[int]) -> bool:
    """Polarity: could this quote close a string of the app's? `odd`: quotes of which the text leaves one open."""
    if at == 0:
        return True
    before = at - 1
    while before > 0 and text[before] in b" \t\r\n":
        before -= 1
    if text[before] in _OPENS:
        return False
    if before < at - 1 or text[at - 1] in b" \t\r\n":
        # Behind a blank and in front of something it opens, if the text closes what it opens.
        following = text[at + 1 : at + 2]
        return not following.isalpha() and (following in b" \t-#)|&;" or text[at] in odd)
    return True


def _ending_in(reader: Reader, text: bytes, quote: bytes) -> str:
    """The same behind a quote: if the text's quotes are balanced the app's stays open, and its end closes nothing."""
    ending = _ending(reader, text, quote)
    return "J" if ending == "E" and text.count(quote) % 2 == 0 else ending


def _ending(reader: Reader, text: bytes, quote: bytes) -> str:
    """How the reading ended: C comment, S inside a string, `;`, E at the end of the text, J before more.

    A comment counts that stands on the same line and holds no more than a word: attacks want to be rid of the rest.
    """
    stream = reader.stream
    if 0 < reader.at <= len(stream) and stream[reader.at - 1].kind == "S":
        return "S" if not quote or stream[reader.at - 1].text == quote else "J"
    while reader.kind() == ")":
        reader.at += 1
    kind = reader.kind()
    if kind == "C":
        start = stream[reader.at].start
        before = text[stream[reader.at - 1].end : start] if reader.at else b""
        is_short = _SHORT_TAIL.fullmatch(text[start:].lstrip(b"-#/*")) is not None
        return "C" if is_short and b"\n" not in before else "J"
    if kind == ";":
        return ";"
    if kind == "S":
        return "S" if stream[reader.at].text == quote and stream[reader.at].end - stream[reader.at].start < 3 else "J"
    return "E" if kind == "" else "J"


_ENDINGS = {"C": "comment", "S": "open string", ";": "end of statement", "E": "end", "J": "more text"}


def _finding(score: int, start: int, reader: Reader, context: str, opening: str, ending: str, *words: str) -> Finding:
    end = reader.stream[min(reader.at, len(reader.stream)) - 1].end if reader.stream and reader.at else start + 1
    said = ", ".join(
        [opening, *words, *reader.said, _ENDINGS[ending]] if opening else [*words, *reader.said, _ENDINGS[ending]]
    )
    return Finding(
        "sql",
        score,
        (start, max(end, start + 1)),
        context,
        said,
        ending in "CS;" or score >= 7 or (ending == "E" and context in ("number", "whole value")),
    )


def _weight(reader: Reader, ending: str) -> int:
    """How strong a condition is that was read to that end, behind a break-out."""
    if reader.has_call or reader.has_system or reader.has_select:
        return 8 if ending in _STRONG_END else 7 if ending == "E" else 6
    if reader.has_equal_literals:
        return 7 if ending in _STRONG_END else 6 if ending == "E" else 5
    if reader.has_weak_call:
        return 6 if ending in _STRONG_END else 5 if ending == "E" else 4
    if reader.has_compared:
        return 6 if ending in _STRONG_END else 5 if ending == "E" else 3
    return 0


def _quoted(text: bytes, at: int, reader: Reader) -> Finding | None:
    quote = text[at : at + 1]
    context = _NAMES[quote]
    opening = f"closes {quote.decode()}"
    while reader.kind() == ")" or (reader.kind() == "?" and reader.kind(1)):
        reader.at += 1
    if reader.text() == b"as" and reader.kind(1) == "w":
        reader.at += 2
    if reader.text() == b"in" and reader.text(1) == b"boolean" and reader.text(2) == b"mode":
        reader.at += 3
        while reader.kind() == ")":
            reader.at += 1
    kind = reader.kind()
    if kind == "" or (kind == "s" and not reader.kind(1)):
        return None
    if kind == "C":
        rest = text[reader.stream[reader.at].start :]
        tail = rest.lstrip(b"-#/*")
        if rest[:1] == b"#" and tail.strip() and _OPERAND.fullmatch(text[:at]) is None:
            return None  # signs among letters: a password
        if text.count(quote) % 2 and _SHORT_TAIL.fullmatch(tail) and at <= 64:
            reader.at += 1
            return _finding(6, at, reader, context, opening, "C")
        return None
    if kind == "|":
        word = reader.text()
        reader.say("or" if word in (b"or", b"||") else "and")
        reader.at += 1
        is_sign = word in (b"||", b"&&")
        before = reader.at
        if not reader.expression():
            if reader.has_equal_literals or reader.has_call or _is_called_for(reader, before):
                return _finding(5, at, reader, context, opening, "J")
            return None
        ending = _ending_in(reader, text, quote)
        score = _weight(reader, ending)
        if not score and ending in "CS" and not reader.is_word_only:
            # One literal, then the end: `or 1--`, `or 'x`.
            token = reader.stream[before]
            is_short = token.kind != "S" or b" " not in text[token.start :].strip() + text[:at].strip()
            score = 6 if ending == "C" else 5 if is_short and not is_sign else 3
        if not score and is_sign and ending == "S" and before + 1 == reader.at:
            score = 5 if at == 0 else 4
        if (
            not score
            and ending == "E"
            and not reader.is_word_only
            and before + 1 == reader.at
            and reader.stream[before].kind in "nk"
        ):
            score = 5
        if not score and ending == "E" and reader.is_word_only and is_sign:
            score = 0
        return _finding(score, at, reader, context, opening, ending) if score else None
    if kind == "U":
        if reader.union():
            ending = _ending_in(reader, text, quote)
            return _finding(8 if ending != "J" else 6, at, reader, context, opening, ending, "union")
        if reader.kind() in ("C", "") and reader.text(-1) in (b"select", b"all"):
            return _finding(5, at, reader, context, opening, "E", "union select")
        return None
    if kind == ";":
        reader.at += 1
        while reader.kind() == ";":
            reader.at += 1
        if reader.kind() == "C" and _ending_in(reader, text, quote) == "C":
            rest = text[reader.stream[reader.at].start :]
            if rest[:1] == b"#" and rest.strip(b"# \r\n") and _OPERAND.fullmatch(text[:at]) is None:
                return None  # a fragment of an address
            return _finding(6, at, reader, context, opening, "C", "end of statement")
        if reader.statement():
            ending = _ending_in(reader, text, quote)
            return _finding(8 if ending != "J" else 6, at, reader, context, opening, ending, "end of statement")
        return None
    if kind in ("B", "H", "T", "W"):
        reader.say({"B": "order by", "H": "having", "T": "limit", "W": "where"}[kind])
        reader.at += 1
        if not reader.expressions() or reader.is_word_only:
            return None
        reader.clauses()
        ending = _ending_in(reader, text, quote)
        if kind == "W" and reader.has_equal_literals:
            return _finding(6, at, reader, context, opening, ending)
        return _finding(6, at, reader, context, opening, ending) if ending != "J" else None
    if kind in ("=", "L", "a", "*", "!"):
        return _operator(text, at, reader, quote, context, opening)
    if kind == ",":
        reader.at += 1
        if not reader.expressions():
            return None
        ending = _ending_in(reader, text, quote)
        if ending == "J" and reader.kind() == "U":
            ending = "E" if reader.union() else "J"
        if reader.has_select or reader.has_call:
            return _finding(7, at, reader, context, opening, ending, "list")
        if (ending == "C" and not reader.is_word_only) or (ending == "E" and reader.has_equal_literals):
            return _finding(6, at, reader, context, opening, ending, "list")
        return None
    if kind == "I":
        if reader.text(1) in (b"outfile", b"dumpfile"):
            reader.at += 2
            return _finding(8, at, reader, context, opening, "E", "into a file")
        return None
    if kind in ("q", "w") and reader.text() in (b"procedure", b"rollup", b"when", b"if"):
        if reader.text() == b"procedure" and reader.text(1) == b"analyse":
            return _finding(7, at, reader, context, opening, "E", "procedure analyse")
        return None
    is_same_line = b"\n" not in text[at : reader.stream[reader.at].start]
    if kind in ("X", "D", "N") and is_same_line and reader.statement():
        return _finding(7 if kind == "X" else 6, at, reader, context, opening, "E")
    if (
        kind in ("E", "(")
        and reader.expression()
        and (reader.has_call or reader.has_system or (reader.has_select and kind == "("))
    ):
        return _finding(6, at, reader, context, opening, _ending_in(reader, text, quote))
    return None


def _operator(text: bytes, at: int, reader: Reader, quote: bytes, context: str, opening: str) -> Finding | None:
    """A comparison or a sum right behind the quote: weak by itself (lists, code, mathematics)."""
    kind, sign = reader.kind(), reader.text() or b"*"
    first = reader.at
    # The string that was closed is the first operand.
    reader.stream.insert(first, Token("s", b"", at, at + 1))
    if not reader.expression():
        if reader.has_call or reader.has_select:
            return _finding(6, at, reader, context, opening, "J")
        return None
    ending = _ending_in(reader, text, quote)
    reader.say(sign.decode("latin-1"))
    if reader.has_call or reader.has_select or reader.has_system:
        if ending == "J" and sign in (b"<", b">"):
            return None  # markup
        return _finding(7 if ending != "J" else 5, at, reader, context, opening, ending)
    operands = reader.at - first
    if ending == "S":
        last = reader.stream[reader.at - 1] if reader.at <= len(reader.stream) else reader.stream[-1]
        tail = text[last.start + 1 :].strip()
        if operands <= 3 and at <= 32 and not tail:
            return _finding(5, at, reader, context, opening, ending)
        if sign in (b"<", b">", b"->", b"=>"):
            return None
        if kind in ("=", "L") and reader.has_equal_literals and len(tail) <= 24 and b" " not in tail:
            return _finding(5 if kind == "=" else 6, at, reader, context, opening, ending)
        if reader.has_weak_call:
            return _finding(5, at, reader, context, opening, ending)
        return None
    if ending == "C" and not reader.is_word_only and (kind in ("=", "L") or operands > 3 or reader.has_equal_literals):
        return _finding(6, at, reader, context, opening, ending)
    if (
        ending == "E"
        and kind == "L"
        and not reader.is_word_only
        and sign in (b"is", b"like", b"between", b"in", b"rlike")
    ):
        return _finding(4, at, reader, context, opening, ending)
    if ending in "CE" and reader.has_weak_call:
        return _finding(5, at, reader, context, opening, ending)
    return None


def _bare(text: bytes, at: int, reader: Reader) -> Finding | None:
    """From a word or sign on, as if a number or a name stood there."""
    left = text[:at]
    is_number = _NUMERIC.fullmatch(left) is not None
    is_operand = is_number or _OPERAND.fullmatch(left) is not None
    while reader.kind() == ")":
        reader.at += 1
    if is_operand and _KEYWORD.fullmatch(left):
        is_operand = False
    context = "number" if is_number else "name" if is_operand else "text"
    kind = reader.kind()
    if kind == "|":
        reader.say("or" if reader.text() in (b"or", b"||") else "and")
        reader.at += 1
        before = reader.at
        if not reader.expression():
            if is_number and _is_called_for(reader, before):
                return _finding(5, at, reader, context, "", "J")
            if reader.has_equal_literals and is_number and left.strip():
                return _finding(4, at, reader, context, "", "J")
            return None
        ending = _ending(reader, text, b"")
        if ending == "S":
            ending = "E" if is_number else "J"
        if reader.has_call or (reader.has_select and (is_operand or reader.has_system)):
            return _finding(7 if is_operand else 6, at, reader, context, "", ending)
        if reader.has_equal_literals:
            if ending in "C;":
                return _finding(6 if is_operand else 5, at, reader, context, "", ending)
            if ending == "E":
                return _finding(
                    6 if is_number else 5 if is_operand or _is_tautology(reader, before) else 4,
                    at,
                    reader,
                    context,
                    "",
                    ending,
                )
            return _finding(4 if is_number else 3, at, reader, context, "", ending)
        if ending == "C" and is_operand and not reader.is_word_only:
            return _finding(6, at, reader, context, "", ending)
        if is_number and left.strip() and ending == "E" and (reader.has_weak_call or reader.has_compared):
            return _finding(5, at, reader, context, "", ending)
        if not left.strip() and ending in "CE" and _is_same_name(reader, before):
            return _finding(5, at, reader, context, "", ending)
        if not left.strip() and ending == "E" and reader.stream[before].text == b"true":
            return _finding(5, at, reader, context, "", ending)
        return None
    if kind == "U":
        if not reader.union():
            if is_number and left.strip() and reader.text(-1) == b"select" and reader.kind() in ("", "C"):
                return _finding(5, at, reader, context, "", "E", "union select")
            return None
        ending = _ending(reader, text, b"")
        listed = reader.stream[: reader.at]
        is_probe = any(token.kind in "nkvd" for token in listed) or reader.has_system or reader.has_call
        if is_operand and (is_number or is_probe or ending != "J"):
            return _finding(8 if is_number and is_probe else 6, at, reader, context, "", ending, "union")
        if is_probe:
            return _finding(6 if ending in "CE" else 5, at, reader, context, "", ending, "union")
        return _finding(3, at, reader, context, "", ending, "union")
    if kind == ",":
        reader.at += 1
        if not is_number or not reader.expression() or not (reader.has_select or reader.has_weak_call):
            return None
        ending = _ending(reader, text, b"")
        return _finding(6, at, reader, context, "", ending, "list") if ending != "J" else None
    if kind == ";":
        while reader.kind() in (";", ")"):
            reader.at += 1
        is_next_line = reader.kind() != "" and b"\n" in text[at : reader.stream[reader.at].start]
        if (is_next_line and not is_operand) or not reader.statement():
            return None  # a line of code, and the next one
        ending = _ending(reader, text, b"")
        if reader.has_call or reader.has_system:
            return _finding(7, at, reader, context, "", ending, "end of statement")
        if is_operand:
            return _finding(7 if is_number or ending == "C" else 6, at, reader, context, "", ending, "end of statement")
        return _finding(4, at, reader, context, "", ending, "end of statement")
    if kind in ("B", "H", "T", "W"):
        word = {"B": "order by", "H": "having", "T": "limit", "W": "where"}[kind]
        reader.at += 1
        before = reader.at
        if not reader.expressions() or reader.is_word_only:
            return None
        reader.clauses()
        ending = _ending(reader, text, b"")
        if kind == "W" and reader.stream[before].kind == "n" and reader.has_equal_literals:
            # `where 1 = 1`: a condition on no column, which nobody tells or asks for.
            if ending == "S" and not is_number:
                ending = "J"
            return _finding(
                6 if ending != "J" and is_operand else 5 if ending != "J" or is_operand else 4,
                at,
                reader,
                context,
                "",
                ending,
                word,
            )
        if kind == "B" and not left.strip() and reader.at == 2 and not reader.kind() and ending == "E":
            return _finding(5, at, reader, context, "", ending, word)
        if reader.has_call or reader.has_select:
            return _finding(6, at, reader, context, "", ending, word)
        if ending in "CE;" and is_number and left.strip():
            return _finding(6 if ending != "E" else 5, at, reader, context, "", ending, word)
        if ending == "C" and is_operand and kind in "BH":
            return _finding(6, at, reader, context, "", ending, word)
        if kind == "H" and reader.has_equal_literals and ending in "CE" and is_operand:
            return _finding(5, at, reader, context, "", ending, word)
        return None
    if kind == "I" and reader.text(1) in (b"outfile", b"dumpfile") and reader.kind(2) in ("s", "S", "n"):
        reader.at += 2
        return _finding(7, at, reader, context, "", "E", "into a file")
    if kind == "w" and reader.text() == b"procedure" and reader.text(1) == b"analyse":
        return _finding(6, at, reader, context, "", "E", "procedure analyse")
    if kind in ("L",) and is_number and left.strip():
        reader.stream.insert(reader.at, Token("n", b"", at, at))
        if reader.expression() and (
            reader.has_select or reader.has_call or (reader.has_equal_literals and _ending(reader, text, b"") == "C")
        ):
            return _finding(6, at, reader, context, "", _ending(reader, text, b""))
        return None
    if kind == "C" and is_number and left.strip() and b")" in text[at : at + 8]:
        return _finding(4, at, reader, context, "", "C")
    return None


def _is_same_name(reader: Reader, before: int) -> bool:
    some = reader.ahead_of(before)
    return (
        len(some) == 3 and some[0].kind == some[2].kind == "w" and some[1].kind == "=" and some[0].text == some[2].text
    )


def _is_called_for(reader: Reader, before: int) -> bool:
    """`number = function(`: what follows may be broken, this much is no prose."""
    some = reader.ahead_of(before)
    return len(some) == 3 and some[0].kind == "n" and some[1].kind == "=" and some[2].text in FUNCTIONS | DANGEROUS


def _is_tautology(reader: Reader, before: int) -> bool:
    """Two equal literals compared with `=`: nobody writes `1 = 1` in a sentence by chance."""
    some = reader.ahead_of(before)
    return (
        len(some) == 3
        and some[0].kind in "ns"
        and some[1].text in (b"=", b"==", b"like")
        and some[2].kind in "nsS"
        and (some[0].text == some[2].text or some[2].kind == "S")
    )


def _called(text: bytes, at: int, reading: Reading) -> Finding | None:
    """A function that waits or leaves the database, called with literal arguments, wherever it stands."""
    reader = Reader(text, at, reading)
    is_whole = not text[:at].strip(b"\x00\t\r\n (-+~!'\"")
    if reader.kind() == "X":
        if reader.run_statement(reader.text()):
            return _finding(7 if is_whole else 6, at, reader, "whole value" if is_whole else "text", "", "E")
        return None
    name = reader.text()
    if reader.kind() == "K" or name in (b"if", b"iif"):
        # Only as an expression that replaces a number, and with something to decide about.
        if not is_whole or not reader.expression():
            return None
        ending = _ending(reader, text, b"")
        if reader.has_call or reader.has_select:
            return _finding(7, at, reader, "whole value", "", ending)
        if reader.has_equal_literals and ending != "J":
            return _finding(5, at, reader, "whole value", "", ending)
        return None
    if reader.kind() != "d":
        return None
    first = reader.kind(2)
    if not reader.operand() or first not in ("n", "s", "S", "k", "f", "d", "(", "v", "E", "a"):
        return None
    if name == b"sleep" and first in ("v", "s", "S"):
        return None
    while reader.kind() in ("a", "=", "|", "*"):
        reader.at += 1
        if not reader.operand():
            break
    ending = _ending(reader, text, b"")
    if is_whole:
        return _finding(6 if ending != "J" else 4, at, reader, "whole value", "", ending)
    is_rare = name not in (b"sleep", b"generate_series", b"current_setting", b"make_set", b"row_count")
    return _finding(5 if is_rare and ending != "J" else 4, at, reader, "text", "", ending)


def _behind_number(text: bytes, at: int, reading: Reading) -> Finding | None:
    """A subselect where an operator belongs: tools put it behind every number to see which query takes it."""
    reader = Reader(text, at, reading)
    if not reader.operand() or not (reader.has_call or reader.has_system):
        return None
    return _finding(6, at, reader, "number", "", _ending(reader, text, b""), "subselect")


def _whole(text: bytes, reading: Reading) -> Finding | None:
    """A statement that breaks out of nothing."""
    reader = Reader(text, 0, reading)
    while reader.kind() in (";", "("):
        if reader.kind(1) == "E":
            break
        reader.at += 1
    start = reader.at
    if reader.kind() == "U":
        return None
    if not reader.statement():
        return None
    ending = _ending(reader, text, b"")
    if reader.has_call or reader.has_system:
        return _finding(6 if ending != "J" else 5, 0, reader, "whole value", "", ending, "statement")
    if reader.stream[start].kind == "(" and ending != "J" and "case" in reader.said:
        return _finding(6, 0, reader, "whole value", "", ending, "subselect")
    return _finding(
        4 if ending != "J" else 3, reader.stream[start].start, reader, "whole value", "", ending, "statement"
    )


_LOGIC = frozenset((b"or", b"and", b"xor", b"&&", b"||"))
_CALLED = (DANGEROUS - _AMBIGUOUS) | {b".sleep", b"waitfor"}
_DIGITS = frozenset(b"%d" % digit for digit in range(10))
_STATEMENTS = frozenset(
    b"select insert update delete drop alter create truncate exec declare waitfor shutdown begin backup load call "
    b"replace merge handler".split()
)
# Few literals, and none of the two letters that are in every sentence but the words of logic: each that occurs costs
# the scan of every text, and what `detect` does first is cheaper than a closer gate.
GATE = (
    (_QUOTES,),
    (_LOGIC,),
    (frozenset((b"union", b"except", b"intersect", b"minus")), frozenset((b"select", b"values"))),
    (
        frozenset((b"having", b"order", b"group", b"limit", b"where")),
        _DIGITS | {b"(", b"@", b"null", b"true", b"false"},
    ),
    (frozenset((b"outfile", b"dumpfile", b"analyse")),),
    (_CALLED,),
    (frozenset((b"if",)), frozenset((b"(",))),
    (frozenset((b"case",)), frozenset((b"when",))),
    (_STATEMENTS,),
    (frozenset((b"between", b"like", b"regexp")), frozenset((b"(", b"--", b"#", b"/*"))),
)

DETECTOR = Detector("sql", GATE, detect, limit_bytes=4096)
