r"""Paths that leave their folder, or name a file that no request should: traversal, system files, stream wrappers.

What is judged is each *word* of the text (what stands between blanks, quotes, brackets and commas), with slashes turned
one way and `.`, `//` and `;parameters` taken out of it. It is an attack when

- it climbs (`../`, `..\`, `..;/`, `....//`) and arrives at a file that only the system or the app itself reads;
- it climbs three folders or more and is all of the value: a link in a page or an import in a source file climbs less,
  or stands in a text, or ends in a file that a browser loads;
- it climbs above the root (`/../`), or climbs with back slashes, or behind a name that no file system takes, or with a
  sign behind the dots that some decoder takes for a slash: no link is written so;
- it is the absolute path of such a file, and all of the value, or stands between sentences: in a sentence it is a hint
  (people write about `/etc/hosts`);
- it opens a stream where a name belongs (`php://filter/...`, `phar://`, `file:///...`).

Two or more dots without a slash beside them are punctuation.
"""

from __future__ import annotations

import re

from extproc.detection.contract import UNCOUNTED, Detector, Finding, Place, Reading
from extproc.detection.standing import stands_alone

WORD_STEPS, BYTES_A_STEP = 8, 6
"""What it costs to judge one word, and how many of its bytes cost one step more."""

WORDS_LIMIT = 64
"""Words of one text that have dots with slashes, a sensitive name or a scheme; more are not looked at."""

MANY_STEPS = 3
"""Folders climbed that need no known target."""

_FILES = (
    b"etc/passwd etc/shadow etc/group etc/gshadow etc/hosts etc/hostname etc/sudoers etc/issue etc/fstab "
    b"etc/crontab etc/mtab etc/motd etc/profile etc/resolv.conf etc/ssh/ etc/ssl/ etc/mysql etc/apache etc/httpd "
    b"etc/nginx etc/php etc/samba etc/security etc/init.d etc/cron etc/ldap etc/redhat-release etc/os-release "
    b"etc/environment etc/bashrc etc/inetd.conf etc/exports etc/ftp etc/proftp etc/vsftpd etc/my.cnf etc/pki "
    b"etc/kubernetes etc/docker proc/self proc/version proc/cmdline proc/mounts proc/net proc/cpuinfo proc/sched "
    b"proc/meminfo proc/filesystems proc/stat proc/swaps proc/sys proc/partitions proc/interrupts proc/modules "
    b"proc/devices var/log var/mail var/spool/ var/lib/mysql var/lib/mlocate var/run/secrets var/run/docker "
    b"var/adm var/apache var/www/ usr/local/etc usr/local/apache usr/etc usr/lib/security usr/pkg/etc opt/lampp "
    b"opt/apache opt/xampp root/. home/ users/ dev/fd dev/mem dev/tcp sys/class run/secrets windows/ winnt/ "
    b"inetpub/ boot.ini win.ini system.ini system32 php.ini my.ini autoexec.bat desktop.ini pagefile.sys "
    b"ntuser.dat sysprep xampp/ docume~1 progra~1 library/webserver bin/sh bin/bash bin/id bin/cat bin/ls bin/ps "
    b".ssh/ .bash_history .bashrc .bash_profile .mysql_history .htaccess .htpasswd .aws/ .env .git/ .svn/ .npmrc "
    b".netrc .pgpass .docker/ .kube/ id_rsa id_dsa id_ed25519 authorized_keys known_hosts shadow passwd web-inf/ "
    b"meta-inf/ web.config web.xml wp-config config.php config.inc configuration.php settings.py localsettings "
    b"database.yml secrets.yml application.properties application.yml parameters.yml appsettings.json global.asax "
    b"httpd.conf apache2.conf nginx.conf vhosts.conf my.cnf access.log access_log error.log error_log "
    b"applicationhost.config tomcat-users.xml server.xml machine.config sam.log smssetup.log"
)
_SYSTEM = sorted(set(_FILES.split()), key=len, reverse=True)
_TARGET = re.compile(
    rb"(?:^|/)(?:" + b"|".join(re.escape(name) for name in _SYSTEM) + rb")(?:$|(?<=/)|(?=[^a-z]))|proc/[0-9]+/",
)
"""After the climb, or anywhere in the path: a folder's name must begin there."""

_ABSOLUTE = re.compile(
    rb"/?(?:[a-z]:)?/(?:"
    rb"etc/(?:passwd|shadow|group|gshadow|hosts|hostname|sudoers|issue|fstab|crontab|mtab|motd|profile|resolv\.conf|"
    rb"os-release|redhat-release|environment|bashrc|inetd\.conf|exports|ssh/|ssl/|mysql/|apache2?/|httpd/|nginx/|php|"
    rb"security/|init\.d/|cron|samba/|ldap/|vsftpd|proftpd|pure-ftpd|my\.cnf|pki/|kubernetes/|docker/|network/|"
    rb"[a-z0-9._-]{1,40}/?[a-z0-9._-]{0,40}\.(?:conf|cnf|cfg|ini)$)"
    rb"|proc/(?:self|version|cmdline|mounts|net|cpuinfo|sched|meminfo|filesystems|stat|swaps|sys|partitions|interrupts|"
    rb"modules|devices|[0-9]+)(?:/|$)"
    rb"|root/\.|var/(?:log|mail|adm|spool/(?:cron|mail)|lib/(?:mysql|mlocate|docker)|run/(?:secrets|docker))(?:/|$)"
    rb"|(?:usr/local|usr/pkg|opt|var|xampp|library)/(?:[a-z0-9._-]+/){0,5}(?:logs?|conf|etc)(?:/|$)"
    rb"|(?:home|users|root|var/www|apps?|srv|opt|usr/src|workspace|code)/(?:[^/]{1,40}/){0,6}\.(?:ssh|bash_history|bashrc|bash_profile|profile|aws|env|git|"
    rb"mysql_history|npmrc|netrc|kube)(?:/|$)"
    rb"|(?:windows|winnt)/(?:system32|win\.ini|system\.ini|repair|debug|panther|iis|explorer|php\.ini|[a-z0-9_-]+\.(?:log|ini))"
    rb"|(?:boot\.ini|win\.ini|autoexec\.bat|pagefile\.sys|inetpub/)"
    rb"|run/secrets/|dev/(?:tcp|fd|mem|u?random)(?:/|$)"
    rb"|(?:[a-z0-9._-]+/){0,6}(?:httpd\.conf|apache2\.conf|nginx\.conf|php\.ini|my\.cnf|my\.ini|(?:access|error)[._]log|"
    rb"web-inf|id_rsa|\.htpasswd|\.htaccess|wp-config\.php)(?:$|[/~:])"
    rb")"
)

_BARE_NAME = re.compile(rb"(?:etc/(?:passwd|shadow)|proc/self|windows/(?:win\.ini|system32))(?:$|/)")
_KEPT_INSIDE = re.compile(
    rb"(?:[\w.-]{1,40}/){0,6}(?:web-inf/[a-z]|\.htpasswd$|\.ssh/[a-z]|\.aws/c|\.git/[a-z])|~[a-z]*/\.[a-z]"
)
"""As a whole value, by a relative name: what a server keeps to itself."""
_PRIVATE = re.compile(
    rb"(?:[a-z]:)?/(?:(?:etc|proc|root|boot|usr/etc|var/(?:log|run|spool|lib|cache)|sys)/[a-z0-9_.-]|"
    rb"\.(?:bash|ssh|ht|aws|git/|svn/|mysql_history|profile|sh_history|logout|[sr]hosts|netrc|pgpass|npmrc|kube/|docker|"
    rb"gnupg|vnc|env\b|viminfo|my\.cnf|subversion|hg/))"
)
"""As a whole value: whatever lies there is no business of a client's. Paths of sites do begin so (`/etc/designs/`)."""

_INSTALLED = re.compile(
    rb"(?:[a-z]:)?/(?:usr|var|opt|srv|mnt|private|volumes|library|system|applications|data|bin|sbin|"
    rb"program(?:[ ~_]?files|data)[^/]{0,8}|documents[ ]and[ ]settings|[wx]amp\w{0,3}|inetpub|apache\w{0,8}|"
    rb"mysql\w{0,8}|php\w{0,4}|nginx)/(?:[^/]{1,60}/){0,8}"
    rb"(?:[^/]{0,60}\.(?:conf|cnf|cfg|ini|log|errs?|pid|inc|key|pem|bak|sam)(?:\.[a-z0-9]{1,8})?"
    rb"|(?:database|secrets|credentials|application|settings|parameters)\.(?:ya?ml|properties|json|php|py|rb)"
    rb"|_?(?:access|error|sys|auth|mail|web|ftp|cron)?[_-]?log(?:s|file|[._-]?[0-9])?|sam|security|system"
    rb"|(?:[a-z]{1,6}-?)?ftpd|httpd|sshd|crond?|samba|named|web\.config|global\.asax?)/?$"
)
"""As a whole value: settings, logs and servers below the folders where systems install them."""

_PADDING_MIN_BYTES = 256
"""A name of a file has at most 255 bytes on every common file system: a longer segment is there to be cut off."""
_PADDED_MAX_BYTES = 2048
_PADDING_REST_BYTES = 32

_STREAM = re.compile(
    rb"(?:php:/{0,2}(?:filter|input|memory|temp|stdin|fd|output)|(?:phar|expect|zip|rar|ogg|glob|zlib|compress\.zlib|"
    rb"compress\.bzip2|ssh2\.[a-z]+|netdoc|jar):/{1,2}.|data:(?://|text/(?:plain|html);base64,|;base64,|,<\?)|"
    rb"file:/{1,3}(?:[a-z]:|[a-z~.%]))"
)
_LOADED = re.compile(
    rb"\.(?:[cm]?[jt]sx?|css|s[ac]ss|less|png|jpe?g|gif|svg|webp|ico|woff2?|ttf|md|html?|map|vue|json)$"
)
"""What pages and sources name by relative paths."""

_WRITTEN = re.compile(
    rb"\.(?:rst|adoc|java|kts?|go|rs|c|cc|cpp|cxx|h|hpp|swift|dart|exp|am|in|mk|cmake|proto|toml|ipynb|tex)$"
)
"""What is built and written about: in a text it is a source's own neighbour."""

_SERVED = re.compile(
    rb"\.(?:php[3-8]?|phtml|inc|aspx?|ashx|jspx?|cgi|cfm|conf|cnf|cfg|ini|log|bak|sql|db|htpasswd|key|pem|passwd)$|/\.[a-z_]+$"
)
"""What a server runs or keeps to itself: an include takes it by a relative path, a page does not."""

_WITH_BLANKS = re.compile(rb"(?<=[/\\])(?:program files(?: \(x86\))?|documents and settings)(?=[/\\])", re.IGNORECASE)
"""The folders whose names hold blanks, which end a word elsewhere."""
_WORDS = re.compile(rb"[^\s\"'<>|,`*&]+")
_STEP = re.compile(rb"\.{2,}%?")
_RESTLESS = re.compile(rb"/(?:\.?/)+")
_PARAMETERS = re.compile(rb";[^/]*(?=/|$)")
_ODD_STEP = re.compile(rb"\.\.[\x80-\xff]{1,4}")
_PRIVATE_USE_STEP = re.compile(rb"\.\.(?:\xee[\x80-\xbf]|\xef[\x80-\xa3])[\x80-\xbf]")
"""Two dots and a character for private use, which code pages map as they like."""
_ODD_SPELLING = re.compile(rb"(?:^|/)\.{3,}/|/\.\.//|\.\.//|\.\.%/")
_ABOVE_ROOT = re.compile(rb"/+(?:\./)*\.{2,}/")
_GOES_NOWHERE = re.compile(rb"[./]{0,4}(?:\./+){6,}")
_DOTS_FIRST = re.compile(rb"\.{4,}(?=[a-z])")
_SLASHLESS = re.compile(
    rb"etc(?:passwd|shadow|hosts)|web-inf/?(?:web\.xml|classes|lib)|boot\.ini|win(?:dows|nt)(?:win\.ini|system32)|procself"
)
"""What is left of a path when a filter took its slashes away."""
_LEADERS = re.compile(rb"/\.{6,}[^.\s]")
_CODED = re.compile(rb"(?:0x|(?<=\.\.))(2e|2f|5c)(?!(?!2e|2f|5c)[0-9a-f]{4})")
_CODED_BYTES = {b"2e": b".", b"2f": b"/", b"5c": b"/"}

_CLIMBS = frozenset((b"../", b"..\\", b"/..", b"\\..", b"..;", b"0x2e", b"..0x", b"..2f", b"..5c", b"..\x00")) | {
    b"..%c" % byte for byte in range(0x80, 0x100)
}
_FOLDERS = b"etc proc root var usr opt home users dev boot sys library".split()
_NAMES = frozenset(name + sign for name in _FOLDERS for sign in (b"/", b"\\", b";")) | frozenset(
    b"windows winnt boot.ini win.ini system.ini autoexec pagefile inetpub secrets .conf php.ini my.cnf my.ini "
    b"access.log access_log error.log error_log web-inf id_rsa .htpasswd .htaccess wp-config.php xampp "
    b".bash .ssh/ .ssh\\ /.ht \\.ht .htpasswd .aws/ .aws\\ .git/ .git\\ .svn/ .svn\\ .mysql_history /.profile "
    b".sh_history /.logout /.shosts /.rhosts /.netrc /.pgpass /.npmrc /.kube/ /.docker /.gnupg /.vnc /.env /.viminfo "
    b"/.subversion /.hg/ ~/. srv/ mnt/ private/ volumes/ applications/ program data/ documents apache mysql php nginx "
    b"bin/ /././ \\.\\.".split()
)
_PADDING = frozenset(bytes((letter,)) * 32 for letter in b"abcdefghijklmnopqrstuvwxyz0123456789")
_SLASHLESS_NAMES = frozenset(
    b"etcpasswd etcshadow etchosts web-inf boot.ini windowswin winnt windowssystem procself".split()
)
_STREAMS = frozenset(b"php: phar: expect: zip: rar: ogg: glob: zlib: compress. ssh2. netdoc: jar: data: file:".split())
_SLASHES = frozenset((b"/", b"\\"))
GATE = (
    (_CLIMBS,),
    (_SLASHES, _NAMES),
    (_SLASHES, _PADDING),
    (frozenset((b"....",)), _SLASHLESS_NAMES),
    (_STREAMS,),
)


def detect(text: bytes, place: Place, reading: Reading = UNCOUNTED) -> Finding | None:
    """The strongest finding; the span is the word's."""
    best: Finding | None = None
    looked_at = 0
    if (b"/" in text[:4] or b"\\" in text[:4]) and b" " in text[:16]:
        text = _WITH_BLANKS.sub(lambda found: found[0].replace(b" ", b"_"), text)
    for match in _WORDS.finditer(text):
        word = match[0]
        if len(word) < 4 or not (
            b"/" in word or b".." in word or b":" in word or b"\\" in word or b"0x" in word or b"0X" in word
        ):
            continue
        if looked_at == WORDS_LIMIT or not reading.spend(WORD_STEPS + len(word) // BYTES_A_STEP):
            reading.leave_out()
            break
        finding = _judge(text, place, match.start(), match.end())
        if finding is not None:
            looked_at += 1
            if best is None or finding.score > best.score:
                best = finding
    return best


def _judge(text: bytes, place: Place, start: int, end: int) -> Finding | None:
    word = text[start:end].lower().replace(b"\\", b"/")
    is_whole = not text[:start].strip(b" \t\r\n\"'") and not text[end:].strip(b" \t\r\n\"'\x00")
    is_disguised = b"..;/" in word
    is_coded = False
    if b"0x" in word or b"..2f" in word or b"..5c" in word:
        plain = _CODED.sub(lambda found: _CODED_BYTES[found[1]], word)
        is_coded = plain != word
        is_disguised |= is_coded
        word = plain
    if b".." in word and not word.isascii():
        plain = _PRIVATE_USE_STEP.sub(b"../", word)
        if plain == word and b"../" not in word:
            # Some decoder may see a slash in what follows the dots: four times the same is no accident.
            odd = _ODD_STEP.findall(word)
            if len(odd) > MANY_STEPS and len(set(odd)) <= 2:
                plain = _ODD_STEP.sub(b"../", word)
        is_disguised |= plain != word
        word = plain
    stream = _STREAM.match(word)
    if stream is not None:
        return _stream(word, start, end, is_whole)
    # `file=../x`: what is assigned is the path.
    if b"=" in word and b"/" in word:
        word = word[word.rfind(b"=", 0, word.find(b"/")) + 1 :]
    if b";" in word:
        word = _PARAMETERS.sub(b"", word)
    if word[:4] in (b"//?/", b"//./"):
        word = word[3:]  # Windows' way to say that a path is to be taken as it is
    raw = word
    is_odd = len(word) - len(word := _RESTLESS.sub(b"/", word)) > 3
    steps = highest = 0
    if b".." in word:
        depth = 0
        for segment in word.split(b"/"):
            if _STEP.fullmatch(segment):
                depth -= 1
                steps += 1
            elif segment and segment != b".":
                depth += 1
                is_disguised |= len(segment) >= _PADDING_MIN_BYTES and b"/../" in word
            highest = min(highest, depth)
        if not steps and (is_coded or _LEADERS.match(word)) and (is_whole or stands_alone(text, start, end)):
            return Finding("path", 5, (start, end), "whole value", "dots that some decoder takes for steps", False)
        dots = _DOTS_FIRST.match(word) if not steps else None
        if dots is not None and _SLASHLESS.match(word, dots.end()) and (is_whole or stands_alone(text, start, end)):
            return Finding("path", 5, (start, end), "whole value", "dots, then a file of the system", False)
        if b"/" not in word:
            return None
    bare = word.split(b"\x00", 1)[0].split(b"?", 1)[0].split(b"#", 1)[0]
    if steps:
        return _climbing(text, start, end, (raw, word, bare), (steps, -highest), (is_whole, is_disguised, is_odd))
    target = _ABSOLUTE.match(bare if not _BARE_NAME.match(bare) else b"/" + bare)
    if target is not None:
        reason = "absolute path of a file of the system"
        if is_whole:
            return Finding("path", 6, (start, end), "whole value", reason)
        if stands_alone(text, start, end):
            return Finding("path", 5, (start, end), "between sentences", reason, False)
        return Finding("path", 4, (start, end), "word", reason, False)
    if place is Place.PATH:
        return None
    if _PRIVATE.match(bare) or _INSTALLED.match(bare):
        if is_whole or stands_alone(text, start, end):
            return Finding("path", 5, (start, end), "whole value", "absolute path below a folder of the system")
        return None
    if is_whole and _KEPT_INSIDE.match(bare):
        return Finding("path", 5, (start, end), "whole value", "a file that servers keep to themselves")
    if (_GOES_NOWHERE.match(raw) or _is_padded(raw)) and (is_whole or stands_alone(text, start, end)):
        return Finding("path", 5, (start, end), "whole value", "a path made to be cut off", False)
    return None


def _is_padded(word: bytes) -> bool:
    """Does it begin with a name of one letter, longer than any file system takes?"""
    if not _PADDING_MIN_BYTES < len(word) <= _PADDED_MAX_BYTES or word[:1] != b"/":
        return False
    return len(word.replace(word[1:2], b"")) <= _PADDING_REST_BYTES and word[1:2].isalnum()


def _climbing(
    text: bytes, start: int, end: int, words: tuple[bytes, bytes, bytes], climb: tuple[int, int],
    marks: tuple[bool, bool, bool],
) -> Finding | None:  # fmt: skip
    """How much a path with steps up counts: (as it came, normalised, without arguments), (steps, folders climbed)."""
    raw, word, bare = words
    steps, climbed = climb
    is_whole, is_disguised, is_odd = marks
    is_odd = is_odd or _ODD_SPELLING.search(word) is not None or b"..//" in raw
    tail = bare[bare.rfind(b"../") + 2 :] if b"../" in bare else bare
    target = _TARGET.search(tail)
    if target is not None:
        name = tail[target.start() : target.end()].strip(b"/").decode("latin-1")
        return Finding("path", 8, (start, end), "path segment", f"{_climbs(steps)}, then {name}")
    if is_disguised and (climbed or is_whole or stands_alone(text, start, end)):
        return Finding("path", 6, (start, end), "path segment", f"{_climbs(steps)}, disguised")
    is_loaded = _LOADED.search(bare) is not None
    if climbed >= MANY_STEPS or (is_whole and steps >= MANY_STEPS):
        if (
            not is_whole
            and word[:1] in b"./"
            and text[max(start - 1, 0)] not in b"\"'`"
            and not is_loaded
            and not _WRITTEN.search(bare)
        ):
            return Finding("path", 5, (start, end), "word", f"{_climbs(steps)} in a text", False)
        if is_loaded or not is_whole:
            return Finding("path", 4, (start, end), "path segment", f"{_climbs(steps)} to nothing known", False)
        return Finding("path", 6, (start, end), "path segment", _climbs(steps))
    if climbed and not is_loaded:
        leaves_root = word.startswith(b"/") or _SERVED.search(bare) is not None
        is_back = text[start : start + 3] == b"..\\"
        if is_whole and (steps == 2 or is_odd or leaves_root or is_back):
            return Finding("path", 5, (start, end), "path segment", _climbs(steps), False)
        if _ABOVE_ROOT.match(raw) and (start == 0 or text[start - 1 : start] in b" \t"):
            return Finding("path", 5, (start, end), "word", f"{_climbs(steps)} from the root, in a text", False)
        if (steps == 2 or is_odd or leaves_root) and stands_alone(text, start, end):
            return Finding("path", 5, (start, end), "between sentences", _climbs(steps), False)
    return Finding("path", 3, (start, end), "path segment", _climbs(steps), False)


def _climbs(steps: int) -> str:
    return "one step up" if steps == 1 else f"{min(steps, 9)}{'+' if steps > 9 else ''} steps up"


def _stream(word: bytes, start: int, end: int, is_whole: bool) -> Finding:
    scheme = word.split(b":", 1)[0].decode("latin-1")
    reason = f"opens a stream, {scheme}:"
    if start == 0 or is_whole:
        return Finding("path", 7 if scheme != "file" else 6, (start, end), "whole value", reason)
    if b"php:" in word or b"phar:" in word or b"expect:" in word:
        return Finding("path", 5, (start, end), "word", reason, False)
    return Finding("path", 3, (start, end), "word", reason, False)


DETECTOR = Detector("path", GATE, detect, limit_bytes=4096, disguise_gain=2)
