r"""Server-side requests: an address that the server would fetch and the sender could not reach, or an odd scheme.

The value must begin with an address (within a sentence a plain private one is a hint). Its host is read as libraries
that fetch read it: user names and back slashes before it, blanks and other dots in it, numbers in decimal,
hexadecimal and octal, with one to four parts, IPv6 with IPv4 inside, names that always stand for the loopback address.

- a host of the machine or of a cloud's own service (metadata), a link-local or private network: the server
  would reach it;
- a number that nobody writes by hand, whatever it stands for: it hides a host;
- a scheme that speaks another protocol (`gopher:`, `dict:`, `ldap:`, `file:`): no browser follows it;
- a host made to tell who asked (out-of-band listeners of attack tools).

`localhost` alone, with a port of a development server, is a hint: programmers send it all day. A private address in
the middle of a text, an address of a public host that has one in its path or query: none.
"""

from __future__ import annotations

import unicodedata

from extproc.detection.contract import UNCOUNTED, Detector, Finding, Place, Reading
from extproc.detection.pattern import find, find_here

LIMIT_BYTES = 8192

ADDRESS_LIMIT_BYTES = 1024
"""Of an address; what is behind it is not its host."""

ADDRESS_STEPS = 8
"""What it costs to judge one."""

ADDRESSES_LIMIT = 16
"""Addresses within a text that are judged; later ones are not looked at."""

HOST_LIMIT_BYTES = 255
"""Longer hosts are none (RFC 1035 2.3.4)."""

_ADDRESS = find_here(
    rb"[\s\"'<(\x00-\x20]*(?:(?:url|src|href|u"
    rb"|uri)\s*[=:(]\s*[\"']?)?((?:[a-z][a-z0-9+._-]{1,20}:)?)([/\\]{0,4})([^\s/\\?#\"'<>]*)([^\s]*)"
)
_SCHEME_ODD = find_here(
    rb"(?:gopher|dict|tftp|netdoc|jar|ldaps?|smb|cifs|nfs|rmi|iiop|corbaname|telnet|finger|imaps?|smtps?"
    rb"|pop3s?|sftp|scp|rtmp|mongodb|redis|mysql|postgres(?:ql)?|unix|local_file|view-source|php|phar"
    rb"|expect|zip|glob|data|ogg|rar|zlib|compress\.[a-z0-9]+|res|resource|classpath|blob|chrome|vbscript"
    rb"|svn|git|slp|https?\+unix|x-[a-z]+):$"
)
_SCHEME_WEB = frozenset(
    (b"http:", b"https:", b"ftp:", b"ftps:", b"ws:", b"wss:", b"", b"url:", b"feed:", b"webdav:", b"dav:")
)
_GOES_ON = find_here(rb"[/\\]{2,}[^\s/\\]|[/\\]{3}")
_INTERNAL_PORTS = frozenset(
    b"21 22 23 25 53 110 111 135 139 143 389 445 465 512 513 514 587 636 873 993 1099 1433 1521 2049 2181 "
    b"2375 2376 2379 2380 "
    b"3306 3389 4194 4444 5432 5601 5672 5900 5984 5985 6066 6379 6443 7001 7077 8009 8086 8088 8500 8983 "
    b"9000 9001 9042 9090 "
    b"9092 9200 9300 10000 10250 10255 11211 15672 16379 25565 26257 27017 27018 28017 50000 50070 61616".split()
)
"""Of data bases, queues, consoles and shells: no page is there."""

_TELLING_PATH = find_here(
    rb"[^?#]{0,40}(?:admin|server-status|server-info|actuator|metrics|jolokia|manager/|console|latest/"
    rb"|computemetadata|metadata|"
    rb"_cat|_search|_cluster|v1/(?:secret|kv|agent|sys)|\.env|\.git|etc/passwd|debug|phpmyadmin|private"
    rb"|internal|secret|shutdown|"
    rb"env\b|heapdump|opcache|stats|status|flush|config|api/v1/(?:pods|namespaces|secrets)|containers/"
    rb"|solr/|script\b|cgi-bin)"
)
_META_PATH = find_here(
    rb"(?:[^/]{0,20}/){0,2}(?:latest/(?:meta-data|user-data|dynamic|api)|computemetadata"
    rb"|metadata/(?:instance|identity|v1)|"
    rb"opc/v[12]|openstack/|v1\.json|2009-04-04|task|v[234]/(?:credentials|metadata)|hetzner/)"
)
_META_HOSTS = frozenset(
    (b"169.254.169.254", b"169.254.170.2", b"169.254.170.23", b"100.100.100.200", b"192.0.0.192", b"168.63.129.16")
)
_META_NAMES = frozenset(
    (
        b"metadata.google.internal",
        b"metadata",
        b"metadata.tencentyun.com",
        b"instance-data",
        b"instance-data.ec2.internal",
        b"metadata.azure.internal",
        b"metadata.packet.net",
        b"metadata.platformequinix.com",
        b"rancher-metadata",
    )
)
_LOOPBACK_NAMES = find_here(
    rb"(?:(?:[a-z0-9_-]{1,40}\.){0,4}(?:localtest\.me|lvh\.me|vcap\.me|lacolhost\.com|yoogle\.com"
    rb"|readme\.localtest\.me|bugbounty\.dod\.network|"
    rb"spoofed\.burpcollaborator\.net|127-0-0-1\.org\.uk|localho\.st|fbi\.com|mail\.ebc\.apple\.com"
    rb"|localdomain\.pw|local\.sisteminha\.com)"
    rb"|(?:[a-z0-9_-]{1,40}\.){1,6}(?:nip|sslip|xip)\.io|[a-z0-9.-]{1,80}\.(?:rbndr|1u)\.(?:us|ms)"
    rb"|[a-f0-9]{8}\.[a-f0-9]{8}\.rbndr\.us)\.?$"
)
_INTERNAL_NAMES = find_here(
    rb"(?:host\.docker\.internal|docker\.for\.(?:mac|win)\.[a-z.]+|gateway\.docker\.internal"
    rb"|kubernetes(?:\.default(?:\.svc(?:\.[a-z.]+)?)?)?|"
    rb"[a-z0-9.-]{1,80}\.svc(?:\.cluster\.local)?|[a-z0-9.-]{1,80}\.cluster\.local|[a-z0-9.-]{1,80}\.internal|"
    rb"[a-z0-9.-]{1,80}\.(?:intranet|corp|lan|localdomain|consul)|ip6-localhost|ip6-loopback|broadcasthost)\.?$"
)
_LISTENERS = find_here(
    rb"(?:[a-z0-9_-]{1,63}\.){0,8}(?:burpcollaborator\.net|oastify\.com|oast\.(?:pro|live|site|online|fun"
    rb"|me|us)|interact\.sh|interactsh\.com|"
    rb"dnslog\.(?:cn|link)|ceye\.io|dnsbin\.[a-z.]+|requestbin\.(?:com|net|io)|pipedream\.net"
    rb"|canarytokens\.(?:com|org)|bxss\.me|xss\.ht|"
    rb"r87\.me|log4shell\.huntress\.com|eyes\.sh|tu4\.org|dnshook\.site|webhook\.site|beeceptor\.com)\.?$"
)
_LOCALHOST = frozenset(
    (b"localhost", b"localhost.", b"localhost.localdomain", b"localhost6", b"ip6-localhost", b"loopback")
)
_DOTTED = find_here(rb"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}$")
_NUMERIC = find_here(rb"(?:0x[0-9a-f]{1,16}|[0-9]{1,20})(?:\.(?:0x[0-9a-f]{1,16}|[0-9]{1,20})){0,3}\.?$")
_BEGINS = find(rb"[\s\"'(<=,]((?:https?:|gopher:|dict:|jar:|netdoc:|tftp:|file:)[/\\])")
_LISTED_SCHEME = find_here(rb"gopher:|dict:|netdoc:|jar:(?:http|file)")

_META, _ODD_SCHEME, _HIDDEN, _PRIVATE, _HINT = 8, 6, 7, 5, 4
_QUIET = frozenset((Place.REFERER, Place.PATH, Place.USER_AGENT, Place.NAME))


def detect(text: bytes, place: Place, reading: Reading = UNCOUNTED) -> Finding | None:
    """Of the address at the value's start; else of an unmistakable one in it."""
    if place in _QUIET:
        return None
    spans = _ADDRESS(text[:ADDRESS_LIMIT_BYTES], 0)
    if spans is not None:
        found = _address(text, spans[1], spans[2], spans[3], spans[4])
        if found is not None:
            return found
    return _within(text, reading)


def _within(text: bytes, reading: Reading) -> Finding | None:
    """Of addresses in a text: what is hidden, a cloud's own service or an odd scheme with an inner host is no prose."""
    best: Finding | None = None
    position = 1
    for _ in range(ADDRESSES_LIMIT):
        start = _BEGINS(text, position)
        if start is None:
            return best
        if not reading.spend(ADDRESS_STEPS):
            break
        position = start[0][1]
        head = text[start[1][0] : start[1][0] + ADDRESS_LIMIT_BYTES]
        spans = _ADDRESS(head, 0)
        found = None if spans is None else _address(head, spans[1], spans[2], spans[3], spans[4])
        if found is None:
            continue
        score = found.score - 1
        if found.reason.startswith("scheme ") and _LISTED_SCHEME(head, 0) is None:
            score = _HINT
        if best is None or score > best.score:
            span = (found.span[0] + start[1][0], found.span[1] + start[1][0])
            best = Finding("ssrf", score, span, "address in a text", found.reason, False)
    if _BEGINS(text, position) is not None:
        reading.leave_out()
    return best


def _finding(score: int, span: tuple[int, int], reason: str) -> Finding:
    return Finding("ssrf", score, span, "address", reason)


def _address(
    text: bytes,
    scheme_at: tuple[int, int],
    slashes: tuple[int, int],
    host_at: tuple[int, int],
    rest_at: tuple[int, int],
) -> Finding | None:
    scheme = text[scheme_at[0] : scheme_at[1]].lower()
    authority = text[host_at[0] : host_at[1]]
    rest = text[rest_at[0] : rest_at[1]]
    span = (scheme_at[0], rest_at[1])
    is_address = slashes[1] - slashes[0] >= 2 or scheme in (b"http:", b"https:")
    if scheme == b"file:" and slashes[1] > slashes[0]:
        if text[rest_at[1] :].strip(b" \t\r\n\"'>)"):
            return _finding(_HINT, span, "scheme file, in a text")
        return _finding(_ODD_SCHEME, span, "scheme file, which reads the server's disk")
    if scheme and scheme not in _SCHEME_WEB:
        return _odd_scheme(scheme, slashes, authority, rest, span)
    if not is_address:
        # A host without a scheme: only a cloud's own service is worth a finding.
        host, _, _ = authority.partition(b":")
        if host in _META_HOSTS and (_META_PATH(rest.lstrip(b"/"), 0) is not None):
            return _finding(_ODD_SCHEME, span, "path of a cloud's own service")
        return None
    if slashes[1] - slashes[0] >= 2 and not authority and not rest:
        return None
    judged = [authority]
    if b"@" in rest and rest[:1] in (b"\\", b"#", b"?", b"/") and rest[:1] != b"/":
        # Libraries do not agree on where the host begins.
        judged.append(rest.rpartition(b"@")[2].partition(b"/")[0])
    best: Finding | None = None
    for one in judged:
        found = _host(one, rest, span)
        if found is not None and (best is None or found.score > best.score):
            best = found
    return best


def _odd_scheme(
    scheme: bytes, slashes: tuple[int, int], authority: bytes, rest: bytes, span: tuple[int, int]
) -> Finding | None:
    if _SCHEME_ODD(scheme, 0) is None:
        return None
    name = scheme[:-1].decode("latin-1")
    if scheme == b"jar:":
        inner = authority + rest
        return (
            _finding(_ODD_SCHEME, span, "scheme jar, which opens an archive")
            if b"!" in inner or b"//" in inner
            else None
        )
    if scheme in (b"data:", b"view-source:", b"vbscript:", b"blob:", b"chrome:", b"git:", b"x-apple:"):
        return None
    if slashes[1] - slashes[0] < 2 or not (authority or rest):
        return None
    if scheme in (
        b"git:",
        b"svn:",
        b"sftp:",
        b"rtmp:",
        b"mongodb:",
        b"redis:",
        b"mysql:",
        b"postgres:",
        b"postgresql:",
    ):
        return _host(authority, rest, span) or _finding(_HINT, span, f"scheme {name}")
    return _finding(_ODD_SCHEME, span, f"scheme {name}, which no browser follows")


def _host(authority: bytes, rest: bytes, span: tuple[int, int]) -> Finding | None:
    user, at, authority = authority.rpartition(b"@")
    is_folded = not authority.isascii()
    if is_folded:
        folded = (
            unicodedata.normalize("NFKC", authority.decode("utf-8", "replace")).replace("。", ".").replace("．", ".")
        )
        authority = folded.encode("utf-8", "replace")
    if len(authority) > HOST_LIMIT_BYTES:
        return None
    if authority[:1] == b"[":
        host, _, port = authority[1:].partition(b"]")
        return _ipv6(host.lower(), span)
    host, _, port = authority.partition(b":")
    host = host.lower().strip(b"\x00 \t,;").partition(b"$")[0]
    port = port.partition(b"@")[0]
    path = rest.lstrip(b"/\\")
    if host in _META_NAMES or host in _META_HOSTS:
        return _finding(_META, span, "a cloud's own service (metadata)")
    if _NUMERIC(host, 0) is not None:
        return _ipv4(host, span)
    if _LISTENERS(host, 0) is not None:
        return _finding(_ODD_SCHEME, span, "a host that tells who asked")
    if _LOOPBACK_NAMES(host, 0) is not None:
        return _finding(_HIDDEN, span, "a name that stands for a private address")
    if host in _LOCALHOST or host.endswith(b".localhost"):
        if is_folded:
            return _finding(_HIDDEN, span, "the machine itself, its name written so that it does not show")
        if port in _INTERNAL_PORTS or _TELLING_PATH(path.lower(), 0) is not None or at or host != b"localhost":
            return _finding(_PRIVATE, span, "the machine itself, an inner port or path")
        return _finding(_HINT, span, "the machine itself")
    if _INTERNAL_NAMES(host, 0) is not None:
        return _finding(_PRIVATE, span, "a name of an inner network")
    if at and user and (_DOTTED(user.rpartition(b"@")[2].partition(b":")[0], 0) is not None):
        return _finding(_PRIVATE, span, "an address as a user name before the host")
    return None


def number_of(host: bytes) -> tuple[int, bool] | None:
    """(IPv4 address as C libraries read it: one to four parts in three notations, is it written plainly?) or None."""
    parts = host.rstrip(b".").split(b".")
    values = []
    is_plain = len(parts) == 4
    for part in parts:
        try:
            if part[:2].lower() == b"0x":
                values.append(int(part[2:] or b"0", 16))
                is_plain = False
            elif len(part) > 1 and part[:1] == b"0":
                is_plain = False
                values.append(int(part, 8) if part.strip(b"01234567") == b"" else int(part))
            else:
                values.append(int(part))
        except ValueError:
            return None
    total = 0
    for value in values[:-1]:
        # Some libraries cut each part to a byte.
        is_plain = is_plain and value < 256
        total = (total << 8) | (value & 0xFF)
    last_bits = 8 * (5 - len(values))
    is_plain = is_plain and values[-1] < 1 << last_bits
    return (total << last_bits | values[-1] & (1 << last_bits) - 1) & 0xFFFFFFFF, is_plain


_NETWORKS = (
    (0x7F000000, 8, "the machine itself"),
    (0x0A000000, 8, "a private network"),
    (0xAC100000, 12, "a private network"),
    (0xC0A80000, 16, "a private network"),
    (0xA9FE0000, 16, "a link-local address"),
    (0x64400000, 10, "a provider's inner network"),
    (0x00000000, 8, "the machine itself"),
    (0xC0000000, 24, "an address for special use"),
)


def _network(address: int) -> str | None:
    return next((name for base, bits, name in _NETWORKS if address >> (32 - bits) == base >> (32 - bits)), None)


def _ipv4(host: bytes, span: tuple[int, int]) -> Finding | None:
    told = number_of(host)
    if told is None:
        return None
    address, is_plain = told
    dotted = b".".join(b"%d" % (address >> shift & 0xFF) for shift in (24, 16, 8, 0))
    if dotted in _META_HOSTS:
        return _finding(_META, span, "a cloud's own service (metadata), written as a number")
    network = _network(address)
    if not is_plain:
        if network is not None:
            return _finding(_HIDDEN, span, f"{network}, its number written so that it does not show")
        return _finding(_PRIVATE, span, "a host written as a number")
    return _finding(_PRIVATE, span, network) if network is not None else None


def _ipv6(host: bytes, span: tuple[int, int]) -> Finding | None:
    host = host.partition(b"%")[0]
    _, _, tail = host.rpartition(b":")
    if b"." in tail:
        told = number_of(tail)
        if told is not None:
            network = _network(told[0])
            if network is not None:
                return _finding(_HIDDEN, span, f"{network}, its number within an IPv6 address")
            return None
    words = _words(host)
    if words is None:
        return None
    if not any(words[:7]) and words[7] in (0, 1):
        return _finding(_HIDDEN, span, "the machine itself (IPv6)")
    if words[0] & 0xFE00 == 0xFC00 or words[0] & 0xFFC0 in (0xFE80, 0xFEC0):
        return _finding(_HIDDEN if words[0] != 0xFD00 or words[7] != 0x254 else _META, span, "a private network (IPv6)")
    inner = None
    if (not any(words[:5]) and words[5] in (0, 0xFFFF)) or (words[0] == 0x64 and words[1] == 0xFF9B):
        inner = words[6] << 16 | words[7]
    elif words[0] == 0x2002:
        inner = words[1] << 16 | words[2]
    network = _network(inner) if inner is not None else None
    return _finding(_HIDDEN, span, f"{network}, its number within an IPv6 address") if network is not None else None


def _words(host: bytes) -> list[int] | None:
    """The eight numbers of an IPv6 address; None if it is none."""
    before, gap, after = host.partition(b"::")
    try:
        head = [int(part, 16) for part in before.split(b":")] if before else []
        tail = [int(part, 16) for part in after.split(b":")] if after else []
    except ValueError:
        return None
    missing = 8 - len(head) - len(tail)
    if missing < 0 or (missing and not gap) or any(word > 0xFFFF for word in head + tail):
        return None
    return head + [0] * missing + tail


DETECTOR = Detector(
    kind="ssrf",
    gate=(
        (
            frozenset(
                (
                    b"//",
                    b"\\\\",
                    b"/\\",
                    b"\\/",
                    b"file:",
                    b"http:",
                    b"https:",
                    b"file:/",
                    b"file:\\",
                    b"jar:",
                    b"169.254.",
                    b"100.100.",
                    b"192.0.0.",
                    b"168.63.",
                )
            ),
        ),
    ),
    detect=detect,
    limit_bytes=LIMIT_BYTES,
)
