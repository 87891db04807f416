"""Shell commands: the value ends the word it was put in, and what follows is a command with a fitting argument.

A text is cut where a shell begins anew (`;`, `|`, `&`, a line break, `$(`, a back quote), what hides a word from a
filter is undone (empty quotes, backslashes, `$IFS`, `$@`, `[c]at`, `{cat,x}`, carets), and the first word of each piece
is looked up. A name alone is no proof, for most are words: what counts is an argument of the kind that the command
takes, or the end of the piece.

Where the piece stands decides how much it counts. At the start of the value, or behind one word (an address, a file
name), nothing but an attack looks like that. In running text a `;` is punctuation, a `|` draws tables, a back quote is
Markdown, and whole command lines are what people ask about: there only what attacks run counts (reading `/etc/passwd`,
a shell with its ends in a socket). A command that breaks out of nothing is a hint at most, unless it is of that kind.
"""

from __future__ import annotations

import re

from extproc.detection.contract import UNCOUNTED, Detector, Finding, Place, Reading
from extproc.detection.pattern import find
from extproc.detection.scan import seeker

PIECE_STEPS = 30
"""What it costs to read one piece."""

PIECES_LIMIT = 32
"""Pieces of one text that are looked at, of those that begin like a command."""

SHORT_BYTES = 160
"""A text with line breaks up to here may be a value with a command behind it; a longer one is a text."""

PIECE_LIMIT_BYTES = 256
"""Of each piece; a command and its first arguments are shorter."""

_END = re.compile(rb"[;|`\r\n)]|&(?!>)|(?<![0-9>])&")
_SLASH_LETTER = re.compile(rb"\$\{(?:PATH|HOME|PWD|OLDPWD|SHELL)(?::0:1|%%[^}]{1,12})\}", re.IGNORECASE)
"""`${PATH:0:1}`: the slash that these variables begin with."""
_ANSI_QUOTED = re.compile(rb"\$'([^'\\]{0,120})'")
"""`$'cat'`: its escapes are undone in one of the ladder's views."""
_BLANKS = re.compile(
    rb"\$\{?IFS\}?(?:\$[0-9@*]|\$\{[0-9@*]\}|%[?*]+\})?|\$\{IFS[^}]{0,12}\}|\{\\t\}|(?<=[\w'\"])<>?(?=[/~.\w])", re.I
)
_HIDING = re.compile(rb"''|\"\"|\$@|\$\*|\$\{[@*]\}|\$[1-9](?![0-9])|\$\{[1-9]\}|\^(?=[\w^/])|\$\(\)|``")
_BRACKETED = re.compile(rb"\[([\w/])\]")
_BRACES = re.compile(rb"\{[\w/.-]+(?:,[^,{}\s]*)+\}")
_FIRST = re.compile(
    rb"[\s@(!{'\"-]*(?:(?:sudo|exec|nohup|env|command|busybox|time|eval|start|call|then|do|xargs)\s+(?:-\S+\s+|/\w\s+)*)*"
    rb"(/?(?:[\w.*?~-]+/){0,6})([\w.+?*-]{1,40})(.*)",
    re.IGNORECASE | re.DOTALL,
)
_SHELLSHOCK = re.compile(rb"[\s'\"]*\(\s*\)\s*\{[^{}]{0,64}(?:;|\}\s*>)[^{}]{0,64}\}\s*;|\s*\(\)\s*\{\s*_;?\s*\}\s*>")
_FOLDERS = re.compile(rb"(?:/(?:usr|local|opt|s?bin|system|windows|[*?]+)/?)*/?(?:[\w?*]{1,8}/)*", re.IGNORECASE)
_WILD = re.compile(rb"/(?:[usr?*]{1,3}/)?(?:[sb?*][bi?*][n?*]?|[?*]{2,4})/[\w?*]{1,10}$")

# What an argument may be.
_FLAG = re.compile(rb"\s*(?:--?[a-zA-Z]|/[a-zA-Z?]\w{0,10}(?:\s|$|:))")
_PATH = re.compile(
    rb"\s*(?:-\S{1,12}\s+|/[a-zA-Z]\s+|[0-9]{1,6}\s+){0,3}[\"']?(?:/(?:[\w.*?-]|$)|~/?|\.{1,2}/|\.\.(?:\s|$)|[a-zA-Z]:(?:[\\/\"]|$)|\\\\|%\w+%|\$HOME|\*(?:\s|$)|"
    rb"[\w-]{1,40}\.(?:txt|php|conf|cfg|ini|log|sh|asp|aspx|jsp|py|pl|env|bak|sql|xml|db|key|pem|htaccess|passwd)\b)",
    re.IGNORECASE,
)
_SYSTEM = re.compile(
    rb"/etc/(?:\s|$|passwd|shadow|group|hosts|issue|sudoers|\*|[pshg?*]{1,10})|/proc/|/root|/var/(?:log|www|mail|spool)|/bin/|/dev/(?:tcp|udp)|"
    rb"\.ssh/|/\.aws|[a-z]:[/\\]+(?:windows|winnt|boot\.ini|users|inetpub|documents and settings|program files)|"
    rb"win\.ini|boot\.ini|%systemroot%|%windir%|/home/|"
    rb"/\?{2,}/|/flag\b|wp-config|\.htpasswd|\.env\b|/run/secrets",
    re.IGNORECASE,
)
_NUMBER = re.compile(rb"\s*[\"']?[0-9]{1,6}[smhd]?[\"']?\s*(?:$|[\])}#'\"])")
_ADDRESS = re.compile(
    rb"(?:\s+-\S{1,12}(?:\s+[0-9]{1,6})?|\s+/\w(?:\s+[0-9]{1,6})?){0,4}\s+[\"']?(?:(?:https?|ftp|tftp|dict|gopher|ldap)://|[0-9]{1,3}(?:\.[0-9]{1,3}){3}|"
    rb"(?:[a-z0-9-]{1,63}\.){1,6}[a-z]{2,24}|localhost|\$\(|\$\{?\w|`|0x[0-9a-f]{8})",
    re.IGNORECASE,
)
_NOTHING = re.compile(rb"\s*[)\]}'\"#]{0,3}\s*(?:#.*|--.*|%00|\x00.*|\\n|\\r)?$", re.DOTALL)
_OUTPUT = re.compile(
    rb"\s*[\"']?[\w$@%{}.:\"'\\-]*\s*(?:[0-9]?>|\$\(|`)|\s+[\"']?(?:\$[{(A-Z\w]|`|%\w+%)|\s+-[ne]+\s|\s+[\"'][^\"']{1,60}[\"']\s*$|\s+\w{4,40}\s*$"
)
_CODE = re.compile(rb"\s*-(?:\w+\s+-)?[a-z]*[cerni]\b|\s*(?:<<<|-\s*$)|\s+/[ck]\b", re.IGNORECASE)

_REDIRECT = re.compile(
    rb"\s*(?:\S{1,40}\s+)?[0-9]?>{1,2}\s*(?:&[12]|/\w|[\w-]{1,40}\.[a-z]|[a-z]:\\|nul\b)", re.IGNORECASE
)

_TESTS = {
    "end": _NOTHING,
    "flag": _FLAG,
    "path": _PATH,
    "number": _NUMBER,
    "address": _ADDRESS,
    "code": _CODE,
    "output": _OUTPUT,
}


def _table(*rows: tuple[str, str, str]) -> dict[bytes, tuple[bool, tuple[str, ...]]]:
    return {
        name.encode(): (sort == "own", tuple(arguments.split()))
        for sort, arguments, names in rows
        for name in names.split()
    }


COMMANDS = _table(
    # (own: a name that is nothing but a command; word: a word of its own; what may follow; names)
    (
        "own",
        "end flag output",
        "whoami ifconfig ipconfig netstat systeminfo tasklist lsb_release hostnamectl iwconfig lscpu lspci",
    ),
    ("own", "end flag", "uname pwd arp sysinfo ver hostid printenv getent lsof nproc dmesg iptables"),
    (
        "own",
        "address flag path",
        "wget curl nslookup ncat netcat telnet ftp tftp scp rsync fetch lynx whois traceroute tracert socat",
    ),
    ("own", "flag address", "nc ping ping6 nmap"),
    (
        "own",
        "flag path end address",
        "powershell pwsh certutil bitsadmin mshta regsvr32 rundll32 cscript wscript wmic schtasks vssadmin osascript",
    ),
    ("own", "code path end", "bash sh zsh ksh dash csh tcsh cmd cmd.exe powershell.exe ash"),
    ("own", "code path", "perl python python2 python3 ruby php node lua gawk awk"),
    (
        "own",
        "path flag",
        "chmod chown chgrp mkfifo useradd userdel usermod crontab netsh xxd nl tac chattr mknod insmod",
    ),
    ("own", "path flag end", "ls dir"),
    (
        "own",
        "path",
        "cat rm cp mv mkdir rmdir touch grep egrep fgrep sed tar gzip unzip zcat base64 rev "
        "od dd ln vi vim nano chroot",
    ),
    (
        "word",
        "path",
        "less more head tail strings find sort type copy del move source open cd readlink "
        "stat wc tee cut paste diff file",
    ),
    (
        "word",
        "end flag",
        "id ps who last uptime df mount env set hostname date w users groups history jobs lsmod nohup",
    ),
    ("word", "number", "sleep timeout delay usleep"),
    ("word", "output", "echo printf print expr"),
    ("word", "address", "dig host ssh"),
    ("word", "flag number", "kill killall pkill shutdown"),
    ("word", "flag number end", "reboot halt poweroff"),
)
"""Name → (is it nothing but a command?, what may follow it)."""

_AT_START = frozenset(
    b"adduser apk apt apt-get attrib aws az bcdedit blkid busybox chown compgen cp dirname dnf dpkg "
    b"driverquery ethtool fdisk fsutil ftp gcc gcloud gdb getent getmac git gpg gpresult groupadd helm icacls "
    b"iostat ip javac journalctl killall kubectl lsattr lsblk ltrace md5sum mkdir mkfs mongo mv mysql "
    b"mysqldump nbtstat nohup npm openssl passwd pathping perl pgrep php pip pip3 printf ps psql pstree "
    b"python3 quser qwinsta realpath redis-cli rpm sc scp sftp sha1sum sha256sum shuf sqlcmd sqlite3 ss ssh "
    b"strace stty sudo takeown tcpdump tmux tput tty ulimit uniq unset useradd visudo vmstat vssadmin wevtutil "
    b"xargs yum".split()
)
"""Commands with any arguments, of a value that begins with a separator: so nothing begins that people write."""
_WORDS_AT_START = frozenset(
    b"alias at basename brew cipher declare docker exit export false finger free java locale logname mail make "
    b"node python read route ruby screen seq su timeout trap tree true watch where zip".split()
)
"""The same for words that titles hold: alone, or with an option."""
_ARGUMENTS = re.compile(rb"(?:\s+[\w./:@=*+,%<>\\-]{1,60}){0,4}[\s;|&#'\")]*\Z")
_OPTIONS = re.compile(rb"(?:\s+-\S{1,40}(?:\s+\S{1,60}){0,3})?[\s;|&#'\")]*\Z")

_SUB = {
    b"net": re.compile(
        rb"\s+(?:user|view|localgroup|group|share|start|stop|use|session|accounts|config)\b"
        rb"(?:\s*$|(?<=group)\s+\w+\s*$|\s+/\w|\s+\\\\|\s+[\w\"]+\s+\S+\s+/\w|\s+\w+\s+/\w)",
        re.I,
    ),
    b"reg": re.compile(rb"\s+(?:add|query|delete|save|export)\b", re.I),
    b"netsh": re.compile(rb"\s+(?:firewall|advfirewall|interface|wlan|int|dump)\b", re.I),
    b"sc": re.compile(rb"\s+(?:query|create|config|stop|start|delete)\b", re.I),
    b"query": re.compile(rb"\s+(?:user|session|process)\b", re.I),
    b"ip": re.compile(rb"\s+(?:addr?|route|link|neigh)\b", re.I),
    b"systemctl": re.compile(rb"\s+(?:start|stop|status|restart)\b", re.I),
    b"service": re.compile(rb"\s+\w+\s+(?:start|stop|status|restart)\b", re.I),
    b"apt-get": re.compile(rb"\s+install\b", re.I),
    b"docker": re.compile(rb"\s+(?:run|exec|ps)\b", re.I),
    b"tr": re.compile(rb"\s+(?:-[a-z]\s+)?['\"\[]", re.I),
    b"find": re.compile(rb"\s+\S{1,80}\s+(?:\S+\s+){0,4}?-(?:name|exec|execdir|type|perm|user|delete|ls)\b", re.I),
    b"tar": re.compile(rb"[^\n]{1,160}--(?:checkpoint-action|to-command|use-compress-program|rsh-command)\b", re.I),
    b"git": re.compile(rb"\s+(?:-c\s+\w+\.|clone\s+\w+[:@]|grep\s+-|help\s+-)", re.I),
    b"kill": re.compile(rb"\s+-(?:[0-9]{1,2}|kill|hup|term|sigkill)\s", re.I),
    b"socat": re.compile(rb"\s+(?:-\S+\s+)*\S*(?:exec|tcp[46]?|system|pty|udp|openssl|file|unix)[\w-]*:", re.I),
    b"openssl": re.compile(rb"\s+(?:s_client|enc|base64|s_server)\b", re.I),
    b"wmic": re.compile(
        rb"\s+(?:process|os|qfe|service|useraccount|product|computersystem|bios|logicaldisk|/node)\b", re.I
    ),
    b"rundll32": re.compile(rb"\s+(?:javascript:|\S{1,60}\.dll|\S{1,60},)", re.I),
    b"iex": re.compile(rb"\s*\(?\s*\(?\s*(?:new-object|iwr|irm|curl|wget|invoke-|\$|\[)", re.I),
    b"iwr": re.compile(rb"\s+(?:-\w+\s+)*[\"']?(?:https?:|[a-z0-9.-]+\.[a-z]{2})", re.I),
    b"irm": re.compile(rb"\s+(?:-\w+\s+)*[\"']?(?:https?:|[a-z0-9.-]+\.[a-z]{2})", re.I),
}
"""Commands that are told by their first argument."""

_CMDLETS = (
    rb"(?:invoke-(?:webrequest|expression|restmethod|command|item|wmimethod|cimmethod|history|mimikatz)"
    rb"|get-(?:process|childitem|content|wmiobject|ciminstance|service|localuser|localgroup|netipconfiguration|host"
    rb"|itemproperty|credential|command|acl|hotfix|computerinfo)"
    rb"|start-(?:process|bitstransfer|sleep|job|service)|new-(?:object|item|itemproperty|localuser|service)"
    rb"|remove-item|set-(?:executionpolicy|mppreference|content|item|acl)|add-(?:type|content|localgroupmember)|out-file"
    rb"|stop-(?:process|service|computer)|restart-computer|test-(?:connection|netconnection)|write-(?:output|host)"
    rb"|import-module|convertto-json)"
)
"""Of PowerShell: a verb and a noun that no sentence joins so."""
_CMDLET = re.compile(_CMDLETS + rb"(?:[\s(;|)'\"]|$)", re.IGNORECASE)

_STATEMENT = re.compile(
    rb"(?:eval\s+[\"']?[$`]|exec\s+[0-9]{1,2}<>|for\s+/[fdlr]\s+(?:[\"'][^\"']{0,40}[\"']\s+)?%|IFS=[^\s;]{0,4};|while\s+(?:read|true|:)\b"
    rb"|for\s+\w{1,12}\s+in\s+[$`/]|alias\s+\w{1,20}=|\.\s+/(?:tmp|dev|proc|etc|home|var)/|%comspec%\s"
    rb"|%\w{1,24}:~-?[0-9]{1,3}(?:,-?[0-9]{1,3})?%|\$\{?\w{1,16}\}?(?:\$\{?\w{1,16}\}?)?\s+/(?:etc|proc|bin|dev|tmp)/)",
    re.IGNORECASE,
)
"""What a piece begins with that is no name, but makes a shell run something all the same."""
_ASSIGNED = re.compile(rb"(?:^|[;&|\s])(\w{1,16})=[^;&|\s]{1,64}(?:[;&|\n]{1,2}|\s)\s?\$\{?\1\b(?!\s*[-+=.\[])")
"""`x=id;$x`: a word is put into a variable, and the variable stands where a command does."""
_OPTION = re.compile(
    rb"\s*(?:-o\s?proxycommand=|--(?:upload-pack|receive-pack|to-command|checkpoint-action|ssh-command|use-askpass)=\S"
    rb"|--config[= ]core\.(?:pager|sshcommand|editor|fsmonitor|hookspath)|ext::\S)",
    re.IGNORECASE,
)
"""Options that make a harmless program start another: the value is an argument, and needs no separator."""

_GRAVE = re.compile(
    rb"/dev/(?:tcp|udp)/|\b(?:nc|ncat|netcat)\s+(?:-\S+\s+)*-\S*(?:e|c)\s|\b(?:ba|z|k|da)?sh\s+-i\b|\bmkfifo\s+/|\|\s*(?:/bin/)?(?:ba|z)?sh\b|"
    rb"\b(?:nc|ncat|netcat)\s+-\S*l|\bpowershell\S*\s+-(?:e|enc|nop|w|ep|c)|\brm\s+-\w*[rf]\w*\s+/(?:\*|\s|$|\w+\s*$)|chmod\s+\+s|"
    rb">\s*/(?:etc|var/www|root)/|\biex\s*\(?\s*\(?(?:new-object|iwr|irm|curl|wget)|\.downloadstring\s*\(|"
    rb"\bexec\s+[0-9]{1,2}<>/dev/",
    re.IGNORECASE,
)
"""What a server is taken over with: counts wherever it stands behind a separator."""

_OPERAND = re.compile(rb"[\w@.:/\\%+*?=,~-]*+[\"')\]]{0,3}\s{0,2}")
"""What stands before a separator when the value is one word: an address, a name, a file."""

_INTERPRETERS = frozenset((b"perl", b"python", b"python2", b"python3", b"ruby", b"php"))
_OF_SETTINGS = frozenset((b"netsh", b"reg", b"wmic", b"rundll32", b"schtasks"))
"""They change a machine; nobody looks for such a line, or names something so."""
_INLINE = re.compile(rb"\s*\w+\s+-[ecr]\s*['\"]")
_SENTENCE = re.compile(rb"[ \t](?=[A-Z][a-z]{1,16} [a-z]{1,16} )")
"""A sentence behind a command: nothing that the command takes begins so."""
_SENTENCE_ENDS = re.compile(rb"[^.\s][.!?][\"')]?[ \t]+\Z")
_SIGNS_ALONE = b" \t\r\n`$()\"'!;|&{}"
_TEXT = re.compile(rb"[\s.,:-]{0,4}[A-Za-z]{2}")
_ROW = re.compile(rb"(?:[^|\n]*\|){3}")


_is_alone_in = seeker(
    rb"(?:"
    + _SYSTEM.pattern
    + rb")|(?:"
    + _GRAVE.pattern
    + rb")|\A(?:"
    + _INLINE.pattern
    + rb")|\A(?:"
    + _OPTION.pattern
    + rb")|\A[ '\"]*/|\A\s*(?:netsh|reg|wmic|rundll32|schtasks)\s"
)
_NEXT = (
    rb"[\s\x00@(!{'\"+-]*(?:\w{0,12}[\\$^\[{?*'\"]|[/~.]|%\w|(?:usr/)?bin/|"
    + _CMDLETS
    + rb"|IFS=|alias\s+\w+=|for\s+/[fdlr]\s|for\s+\w+\s+in\s+[$`/]|while\s+(?:read|true|:)|"
    rb"(?:sudo|exec|nohup|env|command|busybox|time|eval|start|call|then|do|xargs|"
    + b"|".join(re.escape(name) for name in sorted({*COMMANDS, *_SUB, *_AT_START, *_WORDS_AT_START}))
    + rb")(?:\W|_|$))"
)
"""What a piece that could be a command begins with: a name, a path, or a word with something in it that hides one."""

_is_cut_in = seeker(rb"(?:[;|&`\r\n]|\$\(|[<>]\()" + _NEXT)
_CUT = find(rb"(\|\|?|&&?|;+|\$\(|[<>]\(|`|[\r\n]+)" + _NEXT)
_LEAD = re.compile(rb"[\s\x00]*")


def detect(text: bytes, place: Place, reading: Reading = UNCOUNTED) -> Finding | None:
    """The strongest finding."""
    if b"{" in text and _SHELLSHOCK.match(text):
        return Finding("command", 8, (0, min(len(text), 40)), "whole value", "function definition, then commands")
    if b"\x0b" in text:
        text = text.replace(b"\x0b", b" ")  # a blank to the shell, none to re2
    head = text[:PIECE_LIMIT_BYTES]
    best = _whole(text, head) if _is_alone_in(head) else None
    if not _is_cut_in(text):
        return best
    assigned = _ASSIGNED.search(text) if b"=" in text and b"$" in text else None
    if assigned is not None and b"\n" not in text.strip():
        best = Finding("command", 5, assigned.span(), "word", "a word put into a variable, then the variable run")
    count = 0
    # A command on a line of its own counts only where there is hardly more than it.
    is_short = len(text) <= SHORT_BYTES and text.count(b"\n") <= 3 and b"```" not in text
    end = 0
    while (cut := _CUT(text, end)) is not None:
        start, end = cut[1]
        sign = text[start : start + 1]
        if not is_short and sign in b"\r\n":
            continue
        if sign == b"`" and b"``" in text[max(start - 1, 0) : end + 1]:
            continue  # a fence of Markdown
        count += 1
        if count > PIECES_LIMIT or not reading.spend(PIECE_STEPS):
            reading.leave_out()
            break
        finding = _piece(text, start, end, sign.decode("latin-1"), is_short)
        if finding is not None and place is Place.FILE_NAME and finding.score in _HINTS:
            finding = Finding("command", 5, finding.span, "file name", finding.reason, False)
        if finding is not None and (best is None or finding.score > best.score):
            best = finding
    return best


_HINTS = (3, 4)
"""In a text; nobody writes the same into the name of a file."""


def _whole(text: bytes, head: bytes) -> Finding | None:
    option = _OPTION.match(text) if text.lstrip()[:1] in b"-e" else None
    if option is not None:
        return Finding("command", 6, option.span(), "whole value", "option that makes a program start another")
    return _piece(text, 0, 0, "", False)


def _undo(piece: bytes) -> bytes:
    """The piece as the shell reads it: what only hides a word is gone."""
    if b"$" in piece or b"<" in piece or b"{" in piece:
        if b"${" in piece:
            piece = _SLASH_LETTER.sub(b"/", piece)
        if b"$'" in piece:
            piece = _ANSI_QUOTED.sub(rb"\1", piece)
        piece = _BLANKS.sub(b" ", piece)
        braces = _BRACES.match(piece.lstrip())
        if braces:
            piece = braces[0][1:-1].replace(b",", b" ") + piece.lstrip()[braces.end() :]
    piece = _HIDING.sub(b"", piece)
    if b"[" in piece:
        piece = _BRACKETED.sub(rb"\1", piece)
    word, blank, rest = piece.lstrip().partition(b" ")
    word = word.replace(b"\\", b"")
    if b"'" in word or b'"' in word:
        # `w'h'o"am"i`; quotes around a whole word are left to the expression that reads it.
        word = word.replace(b"'", b"").replace(b'"', b"") if word.strip(b"'\"").count(b"'") + word.count(b'"') else word
    return word + blank + rest


def _piece(text: bytes, cut: int, start: int, sign: str, is_short: bool) -> Finding | None:
    lead = _LEAD.match(text, start)
    start = lead.end() if lead is not None else start
    piece = text[start : start + PIECE_LIMIT_BYTES]
    raw = piece
    if sign and b"+" in piece and b" " not in text:
        piece = piece.replace(b"+", b" ")  # blanks of a form that nobody undid
    if sign and not text[:cut].strip():
        sentence = _SENTENCE.search(piece)
        piece = piece if sentence is None else piece[: sentence.start()]
    if sign in ("$", "<", ">"):
        end = piece.find(b")")
        piece = piece[:end] if end >= 0 else piece
    elif sign == "`":
        end = piece.find(b"`")
        if end < 0:
            return None
        piece = piece[:end]
    stripped = piece.lstrip(b" \t\x00\"'({")
    close = _END.search(stripped)
    whole_piece = piece
    if close is not None and close.start() > 0:
        piece = stripped[: close.start()]
    elif close is not None:
        return None
    finding = _named(text, cut, start, sign, (piece, whole_piece, raw))
    if finding is None and is_short and sign and b"\n" in whole_piece.strip():
        # Blanks that somebody turned into line breaks: what is behind them may be the argument.
        joined = whole_piece.replace(b"\r", b" ").replace(b"\n", b" ")
        close = _END.search(joined)
        piece = joined if close is None else joined[: close.start()]
        finding = _named(text, cut, start, sign, (piece, joined, raw)) if piece.strip() else None
    return finding


def _named(text: bytes, cut: int, start: int, sign: str, pieces: tuple[bytes, bytes, bytes]) -> Finding | None:
    """Of a piece (up to the next separator, with what follows, as it came): its command, and does an argument fit?"""
    piece, whole_piece, raw = pieces
    if sign and (_STATEMENT.match(raw) or _CMDLET.match(raw.lstrip(b"( "))):
        is_grave = _GRAVE.search(raw) is not None
        return _judge(text, cut, start, sign, "a statement of a shell", b"", True, is_grave, raw, "its argument")
    read = _undo(piece)
    found = _FIRST.match(read)
    if found is None:
        return None
    folder, name, rest = found[1].lower(), found[2].lower(), found[3]
    is_hidden = folder + name not in piece.lower()
    is_path = folder.endswith((b"bin/", b"bin/busybox/"))
    if b"?" in name + folder or b"*" in name + folder:
        if sign and _WILD.match(folder + name):
            return _judge(text, cut, start, sign, "a path with wildcards", b"sh", True, True, raw)
        return None
    if folder and not is_path:
        return None
    known = COMMANDS.get(name.removesuffix(b".exe") if name not in COMMANDS else name)
    sub = _SUB.get(name)
    if sub is not None and sub.match(rest):
        is_grave = _GRAVE.search(raw) is not None
        return _judge(text, cut, start, sign, name.decode("latin-1"), name, True, is_grave, raw, "its argument")
    fitting = _ARGUMENTS if name in _AT_START else _OPTIONS if name in _WORDS_AT_START else None
    if (
        fitting is not None
        and sign not in ("", "\r", "\n")
        and not folder
        and not text[:cut].strip(b" \t\r\n\"'()%\x00")
        and name == found[2]
        and fitting.match(rest)
    ):
        return _judge(text, cut, start, sign, name.decode("latin-1"), name, False, False, raw, "its argument")
    if known is None:
        return None
    is_own, arguments = known
    fits = next((argument for argument in arguments if _TESTS[argument].match(rest)), None)
    if fits is None and is_path and rest[:1] in (b"", b" ", b"\t", b"'", b'"'):
        fits = "path"
    if fits is None and (rest[:1] in (b" ", b"\t") and _SYSTEM.search(rest)):
        fits = "path"
    if fits is None and sign and (_REDIRECT.match(rest) or _GRAVE.search(whole_piece)):
        fits = "output"
    if fits is None:
        return None
    if rest[:1] not in (
        b"",
        b" ",
        b"\t",
        b"<",
        b"'",
        b'"',
        b")",
        b"]",
        b"}",
        b"#",
        b"\x00",
        b"\\",
        b">",
        b"/",
        b"+",
        b"%",
        b"$",
        b"*",
    ):
        return None
    is_grave = _SYSTEM.search(rest) is not None or _GRAVE.search(whole_piece) is not None or (is_path and bool(sign))
    return _judge(
        text, cut, start, sign, name.decode("latin-1"), name, is_own or is_path or is_hidden, is_grave, raw, fits
    )


_SAID = {
    "end": "end", "flag": "option", "path": "path", "number": "number", "address": "address", "code": "code",
    "output": "output", "its argument": "its argument",
}  # fmt: skip
_SIGNS = {
    ";": ";",
    "|": "|",
    "&": "&",
    "$": "$(",
    "<": "<(",
    ">": ">(",
    "`": "back quotes",
    "\n": "line break",
    "\r": "line break",
}


def _tail_is_text(text: bytes, start: int) -> bool:
    """Do words follow the closing back quote?"""
    end = text.find(b"`", start)
    return _TEXT.match(text, end + 1) is not None


def _judge(
    text: bytes, cut: int, start: int, sign: str, shown: str, name: bytes, is_own: bool, is_grave: bool, raw: bytes,
    fits: str = "end",
) -> Finding | None:  # fmt: skip
    """How much a command at that place counts."""
    end = min(len(text), start + len(name) + 16)
    reason = f"{_SIGNS.get(sign, sign)}, {shown}, {_SAID[fits]}" if sign else f"{shown}, {_SAID[fits]}"
    if not sign:
        if not is_grave:
            if name in _OF_SETTINGS and fits == "its argument":
                return Finding("command", 5, (start, end), "whole value", reason)
            is_program = text.lstrip(b" '\"")[:1] == b"/" and fits != "its argument"
            if is_program or (name in _INTERPRETERS and _INLINE.match(text)):
                return Finding("command", 5, (start, end), "whole value", f"path of {reason}" if is_program else reason)
            return None
        is_taking = _GRAVE.search(raw) is not None
        return Finding("command", 6 if is_taking else 5, (start, end), "whole value", reason, is_taking)
    left = text[:cut]
    lead = left.strip(b" \t\r\n\"'()%\x00$`;|&!")
    is_first = not lead
    is_word = is_first or _OPERAND.fullmatch(left) is not None
    is_single = fits in ("end", "number", "output") and not is_own
    if sign in "\r\n":
        if b" " in left.strip():
            return None
        if not left.strip() and fits == "end" and text.strip() == name:
            return Finding("command", 5, (cut, end), "line", reason, False)
        return Finding("command", 7 if is_grave else 5 if is_own else 4, (cut, end), "line", reason, is_grave)
    if sign == "`" and not is_first and left.rstrip().endswith((b"||", b"&&", b";", b"$(", b"|")) and is_own:
        return Finding("command", 5, (cut, end), "text", f"a separator, {reason}", False)
    if sign == "`" and (left[-1:].isspace() or (not is_first and not is_word) or _tail_is_text(text, start)):
        # Markdown, unless what is in it takes over.
        score = 5 if _GRAVE.search(raw) and b" " in left else 3
        return Finding("command", score, (cut, end), "text", reason, False)
    is_lone = sign == "&" and text[cut : cut + 2] != b"&&" and not is_first
    if is_lone and text[cut - 1 : cut] not in b" \t\"')" and text[cut + 1 : cut + 2] not in b" \t" and not is_grave:
        return Finding("command", 3, (cut, end), "word", reason, False)  # `a=1&id`: a form
    if sign == "|" and is_single and _ROW.search(text) and b" " in text:
        return None  # a table
    if is_first:
        if sign == "`" and is_single and fits == "end" and not is_own and len(text.strip(_SIGNS_ALONE)) > len(name):
            return Finding("command", 4, (cut, end), "start", reason, False)
        return Finding("command", 7 if is_own or is_grave else 6, (cut, end), "start", reason)
    if is_word:
        return Finding(
            "command",
            7 if is_grave else 6 if is_own else 5,
            (cut, end),
            "word",
            reason,
            is_own or is_grave or b" " not in left,
        )
    if is_grave:
        return Finding("command", 5, (cut, end), "text", reason, False)
    is_at_end = len(text) - start <= 48
    if _SENTENCE_ENDS.search(left[-8:]) and sign in ";|&$" and (is_own or is_at_end) and fits != "flag":
        return Finding("command", 5, (cut, end), "between sentences", reason, False)
    if sign == "$" and is_own and fits != "end":
        return Finding("command", 5, (cut, end), "text", reason, False)
    if is_own and is_at_end and (sign in ";|" or text[cut : cut + 2] == b"&&"):
        return Finding("command", 5, (cut, end), "text", reason, False)
    return Finding("command", 4 if is_own else 3, (cut, end), "text", reason, False)


_SEPARATORS = frozenset((b";", b"|", b"&", b"$(", b"`", b"<(", b">(", b"\n", b"\r"))
_GRAVE_PARTS = frozenset(
    b"/etc/ /proc/ /root /var/ /bin/ /dev/ .ssh/ /.aws windows winnt boot.ini users inetpub win.ini %systemroot% "
    b"%windir% /home/ /?? /flag wp-config .htpasswd .env /run/secrets mkfifo +s > "
    b"proxycommand= upload-pack= receive-pack= to-command= checkpoint-action= ssh-command= core. ext:: iex "
    b"downloadstring".split()
) | {
    b" -",
    b"netsh ",
    b"wmic ",
    b"rundll32 ",
    b"schtasks ",
    b"reg add",
    b"reg query",
    b"reg save",
    b"reg export",
    b"reg delete",
}
# The names themselves are in every sentence (`id`, `w`, `ls`): what they stand behind is asked for, or what they touch.
GATE = ((_SEPARATORS,), (_GRAVE_PARTS,), (frozenset((b"(",)), frozenset((b"{",)), frozenset((b";", b">"))))

DETECTOR = Detector("command", GATE, detect, limit_bytes=4096)
