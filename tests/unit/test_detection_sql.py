"""@detectSQL: what leaves its place and goes on as SQL, and the texts that only look like it."""

from __future__ import annotations

import pytest

from extproc.detection.contract import Place, Reading
from extproc.detection.sql import DETECTOR, JOINTS_LIMIT, READ_LIMIT, detect
from extproc.detection.sql_reader import DEPTH_LIMIT
from extproc.detection.sql_tokens import COMMENT_LINE_BYTES, TOKENS_LIMIT, tokens

ATTACKS = [
    (b"' or 1=1--", 7, "single quote", "closes ', or, number = number, comment"),
    (b"' or '1'='1", 7, "single quote", "closes ', or, string = string, open string"),
    (b'x" or "a"="a', 7, "double quote", 'closes ", or, string = string, open string'),
    (b"') or ('x')=('x", 6, "single quote", None),
    (b"' or 1=1", 6, "single quote", "closes ', or, number = number, end"),
    (b"' or 1--", 6, "single quote", None),
    (b"1)) or 84=like('abc',upper(hex(randomblob(500000000/2)))) and ((4=4", 7, "number", None),
    (
        b"1 (select (case when (5=5) then regexp_substring(repeat(right(char(5),0),5),null) else 1 end) from t)",
        6,
        "number",
        None,
    ),
    (b"1 union values(1,2,3)--", 8, "number", None),
    (b"1 and 3=(select upper(xmltype(" + b"chr(60)||" * 30 + b"chr(62))) from dual)", 7, "number", None),
    (b"admin'--", 6, "single quote", "closes ', comment"),
    (b"admin' #", 6, "single quote", "closes ', comment"),
    (b"'/**/or/**/1/**/=/**/1--", 7, "single quote", None),
    (b"' /*!50000or*/ 1=1 -- -", 7, "single quote", None),
    (b"'||(select password from users)||'", 8, "single quote", None),
    (b"' and username like 'a", 6, "single quote", None),
    (b"' union select 1,2,3--", 8, "single quote", "closes ', union, select, comment"),
    (b"' union all select null,@@version#", 8, "single quote", None),
    (b"'; drop table users--", 8, "single quote", "closes ', end of statement, drop table, end"),
    (b"' order by 5--", 6, "single quote", None),
    (b"' having 1=1--", 6, "single quote", None),
    (b"', (select version()))--", 7, "single quote", None),
    (b"' waitfor delay '0:0:5'--", 7, "single quote", None),
    (b"1 or 1=1", 6, "number", "or, number = number, end"),
    (b"1) and (1=1", 6, "number", None),
    (b"-1 union select name, pass from users", 6, "number", None),
    (b"1 union all select 1,2,concat(user(),0x3a)", 8, "number", None),
    (b"1; drop table users", 7, "number", None),
    (b"1;waitfor delay '0:0:5'", 7, "number", None),
    (b"1 order by 10--", 6, "number", None),
    (b"1 and sleep(5)", 7, "number", None),
    (b"1 and (select count(*) from information_schema.tables)>0", 7, "number", None),
    (b"1 and ascii(substring(database(),1,1))>64", 5, "number", None),
    (b"sleep(5)", 6, "whole value", None),
    (b"if(1=1,sleep(5),0)", 7, "whole value", None),
    (b"benchmark(5000000,md5(1))", 6, "whole value", None),
    (b"select table_name from information_schema.tables", 6, "whole value", None),
    (b"exec xp_cmdshell 'dir'", 6, "whole value", None),
]


@pytest.mark.parametrize(("text", "score", "context", "reason"), ATTACKS)
def test_an_attack(text, score, context, reason):
    finding = detect(text, Place.ARGUMENT)
    assert finding is not None
    assert (finding.score, finding.context) == (score, context)
    assert reason is None or finding.reason == reason


@pytest.mark.parametrize("text", [text for text, *_ in ATTACKS])
@pytest.mark.parametrize("change", [bytes.upper, lambda text: text.replace(b" ", b"\t"), lambda text: b"hi " + text])
def test_harmless_changes_hide_nothing(text, change):
    changed = change(text)
    if change is bytes.upper or changed.startswith(b"hi "):
        changed = changed.replace(b"0X3A", b"0x3a")
    finding = detect(changed, Place.ARGUMENT)
    if changed.startswith(b"hi ") and not text.startswith((b"'", b'x"', b"admin'")):
        return  # as a name before it: another place, another weight
    assert finding is not None
    assert finding.score >= 5


LOOK_ALIKES = [
    b"Call me @ 555-0199 ext. 7 (after 5pm; before 9)",
    b'"Group By Design, Inc."',
    b"https://shop.example/a?q=The board is 6' x 8' x 3/4\"; #top",
    b"J+JqEmZf,Yrj`NMi'#jFWs",
    b"O'Neil and sons",
    b"d'Artagnan or l'Hermite",
    b"the dogs' and the cats' food",
    b"rock 'n' roll or 1 other",
    b"6' 2\" or 5' 11\"",
    b"it's 5 or 6 people, isn't it",
    b"1 or 2 or 3 and 4",
    b"select the union jack",
    b"Order by phone; having fun, limit 2 per person",
    b"Drop the table in the corner and update your profile set",
    b"insert the coin into the slot; delete from memory",
    b'title="a b" && kind="c" || status:open',
    b'project = WEB AND status in (Open, "In Progress") ORDER BY created DESC',
    b"price gt 5 and name eq 'x' or startswith(title,'a')",
    b"if (a < b && c > d) return a || d;",
    b"for i in range(10): print('a' + 'b')",
    b"x = 'it' if y == 'a' or z == 'b' else 'c'  # a comment",
    b'you may not use this (the "License");\n# you may not',
    b"kwargs['newline'] = ''\n# Python 3",
    b"a'b'c'd'e",
    b"P@ss'w0rd--",
    b"10:30 -- 11:45",
    b"--help prints 'usage'; -v is verbose",
    b"5-3 and 4*2",
    b"C# and F# or '90s music",
    b"SELECT name FROM users WHERE id = 7",
    b"UPDATE accounts SET a = 1 WHERE id = 2; COMMIT;",
    b"sleep(time) and wait",
    b"union of select states; except where noted",
    b"Insert into the slot on the left (values between 1 and 5), then execute the program",
    b'name;note\r\n1;"Drop Table Tennis Club";"x = 4"\r\n2;"y";"z"',
    b"<title>Select one or more options from the menu, where available</title><by a='b'>",
    b"drop table if exists temp_import; is in our nightly script",
    b"the crowd's 'oohs' and 'aahs",
    b"const c = require('x');\nexec('cat *.js | wc -l', (error) => { log(error) });",
]


@pytest.mark.parametrize("text", LOOK_ALIKES)
def test_a_look_alike(text):
    finding = detect(text, Place.ARGUMENT)
    assert finding is None or finding.score < 5, finding


def test_so_many_joints_are_read_from_either_end():
    joint, attack, half = b"a' or b ", b"a' union select 1,2-- ", JOINTS_LIMIT // 2

    def score(before: int, after: int) -> int:
        finding = detect(joint * before + attack + b"\n" + joint * after, Place.ARGUMENT)
        return finding.score if finding is not None and finding.context == "single quote" else 0

    assert score(half - 1, JOINTS_LIMIT) > 0
    assert score(JOINTS_LIMIT, half - 1) > 0
    assert score(half, half) == 0

    def is_partly(count: int) -> bool:
        reading = Reading(1 << 40)
        detect(joint * count + b"\n", Place.ARGUMENT, reading)
        return reading.is_partly

    assert not is_partly(JOINTS_LIMIT)
    assert is_partly(JOINTS_LIMIT + 1)


def test_so_many_tokens_are_read_in_all():
    joint = b"a' and 1" + b"+1" * 59 + b" "
    assert detect(joint * (READ_LIMIT // 118 - 1) + b"b' or 1=1--", Place.ARGUMENT) is not None
    assert detect(joint * (READ_LIMIT // 118 + 1) + b"b' or 1=1--", Place.ARGUMENT) is None


def test_so_deep_brackets_are_read():
    def nested(depth: int) -> bytes:
        return b"1 or " + b"(" * depth + b"1=1" + b")" * depth

    assert detect(nested(3), Place.ARGUMENT).score == 6
    assert detect(nested(DEPTH_LIMIT), Place.ARGUMENT) is None

    def is_partly(depth: int) -> bool:
        reading = Reading(1 << 40)
        detect(b"1 or a=" + b"(" * depth + b"1" + b")" * depth, Place.ARGUMENT, reading)
        return reading.is_partly

    assert not is_partly(DEPTH_LIMIT - 1)
    assert is_partly(DEPTH_LIMIT)


def test_a_long_line_of_comment_ends_the_reading():
    def commented(size: int) -> bytes:
        return b"x' --" + b"c" * (size - 3) + b"\n or 1=1--"

    assert detect(commented(COMMENT_LINE_BYTES), Place.ARGUMENT).context == "single quote"
    beyond = detect(commented(COMMENT_LINE_BYTES + 1), Place.ARGUMENT)
    assert beyond is None or beyond.context != "single quote"


def test_so_many_tokens_are_read():
    reading = Reading(1 << 40)
    assert len(list(tokens(b"1," * (TOKENS_LIMIT // 2), 0, reading))) == TOKENS_LIMIT
    assert not reading.is_partly
    assert len(list(tokens(b"1," * 500, 0, reading))) == TOKENS_LIMIT
    assert reading.is_partly


def test_long_texts_are_read_in_windows():
    assert DETECTOR.limit_bytes == 4096
