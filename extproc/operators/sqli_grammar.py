"""Is a fingerprint an injection? Patterns over the kinds of at most five tokens.

A pattern names a kind per place, `[..]` any of these, `V` a value: a number, a name, a string, a variable.
The patterns were induced from behaviour: fragments made from a grammar of SQL, from attack lists changed at random
and from plain text were shown to libmodsecurity's @detectSQLi, and the answers generalised until few patterns
were left (docs/decisions/0012). They say somewhat more than what was seen: where every neighbour is an
injection, so is the gap. No pattern holds for a fingerprint that was seen to be harmless in plain text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from extproc.operators.sqli_tokens import open_quote

THREE = """
    1 [soB] v
    E V )
    E s [1v)]
    E v [ns)]
    U E [1sv]
    [1E] v [s)]
    V B [1sv]
    V U [E;c]
    [1sv] B V
    [1sv] [)U] c
    [nsv] [&B] v
    [sE] [1o] v
    [sv] [&B] [1nv]
    v [o&B] s
"""
"""Fingerprints of three kinds; some more are decided by what was written, see CONDITIONS."""

FOUR = """
    1 [nsv] U E
    E V ) [;c]
    E [1sv] k n
    E [1v] [ns)] [;c]
    E [ns] [1)] ;
    E k 1 [nsv)]
    E k [1v] [s)]
    E k [ns] [1)]
    E k s [1v)]
    E s [1v)] [;c]
    T n V ;
    U E V [;c]
    U E k V
    [1E] s v [;c]
    V & [1svk] c
    V & [sE] [1v]
    V & v [s;Uc]
    V ) [&B] V
    V ) [o&B] [sv]
    V ; [Tt] ;
    V B V [;c]
    V U E [1nsvf;kc]
    V U [1svE;] c
    V [&U] E [1nsvc]
    V [Eok&UB] [1sv] [;c]
    V [o&] V U
    [1s] [vok&B] s [;c]
    [1sv] ) [o&B] [1sv]
    [1sv] [Ek&B] V c
    [1sv] [k&B] V [;c]
    [nsE] 1 [sv] [;c]
    f ( ) [Uc]
    f ( V )
    n [1s] U E
    s [1Ek&B] [nsv] c
    s [1v] U E
    s [o&] V [;U]
    v ) [o&B] V
"""

FIVE = """
    1 [n);&U] E V [oc]
    1 [nsv] U E [;kc]
    E [(k] V ) [;ok&Uc]
    E [(k] [nfo] ( [1svf]
    E [1ns] [ok] V [)k]
    E V ) ; [E(Ttc]
    E V ) [o&] [1nsvf(]
    E V [,ok&B] f (
    E V [fok&B] ( [1nsvfE]
    E V [k&B] V [)o]
    E V k n [);kUc]
    E V o [sv] [f(),;k&UB]
    E [1nsvo] [;kU] ( E
    E [fk] ( [1nsv)] [,&]
    E [fk] ( [fE] [1(]
    E f ( [1nsvo] )
    E k ( [1svE] [sf(]
    E k [1ns] [v)] [;okc]
    E k V [,k&B] [1nsvf(]
    E k V [f,;k&UB] (
    T ( [ns] [nsv)] [)o]
    T [n(] V o [svf(]
    U E ( V [),o]
    U E V [,ok] [nsvf(]
    U E [nf] ( )
    U E k V [,;okc]
    [1E&] n U E [1nsvf(k]
    [1ET] [nf] ( [1sv] o
    [1ET] [nf] ( [sv] [)o]
    [1ET] n [(,&] f (
    [1E] n ) U E
    [1ns] ) [;U] [ET] [nsvf(k]
    [1ns] [)k] [;U] E [1v]
    [1ns] [fE,o&] [1n(k] f (
    [1ns] [ok&] V [;U] [ETc]
    [1ns] k ) [;U] [ET]
    [1ns] o V [)U] [vfE,;ok&c]
    [1ns] o [1sv] [)k] [UB]
    [1ns] o [1sv] [k&BT] [1nsvfE(]
    [1ns] o [nsv] [(&] [EU]
    [1ns] o [sv] [;UTt] [ET]
    [1ns] o [sv] [E&U] [1svf(k]
    [1ns] o v [sE] [1vf(oU]
    [1nsv)] U E [(k] [1nsvf]
    [1nsv)] U E V [ok]
    [1nsv)] U E [1s(k] [vo]
    [1nsvE] f ( ) [1nsvfokU]
    [1nsvE] k [1nsv)] [E&B] [1svf(]
    [1nsvEk&UT] f ( f (
    [1nsvU] [fEk] ( V o
    V & V U [E(;c]
    V & [vE] s [;oc]
    V & k [no] k
    V & s [1vU] [;c]
    V ) & V [f);oUBc]
    V ) ; [ET] [1nsvf(ok]
    V ) B 1 [n;ok&Uc]
    V ) [E,ok&B] ( [1nsvf]
    V ) [Eo&B] V [;oc]
    V ) [Eok&B] f (
    V ) [o&U] ( E
    V ) [o&] V [);&UBc]
    V ) [oB] V [;k&Uc]
    V ) [okB] n [;k&UBc]
    V ) k [(B] [1nsvf]
    V ) k [1nsvU] [E;&UB]
    V ; T [1nsv(;] [fc]
    V ; T [1nsvfok] (
    V ; [ET] [(k] [1nsvfE(]
    V ; [ET] V [,;okTtc]
    V ; [ET] [fk] (
    V ; [Tt] [nk] [1nsvf(ok]
    V A [svTt] o [1nsvf(]
    V B V [k&B] [1nsvf(]
    V E U [1sv] [,oc]
    V E V T [1nsvf(]
    V E o k n
    V T V [(o] f
    V T n V [oc]
    V T n [E;kT] n
    V U E V [nsf(),;ok&UBc]
    V U E [1nsvf;k] [;c]
    V U E [1nsvf] [(,;c]
    V U [EoT] n [1sf(]
    V U [Eok] ( E
    V [&B] V [okB] [1svf(]
    V [&UB] E ( [1nsvfo]
    V [);&UTt] E [(k] [1nsvf(]
    V [)o&] k [1sv] o
    V [,oT] [nf] ( [1svf]
    V [;&U] E V [,;okc]
    V [;Tt] T n [nEkTt]
    V [E,ok&UBTA] f ( [1nsvf)]
    V [ET] n [oT] [nsvf(]
    V [Ek&BA] [1sv] U E
    V [Ek&UBTA] s o [1nsvf(]
    V [Ek&UBT] [1sv] o [svf(]
    V [Eo&UTA] ( [nsv] [)o]
    V [Eok&UBA] f ( [1nsvfE)]
    V [Eok&] V ; [Tt]
    V [Tt] E V [no]
    V [UB] [1sv] [,o] [f(]
    V [f,o&U] ( E [1nsvf(k]
    V [fE,ok&UBTA] ( f (
    V [fo&] ( n [,o]
    V [k&B] V ; c
    V [k&B] V U [E(]
    V [k&T] n ; [ETt]
    V [k&] V ; [ETtc]
    V [kB] [1sv] [&B] [1nsvf(]
    V [kT] n E [1nsvf(]
    V [o&] ( E [1nsvf(ok]
    V [o&] ( V [),o&]
    V [o&] V ) [o&Uc]
    V [o&] [sv] [fkUB] (
    V [o&] k [(o] [1nsvf]
    V [oB] V [,&] [svf(]
    V [oB] [nsv] [&B] [1n]
    V [ok&] [1svU] E [nk]
    V k ) [fEo&B] [f(]
    V k [1sv)U] E [1nsvf(k]
    V o ( E [1nsvfE(ok]
    V o [1s] [vE] [soU]
    V o [sv] [UTA] [svf(Tt]
    V o k V c
    V o s [1Ek&BTA] [nsvf(]
    V o s [1vfE,k&UBTA] (
    [1sE] [vk] s o [1nsvf(]
    [1sEk&] v o [s(] [1vf]
    [1s] [1svE),ok&UBTA] f ( f
    [1s] [svE,ok&UBTA] f ( [1nsvf)]
    [1s] o [nsv] [Ek] [1svf()U]
    [1svEk&T] f ( [1nsv)] [)o]
    [1svU] E [fkU] ( [1nsvf]
    [1sv] & V [EkBT] n
    [1sv] E k [(U] [1svfE]
    [1sv] E k V [;oUTtc]
    [1sv] [()o] U ( E
    [1sv] [(k&UTt] [E(] f (
    [1sv] [fE,o&UBT] ( V [)o]
    [1sv] [kB] [1nsv)] [&B] n
    [1sv] f ( [1)] [no]
    [1sv] o [1ns] [;BT] [nE]
    [1sv] o k [(&] [1nsvf]
    [1svfU] ( E n k
    [E&T] V o f (
    [E&] V U E [1nsvf(k]
    [E&] [ns] o [1sv] [sf(U]
    [ET] ( [nf] ( [1svf]
    [ET] V [fo] ( [1nsvf]
    [EU] ( E [f(k] [1(]
    [Ek&T] ( V o [nsvf(]
    [Ek&T] [1sv] o ( [1nsvf]
    [Ek&] [1sv] o s [1vf(,]
    [Ek] V [,k] ( [1nsvf]
    [Ek] s o V [f(,k]
    [fE&] ( V ) [oU]
    [fEU] ( E [(k] [1nsvf]
    [fEU] ( E V [)o&]
    [fE] ( V ) [1nsvfE,;ok&UBc]
    [fE] ( V [)&] [1nsvf]
    [fEk&T] ( f ( [1nsvf)]
    [fEk&T] ( s o [1nsvf(]
    [fU] ( E [no] k
    [fk] ( V ) [,okA]
    [nE&] 1 o [sv] [sf(U]
    [nEk&T] 1 o ( [1nsvf]
    [nEk&] 1 [ok] f (
    [nsv] [fE,ok&UBT] ( [1sv] [)o]
    [sE] [1sk] v o [sf(]
    [sE] [1vk] f ( [1nsvf)]
    [svE] [fkA] ( V [)o]
    f ( ) [1nsvE] [f(oU]
    f ( ) [1sE,ok&UBT] [1nsvf(]
    f ( ) [;UTt] [ETt]
    f ( [1nsv)] [,o&] [1nsvf(]
    f ( [1nsv)kTt] , [f(]
    k V [,kA] ( [nsvf]
    k V [,kA] f (
    k V k [1sv] [oU]
    k [1s] o [1sv] [sf(,kA]
    s o 1 [n(&] [E(U]
    s o V [Ek&UBTA] [svf(]
    s o V [UT] [1svfE(Tt]
    s o n [1E] [v(oU]
"""

_VALUE = "1nsv"

FINGERPRINTS = 1 << 13
"""Decisions remembered; the least recently used is forgotten."""


def _places(pattern: str) -> list[str]:
    return [_VALUE if place == "V" else place.strip("[]") for place in pattern.split(" ")]


def _masks(patterns: str) -> list[dict[str, int]]:
    """Per place: kind → a bit for every pattern that allows the kind there."""
    rows = [_places(line.strip()) for line in patterns.strip().splitlines()]
    masks: list[dict[str, int]] = [{} for _ in rows[0]]
    for number, row in enumerate(rows):
        for place, kinds in enumerate(row):
            for kind in kinds:
                masks[place][kind] = masks[place].get(kind, 0) | 1 << number
    return masks


_MASKS_OF_LENGTH = {len(masks): masks for masks in map(_masks, (THREE, FOUR, FIVE))}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was written, for the short fingerprints that depend on it.

    `texts` begins with those of the fingerprint's kinds. `count` says how many tokens there were before folding.
    `opened` is the quote that the fragment is thought to stand in, or empty.
    """

    value: bytes
    texts: list[bytes]
    count: Callable[[], int]
    opened: bytes


def _comments_out(evidence: Evidence) -> bool:
    """`admin'--` and `admin'/*`, but not `well' -- perhaps`."""
    comment = evidence.texts[1]
    return comment == b"--" or _opens_comment(evidence)


def _opens_comment(evidence: Evidence) -> bool:
    """After a name only `/*` counts. The name of a procedure that keeps its line out of SQL Server's log does, too."""
    comment = evidence.texts[1]
    return comment.startswith(b"/*") or (comment[:1] != b"#" and b"sp_password" in evidence.value.lower())


def _comments_out_after_number(evidence: Evidence) -> bool:
    """`1--`, `1 --` and `1/*`, with nothing before the number; `1#` is a fragment of a link."""
    if evidence.texts[1].startswith(b"#"):
        return False
    rest = evidence.value[len(evidence.texts[0]) :]
    return rest[:1] <= b" " or rest.startswith((b"/*", b"--")) or evidence.count() > 2


def _was_folded(evidence: Evidence) -> bool:
    """As many plain words as kinds are prose (`1 and 2`); with a sign or a calculation among them they are not."""
    return evidence.count() != len(evidence.texts)


def _spans_quotes(evidence: Evidence) -> bool:
    """`x' = 'y`: the fragment closes the string it stands in, and opens the one that follows it."""
    last = evidence.texts[2]
    return evidence.opened != b"" and open_quote(last) == evidence.opened


def _writes_file(evidence: Evidence) -> bool:
    """INTO OUTFILE, INTO DUMPFILE: no other keyword does between two values."""
    return evidence.texts[1].startswith(b"INTO ")


CONDITIONS: dict[str, Callable[[Evidence], bool]] = {
    "1c": _comments_out_after_number,
    "nc": _opens_comment,
    **dict.fromkeys(("sc", "vc"), _comments_out),
    **dict.fromkeys(("1U", "nU", "sU", "vU", "1&1", "1&s", "1&v", "n&1", "s&n"), _was_folded),
    **dict.fromkeys(("sos", "s&s"), _spans_quotes),
    **{f"{left}k{right}": _writes_file for left in _VALUE for right in _VALUE},
}
"""Fingerprints that are an injection only if something else holds."""


@lru_cache(FINGERPRINTS)
def is_injection(fingerprint: str) -> bool:
    """Does a fragment with this fingerprint, one that is not in CONDITIONS, change the query it is put into?"""
    masks = _MASKS_OF_LENGTH.get(len(fingerprint))
    if masks is None:
        return fingerprint == "X"
    allowed = -1
    for place, kind in zip(masks, fingerprint, strict=True):
        allowed &= place.get(kind, 0)
    return allowed != 0
