"""@detectPath: paths that climb or name what no request should, and what only looks like them."""

from __future__ import annotations

import pytest

from extproc.detection.contract import Place, Reading
from extproc.detection.path import WORDS_LIMIT, detect

ATTACKS = [
    (b"../../../../etc/passwd", 8, "4 steps up, then etc/passwd"),
    (b"read ../etc/passwd please", 8, "one step up, then etc/passwd"),
    (rb"..\..\windows\win.ini", 8, "2 steps up, then windows"),
    (b"/static/../../WEB-INF/web.xml", 8, "2 steps up, then web-inf"),
    (b"../../../../tmp/x", 6, "4 steps up"),
    (b"..;/..;/admin", 6, "2 steps up, disguised"),
    (b"0x2e0x2e/0x2e0x2e/x", 6, "2 steps up, disguised"),
    (b"a/../../x", 5, "2 steps up"),
    (b"/........secret", 5, "dots that some decoder takes for steps"),
    (b"/0x2e0x2esecret", 5, "dots that some decoder takes for steps"),
    (b"have a look at ../../../secret", 5, "3 steps up in a text"),
    (b"../../../secret is what I want", 5, "3 steps up in a text"),
    (b"....//....//x", 5, "2 steps up"),
    (b"/etc/passwd", 6, "absolute path of a file of the system"),
    (b"file=/etc/passwd", 6, "absolute path of a file of the system"),
    (b"C:\\windows\\system32\\drivers", 6, "absolute path of a file of the system"),
    (b"/etc/some.thing", 5, "absolute path below a folder of the system"),
    (b"php://filter/read=x/resource=a", 7, "opens a stream, php:"),
    (b"file:///etc/passwd", 6, "opens a stream, file:"),
    ("..\uefc8..\uefc8x".encode(), 6, "2 steps up, disguised"),
    (b"..%/..%/x", 5, "2 steps up"),
    (b"..\\secret", 5, "one step up"),
    (b"..//secret", 5, "one step up"),
    (b"look: /../secret", 5, "one step up from the root, in a text"),
    (b"/" + b"A" * 256 + b"/../secret", 6, "one step up, disguised"),
    (b"/" + b"A" * 256 + b"secret", 5, "a path made to be cut off"),
    (b"/././././././secret", 5, "a path made to be cut off"),
    (b"....etcpasswd", 5, "dots, then a file of the system"),
    (b"/usr/local/php5/httpd.conf.php", 5, "absolute path below a folder of the system"),
    (b"C:\\Program Files\\xampp\\apache\\conf\\httpd.conf", 6, "absolute path of a file of the system"),
    (b"/.shosts", 5, "absolute path below a folder of the system"),
    (b"backup/.htpasswd", 5, "a file that servers keep to themselves"),
    (b"WEB-INF/web.xml", 5, "a file that servers keep to themselves"),
    (b"Good morning. /etc/hosts", 5, "absolute path of a file of the system"),
    (b"/etc/hosts Thanks a lot", 5, "absolute path of a file of the system"),
]


@pytest.mark.parametrize(("text", "score", "reason"), ATTACKS)
def test_an_attack(text, score, reason):
    finding = detect(text, Place.ARGUMENT)
    assert finding is not None
    assert (finding.score, finding.reason) == (score, reason)


LOOK_ALIKES = [
    b"https://git.example/a/b/compare/eed535497e8b...5c8ea95ff55b",
    b"wait... what... now",
    b"1..10 and 20..30",
    b"../images/logo.png",
    b"../../components/Button.tsx",
    b"import x from '../../../lib/x.js'",
    b"see /etc/hosts for names",
    b"I have edited it. /etc/hosts is fine now",
    b"He edited the file:\n/etc/hosts",
    b"/etc/hosts is wrong",
    b"wait... /etc/hosts",
    b"/usr/local/bin/node",
    b"/var/www/html/index.html",
    b"..//images/logo.png",
    b'"$(dirname $0)"/../lib/x',
    b"/" + b"A" * 255,
    b"/9j/4AAQSkZJRgABAQ" + b"AAAAAAAA" * 64,
    b"././a",
    b"Wait....etc",
    b"at Module._compile (../../node_modules/a/lib/b.js:3:4)",
    b"git diff main...feature/x",
    b"profile: public",
    b"metadata: none",
    b"https://shop.example/etc/designs/x.css",
    b"and/or ... either/or",
    b"Chapter 1 ........ 12",
    b"yes/no......",
    "…/…".encode(),
]


@pytest.mark.parametrize("text", LOOK_ALIKES)
def test_a_look_alike(text):
    finding = detect(text, Place.ARGUMENT)
    assert finding is None or finding.score < 5


def test_a_site_may_have_a_folder_of_that_name():
    assert detect(b"/etc/designs/site.css", Place.PATH) is None


def test_so_many_words_are_judged():
    hints = b"../x "
    assert detect(hints * (WORDS_LIMIT - 1) + b"../etc/passwd", Place.ARGUMENT).score == 8
    reading = Reading(1 << 40)
    assert detect(hints * WORDS_LIMIT + b"../etc/passwd", Place.ARGUMENT, reading).score < 5
    assert reading.is_partly
